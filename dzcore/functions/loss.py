"""Losses and the accuracy."""

from math import nan, prod
from typing import Any

from ..graph import Variable, as_variable, rule
from ..graph.rule import extension
from .math import abs, clip, log
from .reduce import mean

__all__ = [
    "accuracy", "binary_cross_entropy", "mean_absolute_error", "mean_squared_error", "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]  # fmt: skip


@rule(
    x0=lambda gy, x0, x1: gy * ((x0 - x1) * (2.0 / _count(x0))),
    x1=lambda gy, x0, x1: gy * ((x1 - x0) * (2.0 / _count(x0))),
)
def _mean_squared_error(xp: Any, x0: Any, x1: Any) -> Any:
    difference = x0 - x1
    return xp.mean(difference * difference)


def _count(x: Any) -> float:
    return float(prod(x.shape))


def _pair(x0: Any, x1: Any, name: str) -> tuple[Variable, Variable]:
    x0 = as_variable(x0, x1.backend if isinstance(x1, Variable) else None)
    x1 = as_variable(x1, x0.backend)
    if x0.shape != x1.shape:
        raise ValueError(
            f"{name}: shapes {x0.shape} and {x1.shape} must be equal; broadcasting would hide a mistake here"
        )
    return x0, x1


def mean_squared_error(x0: Any, x1: Any) -> Variable:
    """Calculate the mean of (x0 - x1)² over all elements."""
    x0, x1 = _pair(x0, x1, "mean_squared_error")
    if x0.dtype != x1.dtype:
        return mean((x0 - x1) ** 2)
    return _mean_squared_error(x0, x1)


def mean_absolute_error(x0: Any, x1: Any) -> Variable:
    """Calculate the mean of |x0 - x1| over all elements."""
    x0, x1 = _pair(x0, x1, "mean_absolute_error")
    return mean(abs(x0 - x1))


# Classification ------------------------------------------------------------------------------------------------------


@rule(extends=True)
def _one_hot(xp: Any, x: Any, /, t: Any) -> Any:
    """Return an array like x (n, classes) with 1 at the class t of each row and 0 elsewhere.

    On an accelerator, which does not look at t beforehand, a class that does not exist makes its row nan.
    """
    t = xp.reshape(t, (-1, 1))
    y = xp.astype(t == xp.arange(x.shape[1], dtype=t.dtype, device=xp.backend.device), x.dtype)
    return xp.where((t >= 0) & (t < x.shape[1]), y, nan) if xp.backend.accelerator else y


@extension
def _cross_entropy(xp: Any, x: Any, t: Any) -> Any:
    """Return the mean of log Σⱼ exp(xⱼ) - x_t over the rows of x (n, classes), for integers t (n,).

    On an accelerator, which does not look at t beforehand, a class that does not exist makes it nan.
    """
    n, classes = x.shape
    x = x - xp.max(x, axis=1, keepdims=True)
    log_z = xp.log(xp.sum(xp.exp(x), axis=1))
    rows, t = xp.arange(n, device=xp.backend.device) * classes, xp.astype(t, xp.int64)
    if xp.backend.accelerator:
        inside = (t >= 0) & (t < classes)
        rows, log_z = xp.where(inside, rows, 0), xp.where(inside, log_z, nan)
        t = xp.where(inside, t, 0)
    return xp.mean(log_z - xp.take(xp.reshape(x, (-1,)), rows + t))


@extension
def _cross_entropy_gradient(xp: Any, gy: Any, x: Any, t: Any) -> Any:
    """Return the gradient of `cross_entropy` with respect to x, times gy (); nan for a row that has made that nan."""
    p = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    p = p / xp.sum(p, axis=1, keepdims=True)
    return (p - xp.one_hot(x, t)) * (gy / float(x.shape[0]))


@rule(x=lambda xp, gy, x, t: xp.cross_entropy_gradient(gy, x, t))
def _softmax_cross_entropy(xp: Any, x: Any, /, t: Any) -> Any:
    return xp.cross_entropy(x, t)


def softmax_cross_entropy(x: Any, t: Any) -> Variable:
    """Calculate the mean of log Σⱼ exp(xⱼ) - x_t, the cross-entropy of softmax(x) against the classes t.

    Args:
        x: Scores (n, classes), floating-point.
        t: The right class of each row (n,), integers in [0, classes). Others raise ValueError; on an accelerator,
            where looking at them would make the host wait, they make the loss nan.
    """
    x = as_variable(x)
    t = as_variable(t, x.backend)
    if len(x.shape) != 2 or t.shape != x.shape[:1]:
        raise ValueError(
            f"softmax_cross_entropy: x has shape {x.shape} and t {t.shape}; they must be (n, classes) and (n,)"
        )
    if "int" not in x.backend.dtype_name(t.dtype):
        raise TypeError(f"softmax_cross_entropy: t has dtype {t.dtype}; classes are integers")
    xp, classes = x.backend.xp, x.shape[1]
    if not x.backend.accelerator and t.shape[0] and not (int(xp.min(t._data)) >= 0 and int(xp.max(t._data)) < classes):
        raise ValueError(f"softmax_cross_entropy: t holds classes outside of [0, {classes})")
    return _softmax_cross_entropy(x, t._data)


@rule(
    x=lambda xp, gy, x, t: (xp.sigmoid(x) - t) * (gy / _count(x)),
    t=lambda xp, gy, x: -x * (gy / _count(x)),
)
def _sigmoid_cross_entropy(xp: Any, x: Any, t: Any) -> Any:
    return xp.mean(xp.logaddexp(x, xp.zeros_like(x)) - x * t)


def sigmoid_cross_entropy(x: Any, t: Any) -> Variable:
    """Calculate the mean of log(1 + eˣ) - t x, the cross-entropy of sigmoid(x) against probabilities t of its shape."""
    x = as_variable(x)
    t = as_variable(t, x.backend)
    if t.dtype != x.dtype:
        t = t.astype(x.dtype)
    return _sigmoid_cross_entropy(*_pair(x, t, "sigmoid_cross_entropy"))


def binary_cross_entropy(p: Any, t: Any) -> Variable:
    """Calculate the mean of -t log p - (1 - t) log(1 - p) for probabilities p.

    Probabilities within 1e-38 (float16: 6e-8) of 0 and 1 count as that far from them and pass no gradient; from scores,
    `sigmoid_cross_entropy` is the exact way.
    """
    p = as_variable(p)
    t = as_variable(t, p.backend)
    if t.dtype != p.dtype:
        t = t.astype(p.dtype)
    p, t = _pair(p, t, "binary_cross_entropy")
    tiny = 1e-38 if p.backend.dtype_name(p.dtype) in ("float32", "float64", "bfloat16") else 6e-8
    return -mean(t * log(clip(p, tiny, 1.0)) + (1.0 - t) * log(clip(1.0 - p, tiny, 1.0)))


def accuracy(y: Any, t: Any) -> Variable:
    """Calculate the share of rows of the scores y (n, classes) whose largest one is at t (n,). It has no gradient."""
    y = as_variable(y)
    t = as_variable(t, y.backend)
    if t.shape != y.shape[:1]:
        raise ValueError(f"accuracy: y has shape {y.shape} and t {t.shape}; they must be (n, classes) and (n,)")
    xp = y.backend.xp
    hits = xp.astype(xp.argmax(y._data, axis=1) == t._data, y.dtype)
    return Variable._of(xp.asarray(xp.mean(hits)), y.backend, None)
