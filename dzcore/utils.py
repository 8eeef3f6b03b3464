"""DeZero's small helpers, under its names."""

__all__: list[str] = []
