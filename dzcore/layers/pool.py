"""Pooling and flattening as layers, for Sequential."""

from typing import Any

from .. import functions as F
from ..functions.windows import Sizes
from ..graph import Variable
from .base import Layer

__all__ = ["AveragePool", "Flatten", "GlobalAveragePool", "Pool"]


class Pool(Layer):
    """`dzcore.functions.pooling`, the largest element of each window, with fixed settings."""

    def __init__(self, kernel_size: Sizes, stride: Sizes = 1, pad: Sizes = 0, ceil_mode: bool = False) -> None:
        self.settings = kernel_size, stride, pad, ceil_mode

    def forward(self, x: Any) -> Variable:
        """Map x (n, c, *spatial) to (n, c, *out)."""
        return F.pooling(x, *self.settings)


class AveragePool(Layer):
    """`dzcore.functions.average_pooling` with fixed settings."""

    def __init__(self, kernel_size: Sizes, stride: Sizes = 1, pad: Sizes = 0, ceil_mode: bool = False) -> None:
        self.settings = kernel_size, stride, pad, ceil_mode

    def forward(self, x: Any) -> Variable:
        """Map x (n, c, *spatial) to (n, c, *out)."""
        return F.average_pooling(x, *self.settings)


class GlobalAveragePool(Layer):
    """`dzcore.functions.global_average_pooling`."""

    def forward(self, x: Any) -> Variable:
        """Map x (n, c, *spatial) to (n, c)."""
        return F.global_average_pooling(x)


class Flatten(Layer):
    """`dzcore.functions.flatten`."""

    def forward(self, x: Any) -> Variable:
        """Map x (n, …) to (n, d)."""
        return F.flatten(x)
