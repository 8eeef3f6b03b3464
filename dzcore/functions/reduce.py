"""Reductions and cumulative functions, with their gradients."""

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from math import prod as prod_of
from typing import Any

from ..graph import Variable, as_variable, rule
from .shape import astype, normalize_axes, normalize_axis, permute_dims, plain_axes, reshape

__all__ = [
    "average", "cumulative_prod", "cumulative_sum", "logsumexp", "max", "mean", "min", "prod", "std", "sum", "var",
]  # fmt: skip

Axis = int | Sequence[int] | None
Shape = tuple[int, ...]


def _layout(shape: Shape, axis: Axis) -> tuple[Any, Shape, int]:
    """Return the axes as libraries take them fastest (None: all, an integer: one), the shape with those axes kept at
    length 1, and how many elements meet in one result."""
    return _cached_layout(shape, plain_axes(axis))


@lru_cache(maxsize=4096)
def _cached_layout(shape: Shape, axis: int | tuple[int, ...] | None) -> tuple[Any, Shape, int]:
    axes = normalize_axes(axis, len(shape))
    kept = tuple(1 if a in axes else n for a, n in enumerate(shape))
    fastest = None if len(axes) == len(shape) else axes[0] if len(axes) == 1 else axes
    return fastest, kept, prod_of([shape[a] for a in axes])


def _spread(xp: Any, gy: Any, kept: Shape, shape: Shape) -> Any:
    return xp.broadcast_to(gy if gy.shape == kept else xp.reshape(gy, kept), shape)


@rule(x=lambda xp, gy, kept, shape: _spread(xp, gy, kept, shape))
def _sum(xp: Any, x: Any, /, axis: Any, keepdims: bool, kept: Shape, shape: Shape) -> Any:
    return xp.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)


def _widened(x: Variable) -> Variable:
    """Give booleans and small integers room for sums and products."""
    if x.node is not None or x.backend.is_floating(x.dtype):
        return x
    unsigned = x.backend.dtype_name(x.dtype).startswith("u") and "uint64" in x.backend.dtypes
    return astype(x, "uint64" if unsigned else "int64")


def sum(x: Any, axis: Axis = None, keepdims: bool = False, *, dtype: Any = None) -> Variable:
    """Sum over axes (None: all). Floating-point sums keep their dtype; those of integers are 64 bits wide."""
    x = as_variable(x)
    axes, kept, _ = _layout(x._data.shape, axis)
    x = _widened(x) if dtype is None else astype(x, dtype)
    return _sum(x, axes, keepdims, kept, x.shape)


