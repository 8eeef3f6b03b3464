"""The gradient of any function by differences, element by element: slow, inexact, and independent of all rules."""

from collections.abc import Callable
from typing import Any

from .. import functions as F
from ..graph import Variable, as_variable

__all__ = ["numerical_gradient"]


def numerical_gradient(f: Callable[[Any], Any], x: Any, step: float = 1e-4) -> Variable:
    """Return (s(x + h eᵢ) - s(x - h eᵢ)) / 2h for every element i of x: s is the sum of f's results, h the step.

    It is in float64 where the backend has it, and so is the raw array that f gets.
    """
    x = as_variable(x)
    own, xp = x.backend, x.backend.xp
    x = F.astype(x.detach(), "float64" if "float64" in own.dtypes else "float32")
    place = xp.reshape(xp.arange(x.size, device=own.device), x.shape)

    def value(i: int, h: float) -> Variable:
        return F.sum(as_variable(f(xp.where(place == i, x.data + h, x.data)))).detach()

    differences = [(value(i, step) - value(i, -step)) / (2 * step) for i in range(x.size)]
    return F.reshape(F.stack(differences), x.shape) if differences else x
