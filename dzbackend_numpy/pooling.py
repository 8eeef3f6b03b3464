"""Pooling of NumPy arrays, in compiled loops that touch each element once.

Without a compiler it is done as the core does it, but for gradients where windows lie apart: they are written place by
place.
"""

from functools import lru_cache
from itertools import product
from math import inf, prod
from typing import Any

import numpy as np

from dzcore.backend.namespace import EXTENSIONS, Namespace
from dzcore.functions.windows import Geometry

from .compiled import windows

__all__ = ["largest", "window_put", "window_spread", "window_sum"]

#: From how many windows on a loop is worth its call.
SMALL = 256
#: How many places a window may have: loops have some lines for each.
MOST = 32
KINDS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def largest(xp: Namespace, x: Any, g: Geometry) -> Any:
    """Do as `largest` of the core."""
    loop = _loop("largest", x, g)
    if loop is None:
        return EXTENSIONS["largest"](xp, x, g)
    shape = (*x.shape[:2], *g.out)
    values, winner = np.empty(shape, x.dtype), np.empty(shape, np.uint8)
    windows.run(loop, g, _padded(x, g, -inf), values, winner, _first(g))
    return values, winner


def window_put(xp: Namespace, z: Any, winner: Any, g: Geometry) -> Any:
    """Do as `window_put` of the core."""
    apart = _apart(g)
    loop = _loop("put" if apart else "add", z, g) if winner.dtype == np.uint8 else None
    if loop is None and not apart:
        return EXTENSIONS["window_put"](xp, z, winner, g)
    x = (np.empty if loop is not None and _tiles(g) else np.zeros)((*z.shape[:2], *g.padded), z.dtype)
    if loop is not None:
        windows.run(loop, g, x, np.ascontiguousarray(z), np.ascontiguousarray(winner), None)
        return x[g.inside]
    z = z + z.dtype.type(0)  # -0.0 becomes 0.0, as it does where several are added
    for number, place in enumerate(product(*map(range, g.size))):
        each = zip(place, g.out, g.stride, strict=True)
        target = x[:, :, *[slice(k, k + (n - 1) * s + 1, s) for k, n, s in each]]
        np.copyto(target, z, where=winner == number)
    return x[g.inside]


def window_sum(xp: Namespace, x: Any, g: Geometry) -> Any:
    """Do as `window_sum` of the core."""
    loop = _loop("sum", x, g)
    if loop is None:
        return EXTENSIONS["window_sum"](xp, x, g)
    sums = np.empty((*x.shape[:2], *g.out), x.dtype)
    windows.run(loop, g, _padded(x, g, 0.0), sums, None, None)
    return sums


def window_spread(xp: Namespace, z: Any, g: Geometry) -> Any:
    """Do as `window_spread` of the core."""
    loop = _loop("spread", z, g) if _apart(g) else None
    if loop is None:
        return EXTENSIONS["window_spread"](xp, z, g)
    x = (np.empty if _tiles(g) else np.zeros)((*z.shape[:2], *g.padded), z.dtype)
    windows.run(loop, g, x, np.ascontiguousarray(z), None, None)
    return x[g.inside]


def _loop(name: str, x: Any, g: Geometry) -> int | None:
    """Return a loop; None where there is none, or it is not worth its while."""
    if (
        prod(x.shape[:2]) * prod(g.out) < SMALL
        or prod(g.size) > MOST
        or len(g.size) > 3
        or max(g.dilation) > 1
        or x.dtype not in KINDS
    ):
        return None
    return windows.loop(name, KINDS[x.dtype], g.size, g.stride[-1])


def _padded(x: Any, g: Geometry, value: float) -> Any:
    """Return x in C order, with a number around it."""
    if not any(g.pad):
        return np.ascontiguousarray(x)
    whole = np.full((*x.shape[:2], *g.padded), value, x.dtype)
    whole[g.inside] = x
    return whole


def _apart(g: Geometry) -> bool:
    """Tell whether no element is in two windows."""
    return max(g.dilation) == 1 and all(s >= k for s, k in zip(g.stride, g.size, strict=True))


def _tiles(g: Geometry) -> bool:
    """Tell whether every element is in a window, if they lie apart."""
    return g.size == g.stride and all(n == o * s for n, o, s in zip(g.padded, g.out, g.stride, strict=True))


@lru_cache(maxsize=64)
def _first(g: Geometry) -> Any:
    """Return the first place in each window that is not in the padding."""
    total = np.zeros(g.out, np.int64)
    for axis, (n, s, p) in enumerate(zip(g.out, g.stride, g.pad, strict=True)):
        inside = np.maximum(p - np.arange(n) * s, 0).reshape(-1, *[1] * (len(g.out) - axis - 1))
        total += inside * prod(g.size[axis + 1 :])
    return total.astype(np.uint8)
