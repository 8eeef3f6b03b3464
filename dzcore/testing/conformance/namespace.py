"""Namespace: the array-API functions that dzcore builds on, on raw arrays, against answers written out."""

import math
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

from ...backend import Backend
from ..compare import assert_close
from .group import Group
from .measure import LAYOUTS, bits, constant, describe, flat, lay_out, numbers, on_device, own, send, widest
from .shapes import FUNCTIONS, product, wave

__all__ = ["NEEDED", "Namespace"]

NAMES = """
    __array_namespace_info__ abs acos acosh all any arange argmax argmin argsort asarray asin asinh astype atan atan2
    atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor bool broadcast_to
    can_cast ceil clip concat copysign cos cosh count_nonzero cumulative_prod cumulative_sum divide empty empty_like
    equal exp expand_dims expm1 eye finfo flip float32 floor floor_divide full full_like greater greater_equal hypot
    iinfo int64 isdtype isfinite isinf isnan less less_equal linspace log log10 log1p log2 logaddexp logical_and
    logical_not logical_or logical_xor matmul max maximum mean min minimum multiply negative nextafter nonzero not_equal
    ones ones_like permute_dims positive pow prod reciprocal remainder repeat reshape result_type roll round
    searchsorted sign signbit sin sinh sort sqrt square squeeze stack std subtract sum take tan tanh tensordot tile
    tril triu trunc unique_all unique_counts unique_inverse unique_values var where zeros zeros_like
"""
#: What dzcore calls on a backend's namespace.
NEEDED = tuple(NAMES.split())

