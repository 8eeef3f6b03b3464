"""Text as a data set."""

__all__: list[str] = []