@rule(x=lambda xp, gy, kept, shape, count: _spread(xp, gy / count, kept, shape))
def _mean(xp: Any, x: Any, /, axis: Any, keepdims: bool, kept: Shape, shape: Shape, count: float) -> Any:
    return xp.mean(x, axis=axis, keepdims=keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Average over axes (None: all)."""
    x = as_variable(x)
    if x.node is None and not x.backend.is_floating(x.dtype):
        x = astype(x, "float32")
    axes, kept, count = _layout(x._data.shape, axis)
    return _mean(x, axes, keepdims, kept, x.shape, float(count))


average = mean


def var(x: Any, axis: Axis = None, keepdims: bool = False, *, correction: float = 0.0) -> Variable:
    """Calculate the variance Σ (x - mean)² / (n - correction) over axes."""
    x = as_variable(x)
    axes, _, count = _layout(x.shape, axis)
    centered = x - mean(x, axes, keepdims=True)
    return sum(centered * centered, axes, keepdims) / (count - correction)


def std(x: Any, axis: Axis = None, keepdims: bool = False, *, correction: float = 0.0) -> Variable:
    """Calculate the standard deviation, the square root of `var`."""
    from .math import sqrt

    return sqrt(var(x, axis, keepdims, correction=correction))


# Extremes: equal ones share the gradient ---------------------------------------------------------------------------


def _extreme_gradient(xp: Any, gy: Any, x: Any, y: Any, axis: Any, kept: Shape, shape: Shape) -> Any:
    hits = xp.astype(x == xp.reshape(y, kept), gy.dtype)
    return hits * (xp.reshape(gy, kept) / xp.sum(hits, axis=axis, keepdims=True))


@rule(x=_extreme_gradient)
def _max(xp: Any, x: Any, /, axis: Any, keepdims: bool, kept: Shape, shape: Shape) -> Any:
    return xp.max(x, axis=axis, keepdims=keepdims)


@rule(x=_extreme_gradient)
def _min(xp: Any, x: Any, /, axis: Any, keepdims: bool, kept: Shape, shape: Shape) -> Any:
    return xp.min(x, axis=axis, keepdims=keepdims)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Find the largest element over axes; equal ones share the gradient."""
    x = as_variable(x)
    axes, kept, _ = _layout(x._data.shape, axis)
    return _max(x, axes, keepdims, kept, x.shape)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Find the smallest element over axes; equal ones share the gradient."""
    x = as_variable(x)
    axes, kept, _ = _layout(x._data.shape, axis)
    return _min(x, axes, keepdims, kept, x.shape)


def _logsumexp_gradient(xp: Any, gy: Any, x: Any, y: Any, kept: Shape) -> Any:
    y = xp.reshape(y, kept)
    return xp.reshape(gy, kept) * xp.exp(x - xp.where(y == -inf, xp.zeros_like(y), y))  # of nothing but -inf: 0


@rule(x=_logsumexp_gradient)
def _logsumexp(xp: Any, x: Any, /, axis: Any, keepdims: bool, kept: Shape, left: Shape) -> Any:
    top = xp.max(x, axis=axis, keepdims=True)
    total = xp.sum(xp.exp(x - xp.where(xp.isfinite(top), top, xp.zeros_like(top))), axis=axis, keepdims=True)
    y = xp.log(xp.maximum(total, 1.0)) + top  # it is at least 1, but for nothing but -inf
    return y if keepdims else xp.reshape(y, left)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Calculate log Σ eˣ over axes, shifted by the largest element so that nothing overflows."""
    x = as_variable(x)
    axes, kept, _ = _layout(x._data.shape, axis)
    left = tuple(n for a, n in enumerate(x.shape) if a not in normalize_axes(axis, x.ndim))
    return _logsumexp(x, axes, keepdims, kept, left)


# Cumulative functions work on the last axis; the public ones move theirs there and back --------------------------


@rule(x=lambda xp, gy: xp.flip(xp.cumulative_sum(xp.flip(gy, axis=-1), axis=-1), axis=-1))
def _cumulative_sum(xp: Any, x: Any) -> Any:
    return xp.cumulative_sum(x, axis=-1, dtype=x.dtype)


def _products_without(xp: Any, x: Any) -> Any:
    """Return at [..., i, k] the product of x[0..k] without x[i] (0 where k < i): exact with zeros, n² memory."""
    n = x.shape[-1]
    rows = xp.broadcast_to(xp.expand_dims(x, axis=-2), (*x.shape[:-1], n, n))
    upper = xp.triu(xp.ones_like(rows))
    diagonal = upper - xp.triu(upper, k=1)
    return xp.cumulative_prod(xp.where(diagonal == 1.0, 1.0, rows), axis=-1) * upper


@rule(x=lambda xp, gy, x: xp.sum(xp.expand_dims(gy, axis=-2) * _products_without(xp, x), axis=-1))
def _cumulative_prod(xp: Any, x: Any) -> Any:
    return xp.cumulative_prod(x, axis=-1, dtype=x.dtype)


def _cumulate(apply: Any, x: Any, axis: int | None, dtype: Any, include_initial: bool, initial: float) -> Variable:
    from .shape import moveaxis, pad

    x = as_variable(x)
    x = _widened(x) if dtype is None else astype(x, dtype)
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"axis=None needs an array with one axis; this one has shape {x.shape}")
        axis = 0
    axis = normalize_axis(axis, x.ndim)
    y = apply(moveaxis(x, axis, -1))
    if include_initial:
        y = pad(y, [(0, 0)] * (y.ndim - 1) + [(1, 0)], initial)
    return moveaxis(y, -1, axis)


def cumulative_sum(x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Variable:
    """Sum up to and including each element along an axis."""
    return _cumulate(_cumulative_sum, x, axis, dtype, include_initial, 0.0)


def cumulative_prod(x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Variable:
    """Multiply up to and including each element along an axis; the gradient is right at zeros too."""
    return _cumulate(_cumulative_prod, x, axis, dtype, include_initial, 1.0)


def prod(x: Any, axis: Axis = None, keepdims: bool = False, *, dtype: Any = None) -> Variable:
    """Multiply over axes (None: all); the gradient is right at zeros too."""
    x = as_variable(x)
    x = _widened(x) if dtype is None else astype(x, dtype)
    axes = normalize_axes(axis, x.ndim)
    _, kept, count = _layout(x.shape, axes)
    rest = tuple(a for a in range(x.ndim) if a not in axes)
    flat = reshape(permute_dims(x, rest + axes), (*[x.shape[a] for a in rest], count))
    y = _prod(flat)
    return reshape(y, kept) if keepdims else y


def _others(xp: Any, x: Any) -> Any:
    """Return for each element the product of all others on the last axis."""
    ones = xp.ones_like(x[..., :1])
    before = xp.cumulative_prod(xp.concat([ones, x[..., :-1]], axis=-1), axis=-1)
    after = xp.flip(xp.cumulative_prod(xp.concat([ones, xp.flip(x, axis=-1)[..., :-1]], axis=-1), axis=-1), axis=-1)
    return before * after


@rule(x=lambda xp, gy, x: xp.expand_dims(gy, axis=-1) * _others(xp, x))
def _prod(xp: Any, x: Any) -> Any:
    return xp.prod(x, axis=-1, dtype=x.dtype)