#: name: (function of xp and x = [[1, -2, 3], [4, 5, -6]] in float32, the answer as (dtype, nested list))
F, I, B = "float32", "int64", "bool"
ANSWERS: dict[str, tuple[Callable[[Any, Any], Any], str, Any]] = {
    "add": (lambda xp, x: x + x, F, [[2, -4, 6], [8, 10, -12]]),
    "add a number": (lambda xp, x: x + 1, F, [[2, -1, 4], [5, 6, -5]]),
    "subtract from a number": (lambda xp, x: 0.5 - x, F, [[-0.5, 2.5, -2.5], [-3.5, -4.5, 6.5]]),
    "multiply": (lambda xp, x: x * 0.5, F, [[0.5, -1, 1.5], [2, 2.5, -3]]),
    "divide": (lambda xp, x: x / 4, F, [[0.25, -0.5, 0.75], [1, 1.25, -1.5]]),
    "reverse divide": (lambda xp, x: 60 / x, F, [[60, -30, 20], [15, 12, -10]]),
    "power": (lambda xp, x: x**2, F, [[1, 4, 9], [16, 25, 36]]),
    "remainder": (lambda xp, x: x % 4, F, [[1, 2, 3], [0, 1, 2]]),
    "floor_divide": (lambda xp, x: x // 4, F, [[0, -1, 0], [1, 1, -2]]),
    "negative": (lambda xp, x: -x, F, [[-1, 2, -3], [-4, -5, 6]]),
    "abs": (lambda xp, x: xp.abs(x), F, [[1, 2, 3], [4, 5, 6]]),
    "sign": (lambda xp, x: xp.sign(x), F, [[1, -1, 1], [1, 1, -1]]),
    "square": (lambda xp, x: xp.square(x), F, [[1, 4, 9], [16, 25, 36]]),
    "maximum": (lambda xp, x: xp.maximum(x, 0.0), F, [[1, 0, 3], [4, 5, 0]]),
    "minimum": (lambda xp, x: xp.minimum(x, 0.5), F, [[0.5, -2, 0.5], [0.5, 0.5, -6]]),
    "clip": (lambda xp, x: xp.clip(x, -2.5, 3.5), F, [[1, -2, 3], [3.5, 3.5, -2.5]]),
    "where": (lambda xp, x: xp.where(x > 0, x, 0.0), F, [[1, 0, 3], [4, 5, 0]]),
    "greater": (lambda xp, x: x > 2, B, [[False, False, True], [True, True, False]]),
    "equal": (lambda xp, x: x == 3.0, B, [[False, False, True], [False, False, False]]),
    "logical_not": (lambda xp, x: xp.logical_not(x > 0), B, [[False, True, False], [False, False, True]]),
    "both": (lambda xp, x: (x > 0) & (x < 4), B, [[True, False, True], [False, False, False]]),
    "sum": (lambda xp, x: xp.sum(x), F, 5),
    "sum of an axis": (lambda xp, x: xp.sum(x, axis=0), F, [5, 3, -3]),
    "sum of axes": (lambda xp, x: xp.sum(x, axis=(0, 1)), F, 5),
    "sum with keepdims": (lambda xp, x: xp.sum(x, axis=1, keepdims=True), F, [[2], [3]]),
    "sum of whole numbers": (lambda xp, x: xp.sum(xp.astype(x, xp.int64), axis=-1), I, [2, 3]),
    "max": (lambda xp, x: xp.max(x, axis=1), F, [3, 5]),
    "max with keepdims": (lambda xp, x: xp.max(x, axis=0, keepdims=True), F, [[4, 5, 3]]),
    "min": (lambda xp, x: xp.min(x), F, -6),
    "mean": (lambda xp, x: xp.mean(x, axis=0), F, [2.5, 1.5, -1.5]),
    "mean with keepdims": (lambda xp, x: xp.mean(x, axis=(0, 1), keepdims=True) * 6, F, [[5]]),
    "prod": (lambda xp, x: xp.prod(x, axis=1), F, [-6, -120]),
    "var": (lambda xp, x: xp.var(x, axis=0), F, [2.25, 12.25, 20.25]),
    "all": (lambda xp, x: xp.all(x > -3, axis=1), B, [True, False]),
    "any": (lambda xp, x: xp.any(x > 4), B, True),
    "argmax": (lambda xp, x: xp.astype(xp.argmax(x, axis=1), xp.int64), I, [2, 1]),
    "argsort": (lambda xp, x: xp.astype(xp.argsort(x, axis=1), xp.int64), I, [[1, 0, 2], [2, 0, 1]]),
    "stable argsort": (lambda xp, x: xp.astype(xp.argsort(x[0, :] * 0, stable=True), xp.int64), I, [0, 1, 2]),
    "sort": (lambda xp, x: xp.sort(x, axis=1), F, [[-2, 1, 3], [-6, 4, 5]]),
    "cumulative_sum": (lambda xp, x: xp.cumulative_sum(x, axis=1), F, [[1, -1, 2], [4, 9, 3]]),
    "searchsorted": (lambda xp, x: xp.astype(xp.searchsorted(xp.arange(5, dtype=x.dtype, device=x.device), x[1, :2],
                     side="right"), xp.int64), I, [5, 5]),
    "reshape": (lambda xp, x: xp.reshape(x, (3, -1)), F, [[1, -2], [3, 4], [5, -6]]),
    "permute_dims": (lambda xp, x: xp.permute_dims(x, (1, 0)), F, [[1, 4], [-2, 5], [3, -6]]),
    "expand_dims": (lambda xp, x: xp.expand_dims(x[0, :], axis=-1), F, [[1], [-2], [3]]),
    "squeeze": (lambda xp, x: xp.squeeze(x[:1, :], axis=0), F, [1, -2, 3]),
    "broadcast_to": (lambda xp, x: xp.broadcast_to(x[:, :1], (2, 2)), F, [[1, 1], [4, 4]]),
    "concat": (lambda xp, x: xp.concat((x, x[:1, :])), F, [[1, -2, 3], [4, 5, -6], [1, -2, 3]]),
    "stack": (lambda xp, x: xp.stack((x[0, :], x[1, :]), axis=1), F, [[1, 4], [-2, 5], [3, -6]]),
    "flip": (lambda xp, x: xp.flip(x, axis=0), F, [[4, 5, -6], [1, -2, 3]]),
    "roll": (lambda xp, x: xp.roll(x, 1, axis=1), F, [[3, 1, -2], [-6, 4, 5]]),
    "repeat": (lambda xp, x: xp.repeat(x, 2, axis=1), F, [[1, 1, -2, -2, 3, 3], [4, 4, 5, 5, -6, -6]]),
    "tile": (lambda xp, x: xp.tile(x[:, :1], (1, 3)), F, [[1, 1, 1], [4, 4, 4]]),
    "tril": (lambda xp, x: xp.tril(x), F, [[1, 0, 0], [4, 5, 0]]),
    "triu": (lambda xp, x: xp.triu(x, k=1), F, [[0, -2, 3], [0, 0, -6]]),
    "take": (lambda xp, x: xp.take(x, xp.argmax(x, axis=1), axis=1), F, [[3, -2], [-6, 5]]),
    "matmul": (lambda xp, x: x @ xp.permute_dims(x, (1, 0)), F, [[14, -24], [-24, 77]]),
    "tensordot": (lambda xp, x: xp.tensordot(x, x, axes=2), F, 91),
    "slices": (lambda xp, x: x[:, 1::2], F, [[-2], [5]]),
    "slices backwards": (lambda xp, x: x[::-1, 1:], F, [[5, -6], [-2, 3]]),
    "an element": (lambda xp, x: x[1, -1], F, -6),
    "a new axis": (lambda xp, x: x[:, None, 0], F, [[1], [4]]),
    "a mask": (lambda xp, x: x[x > 2], F, [3, 4, 5]),
    "rows": (lambda xp, x: xp.take(x, xp.argmax(x, axis=1) - 1, axis=0), F, [[4, 5, -6], [1, -2, 3]]),
    "points": (lambda xp, x: x[xp.argmax(x, axis=1) - 1, xp.argmax(x, axis=1)], F, [-6, -2]),
    "zeros_like": (lambda xp, x: xp.zeros_like(x), F, [[0, 0, 0], [0, 0, 0]]),
    "ones_like": (lambda xp, x: xp.ones_like(x[0, :]), F, [1, 1, 1]),
    "full_like": (lambda xp, x: xp.full_like(x[0, :], 2.5), F, [2.5, 2.5, 2.5]),
    "astype": (lambda xp, x: xp.astype(x / 4, xp.int64), I, [[0, 0, 0], [1, 1, -1]]),
    "copy": (lambda xp, x: xp.asarray(x, copy=True), F, [[1, -2, 3], [4, 5, -6]]),
}  # fmt: skip

CREATED: dict[str, tuple[Callable[[Any, Any], Any], str, Any]] = {
    "zeros": (lambda xp, d: xp.zeros((2, 1), dtype=xp.float32, device=d), F, [[0], [0]]),
    "ones": (lambda xp, d: xp.ones(2, dtype=xp.float32, device=d), F, [1, 1]),
    "full": (lambda xp, d: xp.full((2,), 1.5, dtype=xp.float32, device=d), F, [1.5, 1.5]),
    "arange": (lambda xp, d: xp.arange(3, dtype=xp.int64, device=d), I, [0, 1, 2]),
    "arange with a step": (lambda xp, d: xp.arange(5, -1, -2, dtype=xp.int64, device=d), I, [5, 3, 1]),
    "linspace": (lambda xp, d: xp.linspace(0.0, 1.0, 5, dtype=xp.float32, device=d), F, [0, 0.25, 0.5, 0.75, 1]),
    "eye": (lambda xp, d: xp.eye(2, 3, k=1, dtype=xp.float32, device=d), F, [[0, 1, 0], [0, 0, 1]]),
    "empty": (lambda xp, d: xp.empty((0, 2), dtype=xp.float32, device=d), F, None),
    "asarray": (lambda xp, d: xp.asarray([[1.5], [2.5]], dtype=xp.float32, device=d), F, [[1.5], [2.5]]),
    "asarray of a number": (lambda xp, d: xp.asarray(3, dtype=xp.int64, device=d), I, 3),
}

POINTS = [-0.9, -0.3, 0.1, 0.75]
ELEMENTARY: dict[str, Callable[[float], float]] = {
    **{name: getattr(math, name) for name in ("cos", "cosh", "exp", "expm1", "log1p", "sin", "sinh", "tan", "tanh")},
    **{f"a{name}": getattr(math, f"a{name}") for name in ("cos", "sin", "tan", "sinh", "tanh")},
    "log": lambda x: math.log(x + 1), "log2": lambda x: math.log2(x + 1), "log10": lambda x: math.log10(x + 1),
    "sqrt": lambda x: math.sqrt(x + 1), "reciprocal": lambda x: 1 / (x + 1), "acosh": lambda x: math.acosh(x + 1 + 1),
}  # fmt: skip
SHIFT = {"log": 1.0, "log2": 1.0, "log10": 1.0, "sqrt": 1.0, "reciprocal": 1.0, "acosh": 2.0}

#: Where signs of zero, inf and nan matter: (function, inputs, answers).
LIMITS: dict[str, tuple[Callable[[Any, Any], Any], list[float], list[float]]] = {
    "negative": (lambda xp, x: -x, [0.0, -0.0, inf], [-0.0, 0.0, -inf]),
    "times a number": (lambda xp, x: x * 2.0, [-0.0, -inf, nan], [-0.0, -inf, nan]),
    "abs": (lambda xp, x: xp.abs(x), [-0.0, -inf, nan], [0.0, inf, nan]),
    "sqrt": (lambda xp, x: xp.sqrt(x), [-0.0, inf, -1.0], [-0.0, inf, nan]),
    "exp": (lambda xp, x: xp.exp(x), [-inf, inf, nan, 0.0], [0.0, inf, nan, 1.0]),
    "log": (lambda xp, x: xp.log(x), [0.0, inf, -1.0], [-inf, inf, nan]),
    "tanh": (lambda xp, x: xp.tanh(x), [-inf, inf, -0.0, nan], [-1.0, 1.0, -0.0, nan]),
    "maximum": (lambda xp, x: xp.maximum(x, 0.0), [nan, -inf, inf], [nan, 0.0, inf]),
    "where": (lambda xp, x: xp.where(xp.isnan(x), 0.0, x), [nan, -0.0, inf], [0.0, -0.0, inf]),
    "copysign": (lambda xp, x: xp.copysign(xp.ones_like(x), x), [0.0, -0.0, -inf], [1.0, -1.0, -1.0]),
    "sum": (lambda xp, x: xp.sum(xp.reshape(x, (2, 2)), axis=1), [inf, 1.0, nan, 1.0], [inf, nan]),
    "max": (lambda xp, x: xp.max(xp.reshape(x, (2, 2)), axis=1), [-inf, 1.0, nan, 1.0], [1.0, nan]),
    "divide": (lambda xp, x: 1.0 / x, [0.0, -0.0, inf, -inf], [inf, -inf, 0.0, -0.0]),
    "flip": (lambda xp, x: xp.flip(x), [-0.0, 0.0, nan], [nan, 0.0, -0.0]),
    "concat": (lambda xp, x: xp.concat((x, x)), [-0.0, nan], [-0.0, nan, -0.0, nan]),
}


class Namespace(Group):
    """What the rest of the kit, and dzcore, take for granted."""

    def test_names(self, backend: Backend) -> None:
        """Every function of the standard that dzcore uses is there."""
        missing = [name for name in NEEDED if not hasattr(backend.xp, name)]
        assert not missing, f"{type(backend).__name__}.xp lacks {', '.join(missing)}"

    def test_known_dtypes(self, backend: Backend) -> None:
        """The dtypes that dzcore cannot do without are there, and each knows its name."""
        assert {"bool", "int32", "int64", "float32"} <= set(backend.dtypes)
        for name, dtype in backend.dtypes.items():
            assert backend.dtype_name(dtype) == name
            assert backend.dtype(name) == dtype
        assert backend.dtype_name(backend.xp.float32) == "float32"

    @pytest.mark.parametrize("name", ANSWERS)
    def test_answers(self, name: str, backend: Backend) -> None:
        """Functions and operators give arrays of this backend with the answer's shape, dtype and values."""
        call, dtype, answer = ANSWERS[name]
        x = send(backend, [1, -2, 3, 4, 5, -6], (2, 3), "float32")
        _check(backend, call(backend.xp, x), dtype, answer)
        assert numbers(backend, x) == [1, -2, 3, 4, 5, -6], f"{name} has changed its input"

    @pytest.mark.parametrize("name", CREATED)
    def test_creation(self, name: str, backend: Backend) -> None:
        """Creation functions take dtype and device."""
        call, dtype, answer = CREATED[name]
        _check(backend, call(backend.xp, backend.device), dtype, answer)

    @pytest.mark.parametrize("name", ELEMENTARY)
    def test_elementary_functions(self, name: str, backend: Backend) -> None:
        """Elementary functions agree with Python's."""
        shift = SHIFT.get(name, 0.0)
        for dtype in dict.fromkeys(("float32", widest(backend))):
            x = send(backend, [p + shift for p in POINTS], (4,), dtype)
            y = own(backend, getattr(backend.xp, name)(x))
            assert describe(backend, y) == (dtype, (4,))
            wanted = [ELEMENTARY[name](p - shift) for p in numbers(backend, x)]
            assert_close(constant(backend, y), wanted, atol=1e-15 if dtype == "float64" else 1e-7)

    @pytest.mark.parametrize("name", LIMITS)
    def test_limits(self, name: str, backend: Backend) -> None:
        """inf, nan and the sign of zero are what IEEE 754 says."""
        call, inputs, answers = LIMITS[name]
        for dtype in ("float32", widest(backend)):
            y = call(backend.xp, send(backend, inputs, (len(inputs),), dtype))
            assert describe(backend, y)[0] == dtype
            assert [str(v) for v in map(abs_nan, numbers(backend, y))] == [str(v) for v in answers]

    # Large ones, views, and numbers beyond 32 bits ---------------------------------------------------------------

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_large_arrays(self, name: str, backend: Backend) -> None:
        """Thousands of elements, in rows that no block size divides, are no other than a few."""
        rows = wave(3, 2049)
        _check_rows(backend, name, send(backend, flat(rows), (3, 2049), "float32"), rows)

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_functions_of_any_layout(self, name: str, backend: Backend) -> None:
        """Views give what their copies give."""
        rows = wave(3, 4)
        for layout, arrange in LAYOUTS.items():
            x = arrange(backend.xp, send(backend, flat(rows), (3, 4), "float32"))
            _check_rows(backend, name, x, lay_out(layout, rows))

    def test_large_products(self, backend: Backend) -> None:
        """A product of matrices of several tiles each way."""
        a, b = wave(65, 70), wave(70, 66)
        x, y = send(backend, flat(a), (65, 70), "float32"), send(backend, flat(b), (70, 66), "float32")
        assert_close(constant(backend, backend.xp.matmul(x, y)), product(a, b), rtol=0.0)

    def test_large_whole_numbers(self, backend: Backend) -> None:
        """int64 has 64 bits, in sums too."""
        xp, plain = backend.xp, [2**40, 3, -(2**33), 2**40 + 1, -7, 2**33]
        x = send(backend, plain, (2, 3), "int64")
        for found, wanted in (
            (xp.sum(x), [sum(plain)]),
            (xp.sum(x, axis=0), [2**41 + 1, -4, 0]),
            (
                xp.cumulative_sum(x, axis=1),
                [2**40, 2**40 + 3, 2**40 + 3 - 2**33, 2**40 + 1, 2**40 - 6, 2**40 - 6 + 2**33],
            ),
            (xp.max(x), [2**40 + 1]),
            (x * 5 - 1, [5 * k - 1 for k in plain]),
            (x // 3, [k // 3 for k in plain]),
            (xp.sort(x, axis=1), [-(2**33), 3, 2**40, -7, 2**33, 2**40 + 1]),
        ):
            assert numbers(backend, found) == wanted

    def test_several_results(self, backend: Backend) -> None:
        """What returns several arrays returns arrays of this backend."""
        xp, x = backend.xp, send(backend, [3, 1, 3, 2], (4,), "int64")
        for results in (
            xp.unique_all(x),
            xp.unique_counts(x),
            xp.nonzero(x > 1),
            xp.unstack(x),
            xp.broadcast_arrays(x, x),
        ):
            for result in results:
                assert numbers(backend, own(backend, result))
        assert numbers(backend, xp.unique_values(x)) in ([1, 2, 3], [3, 1, 2])
        assert numbers(backend, xp.nonzero(x > 1)[0]) == [0, 2, 3]

    def test_a_number_comes_out(self, backend: Backend) -> None:
        """float(), int() and bool() read an array without axes."""
        x = send(backend, [2.5, -1.0], (2,), "float32")
        assert float(x[0]) == 2.5
        assert int(backend.xp.argmax(x)) == 0
        assert bool(backend.xp.all(x > 0)) is False


def _check_rows(backend: Backend, name: str, x: Any, rows: list[list[float]]) -> None:
    call, plain, exact = FUNCTIONS[name]
    before = bits(backend, x)
    y = own(backend, call(backend.xp, x))
    assert on_device(backend, y), f"the result is on {y.device}"
    assert_close(constant(backend, y), plain(rows), rtol=0.0 if exact else None)
    assert bits(backend, x) == before, f"{name} has changed its input"


def abs_nan(x: float) -> float:
    """Return x, without the sign that a nan may have."""
    return nan if x != x else x


def _check(backend: Backend, y: Any, dtype: str, answer: Any) -> None:
    y = own(backend, y)
    assert on_device(backend, y), f"the result is on {y.device}"
    assert backend.dtype_name(y.dtype) == dtype
    if answer is None:
        assert 0 in y.shape
    else:
        assert_close(constant(backend, y), answer, rtol=1e-6 if dtype == F else None)
