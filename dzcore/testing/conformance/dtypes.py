"""Dtypes: Python's numbers are weak, float32 stays float32, and what meets what."""

from collections.abc import Callable
from typing import Any

import pytest

from ... import functions as fn
from ...backend import Backend
from ...graph import Variable, grad
from ..compare import values
from .group import Group
from .measure import COMPUTED, describe, numbers, offered, own, send

__all__ = ["Dtypes"]

REALS = [name for kind in ("int", "uint") for name in (f"{kind}8", f"{kind}16", f"{kind}32", f"{kind}64")]

#: Arrays and Python numbers, on raw arrays: the number takes the array's dtype.
WITH_NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "x + 1.5": lambda xp, x: x + 1.5, "1.5 + x": lambda xp, x: 1.5 + x, "x - 1": lambda xp, x: x - 1,
    "1 - x": lambda xp, x: 1 - x, "x * 0.5": lambda xp, x: x * 0.5, "2 * x": lambda xp, x: 2 * x,
    "x / 3": lambda xp, x: x / 3, "1.0 / x": lambda xp, x: 1.0 / x, "x ** 2": lambda xp, x: x**2,
    "x ** 0.5": lambda xp, x: x**0.5, "2.0 ** x": lambda xp, x: 2.0**x, "x % 0.7": lambda xp, x: x % 0.7,
    "x // 2": lambda xp, x: x // 2, "maximum": lambda xp, x: xp.maximum(x, 0.5),
    "minimum": lambda xp, x: xp.minimum(x, 0.5), "where": lambda xp, x: xp.where(x > 1, x, 0.25),
    "where a whole number": lambda xp, x: xp.where(x > 1, 0, x), "clip": lambda xp, x: xp.clip(x, 0.5, 1.5),
    "full_like": lambda xp, x: xp.full_like(x, 2.5), "sum": lambda xp, x: xp.sum(x), "max": lambda xp, x: xp.max(x),
    "mean": lambda xp, x: xp.mean(x), "mean of an axis": lambda xp, x: xp.mean(x, axis=0),
    "prod": lambda xp, x: xp.prod(x), "var": lambda xp, x: xp.var(x), "std": lambda xp, x: xp.std(x),
    "cumulative_sum": lambda xp, x: xp.cumulative_sum(x), "sum / 3": lambda xp, x: xp.sum(x) / 3,
    "sum * 0.5 + x": lambda xp, x: xp.sum(x) * 0.5 + x, "x[0] * 2.0": lambda xp, x: x[0] * 2.0,
    "sqrt": lambda xp, x: xp.sqrt(x), "exp": lambda xp, x: xp.exp(x), "matmul": lambda xp, x: x @ x,
}  # fmt: skip


