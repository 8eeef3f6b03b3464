"""Activations and losses."""

from typing import Any

from .table import I, R, op


def _softmax(xp: Any, x: Any, axis: int) -> Any:
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


op("relu", R(3, 4), reference=lambda xp, x: xp.maximum(x, 0.0), elementwise=True)
op("leaky_relu", R(3, 4), reference=lambda xp, x: xp.where(x > 0, x, 0.2 * x), elementwise=True)
op("leaky_relu", R(3, 4), slope=0.01, reference=lambda xp, x: xp.where(x > 0, x, 0.01 * x), elementwise=True)
op("sigmoid", R(3, 4), reference=lambda xp, x: 1 / (1 + xp.exp(-x)), elementwise=True)
op("softplus", R(3, 4), reference=lambda xp, x: xp.log(1 + xp.exp(x)), elementwise=True)
for _axis in (0, 1, -1):
    op("softmax", R(3, 4), axis=_axis, reference=lambda xp, x, a=_axis: _softmax(xp, x, a))
    op("log_softmax", R(3, 4), axis=_axis, reference=lambda xp, x, a=_axis: xp.log(_softmax(xp, x, a)))
op("dropout", R(3, 4), dropout_ratio=0.0, reference=lambda xp, x: x)  # the others: tests/functions/test_dropout.py

# Losses -----------------------------------------------------------------------------------------------------------


def _cross_entropy(xp: Any, x: Any, t: Any) -> Any:
    p = xp.log(_softmax(xp, x, 1))
    return -xp.mean(xp.take_along_axis(p, xp.reshape(t, (-1, 1)), axis=1))


op("mean_squared_error", R(3, 4), R(3, 4), reference=lambda xp, a, b: xp.mean((a - b) ** 2))
op("mean_absolute_error", R(3, 4), R(3, 4), reference=lambda xp, a, b: xp.mean(xp.abs(a - b)))
op("softmax_cross_entropy", R(5, 3), I(5), reference=_cross_entropy)
op("sigmoid_cross_entropy", R(3, 4), R(3, 4, low=0.0, high=1.0),
   reference=lambda xp, x, t: xp.mean(xp.log(1 + xp.exp(x)) - x * t))  # fmt: skip
op("sigmoid_cross_entropy", R(3, 4), I(3, 4, high=2), label="classes",
   reference=lambda xp, x, t: xp.mean(xp.log(1 + xp.exp(x)) - x * t))  # fmt: skip
op("binary_cross_entropy", R(3, 4, low=0.05, high=0.95), R(3, 4, low=0.0, high=1.0),
   reference=lambda xp, p, t: -xp.mean(t * xp.log(p) + (1 - t) * xp.log(1 - p)))  # fmt: skip
op("accuracy", R(5, 3), I(5), order=0,
   reference=lambda xp, y, t: xp.mean(xp.astype(xp.argmax(y, axis=1) == t, y.dtype)))  # fmt: skip
