"""Batches of consecutive elements of a series."""

__all__: list[str] = []
