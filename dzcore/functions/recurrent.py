"""Steps of recurrent layers."""

__all__: list[str] = []
