"""Convolutions in any number of dimensions, with their gradients."""

__all__: list[str] = []
