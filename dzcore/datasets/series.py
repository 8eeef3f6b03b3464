"""Time series."""

__all__: list[str] = []
