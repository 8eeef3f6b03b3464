"""Activations and losses."""

from collections.abc import Callable
from typing import Any

from .table import I, P, R, Real, Whole, op


def _softmax(xp: Any, x: Any, axis: Any) -> Any:
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


op("relu", R(3, 4), reference=lambda xp, x: xp.maximum(x, 0.0), elementwise=True)
op("leaky_relu", R(3, 4), reference=lambda xp, x: xp.where(x > 0, x, 0.2 * x), elementwise=True)
op("leaky_relu", R(3, 4), slope=0.01, reference=lambda xp, x: xp.where(x > 0, x, 0.01 * x), elementwise=True)
op("sigmoid", R(3, 4), reference=lambda xp, x: 1 / (1 + xp.exp(-x)), elementwise=True)
op("softplus", R(3, 4), reference=lambda xp, x: xp.log(1 + xp.exp(x)), elementwise=True)
op("elu", R(3, 4), reference=lambda xp, x: xp.where(x > 0, x, xp.exp(x) - 1), elementwise=True)
op("elu", R(3, 4), alpha=0.5, reference=lambda xp, x: xp.where(x > 0, x, 0.5 * (xp.exp(x) - 1)), elementwise=True)
op("silu", R(3, 4), reference=lambda xp, x: x / (1 + xp.exp(-x)), elementwise=True)
op("gelu", R(3, 4), elementwise=True,
   reference=lambda xp, x: 0.5 * x * (1 + xp.tanh((2 / xp.pi) ** 0.5 * (x + 0.044715 * x**3))))  # fmt: skip
for _axis in (0, 1, -1, (0, 1)):
    op("softmax", R(3, 4), axis=_axis, reference=lambda xp, x, a=_axis: _softmax(xp, x, a))
    op("log_softmax", R(3, 4), axis=_axis, reference=lambda xp, x, a=_axis: xp.log(_softmax(xp, x, a)))
op("dropout", R(3, 4), dropout_ratio=0.0, reference=lambda xp, x: x)  # the others: tests/functions/test_dropout.py

# Losses -----------------------------------------------------------------------------------------------------------

REDUCE: dict[str, Callable[[Any, Any], Any]] = {
    "batchmean": lambda xp, loss: xp.sum(loss) / loss.shape[0],
    "mean": lambda xp, loss: xp.mean(loss),
    "sum": lambda xp, loss: xp.sum(loss),
    "none": lambda xp, loss: loss,
}


def _losses(name: str, each: Callable[..., Any], *inputs: Real | Whole, label: str = "", **options: Any) -> None:
    """Add an entry for every reduction, `each(xp, *inputs)` being the losses of elements."""
    for reduction, reduce in REDUCE.items():
        more = {} if reduction == "batchmean" else {"reduction": reduction}
        op(name, *inputs, label=",".join(filter(None, (label, reduction if more else ""))),
           call=lambda xp, *xs, m=more: getattr(xp, name)(*xs, **options, **m),
           reference=lambda xp, *xs, r=reduce: r(xp, each(xp, *xs)))  # fmt: skip


def _huber(xp: Any, a: Any, b: Any, delta: float = 1.0) -> Any:
    d = xp.abs(a - b)
    return xp.where(d <= delta, 0.5 * d**2, delta * (d - 0.5 * delta))


def _binary(xp: Any, x: Any, t: Any, positive: Any = 1.0) -> Any:
    """Return the cross-entropy of sigmoid(x) from its definition."""
    return positive * t * xp.log(1 + xp.exp(-x)) + (1 - t) * xp.log(1 + xp.exp(x))


def _classes(xp: Any, x: Any, t: Any, weight: Any = 1.0, smoothing: float = 0.0) -> Any:
    """Return the cross-entropy of softmax(x) (n, classes, …) against classes (n, …), from its definition."""
    hot = xp.moveaxis(xp.eye(x.shape[1])[t], -1, 1)
    return _soft(xp, x, hot, weight, smoothing)


def _soft(xp: Any, x: Any, t: Any, weight: Any = 1.0, smoothing: float = 0.0) -> Any:
    t = t * (1 - smoothing) + smoothing / x.shape[1]
    weight = xp.reshape(xp.asarray(weight), (-1, *[1] * (x.ndim - 2)))
    return -xp.sum(weight * t * xp.log(_softmax(xp, x, 1)), axis=1)


