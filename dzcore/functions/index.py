"""Indexing and sorting, with their gradients.

Two pairs carry all of it, each the transpose of the other: a slice and its embedding in zeros, and a gather of
rows and the addition of rows to where they came from.
"""

from operator import index as index_of
from typing import Any

from ..graph import Variable, as_variable, rule
from .shape import flip, moveaxis, normalize_axis, reshape

__all__ = ["embed_id", "get_item", "sort", "take", "take_along_axis"]

Shape = tuple[int, ...]


# Slices ------------------------------------------------------------------------------------------------------------


@rule(shown="get_item", x=lambda xp, gy, index, shape: xp.embed(gy, index, shape))
def _slice(xp: Any, x: Any, /, index: tuple[Any, ...], shape: Shape) -> Any:
    return x[index]


@rule(extends=True, x=lambda gy, index: gy[index])
def _embed(xp: Any, x: Any, /, index: tuple[Any, ...], shape: Shape) -> Any:
    zeros = xp.zeros(shape, dtype=x.dtype, device=xp.backend.device)
    try:
        zeros[index] = x
    except TypeError:  # the library's arrays are immutable; slices have no duplicates, so adding rows is the same
        size = zeros.size
        where = xp.reshape(xp.arange(size, device=xp.backend.device), shape)[index]
        zeros = xp.reshape(xp.backend.index_add(size, xp.reshape(where, (-1,)), xp.reshape(x, (-1,))), shape)
    return zeros


# Rows --------------------------------------------------------------------------------------------------------------


@rule(extends=True, shown="get_item", x=lambda xp, gy, index, size: xp.add_rows(gy, index, size))
def _rows(xp: Any, x: Any, /, index: Any, size: int) -> Any:
    return xp.take(x, index, axis=0)


@rule(extends=True, x=lambda xp, gy, index, size: xp.rows(gy, index, size))
def _add_rows(xp: Any, x: Any, /, index: Any, size: int) -> Any:
    return xp.backend.index_add(size, index, x)


def _gather(x: Variable, index: Any) -> Variable:
    """Pick rows: x (n, …) and an integer array (…) to (…, …)."""
    xp = x.backend.xp
    flat = _rows(x, xp.reshape(index, (-1,)), x.shape[0])
    return reshape(flat, (*index.shape, *x.shape[1:]))


def _indices(index: Any, x: Variable, size: int, name: str, wrap: bool = True) -> Any:
    """Return indices as int64 on the backend of x, in [0, size) where the host sees them.

    With `wrap`, those from -size on count from the end.
    """
    array = as_variable(index if isinstance(index, Variable) else _on(index, x), x.backend)._data
    kind = x.backend.dtype_name(array.dtype)
    if "int" not in kind:
        raise IndexError(f"{name} has dtype {kind}; indices are integers")
    xp = x.backend.xp
    if kind != "int64":
        array = xp.astype(array, x.backend.dtype("int64"))
    if not x.backend.accelerator and 0 not in array.shape:
        low, high = int(xp.min(array)), int(xp.max(array))
        lowest = -size if wrap else 0
        if low < lowest or high >= size:
            raise IndexError(f"{name} holds {low if low < lowest else high}, out of bounds for {size} elements")
        if low >= 0:
            return array
    return xp.where(array < 0, array + size, array) if wrap else array


def _on(index: Any, x: Variable) -> Any:
    return x.backend.asarray(index, "int64") if isinstance(index, (list, tuple, int)) else index


def take(x: Any, indices: Any, *, axis: int | None = None) -> Variable:
    """Pick elements along an axis by an integer array; repeated ones add up their gradients."""
    x = as_variable(x)
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"axis=None needs an array with one axis; this one has shape {x.shape}")
        axis = 0
    axis = normalize_axis(axis, x.ndim)
    index = _indices(indices, x, x.shape[axis], "indices")
    if axis == 0:
        return _gather(x, index)
    width = len(index.shape)
    return moveaxis(_gather(moveaxis(x, axis, 0), index), range(width), range(axis, axis + width))


