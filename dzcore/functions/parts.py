"""Taking an array apart: the steps of a sequence, the gates of a cell."""

from operator import index
from typing import Any

from ..graph import Function, Variable, as_variable
from .shape import concat, normalize_axis, squeeze

__all__ = ["split", "unstack"]


class Split(Function):
    """All parts are results of one node, so that their gradients are joined once.

    As many slices would each embed their gradient in zeros of the whole, which takes quadratic time.
    """

    def __init__(self, sections: int, axis: int) -> None:
        self.sections = sections
        self.axis = axis

    def forward(self, x: Any) -> tuple[Any, ...]:
        length = x.shape[self.axis] // self.sections
        before = (slice(None),) * self.axis
        return tuple(x[(*before, slice(k * length, (k + 1) * length), ...)] for k in range(self.sections))

    def backward(self, *gys: Variable) -> Variable:
        return concat(gys, axis=self.axis)


def split(x: Any, sections: int, axis: int = 0) -> tuple[Variable, ...]:
    """Split x along an axis into `sections` parts of equal length, which `concat` joins again."""
    x = as_variable(x)
    axis = normalize_axis(axis, x.ndim)
    sections = index(sections)
    if sections < 1 or x.shape[axis] % sections:
        raise ValueError(f"sections={sections} must divide the length of axis {axis} of x, which has shape {x.shape}")
    parts = Split(sections, axis)(x)
    return parts if sections > 1 else (parts,)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Variable, ...]:
    """Split x along an axis into as many arrays without it."""
    x = as_variable(x)
    axis = normalize_axis(axis, x.ndim)
    return tuple(squeeze(part, axis) for part in split(x, x.shape[axis], axis)) if x.shape[axis] else ()
