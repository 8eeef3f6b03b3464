"""The names of the ImageNet classes."""

__all__: list[str] = []
