"""Pooling in any number of dimensions, with its gradients."""

__all__: list[str] = []
