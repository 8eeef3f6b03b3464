"""The multi-layer perceptron."""

from collections.abc import Callable, Sequence
from typing import Any

from .. import functions as F
from ..functions.dropout import check_dropout
from ..graph import Variable
from ..layers import Linear
from .base import Model

__all__ = ["MLP"]


class MLP(Model):
    """Linear layers of the sizes `fc_output_sizes`, with an activation and dropout after each but the last.

    The layers are named `l0`, `l1` …; the size of the input is found at the first call, unless `in_size` gives it.
    """

    def __init__(
        self,
        fc_output_sizes: Sequence[int],
        activation: Callable[[Any], Any] = F.sigmoid,
        *,
        dropout: float = 0.0,
        in_size: int | None = None,
    ) -> None:
        if not isinstance(fc_output_sizes, Sequence) or not fc_output_sizes:
            raise ValueError(
                f"fc_output_sizes={fc_output_sizes!r} must be a sequence of at least one size, such as (100, 10)"
            )
        if not callable(activation):
            raise TypeError(f"activation={activation!r} cannot be called; give a function such as F.relu")
        check_dropout(dropout, "inverted")
        self.activation = activation
        self.dropout = dropout
        self._length = len(fc_output_sizes)
        for i, size in enumerate(fc_output_sizes):
            setattr(self, f"l{i}", Linear(size, in_size=in_size))
            in_size = size if in_size is not None else None

    @property
    def layers(self) -> list[Linear]:
        """The linear layers."""
        return [getattr(self, f"l{i}") for i in range(self._length)]

    def forward(self, x: Any) -> Variable:
        """Map x (n, in_size) to scores (n, out_size)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
            if self.dropout:
                x = F.dropout(x, self.dropout)
        return last(x)  # type: ignore[no-any-return]
