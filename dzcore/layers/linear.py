"""The fully connected layer."""

from math import sqrt
from typing import Any

from .. import functions as F
from .. import random
from ..backend import Backend
from ..graph import Parameter, Variable, as_variable
from .base import Layer

__all__ = ["Linear"]


class Linear(Layer):
    """An affine map of the last axis: x W + b, with W (in_size, out_size) and b (out_size,).

    W starts as normal numbers with variance 1 / in_size (LeCun et al., Efficient BackProp, 1998), b as zeros. Without
    `in_size` both are made at the first call, for its input and on its backend.
    """

    def __init__(self, out_size: int, nobias: bool = False, dtype: Any = "float32", in_size: int | None = None) -> None:
        for name, size in (("out_size", out_size), ("in_size", in_size)):
            if size is not None and (not isinstance(size, int) or size < 1):
                raise ValueError(f"{name}={size!r} must be a positive integer")
        self.out_size = out_size
        self.in_size = in_size
        self.dtype = dtype
        self.W = Parameter(None, name="W", lazy_shape=(None, out_size))
        self.b = None if nobias else Parameter(None, name="b", lazy_shape=(out_size,))
        if in_size is not None:
            from ..backend import current_backend

            self._start(in_size, current_backend())

    def _start(self, in_size: int, backend: Backend) -> None:
        self.in_size = in_size
        weights = random.normal((in_size, self.out_size), std=sqrt(1 / in_size), dtype=self.dtype, backend=backend)
        self.W._set(weights, backend)
        if self.b is not None:
            zeros = backend.xp.zeros(self.out_size, dtype=backend.dtype(self.dtype), device=backend.device)
            self.b._set(zeros, backend)

    def forward(self, x: Any) -> Variable:
        """Map x (…, in_size) to (…, out_size)."""
        if self.W._data is None:
            x = as_variable(x)
            self._start(x.shape[-1], x.backend)
        return F.linear(x, self.W, self.b)
