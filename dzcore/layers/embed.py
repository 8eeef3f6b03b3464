"""The embedding of numbers."""

from typing import Any

from .. import functions as F
from .. import random
from ..graph import Parameter, Variable
from .base import Layer
from .linear import _floating, _positive

__all__ = ["EmbedID"]


class EmbedID(Layer):
    """A row of W (in_size, out_size) for each number in [0, in_size); the rows start as normal numbers, variance 1."""

    def __init__(self, in_size: int, out_size: int, dtype: Any = "float32") -> None:
        shape = (_positive("in_size", in_size), _positive("out_size", out_size))
        self.W = Parameter(random.normal(shape, dtype=_floating(dtype)), name="W")

    def forward(self, x: Any) -> Variable:
        """Map integers (…) to (…, out_size)."""
        return F.embed_id(x, self.W)