_losses("mean_squared_error", lambda xp, a, b: (a - b) ** 2, R(3, 4), R(3, 4))
_losses("mean_absolute_error", lambda xp, a, b: xp.abs(a - b), R(3, 4), R(3, 4))
_losses("huber_loss", _huber, R(3, 4), R(3, 4))
op("huber_loss", R(3, 4), R(3, 4), delta=0.3, reference=lambda xp, a, b: xp.sum(_huber(xp, a, b, 0.3)) / 3)

_losses("softmax_cross_entropy", _classes, R(5, 3), I(5))
_losses("softmax_cross_entropy", _classes, R(2, 3, 4, 2), I(2, 4, 2), label="4d")
_losses("softmax_cross_entropy", lambda xp, x, t: _soft(xp, x, t, smoothing=0.2), R(4, 3), R(4, 3, low=0.0, high=1.0),
        label="soft", label_smoothing=0.2)  # fmt: skip
op("softmax_cross_entropy", R(3, 4), I(4), axis=0, reference=lambda xp, x, t: xp.mean(_classes(xp, x.T, t)))
op("softmax_cross_entropy", R(2, 4, 3), R(2, 4, 3, low=0.0, high=1.0), axis=-1,
   reference=lambda xp, x, t: xp.sum(_soft(xp, xp.moveaxis(x, -1, 1), xp.moveaxis(t, -1, 1))) / 2)  # fmt: skip


def _weighted(xp: Any, x: Any, t: Any, weight: Any, **options: Any) -> Any:
    return xp.softmax_cross_entropy(x, t, weight=weight, label_smoothing=0.2, ignore_index=1, **options)


def _weighted_reference(xp: Any, x: Any, t: Any, weight: Any) -> Any:
    return xp.where(t != 1, _classes(xp, x, t, weight, 0.2), 0.0)


for _reduction, _reduce in REDUCE.items():
    if _reduction != "mean":
        op("softmax_cross_entropy", R(6, 3, 2), I(6, 2), P(3), label=f"weighted,{_reduction}",
           call=lambda xp, *xs, r=_reduction: _weighted(xp, *xs, reduction=r),
           reference=lambda xp, *xs, r=_reduce: r(xp, _weighted_reference(xp, *xs)))  # fmt: skip
op("softmax_cross_entropy", R(6, 3), I(6), P(3), label="weighted,mean",
   call=lambda xp, *xs: _weighted(xp, *xs, reduction="mean"),
   reference=lambda xp, x, t, w: xp.sum(_weighted_reference(xp, x, t, w)) / xp.sum(w[t] * (t != 1)))  # fmt: skip
op("softmax_cross_entropy", R(4, 3), R(4, 3, low=0.0, high=1.0), P(3), label="soft,weighted",
   call=lambda xp, x, t, w: xp.softmax_cross_entropy(x, t, weight=w),
   reference=lambda xp, x, t, w: xp.mean(_soft(xp, x, t, w)))  # fmt: skip

_losses("sigmoid_cross_entropy", _binary, R(3, 4), R(3, 4, low=0.0, high=1.0))
op("sigmoid_cross_entropy", R(3, 4), I(3, 4, high=2), label="classes",
   reference=lambda xp, x, t: xp.sum(_binary(xp, x, t)) / 3)  # fmt: skip
op("sigmoid_cross_entropy", R(3, 4), R(3, 4, low=0.0, high=1.0), P(4), P(3, 1), label="weighted",
   call=lambda xp, x, t, p, w: xp.sigmoid_cross_entropy(x, t, pos_weight=p, weight=w),
   reference=lambda xp, x, t, p, w: xp.sum(w * _binary(xp, x, t, p)) / 3)  # fmt: skip
_losses("binary_cross_entropy", lambda xp, p, t: -(t * xp.log(p) + (1 - t) * xp.log(1 - p)),
        R(3, 4, low=0.05, high=0.95), R(3, 4, low=0.0, high=1.0))  # fmt: skip
op("accuracy", R(5, 3), I(5), order=0,
   reference=lambda xp, y, t: xp.mean(xp.astype(xp.argmax(y, axis=1) == t, y.dtype)))  # fmt: skip
