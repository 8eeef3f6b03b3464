"""Pooling: the largest element of each window, or the average of them."""

from collections.abc import Iterator
from itertools import product
from math import inf, prod
from typing import Any

from ..graph import Variable, rule
from ..graph.rule import extension
from .linalg import _plus
from .math import multiply
from .reduce import mean
from .shape import astype
from .shape import pad as pad_with
from .windows import (
    Geometry,
    Shape,
    Sizes,
    get_conv_outsize,
    joined,
    padded,
    portions,
    spread,
    steps,
    with_spatial_axes,
)

__all__ = ["average_pooling", "global_average_pooling", "pooling"]


def pooling(x: Any, kernel_size: Sizes, stride: Sizes = 1, pad: Sizes = 0, ceil_mode: bool = False) -> Variable:
    """Take the largest element of each window of x (n, c, *spatial): (n, c, *out), and nan where there is one.

    Of equal elements the first gets the gradient. The padding never wins. `out` is `get_conv_outsize`; with `ceil_mode`
    a last window may reach beyond the padding, if it begins before.
    """
    x, g, _, beyond = _prepared("pooling", x, kernel_size, stride, pad, ceil_mode)
    if any(beyond):
        x = pad_with(x, [(0, 0), (0, 0), *[(0, b) for b in beyond]], -inf)
        g = g._replace(spatial=x.shape[2:])
    values, winner = x.backend.ops.largest(x._data, g)
    y: Variable = _known(x, winner, g, values)
    return y


@rule(shown="pooling", x=lambda xp, gy, winner, geometry: xp.window_put(gy, winner, geometry))
def _known(xp: Any, x: Any, /, winner: Any, geometry: Geometry, values: Any) -> Any:
    """Return what `window_pick` takes from x, which is known already."""
    return values


@extension
def _largest(xp: Any, x: Any, geometry: Geometry) -> tuple[Any, Any]:
    """Return the largest element of each window of x (n, c, *spatial), and its place in the window, counted in the
    order of memory: both (n, c, *out).

    Of equal elements the first one counts, nan is larger than all, and its place that of the largest before it. The
    padding is smaller than all.
    """
    g, (n, c, *_) = geometry, x.shape
    planes = xp.reshape(x, (n * c, *g.spatial))
    found = [
        _largest_of(xp, planes[some, ...], g)
        for some in portions(xp, n * c, 8 * prod(g.spatial))  # everything stays in a cache
    ]
    values, winner = (xp.reshape(joined(xp, list(each), 0), (n, c, *g.out)) for each in zip(*found, strict=True))
    return values, winner


def _largest_of(xp: Any, x: Any, g: Geometry) -> tuple[Any, Any]:
    """Do as `largest` with planes (planes, *spatial)."""
    widths = [(0, 0), *[(p, p) for p in g.pad]]
    best, *rest = _places(pad_with(Variable._of(x, xp.backend, None), widths, -inf)._data, g, g.out)
    small = xp.backend.dtype("uint8" if prod(g.size) <= 256 else "int32")
    # Unless something is larger, the first element wins that is not padding. As places rise, the last update counts.
    inside = [xp.maximum(-each, 0) for each in _corners(xp, g)]
    winner = xp.astype(xp.broadcast_to(_combined(xp, inside, g.size), best.shape), small)
    for place, elements in enumerate(rest, 1):
        winner = xp.maximum(winner, xp.astype(elements > best, small) * place)
        best = xp.maximum(best, elements)
    return best, winner


@rule(extends=True, x=lambda xp, gy, winner, geometry: xp.window_put(gy, winner, geometry))
def _window_pick(xp: Any, x: Any, /, winner: Any, geometry: Geometry) -> Any:
    """Take one element of each window, x (n, c, *spatial) to (n, c, *out), at the place in it that `winner` says."""
    return xp.reshape(xp.take(xp.reshape(x, (-1,)), _indices(xp, winner, geometry)), winner.shape)


@rule(extends=True, z=lambda xp, gy, winner, geometry: xp.window_pick(gy, winner, geometry))
def _window_put(xp: Any, z: Any, /, winner: Any, geometry: Geometry) -> Any:
    """Add each number to that element of its window which `winner` says, (n, c, *out) to (n, c, *spatial)."""
    shape = (*z.shape[:2], *geometry.spatial)
    return xp.reshape(xp.add_rows(xp.reshape(z, (-1,)), _indices(xp, winner, geometry), prod(shape)), shape)


def _indices(xp: Any, winner: Any, g: Geometry) -> Any:
    """Return where the winners stand in all of (n, c, *spatial) as one axis, with one axis."""
    int64, planes = xp.backend.dtype("int64"), prod(winner.shape[:2])
    within = xp.reshape(_combined(xp, [_ramp(xp, 0, k) for k in g.size], g.spatial), (-1,))
    indices = xp.reshape(xp.take(within, xp.reshape(xp.astype(winner, int64), (-1,))), (planes, *g.out))
    indices = _plus(indices, _combined(xp, _corners(xp, g), g.spatial))
    first = _ramp(xp, 0, planes) * prod(g.spatial)
    return xp.reshape(_plus(indices, xp.reshape(first, (-1, *[1] * len(g.out)))), (-1,))


def _ramp(xp: Any, start: int, stop: int, step: int = 1) -> Any:
    return xp.arange(start, stop, step, dtype=xp.backend.dtype("int64"), device=xp.backend.device)


