"""Dropout as a layer."""

from typing import Any

from .. import functions as F
from ..functions.dropout import check_dropout
from ..graph import Variable
from .base import Layer

__all__ = ["Dropout"]


class Dropout(Layer):
    """`dzcore.functions.dropout` with a fixed ratio, for Sequential."""

    def __init__(self, dropout_ratio: float = 0.5, *, mode: str = "inverted") -> None:
        check_dropout(dropout_ratio, mode)
        self.dropout_ratio = dropout_ratio
        self.mode = mode

    def forward(self, x: Any) -> Variable:
        """Drop elements of x while training."""
        return F.dropout(x, self.dropout_ratio, mode=self.mode)
