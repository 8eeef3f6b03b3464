"""What the kernels compute, as functions of arrays: the choice of types, teams and grids."""

from functools import lru_cache
from math import prod
from typing import Any

import cupy
import numpy as np

from .kernels import BLOCK, atomic, grid, kernel, layer, rows, types

__all__ = ["cross_entropy", "cross_entropy_gradient", "index_add", "random_bits", "windows_adjoint"]

Ints = tuple[int, ...]


def random_bits(seed: int, position: int, count: int) -> Any:
    """Return words of the stream as uint32."""
    out = cupy.empty(count, dtype=np.uint32)
    first, skip = divmod(position, 8)
    if count:
        philox = kernel("philox", "philox")
        philox(grid((skip + count + 7) // 8), (BLOCK,), (out, count, np.int32(skip), np.uint64(first), np.uint64(seed)))
    return out


# Rows ----------------------------------------------------------------------------------------------------------------


def index_add(size: int, index: Any, values: Any, dtype: str, repeatable: bool) -> Any:
    """Add up rows: by atomic operations where the dtype has them, unless floats shall be `repeatable`; else sorted."""
    out = cupy.zeros((size, *values.shape[1:]), dtype=values.dtype)
    if not values.size or not size:
        return out
    values, width = cupy.ascontiguousarray(values), prod(values.shape[1:])
    macros = atomic(dtype, index.dtype.name)
    if macros and not (repeatable and values.dtype.kind == "f"):
        add = kernel("index_add", "index_add", *macros)
        add(grid(values.size), (BLOCK,), (out, cupy.ascontiguousarray(index), values, size, len(index), width))
    else:
        order, starts, ends = _segments(size, index)
        add = kernel("index_add_sorted", "index_add_sorted", *types(dtype))
        add(grid(out.size), (BLOCK,), (out, order, starts, ends, values, size, width))
    return out


def _segments(size: int, index: Any) -> tuple[Any, Any, Any]:
    """Return the order that sorts an index, and where in it each of `size` values begins and ends."""
    index = index.astype(np.int64, copy=False)
    order = cupy.argsort(index, kind="stable").astype(np.int64, copy=False)
    bounds = cupy.searchsorted(index[order], cupy.arange(size + 1)).astype(np.int64, copy=False)
    return order, bounds[:-1], bounds[1:]


# Windows -------------------------------------------------------------------------------------------------------------


def windows_adjoint(
    columns: Any, spatial: Ints, out: Ints, size: Ints, stride: Ints, dilation: Ints, dtype: str
) -> Any:
    """Add every window back, (..., *size, *out) to (..., *spatial)."""
    rank = len(size)
    lead = columns.shape[: columns.ndim - 2 * rank]
    if not columns.size or not rank:
        return columns.copy() if not rank else cupy.zeros((*lead, *spatial), dtype=columns.dtype)
    result, fold = cupy.empty((*lead, *spatial), dtype=columns.dtype), _fold(dtype, size, stride, dilation)
    extents = np.array([(spatial, out)], dtype=[("spatial", np.int64, (rank,)), ("out", np.int64, (rank,))])
    fold(grid(result.size), (BLOCK,), (result, cupy.ascontiguousarray(columns), prod(lead), extents))
    return result


@lru_cache(maxsize=256)
def _fold(dtype: str, size: Ints, stride: Ints, dilation: Ints) -> Any:
    """Return the kernel for one layer."""
    return kernel("windows_adjoint", "windows_adjoint", *layer(dtype, size, stride, dilation))


# Cross-entropy -------------------------------------------------------------------------------------------------------


def cross_entropy(x: Any, t: Any, dtype: str) -> Any:
    """Return the mean loss over the rows of x (n, classes), neither of them 0."""
    function, blocks, arguments = _over_rows("cross_entropy", x, t, dtype)
    out = cupy.empty((), dtype=x.dtype)
    losses = cupy.empty(len(x), dtype=np.float64 if dtype == "float64" else np.float32)
    function(blocks, (BLOCK,), (out, losses, cupy.zeros(1, dtype=np.uint32), *arguments))
    return out


def cross_entropy_gradient(gy: Any, x: Any, t: Any, dtype: str) -> Any:
    """Return the gradient of `cross_entropy` times gy (), in the dtype of x."""
    function, blocks, arguments = _over_rows("cross_entropy_gradient", x, t, dtype)
    out = cupy.empty(x.shape, dtype=x.dtype)
    function(blocks, (BLOCK,), (out, gy, *arguments))
    return out


def _over_rows(name: str, x: Any, t: Any, dtype: str) -> tuple[Any, tuple[int], tuple[Any, ...]]:
    """Return a kernel over the rows of x, its grid, and the arguments that describe x and t."""
    n, classes = x.shape
    team = _team(classes)
    function = kernel("cross_entropy", name, *rows(dtype, t.dtype.name, team))
    row, column = (step // x.itemsize for step in x.strides)
    return function, grid(n * team), (x, cupy.ascontiguousarray(t), n, classes, row, column)


def _team(classes: int) -> int:
    """Return how many threads share a row: a power of two, a thread for each element of all but long rows."""
    return min(BLOCK, max(4, 1 << (classes - 1).bit_length()))
