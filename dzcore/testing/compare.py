"""Comparison of arrays of any backend, in plain Python."""

import struct
from collections.abc import Iterator, Sequence
from math import isclose, isnan
from typing import Any

from ..backend import HostArray, backend_of
from ..graph import Variable

__all__ = ["allclose", "assert_close", "host_array", "values"]

#: Relative tolerances, some ten units in the last place.
RTOL = {"float16": 1e-2, "bfloat16": 1e-1, "float32": 1e-5, "float64": 1e-12}

_CODES = {"bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B", "uint16": "H",
          "uint32": "I", "uint64": "Q", "float16": "e", "float32": "f", "float64": "d"}  # fmt: skip


def values(x: Any) -> list[Any]:
    """Return the elements of a Variable, raw array, or HostArray as Python numbers, in C order."""
    host = x if isinstance(x, HostArray) else _variable(x).to_host()
    raw = memoryview(host.buffer).cast("B")
    if host.dtype == "bfloat16":  # the upper half of a float32
        halves = struct.unpack(f"={len(raw) // 2}H", raw)
        return list(struct.unpack(f"={len(halves)}f", struct.pack(f"={len(halves)}I", *[h << 16 for h in halves])))
    code = _CODES[host.dtype]
    return list(struct.unpack(f"={len(raw) // struct.calcsize('=' + code)}{code}", raw))


def host_array(numbers: Sequence[Any], shape: tuple[int, ...], dtype: str) -> HostArray:
    """Return Python numbers in C order as an array of the host, which `Backend.from_host` takes."""
    if dtype == "bfloat16":
        halves = struct.unpack(f"={2 * len(numbers)}H", struct.pack(f"<{len(numbers)}f", *numbers))
        return HostArray(dtype, shape, struct.pack(f"={len(numbers)}H", *halves[1::2]))
    return HostArray(dtype, shape, struct.pack(f"={len(numbers)}{_CODES[dtype]}", *numbers))


def allclose(actual: Any, expected: Any, rtol: float | None = None, atol: float = 0.0) -> bool:
    """Tell whether `assert_close` would pass."""
    try:
        assert_close(actual, expected, rtol, atol)
    except AssertionError:
        return False
    return True


def assert_close(actual: Any, expected: Any, rtol: float | None = None, atol: float = 0.0) -> None:
    """Raise AssertionError unless backend, dtype, shape are equal and |actual - expected| <= atol + rtol·|expected|.

    `expected` may be a number or a (nested) list, which has a shape and values only. nan equals nan. Without `rtol`,
    it is 1e-12 for float64, 1e-5 for float32, 1e-2 for float16, 0 for integers and booleans.
    """
    a = _variable(actual)
    shape: tuple[int, ...]
    if isinstance(expected, (bool, int, float, list, tuple)) and not hasattr(expected, "dtype"):
        shape, wanted = _flatten(expected)
    else:
        b = _variable(expected)
        if a.backend is not b.backend:
            raise AssertionError(f"backends differ: {a.backend} and {b.backend} expected")
        if a.dtype != b.dtype:
            raise AssertionError(f"dtypes differ: {a.dtype} and {b.dtype} expected")
        shape, wanted = b.shape, values(b)
    if tuple(a.shape) != tuple(shape):
        raise AssertionError(f"shapes differ: {tuple(a.shape)} and {tuple(shape)} expected")
    if rtol is None:
        rtol = RTOL.get(a.backend.dtype_name(a.dtype), 0.0)
    found = values(a)
    wrong = [i for i, (x, y) in enumerate(zip(found, wanted, strict=True)) if not _near(x, y, rtol, atol)]
    if wrong:
        lines = [f"  at {_place(i, a.shape)}: {found[i]!r}, expected {wanted[i]!r}" for i in wrong[:5]]
        lines += [f"  and {len(wrong) - 5} more"] if len(wrong) > 5 else []
        raise AssertionError(
            f"{len(wrong)} of {len(found)} values differ (rtol={rtol}, atol={atol}, {a.dtype}):\n" + "\n".join(lines)
        )


def _near(x: Any, y: Any, rtol: float, atol: float) -> bool:
    if x == y or (isinstance(x, float) and isinstance(y, float) and isnan(x) and isnan(y)):
        return True
    return isclose(x, y, rel_tol=0.0, abs_tol=atol + rtol * abs(y)) if rtol or atol else False


def _place(i: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    place: list[int] = []
    for length in reversed(shape):
        i, k = divmod(i, length)
        place.insert(0, k)
    return tuple(place)


def _flatten(x: Any) -> tuple[tuple[int, ...], list[Any]]:
    if not isinstance(x, (list, tuple)):
        return (), [x]
    parts = [_flatten(each) for each in x]
    shapes = {shape for shape, _ in parts} or {()}
    if len(shapes) > 1:
        raise ValueError("expected is a ragged nested list")
    return (len(x), *shapes.pop()), list(_chain(flat for _, flat in parts))


def _chain(lists: Iterator[list[Any]]) -> Iterator[Any]:
    for each in lists:
        yield from each


def _variable(x: Any) -> Variable:
    if isinstance(x, Variable):
        return x
    backend = backend_of(x)
    return Variable._of(backend.xp.asarray(x), backend, None)