def embed_id(x: Any, W: Any) -> Variable:
    """Pick a row of W (size, …) for each integer of x (…); rows that are picked again add up their gradients.

    Integers outside [0, size) raise IndexError; on an accelerator, where looking at them would make the host wait, the
    result is the library's own.
    """
    W = as_variable(W)
    return _gather(W, _indices(x, W, W.shape[0], "x", wrap=False))


def take_along_axis(x: Any, indices: Any, *, axis: int = -1) -> Variable:
    """Pick one element for each entry of `indices`, which has as many axes as x; the other axes broadcast."""
    x = as_variable(x)
    axis = normalize_axis(axis, x.ndim)
    index = _indices(indices, x, x.shape[axis], "indices")
    if len(index.shape) != x.ndim:
        raise ValueError(f"indices has {len(index.shape)} axes and x has {x.ndim}; take_along_axis needs as many")
    return get_item(x, tuple(index if a == axis else _ramp(x, a) for a in range(x.ndim)))


def _ramp(x: Variable, axis: int) -> Any:
    xp = x.backend.xp
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    return xp.reshape(xp.arange(x.shape[axis], device=x.backend.device), tuple(shape))


def sort(x: Any, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Variable:
    """Sort along an axis; every element keeps its gradient."""
    x = as_variable(x)
    order = x.backend.xp.argsort(x._data, axis=axis, descending=descending, stable=stable)
    return take_along_axis(x, Variable._of(order, x.backend, None), axis=axis)


# x[...] ------------------------------------------------------------------------------------------------------------


def get_item(x: Any, slices: Any) -> Variable:
    """Index as NumPy does: integers, slices, None and Ellipsis, integer arrays, and boolean masks.

    What is out of bounds raises IndexError; only what stands in an array on an accelerator is not looked at, for the
    host would have to wait for it.
    """
    x = as_variable(x)
    x, index = _forwards(x, _expand(x, slices if isinstance(slices, tuple) else (slices,)))
    if not any(_is_array(i) for i in index):
        if any(i is None for i in index):
            y = get_item(x, tuple(i for i in index if i is not None))
            lengths = iter(y.shape)
            return reshape(y, [1 if i is None else next(lengths) for i in index if not isinstance(i, int)])
        return _slice(x, index, x.shape)
    if any(i is None for i in index):
        return _with_new_axes(x, index)
    arrays = [a for a, i in enumerate(index) if _is_array(i)]
    if arrays == [0] and all(i == slice(None) for i in index[1:]):
        return _gather(x, _indices(index[0], x, x.shape[0], "the index of axis 0"))
    return _advanced(x, index)


def _is_array(i: Any) -> bool:
    return not (i is None or isinstance(i, (int, slice)))


def _expand(x: Variable, index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give every axis its own entry: no Ellipsis, no mask, slices within bounds, integers checked."""
    plain: list[Any] = []
    lengths: dict[int, int] = {}  # of the axes of masks
    for i in index:
        if isinstance(i, (list, range)):
            i = Variable(list(i), backend=x.backend)._data if list(i) else x.backend.asarray([], "int64")
        raw = i._data if isinstance(i, Variable) else i
        if isinstance(i, bool) or (getattr(raw, "shape", None) == () and "bool" in str(raw.dtype)):
            raise IndexError("a single boolean is no index; a mask has the shape of the axes that it picks from")
        if hasattr(raw, "dtype") and x.backend.dtype_name(as_variable(raw, x.backend).dtype) == "bool":
            where = x.backend.xp.nonzero(as_variable(raw, x.backend)._data)
            lengths.update(zip(map(id, where), raw.shape, strict=True))
            plain.extend(where)
        elif hasattr(raw, "dtype") and not hasattr(raw, "shape"):
            plain.append(int(raw))
        elif i is not Ellipsis and i is not None and not isinstance(i, slice) and not hasattr(raw, "dtype"):
            plain.append(_integer(i))
        else:
            plain.append(raw)
    used = sum(1 for i in plain if i is not None and i is not Ellipsis)
    if used > x.ndim:
        raise IndexError(f"the index has {used} entries for the {x.ndim} axes of shape {x.shape}")
    fill = [slice(None)] * (x.ndim - used)
    if any(i is Ellipsis for i in plain):
        at = next(k for k, i in enumerate(plain) if i is Ellipsis)
        plain[at : at + 1] = fill
        if any(i is Ellipsis for i in plain):
            raise IndexError("the index has more than one Ellipsis")
    else:
        plain += fill
    axis = 0
    for k, i in enumerate(plain):
        if i is None:
            continue
        n = x.shape[axis]
        if isinstance(i, int):
            if not -n <= i < n:
                raise IndexError(f"index {i} is out of bounds for axis {axis} with {n} elements")
            plain[k] = i % n
        elif isinstance(i, slice):
            plain[k] = _clamped(i, n)
        elif lengths.get(id(i), n) != n:
            raise IndexError(f"a mask has length {lengths[id(i)]} along axis {axis}, which has {n} elements")
        axis += 1
    return tuple(plain)


def _integer(i: Any) -> int:
    try:
        return index_of(i)
    except TypeError:
        raise TypeError(f"index {i!r} is neither an integer, a slice, None, Ellipsis nor an array of them") from None


def _clamped(s: slice, n: int) -> slice:
    """Return the same slice with bounds that every library accepts."""
    start, stop, step = s.indices(n)
    if step > 0:
        return slice(None) if (start, stop, step) == (0, n, 1) else slice(start, max(start, stop), step)
    return slice(0, 0) if start <= stop else slice(start, None if stop < 0 else stop, step)


def _forwards(x: Variable, index: tuple[Any, ...]) -> tuple[Variable, tuple[Any, ...]]:
    """Turn slices that step backwards, which some libraries do not have, into slices of the flipped array."""
    axes = [i for i in index if i is not None]
    back = tuple(a for a, i in enumerate(axes) if isinstance(i, slice) and i.step is not None and i.step < 0)
    if not back:
        return x, index
    lengths = iter(x.shape)
    return flip(x, axis=back), tuple(i if i is None else _turned(i, next(lengths)) for i in index)


def _turned(i: Any, n: int) -> Any:
    if not isinstance(i, slice) or i.step is None or i.step > 0:
        return i
    return slice(n - 1 - i.start, n if i.stop is None else n - 1 - i.stop, -i.step)


def _with_new_axes(x: Variable, index: tuple[Any, ...]) -> Variable:
    """Insert length-1 axes first, with a full slice each."""
    shape, lengths = [], iter(x.shape)
    for i in index:
        shape.append(1 if i is None else next(lengths))
    return get_item(reshape(x, shape), tuple(slice(None) if i is None else i for i in index))


def _advanced(x: Variable, index: tuple[Any, ...]) -> Variable:
    """Turn any mixture into one gather from the flattened array.

    Position of an element: Σ index · stride over the axes. Arrays and integers broadcast against each other and
    their axes come first, or in place of the arrays when those stand side by side, as in NumPy.
    """
    xp, device = x.backend.xp, x.backend.device
    joint = [a for a, i in enumerate(index) if not isinstance(i, slice)]
    arrays = {a: _indices(index[a], x, x.shape[a], f"the index of axis {a}") for a in joint}
    width = max(len(i.shape) for i in arrays.values())
    together = joint[-1] - joint[0] == len(joint) - 1
    slots = [a for a, i in enumerate(index) if isinstance(i, slice)]
    place = sum(1 for a in slots if a < joint[0]) if together else 0
    ndim = width + len(slots)
    position: Any = None
    stride = 1
    for a in reversed(range(x.ndim)):
        if a in arrays:
            shape = (1,) * (width - len(arrays[a].shape)) + tuple(arrays[a].shape)
            shape = (1,) * place + shape + (1,) * (len(slots) - place)
            term = xp.reshape(arrays[a], shape)
        else:
            k = slots.index(a)
            k += width if k >= place else 0
            ramp = xp.arange(x.shape[a], device=device)[index[a]]
            term = xp.reshape(ramp, (1,) * k + (-1,) + (1,) * (ndim - k - 1))
        position = term * stride if position is None else position + term * stride
        stride *= x.shape[a]
    return _gather(reshape(x, (-1,)), position)
