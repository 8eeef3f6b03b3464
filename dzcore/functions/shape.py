"""Functions that move elements and compute nothing, with their gradients."""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from operator import index
from typing import Any

from ..graph import Variable, as_variable, rule

__all__ = [
    "astype", "broadcast_arrays", "broadcast_to", "concat", "diff", "expand_dims", "flatten", "flip",
    "matrix_transpose", "meshgrid", "moveaxis", "pad", "permute_dims", "repeat", "reshape", "roll", "squeeze",
    "stack", "sum_to", "tile", "transpose", "tril", "triu",
]  # fmt: skip

Shape = tuple[int, ...]


def normalize_axis(axis: int, ndim: int) -> int:
    """Return a non-negative axis, or say that there is none such."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis={axis} does not exist in an array with {ndim} axes")
    return axis % ndim


def normalize_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return non-negative, distinct axes; None means all."""
    return _normalize_axes(plain_axes(axis), ndim)


def plain_axes(axis: Any) -> int | tuple[int, ...] | None:
    """Return axes as Python integers, the keys of the caches: 1.0 and numpy.int64(1) would be taken for 1 there."""
    if axis is None or type(axis) is int:
        return axis
    return tuple([index(a) for a in axis]) if hasattr(axis, "__iter__") else index(axis)


@lru_cache(maxsize=4096)
def _normalize_axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(normalize_axis(a, ndim) for a in ((axis,) if isinstance(axis, int) else axis))
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis={axis} names an axis twice")
    return axes


# Reshaping -------------------------------------------------------------------------------------------------------


@rule(x=lambda xp, gy, old: xp.reshape(gy, old))
def _reshape(xp: Any, x: Any, /, shape: Shape, old: Shape) -> Any:
    return xp.reshape(x, shape)


def reshape(x: Any, shape: int | Sequence[int], *, copy: bool | None = None) -> Variable:
    """Give the elements another shape, in C order; one length may be -1."""
    x = as_variable(x)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    old = x._data.shape
    return x if old == shape and not copy else _reshape(x, shape, old)


def flatten(x: Any) -> Variable:
    """Keep the first axis and merge all others: (N, …) to (N, D)."""
    x = as_variable(x)
    return reshape(x, (x.shape[0], -1) if x.size else (x.shape[0], prod(x.shape[1:])))


def expand_dims(x: Any, axis: int = 0) -> Variable:
    """Insert an axis of length 1 at `axis`."""
    x = as_variable(x)
    axis = normalize_axis(axis, x.ndim + 1)
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def squeeze(x: Any, axis: int | Sequence[int]) -> Variable:
    """Remove axes of length 1."""
    x = as_variable(x)
    axes = normalize_axes(axis, x.ndim)
    for a in axes:
        if x.shape[a] != 1:
            raise ValueError(f"axis={a} has length {x.shape[a]}; squeeze removes axes of length 1 only")
    return reshape(x, tuple(n for a, n in enumerate(x.shape) if a not in axes))


# Permuting -------------------------------------------------------------------------------------------------------


@rule(x=lambda xp, gy, back: xp.permute_dims(gy, back))
def _permute_dims(xp: Any, x: Any, /, axes: tuple[int, ...], back: tuple[int, ...]) -> Any:
    return xp.permute_dims(x, axes)


