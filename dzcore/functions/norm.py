"""Normalization, with its gradients."""

__all__: list[str] = []
