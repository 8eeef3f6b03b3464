"""ResNet."""

__all__: list[str] = []
