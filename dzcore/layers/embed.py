"""The embedding of numbers."""

__all__: list[str] = []
