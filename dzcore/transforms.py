"""What is done to an item of a data set before it is used."""

__all__: list[str] = []
