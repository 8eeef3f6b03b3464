"""Pooling and flattening as layers."""

__all__: list[str] = []