@lru_cache(maxsize=4096)
def _orders(axes: tuple[int, ...] | None, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the order of the axes (None: reversed), and the one that undoes it."""
    order = tuple(reversed(range(ndim))) if axes is None else _normalize_axes(axes, ndim)
    if len(order) != ndim:
        raise ValueError(f"axes={axes} must name each of the {ndim} axes once")
    return order, tuple(order.index(i) for i in range(ndim))


def permute_dims(x: Any, axes: Sequence[int]) -> Variable:
    """Put the axes in another order: axis i of the result is axis `axes[i]` of x."""
    x = as_variable(x)
    order, back = _orders(tuple([index(a) for a in axes]), x.ndim)
    return _permute_dims(x, order, back)


@rule(x=lambda gy: gy.mT)
def _matrix_transpose(xp: Any, x: Any) -> Any:
    return x.mT


def transpose(x: Any, axes: Sequence[int] | None = None) -> Variable:
    """Put the axes in the order `axes`, or in reverse."""
    x = as_variable(x)
    ndim = len(x._data.shape)
    if axes is None and ndim == 2:
        return _matrix_transpose(x)
    order, back = _orders(None if axes is None else tuple([index(a) for a in axes]), ndim)
    return _permute_dims(x, order, back)


def matrix_transpose(x: Any) -> Variable:
    """Exchange the last two axes."""
    x = as_variable(x)
    if x.ndim < 2:
        raise ValueError(f"x has shape {x.shape}; matrix_transpose needs two axes or more")
    return _matrix_transpose(x)


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Variable:
    """Move axes `source` to the places `destination`; the others keep their order."""
    x = as_variable(x)
    sources, places = normalize_axes(source, x.ndim), normalize_axes(destination, x.ndim)
    if len(sources) != len(places):
        raise ValueError(f"source={source} and destination={destination} differ in length")
    order = [a for a in range(x.ndim) if a not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return permute_dims(x, order)


@rule(x=lambda xp, gy, axis: xp.flip(gy, axis=axis))
def _flip(xp: Any, x: Any, /, axis: tuple[int, ...]) -> Any:
    return xp.flip(x, axis=axis)


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Variable:
    """Reverse the order of the elements along the axes."""
    x = as_variable(x)
    return _flip(x, normalize_axes(axis, x.ndim))


@rule(x=lambda xp, gy, shift, axis: xp.roll(gy, _negated(shift), axis=axis))
def _roll(xp: Any, x: Any, /, shift: Any, axis: Any) -> Any:
    return xp.roll(x, shift, axis=axis)


def _negated(shift: Any) -> Any:
    return -shift if isinstance(shift, int) else tuple(-s for s in shift)


def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Variable:
    """Shift the elements along the axes; those that leave at one end come back at the other."""
    as_tuple = shift if isinstance(shift, int) else tuple(shift)
    return _roll(x, as_tuple, axis if axis is None or isinstance(axis, int) else tuple(axis))


# Broadcasting ----------------------------------------------------------------------------------------------------


@rule(extends=True, x=lambda xp, gy, shape, old: xp.broadcast_to(gy, shape if old is None else old))
def _sum_to(xp: Any, x: Any, /, shape: Shape, old: Shape | None = None) -> Any:
    old = x.shape
    if old == shape:
        return x
    axes, keepdims = _repeated(old, shape)
    x = xp.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype)
    return x if keepdims else xp.reshape(x, shape)


@lru_cache(maxsize=4096)
def _repeated(shape: Shape, source: Shape) -> tuple[Any, bool]:
    """Return the axes of `shape` along which broadcasting repeats an array of shape `source`, and whether keeping
    them at length 1 gives that shape."""
    lead = len(shape) - len(source)
    axes = (*range(lead), *[i + lead for i, n in enumerate(source) if n == 1 and shape[i + lead] != 1])
    return axes[0] if len(axes) == 1 else axes, not lead


def sum_to(x: Any, shape: Sequence[int]) -> Variable:
    """Sum over the axes that broadcasting would have repeated, so that the result has shape `shape`."""
    x = as_variable(x)
    shape = tuple(shape)
    lead = x.ndim - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, x.shape[lead:], strict=True)):
        raise ValueError(f"shape={shape} does not broadcast to {x.shape}, so {x.shape} cannot be summed to it")
    return x if x.shape == shape else _sum_to(x, shape, x.shape)


@rule(x=lambda xp, gy, old: xp.sum_to(gy, old))
def _broadcast_to(xp: Any, x: Any, /, shape: Shape, old: Shape) -> Any:
    return xp.broadcast_to(x, shape)


def broadcast_to(x: Any, shape: Sequence[int]) -> Variable:
    """Repeat x along new axes and axes of length 1, without a copy, so that the result has shape `shape`."""
    x = as_variable(x)
    shape = tuple(shape)
    return x if x.shape == shape else _broadcast_to(x, shape, x.shape)


def broadcast_arrays(*arrays: Any) -> tuple[Variable, ...]:
    """Broadcast the arrays against each other."""
    from .search import broadcast_shapes

    xs = [as_variable(x) for x in arrays]
    shape = broadcast_shapes(*[x.shape for x in xs])
    return tuple(broadcast_to(x, shape) for x in xs)


# Joining and repeating -------------------------------------------------------------------------------------------


def _concat_gradient(position: int, xp: Any, gy: Any, axis: int, bounds: Sequence[int]) -> Any:
    return gy[(*[slice(None)] * axis, slice(bounds[position], bounds[position + 1]), ...)]


@rule(arrays=_concat_gradient)
def _concat(xp: Any, *arrays: Any, axis: int, bounds: Sequence[int]) -> Any:
    return xp.concat(arrays, axis=axis)


def concat(arrays: Sequence[Any], *, axis: int | None = 0) -> Variable:
    """Join arrays along an existing axis; with None, after flattening each."""
    xs = [as_variable(x) for x in arrays]
    if not xs:
        raise ValueError("arrays=[] is empty; concat needs at least one array")
    if axis is None:
        xs, axis = [reshape(x, (-1,)) for x in xs], 0
    axis = normalize_axis(axis, xs[0].ndim)
    if all(x.backend is xs[0].backend for x in xs) and any(x.dtype != xs[0].dtype for x in xs):
        common = xs[0].backend.xp.result_type(*[x.dtype for x in xs])
        xs = [astype(x, common) for x in xs]
    bounds = [0]
    for x in xs:
        bounds.append(bounds[-1] + x.shape[axis])
    return _concat(*xs, axis=axis, bounds=bounds)


def stack(arrays: Sequence[Any], *, axis: int = 0) -> Variable:
    """Join arrays of one shape along a new axis."""
    return concat([expand_dims(x, axis) for x in arrays], axis=axis)


def repeat(x: Any, repeats: int, *, axis: int | None = None) -> Variable:
    """Repeat every element `repeats` times along an axis (None: of the flattened array)."""
    x = as_variable(x)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    axis = normalize_axis(axis, x.ndim)
    before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    spread = broadcast_to(reshape(x, (*before, n, 1, *after)), (*before, n, repeats, *after))
    return reshape(spread, (*before, n * repeats, *after))


def tile(x: Any, repetitions: Sequence[int]) -> Variable:
    """Lay x out `repetitions` times along each axis."""
    x = as_variable(x)
    lead = max(len(repetitions), x.ndim)
    shape = (1,) * (lead - x.ndim) + x.shape
    times = (1,) * (lead - len(repetitions)) + tuple(repetitions)
    apart = reshape(x, [n for length in shape for n in (1, length)])
    spread = broadcast_to(apart, [n for pair in zip(times, shape, strict=True) for n in pair])
    return reshape(spread, [r * n for r, n in zip(times, shape, strict=True)])


def pad(x: Any, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Variable:
    """Add `widths[i] = (before, after)` elements of `value` around axis i."""
    y: Variable = as_variable(x)
    if len(widths) != y.ndim:
        raise ValueError(f"widths={widths} must have one pair for each of the {y.ndim} axes")
    for axis, (before, after) in enumerate(widths):
        if before < 0 or after < 0:
            raise ValueError(f"widths={widths} holds a negative number; slice x to make it smaller")
        xp, parts = y.backend.xp, [y]
        for count, place in ((before, 0), (after, 2)):
            if count:
                shape = (*y.shape[:axis], count, *y.shape[axis + 1 :])
                block = Variable._of(xp.full(shape, value, dtype=y.dtype, device=y.backend.device), y.backend, None)
                parts.insert(place, block)
        if len(parts) > 1:
            y = concat(parts, axis=axis)
    return y


def diff(x: Any, *, axis: int = -1, n: int = 1) -> Variable:
    """Calculate the n-th difference x[i + 1] - x[i] along an axis."""
    x = as_variable(x)
    before = (slice(None),) * normalize_axis(axis, x.ndim)
    y: Variable = x
    for _ in range(n):
        y = y[(*before, slice(1, None), ...)] - y[(*before, slice(None, -1), ...)]
    return y


def meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Variable, ...]:
    """Spread coordinate vectors over a grid."""
    xs = [as_variable(x) for x in arrays]
    if indexing not in ("xy", "ij"):
        raise ValueError(f"indexing={indexing!r} must be 'xy' or 'ij'")
    swap = indexing == "xy" and len(xs) > 1
    order = [1, 0, *range(2, len(xs))] if swap else list(range(len(xs)))
    shape = [xs[i].size for i in order]
    return tuple(
        broadcast_to(reshape(x, [x.size if order[k] == i else 1 for k in range(len(xs))]), shape)
        for i, x in enumerate(xs)
    )


# Triangles and types ---------------------------------------------------------------------------------------------


@rule(x=lambda xp, gy, k: xp.tril(gy, k=k))
def _tril(xp: Any, x: Any, /, k: int) -> Any:
    return xp.tril(x, k=k)


def tril(x: Any, *, k: int = 0) -> Variable:
    """Keep the elements on and below diagonal k of the last two axes; zeros elsewhere."""
    return _tril(x, k)


@rule(x=lambda xp, gy, k: xp.triu(gy, k=k))
def _triu(xp: Any, x: Any, /, k: int) -> Any:
    return xp.triu(x, k=k)


def triu(x: Any, *, k: int = 0) -> Variable:
    """Keep the elements on and above diagonal k of the last two axes; zeros elsewhere."""
    return _triu(x, k)


@rule(x=lambda xp, gy, old: xp.astype(gy, old))
def _astype(xp: Any, x: Any, /, dtype: Any, old: Any) -> Any:
    return xp.astype(x, dtype)


def astype(x: Any, dtype: Any, *, copy: bool = True) -> Variable:
    """Convert to another dtype; the gradient passes between floating-point types only."""
    y: Variable = as_variable(x)
    target = y.backend.dtype(dtype)
    if y.dtype == target:
        return y
    return _astype(y if y.backend.is_floating(target) else y.detach(), target, y.dtype)
