"""CIFAR-10 and CIFAR-100."""

__all__: list[str] = []
