"""LeNet."""

__all__: list[str] = []