def _corners(xp: Any, g: Geometry) -> list[Any]:
    """Return where windows begin along each axis, which may be in the padding before it."""
    return [_ramp(xp, -p, n * s - p, s) for n, p, s in zip(g.out, g.pad, g.stride, strict=True)]


def _combined(xp: Any, indices: list[Any], shape: Shape) -> Any:
    """Return the places in an array of `shape`, as one axis, of all combinations of indices along its axes."""
    total: Any = 0
    for axis, each in enumerate(indices):
        total = total + xp.reshape(each * prod(shape[axis + 1 :]), (-1, *[1] * (len(shape) - axis - 1)))
    return total


def _places(x: Any, g: Geometry, out: Shape) -> Iterator[Any]:
    """Yield, for each place in a window, the elements of x (..., *spatial) that stand there, (..., *out)."""
    for place in product(*map(range, g.size)):
        each = zip(place, out, g.stride, strict=True)
        yield x[(..., *[slice(k, k + (n - 1) * s + 1, s) for k, n, s in each])]


def average_pooling(x: Any, kernel_size: Sizes, stride: Sizes = 1, pad: Sizes = 0, ceil_mode: bool = False) -> Variable:
    """Average the elements of each window of x (n, c, *spatial): (n, c, *out). Those of the padding count as zeros.

    `out` is `get_conv_outsize`; with `ceil_mode` a last window may reach beyond the padding, if it begins before, and
    what lies beyond does not count.
    """
    x, g, out, beyond = _prepared("average_pooling", x, kernel_size, stride, pad, ceil_mode)
    if x.backend.dtype_name(x.dtype) not in ("float32", "float64"):  # sums are larger than averages, maybe too large
        return astype(average_pooling(astype(x, "float32"), kernel_size, stride, pad, ceil_mode), x.dtype)
    if not any(beyond):
        return multiply(_window_sum(x, g), 1.0 / prod(g.size))
    x = pad_with(x, [(0, 0), (0, 0), *[(0, b) for b in beyond]])
    y: Variable = _window_sum(x, g._replace(spatial=x.shape[2:]))
    for axis, (n, k, p, s) in enumerate(zip(g.spatial, g.size, g.pad, g.stride, strict=True)):
        shares = [1.0 / (min(i * s + k, n + 2 * p) - i * s) for i in range(out[axis])]
        factor = y.backend.asarray(shares, y.dtype)
        y = multiply(y, y.backend.xp.reshape(factor, (-1, *[1] * (len(out) - axis - 1))))
    return y


@rule(extends=True, x=lambda xp, gy, geometry: xp.window_spread(gy, geometry))
def _window_sum(xp: Any, x: Any, /, geometry: Geometry) -> Any:
    """Add up each window: (n, c, *spatial) to (n, c, *out)."""
    total, *rest = _places(padded(xp, x, geometry), geometry, geometry.out)
    for elements in rest:
        total = total + elements
    return total


@rule(extends=True, z=lambda xp, gy, geometry: xp.window_sum(gy, geometry))
def _window_spread(xp: Any, z: Any, /, geometry: Geometry) -> Any:
    """Add each number to all elements of its window: (n, c, *out) to (n, c, *spatial)."""
    size, (n, c, *out) = geometry.size, z.shape
    z = xp.reshape(z, (n, c, *[1] * len(size), *out))
    return joined(xp, [
        xp.fold(xp.broadcast_to(z[images, ...], (images.stop - images.start, c, *size, *out)), geometry)
        for images in portions(xp, n, c * prod(size) * prod(out))
    ], 0)  # fmt: skip


def global_average_pooling(x: Any) -> Variable:
    """Average over all spatial axes: (n, c, *spatial) to (n, c)."""
    x = with_spatial_axes("global_average_pooling", x)
    return mean(x, axis=tuple(range(2, x.ndim)))


def _prepared(
    name: str, x: Any, kernel_size: Sizes, stride: Sizes, pad: Sizes, ceil_mode: bool
) -> tuple[Variable, Geometry, Shape, list[int]]:
    """Return x, the geometry, how many windows there are along each axis, and how far the last one reaches beyond."""
    x = with_spatial_axes(name, x)
    if not x.backend.is_floating(x.dtype):
        raise TypeError(f"{name}: x has dtype {x.dtype}; it must be a floating-point one, as of x.astype('float32')")
    size = spread("kernel_size", kernel_size, x.ndim - 2)
    g = Geometry(x.shape[2:], size, *steps(x.ndim - 2, stride, pad))
    if any(2 * p > k for k, p in zip(size, g.pad, strict=True)):
        raise ValueError(f"{name}: pad={pad!r} must be at most half of kernel_size={kernel_size!r}, "
                         "or there are windows of nothing but padding")  # fmt: skip
    if not ceil_mode:
        return x, g, g.out, [0] * len(size)
    out = [_rounded_up(*numbers) for numbers in zip(*g[:4], strict=True)]
    ends = [(o - 1) * s + k for o, k, s in zip(out, size, g.stride, strict=True)]
    return x, g, tuple(out), [max(0, end - n) for end, n in zip(ends, g.padded, strict=True)]


def _rounded_up(n: int, k: int, s: int, p: int) -> int:
    """Return how many windows begin within an axis of n elements, or in the padding before it, if they are needed to
    cover the padded axis."""
    count = -(-(n + 2 * p - k) // s) + 1
    if count < 1:
        return get_conv_outsize(n, k, s, p)  # raises
    return count - 1 if (count - 1) * s >= n + p else count
