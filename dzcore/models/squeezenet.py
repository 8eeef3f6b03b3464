"""SqueezeNet."""

__all__: list[str] = []
