"""Activation functions, with their gradients."""

from math import pi, sqrt
from typing import Any

from ..graph import Variable, as_variable, rule
from .reduce import Axis, _layout

__all__ = ["elu", "gelu", "leaky_relu", "log_softmax", "relu", "sigmoid", "silu", "softmax", "softplus"]


#: Before e⁻ˣ overflows; further left the result is that of this point, next to the smallest normal number.
_LEFTMOST = {"float16": -11.0, "float64": -708.0}


@rule(extends=True, fused=True, x=lambda gy, y: gy * (y - y * y))
def sigmoid(xp: Any, x: Any) -> Any:
    """Calculate 1 / (1 + e⁻ˣ) without overflow, and accurately where it is small."""
    y = xp.exp(-xp.maximum(x, _LEFTMOST.get(xp.backend.dtype_name(x.dtype), -87.0)))
    y += 1.0
    return xp.reciprocal(y)


@rule(fused=True, x=lambda xp, gy, y: gy * xp.sign(y))
def relu(xp: Any, x: Any) -> Any:
    """Calculate max(x, 0)."""
    return xp.maximum(x, 0.0)


@rule(fused=True, x=lambda xp, gy, x, slope: xp.where(x > 0, gy, gy * slope))
def _leaky_relu(xp: Any, x: Any, /, slope: float) -> Any:
    return xp.where(x > 0, x, x * slope)


def leaky_relu(x: Any, slope: float = 0.2) -> Variable:
    """Calculate x where it is positive, slope · x elsewhere."""
    return _leaky_relu(x, float(slope))


@rule(fused=True, x=lambda xp, gy, x: gy * xp.sigmoid(x))
def softplus(xp: Any, x: Any) -> Any:
    """Calculate log(1 + eˣ) without overflow."""
    return xp.logaddexp(x, xp.zeros_like(x))


@rule(fused=True, x=lambda xp, gy, x, alpha: xp.where(x > 0, gy, gy * (xp.exp(xp.minimum(x, 0.0)) * alpha)))
def _elu(xp: Any, x: Any, /, alpha: float) -> Any:
    return xp.where(x > 0, x, xp.expm1(xp.minimum(x, 0.0)) * alpha)


def elu(x: Any, alpha: float = 1.0) -> Variable:
    """Calculate x where it is positive, alpha (eˣ - 1) elsewhere (Clevert et al., ICLR 2016)."""
    return _elu(x, float(alpha))


def _gated(xp: Any, x: Any, z: Any) -> Any:
    """Return x · sigmoid(z), where x and z have one sign; it is x e⁻|ᶻ| / (1 + e⁻|ᶻ|) on the left, 0 in the limit."""
    e = xp.exp(-xp.abs(z))
    return xp.where(z > 0, x, x * e) / (e + 1.0)


@rule(fused=True, x=lambda xp, gy, x, y: gy * _silu_slope(xp, x, y))
def silu(xp: Any, x: Any) -> Any:
    """Calculate x · sigmoid(x), also known as swish (Elfwing et al., Neural Networks 107, 2018)."""
    return _gated(xp, x, x)


def _gates(xp: Any, z: Any) -> tuple[Any, Any]:
    """Return sigmoid(z) and sigmoid(-z), of one exponential; without abs, which has no derivative at 0."""
    e = xp.exp(xp.where(z > 0, -z, z))
    large = xp.reciprocal(e + 1.0)
    small = e * large
    return xp.where(z > 0, large, small), xp.where(z > 0, small, large)


def _silu_slope(xp: Any, x: Any, y: Any) -> Any:
    s, rest = _gates(xp, x)
    return s + xp.minimum(y, 100.0) * rest  # that is 0 by then, and large y would not fit into float16


_GELU, _CUBIC = 2.0 * sqrt(2.0 / pi), 0.044715


def _inner(xp: Any, x: Any) -> tuple[Any, Any]:
    """Return z with 0.5 (1 + tanh(z / 2)) = sigmoid(z) as the gate of `gelu`, and dz/dx.

    Beyond ±10 the gate is within 1e-37 of 0 or 1, and cubes would not fit into float16.
    """
    x = xp.clip(x, -10.0, 10.0)
    square = x * x * _CUBIC
    return x * (square + 1.0) * _GELU, (square * 3.0 + 1.0) * _GELU


def _gelu_gradient(xp: Any, gy: Any, x: Any, y: Any) -> Any:
    z, slope = _inner(xp, x)
    s, rest = _gates(xp, z)
    return gy * (s + xp.minimum(y, 10.0) * rest * slope)


@rule(fused=True, x=_gelu_gradient)
def gelu(xp: Any, x: Any) -> Any:
    """Calculate 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks and Gimpel, arXiv:1606.08415, 2016).

    That is their approximation of x times the normal distribution function, which the array API does not have.
    """
    return _gated(xp, xp.maximum(x, -10.0), _inner(xp, x)[0])  # else x times that gate grows again far out


# One pass over memory for each part between two sums.


def _exp_below(xp: Any, x: Any, top: Any) -> Any:
    return xp.exp(x - top)


def _below(xp: Any, x: Any, top: Any, log_z: Any) -> Any:
    return x - top - log_z


def _less_total(xp: Any, gy: Any, y: Any, total: Any) -> Any:
    return (gy - total) * y


def _less_share(xp: Any, gy: Any, y: Any, total: Any) -> Any:
    return gy - xp.exp(y) * total


def _softmax_gradient(xp: Any, gy: Any, y: Any, axis: Any) -> Any:
    return xp.fused(_less_total, gy, y, xp.sum(gy * y, axis=axis, keepdims=True))


@rule(x=_softmax_gradient)
def _softmax(xp: Any, x: Any, /, axis: Any) -> Any:
    y = xp.fused(_exp_below, x, xp.max(x, axis=axis, keepdims=True))
    y /= xp.sum(y, axis=axis, keepdims=True)
    return y


def softmax(x: Any, axis: Axis = 1) -> Variable:
    """Calculate eˣ / Σ eˣ over axes."""
    x = as_variable(x)
    return _softmax(x, _layout(x.shape, axis)[0])


@rule(x=lambda xp, gy, y, axis: xp.fused(_less_share, gy, y, xp.sum(gy, axis=axis, keepdims=True)))
def _log_softmax(xp: Any, x: Any, /, axis: Any) -> Any:
    top = xp.max(x, axis=axis, keepdims=True)
    log_z = xp.log(xp.sum(xp.fused(_exp_below, x, top), axis=axis, keepdims=True))
    return xp.fused(_below, x, top, log_z)


def log_softmax(x: Any, axis: Axis = 1) -> Variable:
    """Calculate x - log Σ eˣ over axes, accurately for large x."""
    x = as_variable(x)
    return _log_softmax(x, _layout(x.shape, axis)[0])
