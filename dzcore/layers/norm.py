"""Normalizing layers."""

__all__: list[str] = []