class Dtypes(Group):
    """Dtype and scalar rules."""

    @pytest.mark.parametrize("name", WITH_NUMBERS)
    def test_numbers_are_weak(self, name: str, backend: Backend) -> None:
        """A float array beside a Python number, and every reduction of it, keeps its dtype."""
        for dtype in COMPUTED:
            if dtype in backend.dtypes and (name in NARROW or dtype != "float16"):
                y = WITH_NUMBERS[name](backend.xp, send(backend, [1.0, 2.0, 0.5], (3,), dtype))
                assert describe(backend, own(backend, y))[0] == dtype

    def test_whole_numbers_are_weak(self, backend: Backend) -> None:
        """An integer array beside a Python int keeps its dtype."""
        for dtype in REALS:
            if dtype in backend.dtypes:
                x = send(backend, [1, 2, 3], (3,), dtype)
                for y in (x + 1, 2 * x, x // 2, x % 2, x & 3, x >> 1, backend.xp.where(x > 1, x, 0)):
                    assert describe(backend, own(backend, y))[0] == dtype

    def test_casts(self, backend: Backend) -> None:
        """`astype` makes every dtype of every other, with the values; comparisons make bool."""
        for source in backend.dtypes:
            if source.startswith("complex"):
                continue
            for target in backend.dtypes:
                if not target.startswith("complex"):
                    x = send(backend, [0, 1, 1], (3,), source)
                    y = own(backend, backend.xp.astype(x, backend.dtypes[target]))
                    assert describe(backend, y) == (target, (3,))
                    assert numbers(backend, y) == [0, 1, 1]
            if source != "bool":
                assert describe(backend, own(backend, send(backend, [0, 1], (2,), source) > 0))[0] == "bool"

    def test_promotion(self, backend: Backend) -> None:
        """Two dtypes of one kind meet in the wider one."""
        for narrow, wide in (("float32", "float64"), ("int32", "int64"), ("uint8", "int16"), ("int8", "int32")):
            if {narrow, wide} <= set(backend.dtypes):
                x, y = (send(backend, [1, 2], (2,), dtype) for dtype in (narrow, wide))
                assert describe(backend, own(backend, x + y))[0] == wide
                assert backend.dtype_name(backend.xp.result_type(x, y)) == wide

    def test_asarray(self, backend: Backend) -> None:
        """`Backend.asarray` takes dtypes by their names, on the backend's device."""
        for dtype in backend.dtypes:
            x = own(backend, backend.asarray([[0, 1]], dtype))
            assert describe(backend, x) == (dtype, (1, 2))

    # Variables -------------------------------------------------------------------------------------------------

    def test_numbers_without_an_array(self, backend: Backend) -> None:
        """They become float32, int64 or bool, whatever the library's own default is."""
        dz = offered()
        cases: list[tuple[Any, str]] = [
            (1.5, "float32"), (2, "int64"), (True, "bool"), ([1.0, 2], "float32"), ([[1], [2]], "int64"),
            ([], "float32"),
        ]  # fmt: skip
        for data, dtype in cases:
            for x in (Variable(data), dz.asarray(data)):
                assert x.backend is backend
                assert backend.owns(x.data)
                assert x.dtype == backend.dtype(dtype)
                assert values(x) == _flat(data)
            assert Variable(data).requires_grad == (dtype == "float32")
        for x in (dz.zeros(3), dz.ones((2, 2)), dz.full(2, 0.5), dz.linspace(0, 1, 3), dz.eye(2), dz.empty(1),
                  dz.arange(3.0)):  # fmt: skip
            assert x.dtype == backend.dtype("float32")
            assert backend.owns(x.data)
        assert dz.arange(3).dtype == backend.dtype("int64")

    @pytest.mark.parametrize("dtype", COMPUTED)
    def test_variables_keep_their_dtype(self, dtype: str, backend: Backend) -> None:
        """Results and first and second derivatives have the dtype of the input, beside Python numbers too."""
        if dtype not in backend.dtypes:
            return
        x = Variable(send(backend, [0.5, 1.0, 2.0], (3,), dtype))
        y = fn.mean((2.0 * x + 1) ** 2 / 3 - x * 0.5) + fn.max(x) + fn.sum(fn.where(x > 1, x * x, 0.0))
        (gx,) = grad(y, x, create_graph=True)
        assert gx is not None
        (ggx,) = grad(gx, x)
        assert ggx is not None
        assert [backend.dtype_name(each.dtype) for each in (y, gx, ggx)] == [dtype] * 3
        assert all(backend.owns(each.data) for each in (y, gx, ggx))

    def test_mixed_variables(self, backend: Backend) -> None:
        """Gradients come back in the dtype of their own input."""
        if "float64" not in backend.dtypes:
            return
        x, w = (Variable(send(backend, [1.0, 2.0], (2,), dtype)) for dtype in ("float32", "float64"))
        y = x * w
        assert backend.dtype_name(y.dtype) == "float64"
        y.backward()
        assert x.grad is not None
        assert w.grad is not None
        assert [backend.dtype_name(g.dtype) for g in (x.grad, w.grad)] == ["float32", "float64"]

    def test_what_has_a_gradient(self, backend: Backend) -> None:
        """Floating-point values do; integers and booleans do not."""
        for dtype in backend.dtypes:
            if not dtype.startswith("complex"):
                x = Variable(send(backend, [0, 1], (2,), dtype))
                assert x.requires_grad == ("float" in dtype)


#: What is asked for in float16 too: what dzcore itself needs there.
NARROW = {name for name in WITH_NUMBERS if name not in ("x % 0.7", "x // 2", "prod", "var", "std", "cumulative_sum")}


def _flat(data: Any) -> list[Any]:
    return [x for each in data for x in _flat(each)] if isinstance(data, list) else [data]
