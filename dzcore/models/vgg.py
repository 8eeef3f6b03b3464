"""VGG16."""

__all__: list[str] = []
