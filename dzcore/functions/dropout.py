"""Dropout (Srivastava et al., Journal of Machine Learning Research 15, 2014)."""

from typing import Any

from .. import random
from ..graph import Variable, as_variable, rule
from ..graph.modes import training
from .math import multiply

__all__ = ["dropout"]


@rule(
    extends=True,
    fused=True,
    shown="dropout",
    x=lambda xp, gy, bits, threshold, scale: xp.dropped(gy, bits, threshold, scale),
)
def _dropped(xp: Any, x: Any, /, bits: Any, threshold: int, scale: float) -> Any:
    """Return x * scale where the random word is below the threshold, x * 0 elsewhere."""
    return x * (xp.astype(bits < threshold, x.dtype) * scale)


def dropout(x: Any, dropout_ratio: float = 0.5, *, mode: str = "inverted") -> Variable:
    """Drop each element with probability p = `dropout_ratio` while training.

    With mode "inverted", the elements that stay are divided by 1 - p, and test mode changes nothing. With "direct",
    they stay as they are, and test mode multiplies all by 1 - p. Either way the expected value is the same in
    both modes. An element stays where its word of dzcore.random is below (1 - p) 2³², the same on every backend.

    Raises:
        ValueError: unless 0 <= p < 1; dropping everything has no expected value to keep.
    """
    check_dropout(dropout_ratio, mode)
    y: Variable = as_variable(x)
    if y.node is None and not y.backend.is_floating(y.dtype):
        raise TypeError(f"dropout: x has dtype {y.dtype}; scaled elements need a floating-point one, as of x.astype")
    keep = 1.0 - dropout_ratio
    if not training.get():
        return multiply(y, keep) if mode == "direct" and dropout_ratio else y
    threshold = round(keep * 2**32)
    if threshold == 2**32:
        return y
    bits = y.backend.xp.reshape(random.bits(y.size, backend=y.backend), y.shape)
    return _dropped(y, bits, threshold, 1.0 / keep if mode == "inverted" else 1.0)


def check_dropout(dropout_ratio: float, mode: str) -> None:
    """Raise ValueError for what `dropout` does not take."""
    if not 0 <= dropout_ratio < 1:
        raise ValueError(f"dropout_ratio={dropout_ratio} must be at least 0 and less than 1")
    if mode not in ("inverted", "direct"):
        raise ValueError(f"mode={mode!r} must be 'inverted' or 'direct'")
