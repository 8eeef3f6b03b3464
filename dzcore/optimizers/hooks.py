"""Hooks: what happens to the gradients between the backward pass and the update.

A hook takes the list of parameters that have a gradient, and gives them others by assigning `param.grad`. It never
changes an array in place. The optimizer puts the original gradients back after the update.
"""

from typing import Any

from ..graph import Parameter, Variable
from ..graph.variable import transfer
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
                _replace(param, param.backend.ops.fused(_decayed, param.grad._data, param._data, self.rate))


def _decayed(xp: Any, g: Any, p: Any, rate: float) -> Any:
    return g + p * rate


class ClipGrad:
    """Clipping by the global norm (Pascanu et al., ICML 2013): g ← g · min(1, max_norm / ‖all g‖₂)."""

    def __init__(self, max_norm: float) -> None:
        positive(max_norm=max_norm)
        self.max_norm = max_norm

    def __call__(self, params: list[Parameter]) -> None:
        params = [param for param in params if param.grad is not None]
        if not params:
            return
        home = params[0].backend  # of a model on several backends, the norms meet on the first
        xp = home.xp
        squares = [transfer(_square(param), param.backend, home) for param in params]
        norm = xp.sqrt(sum(squares[1:], squares[0]))
        limit = xp.full_like(norm, self.max_norm)  # as an array: some libraries divide numbers by way of a reciprocal
        rate = limit / xp.maximum(norm, limit)  # no number leaves the device
        for param in params:
            own, g = param.backend, param.grad._data  # type: ignore[union-attr]
            _replace(param, g * own.xp.astype(transfer(rate, home, own), g.dtype))


def _square(param: Parameter) -> Any:
    """Return the squared norm of a gradient, as an array () of at least float32."""
    xp, g = param.backend.xp, param.grad._data  # type: ignore[union-attr]
    return xp.asarray(xp.sum((g if g.dtype == xp.float64 else xp.astype(g, xp.float32, copy=False)) ** 2))


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
