"""Derivatives of functions."""

__all__: list[str] = []
