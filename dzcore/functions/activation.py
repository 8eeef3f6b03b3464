"""Activation functions, with their gradients."""

from typing import Any

from ..graph import Variable, as_variable, rule
from .shape import normalize_axis

__all__ = ["leaky_relu", "log_softmax", "relu", "sigmoid", "softmax", "softplus"]


#: Before e⁻ˣ overflows; further left the result is that of this point, next to the smallest normal number.
_LEFTMOST = {"float16": -11.0, "float64": -708.0}


@rule(extends=True, x=lambda gy, y: gy * (y - y * y))
def sigmoid(xp: Any, x: Any) -> Any:
    """Calculate 1 / (1 + e⁻ˣ) without overflow, and accurately where it is small."""
    y = xp.exp(-xp.maximum(x, _LEFTMOST.get(xp.backend.dtype_name(x.dtype), -87.0)))
    y += 1.0
    return xp.reciprocal(y)


@rule(x=lambda xp, gy, y: gy * xp.sign(y))
def relu(xp: Any, x: Any) -> Any:
    """Calculate max(x, 0)."""
    return xp.maximum(x, 0.0)


@rule(x=lambda xp, gy, x, slope: xp.where(x > 0, gy, gy * slope))
def _leaky_relu(xp: Any, x: Any, /, slope: float) -> Any:
    return xp.where(x > 0, x, x * slope)


def leaky_relu(x: Any, slope: float = 0.2) -> Variable:
    """Calculate x where it is positive, slope · x elsewhere."""
    return _leaky_relu(x, float(slope))


@rule(x=lambda xp, gy, x: gy * xp.sigmoid(x))
def softplus(xp: Any, x: Any) -> Any:
    """Calculate log(1 + eˣ) without overflow."""
    return xp.logaddexp(x, xp.zeros_like(x))


@rule(x=lambda xp, gy, y, axis: (gy - xp.sum(gy * y, axis=axis, keepdims=True)) * y)
def _softmax(xp: Any, x: Any, /, axis: int) -> Any:
    y = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    y /= xp.sum(y, axis=axis, keepdims=True)
    return y


def softmax(x: Any, axis: int = 1) -> Variable:
    """Calculate eˣ / Σ eˣ over an axis."""
    x = as_variable(x)
    return _softmax(x, normalize_axis(axis, x.ndim))


@rule(x=lambda xp, gy, y, axis: gy - xp.exp(y) * xp.sum(gy, axis=axis, keepdims=True))
def _log_softmax(xp: Any, x: Any, /, axis: int) -> Any:
    y = x - xp.max(x, axis=axis, keepdims=True)
    y -= xp.log(xp.sum(xp.exp(y), axis=axis, keepdims=True))
    return y


def log_softmax(x: Any, axis: int = 1) -> Variable:
    """Calculate x - log Σ eˣ over an axis, accurately for large x."""
    x = as_variable(x)
    return _log_softmax(x, normalize_axis(axis, x.ndim))
