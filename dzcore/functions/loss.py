"""Losses and the accuracy.

Every loss has a `reduction` of the losses of the elements (of cross-entropies: of the samples) to one number:

- "batchmean", the default, divides their sum by len(x), as DeZero does: a mean over samples, whose losses are sums.
- "mean" divides it by how many there are, as PyTorch does (softmax_cross_entropy: by the weight of those that count).
- "sum" is the sum, and "none" leaves them as they are.
"""

from math import nan, prod
from operator import index as index_of
from typing import Any

from ..graph import Variable, as_variable, rule
from ..graph.rule import extension
from ..graph.variable import is_scalar
from .activation import _exp_below, log_softmax, softplus
from .index import take, take_along_axis
from .math import where
from .reduce import mean, sum
from .shape import astype, moveaxis, normalize_axis, reshape

__all__ = [
    "accuracy", "binary_cross_entropy", "huber_loss", "mean_absolute_error", "mean_squared_error",
    "sigmoid_cross_entropy", "softmax_cross_entropy",
]  # fmt: skip

REDUCTIONS = ("batchmean", "mean", "sum", "none")


def _check(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction={reduction!r} must be one of {', '.join(map(repr, REDUCTIONS))}")


def _reduced(loss: Variable, reduction: str) -> Variable:
    """Reduce the losses of elements, the first axis being that of samples."""
    if reduction in ("none", "sum"):
        return loss if reduction == "none" else sum(loss)
    return _rescaled(mean(loss), reduction, loss.shape)  # not from the sum, which may be more than float16 can hold


def _rescaled(average: Variable, reduction: str, shape: tuple[int, ...]) -> Variable:
    """Make of the mean of losses of this shape what `reduction` says."""
    factor = prod({"batchmean": shape[1:], "mean": (), "sum": shape}[reduction])
    return average if factor == 1 else average * float(factor)


def _pair(x0: Any, x1: Any, name: str, reduction: str) -> tuple[Variable, Variable]:
    """Return predictions and targets as Variables of one shape."""
    _check(reduction)
    x0 = as_variable(x0, x1.backend if isinstance(x1, Variable) else None)
    x1 = as_variable(x1, x0.backend)
    if x0.size == x1.size == 1:  # such as (1, 1) and (1,): nothing is repeated
        x1 = reshape(x1, x0.shape)
    if x0.shape != x1.shape:
        raise ValueError(
            f"{name}: shapes {x0.shape} and {x1.shape} must be equal; broadcasting would hide a mistake here"
        )
    return x0, x1


def _as_targets(t: Any, x: Variable) -> Variable:
    """Return t as a Variable of x's dtype; a nested list may stand for it."""
    if not x.backend.is_floating(x.dtype):
        raise TypeError(f"predictions have dtype {x.dtype}; they must be floating-point, as of x.astype('float32')")
    if isinstance(t, (list, tuple)):
        t = Variable(t, backend=x.backend).detach()
    t = as_variable(t, x.backend)
    return t if t.dtype == x.dtype else astype(t, x.dtype)


def _aligned(t: Variable, shape: tuple[int, ...]) -> Variable:
    """Let targets (n,) and (n, 1) stand for each other, as in DeZero."""
    return reshape(t, shape) if t.shape == (*shape, 1) or (*t.shape, 1) == shape else t


# Regression ----------------------------------------------------------------------------------------------------------


@rule(
    elementwise=True,
    fused=True,
    x0=lambda gy, x0, x1: gy * ((x0 - x1) * 2.0),
    x1=lambda gy, x0, x1: gy * ((x1 - x0) * 2.0),
)
def _squared_difference(xp: Any, x0: Any, x1: Any) -> Any:
    d = x0 - x1
    return d * d


def mean_squared_error(x0: Any, x1: Any, *, reduction: str = "batchmean") -> Variable:
    """Calculate (x0 - x1)², reduced."""
    return _reduced(_squared_difference(*_pair(x0, x1, "mean_squared_error", reduction)), reduction)


@rule(
    elementwise=True,
    fused=True,
    x0=lambda xp, gy, x0, x1: gy * xp.sign(x0 - x1),
    x1=lambda xp, gy, x0, x1: gy * xp.sign(x1 - x0),
)
def _absolute_difference(xp: Any, x0: Any, x1: Any) -> Any:
    return xp.abs(x0 - x1)


def mean_absolute_error(x0: Any, x1: Any, *, reduction: str = "batchmean") -> Variable:
    """Calculate |x0 - x1|, reduced."""
    return _reduced(_absolute_difference(*_pair(x0, x1, "mean_absolute_error", reduction)), reduction)


@rule(
    elementwise=True,
    fused=True,
    x0=lambda xp, gy, x0, x1, delta: gy * xp.clip(x0 - x1, -delta, delta),
    x1=lambda xp, gy, x0, x1, delta: gy * xp.clip(x1 - x0, -delta, delta),
)
def _huber(xp: Any, x0: Any, x1: Any, /, delta: float) -> Any:
    d = xp.abs(x0 - x1)
    inner = xp.minimum(d, delta)
    return inner * (d - inner * 0.5)


def huber_loss(x0: Any, x1: Any, delta: float = 1.0, *, reduction: str = "batchmean") -> Variable:
    """Calculate d² / 2 for d = |x0 - x1| up to delta, delta (d - delta / 2) beyond, reduced.

    (Huber, Annals of Mathematical Statistics 35, 1964)
    """
    if not delta > 0:
        raise ValueError(f"delta={delta!r} must be positive")
    return _reduced(_huber(*_pair(x0, x1, "huber_loss", reduction), float(delta)), reduction)


# Classification ------------------------------------------------------------------------------------------------------


@rule(extends=True)
def _one_hot(xp: Any, x: Any, /, t: Any) -> Any:
    """Return an array like x (n, classes) with 1 at the class t of each row and 0 elsewhere.

    On an accelerator, which does not look at t beforehand, a class that does not exist makes its row nan.
    """
    t = xp.reshape(xp.astype(t, xp.int64, copy=False), (-1, 1))  # a narrower type may not hold all classes
    y = xp.astype(t == xp.arange(x.shape[1], dtype=t.dtype, device=xp.backend.device), x.dtype)
    return xp.where((t >= 0) & (t < x.shape[1]), y, nan) if xp.backend.accelerator else y


@extension
def _cross_entropy(xp: Any, x: Any, t: Any) -> Any:
    """Return the mean of log Σⱼ exp(xⱼ) - x_t over the rows of x (n, classes), for integers t (n,).

    On an accelerator, which does not look at t beforehand, a class that does not exist makes it nan.
    """
    n, classes = x.shape
    top = xp.max(x, axis=1, keepdims=True)
    log_z = xp.log(xp.sum(xp.fused(_exp_below, x, top), axis=1))
    rows, t = xp.arange(n, device=xp.backend.device) * classes, xp.astype(t, xp.int64)
    if xp.backend.accelerator:
        inside = (t >= 0) & (t < classes)
        rows, log_z = xp.where(inside, rows, 0), xp.where(inside, log_z, nan)
        t = xp.where(inside, t, 0)
    picked = xp.take(xp.reshape(x, (-1,)), rows + t)
    return xp.mean(log_z - (picked - xp.reshape(top, (-1,))))


@extension
def _cross_entropy_gradient(xp: Any, gy: Any, x: Any, t: Any) -> Any:
    """Return the gradient of `cross_entropy` with respect to x, times gy (); nan for a row that has made that nan."""
    p = xp.fused(_exp_below, x, xp.max(x, axis=1, keepdims=True))
    total = xp.sum(p, axis=1, keepdims=True)
    return xp.fused(_probability_less_target, p, total, xp.one_hot(x, t), gy / float(x.shape[0]))


def _probability_less_target(xp: Any, p: Any, total: Any, target: Any, gy: Any) -> Any:
    return (p / total - target) * gy


@rule(x=lambda xp, gy, x, t: xp.cross_entropy_gradient(gy, x, t))
def _softmax_cross_entropy(xp: Any, x: Any, /, t: Any) -> Any:
    return xp.cross_entropy(x, t)


def softmax_cross_entropy(
    x: Any,
    t: Any,
    *,
    axis: int = 1,
    weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "batchmean",
) -> Variable:
    """Calculate the cross-entropy of softmax(x) against t: log Σⱼ exp(xⱼ) - x_t, reduced.

    Args:
        x: Scores (n, classes) or (n, classes, …), floating-point.
        t: The right classes (n, …), integers in [0, classes). Others raise ValueError; on an accelerator, where looking
            at them would make the host wait, they make the loss nan. Or probabilities of x's shape, floating-point.
        axis: The axis of x with the classes.
        weight: Of each class (classes,). With classes t, reduction "mean" divides by what t picks from it.
        label_smoothing: The share of t, in [0, 1], that goes to all classes alike (Szegedy et al., CVPR 2016).
        ignore_index: Where t is this integer the loss is 0, and "mean" does not count it; if it counts nothing at all,
            the loss is 0.
        reduction: "batchmean" divides by len(t), whatever is ignored and however it is weighted.
    """
    _check(reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing!r} must be between 0 and 1")
    x = as_variable(x)
    t = as_variable(t, x.backend)
    axis = normalize_axis(axis, x.ndim)
    places, classes = x.shape[:axis] + x.shape[axis + 1 :], x.shape[axis]
    rows = _rows(x, axis)
    if weight is not None:
        weight = _as_targets(weight, x)
        if weight.shape != (classes,):
            raise ValueError(f"weight has shape {weight.shape}; for x of shape {x.shape} it must be ({classes},)")
    if t.shape == x.shape and x.backend.is_floating(t.dtype):
        if ignore_index is not None:
            raise ValueError(f"ignore_index={ignore_index!r} is for classes; t holds probabilities")
        loss = _soft_losses(rows, _rows(_as_targets(t, x), axis), weight, label_smoothing)
        return _reduced(reshape(loss, places), reduction)
    ignored = None if ignore_index is None else index_of(ignore_index)
    target = _checked_classes(x, t, places, classes, ignored)
    if weight is None and not label_smoothing and ignored is None and reduction != "none" and rows.shape[0]:
        return _rescaled(_softmax_cross_entropy(rows, target), reduction, places)
    loss, counts = _class_losses(rows, target, weight, label_smoothing, ignored)
    total = _reduced(reshape(loss, places), reduction)
    if reduction != "mean" or counts is None:
        return total
    share: Any = mean(counts)
    return total / where(share == 0.0, 1.0, share)


def _rows(x: Variable, axis: int) -> Variable:
    """Return x (…, classes, …) as (n, classes)."""
    if x.ndim == 2 and axis == 1:
        return x
    return reshape(moveaxis(x, axis, -1), (prod(x.shape[:axis] + x.shape[axis + 1 :]), x.shape[axis]))


def _checked_classes(x: Variable, t: Variable, places: tuple[int, ...], classes: int, ignored: int | None) -> Any:
    """Return t as an array (n,), or say what is wrong with it."""
    t = _aligned(t, places)
    if t.shape != places:
        raise ValueError(
            f"softmax_cross_entropy: x has shape {x.shape} and t {t.shape}; they must be (n, classes) and (n,), or "
            f"(n, classes, …) and (n, …), or of one shape if t holds probabilities"
        )
    if "int" not in x.backend.dtype_name(t.dtype):
        raise TypeError(f"softmax_cross_entropy: t has dtype {t.dtype}; classes are integers")
    xp, target = x.backend.xp, reshape(t, (-1,))._data
    if ignored is not None:
        target = xp.astype(target, xp.int64, copy=False)
    if not x.backend.accelerator and target.shape[0]:
        seen = target if ignored is None else xp.where(target == ignored, 0, target)
        if not (int(xp.min(seen)) >= 0 and int(xp.max(seen)) < classes):
            raise ValueError(f"softmax_cross_entropy: t holds classes outside of [0, {classes})")
    return target


def _class_losses(
    x: Variable, t: Any, weight: Variable | None, smoothing: float, ignored: int | None
) -> tuple[Variable, Variable | None]:
    """Return the losses of rows, and how much each of them counts (None: 1)."""
    xp, classes = x.backend.xp, x.shape[1]
    t = xp.astype(t, xp.int64, copy=False)
    counted = None if ignored is None else Variable._of(t != ignored, x.backend, None)
    inside = (t >= 0) & (t < classes)
    picked = Variable._of(xp.where(inside, t, 0), x.backend, None)
    log_p = log_softmax(x)
    loss = -reshape(take_along_axis(log_p, reshape(picked, (-1, 1)), axis=1), picked.shape)
    counts = None if weight is None else take(weight, picked)
    if counts is not None:
        loss = loss * counts
    if smoothing:
        loss = loss * (1.0 - smoothing) - mean(log_p if weight is None else log_p * weight, axis=1) * smoothing
    if x.backend.accelerator:  # which has not looked at t; as in `_one_hot`, gradients become nan as well
        loss = loss * xp.where(inside if counted is None else inside | (t == ignored), xp.ones_like(loss._data), nan)
    if counted is not None:
        loss = where(counted, loss, 0.0)
        counts = astype(counted, x.dtype) if counts is None else where(counted, counts, 0.0)
    return loss, counts


def _soft_losses(x: Variable, t: Variable, weight: Variable | None, smoothing: float) -> Variable:
    """Return the losses of rows against probabilities."""
    if smoothing:
        t = t * (1.0 - smoothing) + smoothing / x.shape[1]
    each = t * log_softmax(x)
    return -sum(each if weight is None else each * weight, axis=1)


@rule(
    elementwise=True,
    fused=True,
    x=lambda xp, gy, x, t: gy * (xp.sigmoid(x) - t),
    t=lambda gy, x: gy * -x,
)
def _sigmoid_losses(xp: Any, x: Any, t: Any) -> Any:
    """Return log(1 + eˣ) - t x, where what is large and cancels is left out."""
    return xp.maximum(x, 0.0) - x * t + xp.log1p(xp.exp(-xp.abs(x)))


def sigmoid_cross_entropy(
    x: Any, t: Any, *, weight: Any = None, pos_weight: Any = None, reduction: str = "batchmean"
) -> Variable:
    """Calculate -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)) for scores x and probabilities t of its shape, reduced.

    `pos_weight` multiplies the first term, and `weight` the whole: numbers, or arrays that broadcast to x's shape.
    """
    x = as_variable(x)
    x, t = _pair(x, _aligned(_as_targets(t, x), x.shape), "sigmoid_cross_entropy", reduction)
    if pos_weight is None:
        loss = _sigmoid_losses(x, t)
    else:
        loss = softplus(x) * (1.0 - t) + softplus(-x) * (t * _factor(pos_weight, x, "pos_weight"))
    return _reduced(loss if weight is None else loss * _factor(weight, x, "weight"), reduction)


def _factor(weight: Any, x: Variable, name: str) -> Any:
    if is_scalar(weight):
        return weight
    weight = _as_targets(weight, x)
    lengths = zip(reversed(weight.shape), reversed(x.shape), strict=False)
    if weight.ndim > x.ndim or not all(n in (1, m) for n, m in lengths):
        raise ValueError(f"{name} has shape {weight.shape}, which does not broadcast to {x.shape}, that of x")
    return weight


#: The largest numbers below 1.
_BELOW_ONE = {"float16": 1 - 2**-11, "bfloat16": 1 - 2**-8, "float32": 1 - 2**-24, "float64": 1 - 2**-53}


def _binary_gradient(xp: Any, gy: Any, p: Any, t: Any, tiny: float, below: float) -> Any:
    first = xp.where((p >= tiny) & (p <= 1.0), t / xp.clip(p, tiny, 1.0), 0.0)
    second = xp.where((p >= 0.0) & (p <= below), (1.0 - t) / (1.0 - xp.clip(p, 0.0, below)), 0.0)
    return gy * (second - first)


def _binary_log_odds(xp: Any, gy: Any, p: Any, tiny: float, below: float) -> Any:
    return gy * (xp.log1p(-xp.clip(p, 0.0, below)) - xp.log(xp.clip(p, tiny, 1.0)))


@rule(elementwise=True, fused=True, p=_binary_gradient, t=_binary_log_odds)
def _binary_losses(xp: Any, p: Any, t: Any, /, tiny: float, below: float) -> Any:
    return -(t * xp.log(xp.clip(p, tiny, 1.0)) + (1.0 - t) * xp.log1p(-xp.clip(p, 0.0, below)))


def binary_cross_entropy(p: Any, t: Any, *, reduction: str = "batchmean") -> Variable:
    """Calculate -t log p - (1 - t) log(1 - p) for probabilities p and t, reduced.

    p = 0 counts as 1e-38 (float16: 6e-8) in the first term, p = 1 as the largest number below 1 in the second, and
    neither passes a gradient; from scores, `sigmoid_cross_entropy` is the exact way.
    """
    p = as_variable(p)
    p, t = _pair(p, _aligned(_as_targets(t, p), p.shape), "binary_cross_entropy", reduction)
    dtype = p.backend.dtype_name(p.dtype)
    tiny = 6e-8 if dtype == "float16" else 1e-38
    return _reduced(_binary_losses(p, t, tiny, _BELOW_ONE[dtype]), reduction)


def accuracy(y: Any, t: Any) -> Variable:
    """Calculate the share of rows of the scores y (n, classes) whose largest one is at t (n,). It has no gradient."""
    y = as_variable(y)
    t = _aligned(as_variable(t, y.backend), y.shape[:1])
    if y.ndim != 2 or t.shape != y.shape[:1]:
        raise ValueError(f"accuracy: y has shape {y.shape} and t {t.shape}; they must be (n, classes) and (n,)")
    xp = y.backend.xp
    hits = xp.astype(xp.argmax(y._data, axis=1) == t._data, y.dtype)
    return Variable._of(xp.asarray(xp.mean(hits)), y.backend, None)
