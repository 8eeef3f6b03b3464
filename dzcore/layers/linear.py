"""The fully connected layer."""

from contextlib import suppress
from math import sqrt
from operator import index
from typing import Any

from .. import functions as F
from .. import random
from ..backend import Backend
from ..backend.base import FLOATING
from ..graph import Parameter, Variable, as_variable
from .base import Layer

__all__ = ["Linear"]


class Linear(Layer):
    """An affine map of the last axis: x W + b, with W (in_size, out_size) and b (out_size,).

    W starts as normal numbers with variance 1 / in_size (LeCun et al., Efficient BackProp, 1998), b as zeros. Without
    `in_size` both are made at the first call, for its input and on its backend.
    """

    def __init__(self, out_size: int, nobias: bool = False, dtype: Any = "float32", in_size: int | None = None) -> None:
        self.out_size = _positive("out_size", out_size)
        if not isinstance(nobias, bool):
            raise TypeError(f"nobias={nobias!r} must be True or False; the input size is given as in_size={nobias!r}")
        self.dtype = _floating(dtype)
        self.W = Parameter(None, name="W", dtype=self.dtype, lazy_shape=(None, self.out_size))
        self.b = None if nobias else Parameter(None, name="b", dtype=self.dtype, lazy_shape=(self.out_size,))
        if in_size is not None:
            from ..backend import current_backend

            self._start(_positive("in_size", in_size), current_backend())

    @property
    def in_size(self) -> int | None:
        """The length of the input's last axis; None while it is not known."""
        return None if self.W._data is None else self.W.shape[0]

    def _start(self, in_size: int, backend: Backend) -> None:
        if self.W._data is None:
            weights = random.normal((in_size, self.out_size), std=sqrt(1 / in_size), dtype=self.dtype, backend=backend)
            self.W._set(weights, backend)
        if self.b is not None and self.b._data is None:
            zeros = backend.xp.zeros(self.out_size, dtype=backend.dtype(self.dtype), device=backend.device)
            self.b._set(zeros, backend)

    def forward(self, x: Any) -> Variable:
        """Map x (…, in_size) to (…, out_size)."""
        if self.W._data is None or (self.b is not None and self.b._data is None):
            x = as_variable(x)
            if not x.shape or not x.shape[-1]:
                raise ValueError(f"x has shape {x.shape}; a Linear without in_size takes its size from the last axis")
            self._start(x.shape[-1], x.backend)
        return F.linear(x, self.W, self.b)


def _positive(name: str, size: Any) -> int:
    with suppress(TypeError):
        if not isinstance(size, bool) and index(size) > 0:
            return index(size)
    raise ValueError(f"{name}={size!r} must be a positive integer")


def _floating(dtype: Any) -> str:
    """Return the standard name of a floating-point dtype of any library."""
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None) or str(dtype).rpartition(".")[2]
    if name not in FLOATING:
        raise TypeError(f"dtype={dtype!r} is not one that can learn; say one of {', '.join(sorted(FLOATING))}")
    return str(name)
