"""Model, the base of whole networks, and Sequential, a chain."""

from collections.abc import Callable
from typing import Any

from ..layers import Layer

__all__ = ["Model", "Sequential"]


class Model(Layer):
    """A layer that is a whole network."""


class Sequential(Model):
    """A chain of layers and functions, each applied to the result of the one before.

    The layers are named `l0`, `l1` … by their places.
    """

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        self._length = len(layers)
        for i, layer in enumerate(layers):
            if not callable(layer):
                raise TypeError(f"layers[{i}]={layer!r} cannot be called; give a Layer or a function")
            setattr(self, f"l{i}", layer)

    @property
    def layers(self) -> list[Callable[[Any], Any]]:
        """The links of the chain."""
        return [getattr(self, f"l{i}") for i in range(self._length)]

    def forward(self, x: Any) -> Any:
        """Send x through the chain."""
        for layer in self.layers:
            x = layer(x)
        return x
