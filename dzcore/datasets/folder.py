"""Pictures in folders."""

__all__: list[str] = []
