"""array_api_compat's namespace, with the functions that small operations spend their time in called directly.

NumPy's own `sum`, `reshape` … reach the same code by way of two or three Python functions, which costs more than the
work on a small array.
"""

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

import array_api_compat.numpy
import numpy as np

from .onednn import product

__all__ = ["namespace"]

#: From how many elements on `where` chooses by bits; and integers as wide as floats.
CHOICE = 16384
BITS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}

Axis = int | tuple[int, ...] | None

compat: Any = array_api_compat.numpy
_add: Any = np.add.reduce  # Any, for NumPy's annotations do not take `keepdims` by position
_maximum: Any = np.maximum.reduce
_minimum: Any = np.minimum.reduce


def _sum(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return _add(x, axis, dtype, None, keepdims)


def _max(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return _maximum(x, axis, None, None, keepdims)


def _min(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return _minimum(x, axis, None, None, keepdims)


def _mean(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    if x.dtype.char not in "fd" or not x.size:  # float16 is summed in float32, and an empty mean warns
        return compat.mean(x, axis=axis, keepdims=keepdims)
    shape = x.shape
    count = x.size if axis is None else shape[axis] if isinstance(axis, int) else prod([shape[a] for a in axis])
    total = _add(x, axis, None, None, keepdims)
    total /= count
    return total


def _clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    if x.dtype.kind != "f" or not all(bound is None or type(bound) is float for bound in (min, max)):
        return compat.clip(x, min, max)
    if min is not None:
        x = np.maximum(x, min)
    return x if max is None else np.minimum(x, max)


def _matmul(x1: Any, x2: Any, /) -> Any:
    if not x1.ndim == x2.ndim == 2:
        return product.stacked(x1, x2) if x1.ndim == x2.ndim > 2 else np.matmul(x1, x2)
    if x1.size * x2.shape[1] >= product.LARGE:
        return product.matmul(x1, x2)
    return x1.dot(x2)  # half the time for small matrices


def _reshape(x: Any, /, shape: Sequence[int], *, copy: bool | None = None) -> Any:
    return x.reshape(shape) if copy is None else compat.reshape(x, shape, copy=copy)


def _permute_dims(x: Any, /, axes: Sequence[int]) -> Any:
    return x.transpose(axes)


def _astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    return x.astype(dtype, copy=copy)


def _asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    if copy is None and device is None:
        return np.asarray(obj, dtype)
    return compat.asarray(obj, dtype=dtype, device=device, copy=copy)


def _broadcast_to(x: Any, /, shape: Sequence[int]) -> Any:
    """Write small results out, which is several times faster than a view of them; a view of large ones."""
    if prod(shape) > 4096:
        return np.broadcast_to(x, shape)
    y = np.empty(shape, x.dtype)
    y[...] = x
    return y


def _where(condition: Any, x1: Any, x2: Any, /) -> Any:
    """Choose by bits where there is much to choose: NumPy branches at each element, which can take 7 times as long."""
    if type(condition) is np.ndarray and condition.size >= CHOICE and condition.dtype == bool:
        one, other = (x1, x2) if type(x1) is np.ndarray else (x2, x1)
        like = type(other) in (int, float) or getattr(other, "dtype", None) == getattr(one, "dtype", None)
        if like and type(one) is np.ndarray and one.dtype in BITS and condition.shape == one.shape:
            bits = BITS[one.dtype]
            yes, no = (np.asarray(x, one.dtype).view(bits) for x in (x1, x2))
            if np.broadcast(yes, no).shape == condition.shape:
                chosen = condition.astype(bits)
                np.negative(chosen, out=chosen)  # all bits or none
                chosen &= yes ^ no
                chosen ^= no
                return chosen.view(one.dtype)
    return compat.where(condition, x1, x2)


def _ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    return np.ones(x.shape, x.dtype if dtype is None else dtype)


namespace = ModuleType("dzbackend_numpy.xp", "The array API on NumPy.")
vars(namespace).update(
    (name, getattr(compat, name)) for name in dir(compat) if not name.startswith("_") or name.startswith("__array")
)
vars(namespace).update(
    asarray=_asarray,
    astype=_astype,
    broadcast_to=_broadcast_to,
    clip=_clip,
    matmul=_matmul,
    max=_max,
    mean=_mean,
    min=_min,
    ones_like=_ones_like,
    permute_dims=_permute_dims,
    reshape=_reshape,
    sign=np.sign,
    sum=_sum,
    where=_where,
)
