"""Hooks: what happens to the gradients between the backward pass and the update.

A hook takes the list of parameters that have a gradient, and gives them others by assigning `param.grad`. It never
changes an array in place. The optimizer puts the original gradients back after the update.
"""

from typing import Any

from ..graph import Parameter, Variable
from ..layers import Layer
from .base import not_negative, positive

__all__ = ["ClipGrad", "FreezeParam", "WeightDecay"]


def _replace(param: Parameter, array: Any) -> None:
    param.grad = Variable._of(param.backend.xp.asarray(array), param.backend, None)


class WeightDecay:
    """L2 regularization: g ← g + rate p."""

    def __init__(self, rate: float) -> None:
        not_negative(rate=rate)
        self.rate = float(rate)

    def __call__(self, params: list[Parameter]) -> None:
        for param in params:
            if param.grad is not None:
                _replace(param, param.grad._data + param._data * self.rate)


class ClipGrad:
    """Clipping by the global norm (Pascanu et al., ICML 2013): g ← g · min(1, max_norm / ‖all g‖₂)."""

    def __init__(self, max_norm: float) -> None:
        positive(max_norm=max_norm)
        self.max_norm = max_norm

    def __call__(self, params: list[Parameter]) -> None:
        params = [param for param in params if param.grad is not None]
        if not params:
            return
        grads = [param.grad._data for param in params]  # type: ignore[union-attr]
        xp = params[0].backend.xp
        squares = [
            xp.sum(xp.astype(g, xp.float32, copy=False) ** 2) if g.dtype != xp.float64 else xp.sum(g**2) for g in grads
        ]
        norm = xp.sqrt(sum(squares[1:], squares[0]))
        rate = self.max_norm / xp.maximum(norm, xp.full_like(norm, self.max_norm))  # no number leaves the device
        for param, g in zip(params, grads, strict=True):
            _replace(param, g * xp.astype(rate, g.dtype))


class FreezeParam:
    """Leave parameters as they are: give Layers and Parameters."""

    def __init__(self, *layers: Layer | Parameter) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, (Layer, Parameter)):
                raise TypeError(f"layers[{i}] is a {type(layer).__name__}; give Layers and Parameters")
        self.layers = layers

    def __call__(self, params: list[Parameter]) -> None:
        frozen = {p for layer in self.layers for p in ([layer] if isinstance(layer, Parameter) else layer.params())}
        for param in params:  # others' gradients would not come back
            if param in frozen:
                param.grad = None
