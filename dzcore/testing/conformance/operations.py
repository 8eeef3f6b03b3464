"""Operations: every function of the op table: values, first and second derivatives, dtypes, ownership."""

from math import exp, isnan
from typing import Any

import pytest

from ... import functions as fn
from ...backend import Backend, use_backend
from ...graph import Variable, grad
from ..compare import assert_close, values
from ..gradients import check_gradients
from ..ops import OPS, Op
from .group import Group
from .measure import COMPUTED, bits, offered, on_device, reference_for, send, widest

__all__ = ["Operations"]

DIFFERENTIABLE = [op for op in OPS if op.order]
#: Indices and counts, in an integer dtype that is the library's own choice.
COUNTS = {"argmax", "argmin", "argsort", "count_nonzero", "nonzero", "searchsorted", "unique_all", "unique_counts",
          "unique_inverse"}  # fmt: skip
RTOL = {"float64": 1e-11, "float32": 2e-5}
ATOL = {"float64": 1e-12, "float32": 2e-6}


def _results(op: Op, xs: list[Variable]) -> list[Any]:
    y = op.call(offered(), *xs)
    return list(y) if isinstance(y, tuple) else [y]


def _gradients(ys: list[Any], xs: list[Variable]) -> list[Any]:
    """Return the gradients of sum(y * (1, 2, 3 …)), None for what the results ignore."""
    ys = [y for y in ys if y.requires_grad]
    seeds = [send(y.backend, range(1, y.size + 1), y.shape, y.backend.dtype_name(y.dtype)) for y in ys]
    return list(grad(ys, [x for x in xs if x.requires_grad], seeds, allow_unused=True))


def _compare(found: Any, expected: Any, backend: Backend, atol: float = 1.0) -> None:
    """Compare a result with that of the reference, moved here."""
    if not isinstance(expected, Variable):
        assert found == expected
        return
    assert found.backend is backend
    assert backend.owns(found.data), f"{type(found.data)} is no array of {backend}"
    assert on_device(backend, found.data)
    dtype = backend.dtype_name(found.dtype)
    assert_close(found.detach(), expected.detach().to(backend), RTOL.get(dtype), atol * ATOL.get(dtype, 0.0))


def _dtypes(backend: Backend, reference: Backend) -> list[str]:
    """List what values are compared in: a fast path for float32 alone is the rule rather than the exception."""
    return [dtype for dtype in RTOL if dtype in backend.dtypes and dtype in reference.dtypes]


class Operations(Group):
    """The op table."""

    @pytest.mark.parametrize("wrong", [-1, 3])
    def test_classes_that_do_not_exist(self, wrong: int, backend: Backend) -> None:
        """softmax_cross_entropy refuses them; on an accelerator the loss is nan, and so is the gradient of that row."""
        rows = [[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]]
        x = Variable(send(backend, rows[0] + rows[1], (2, 3), "float32"))
        t = Variable(send(backend, [wrong, 1], (2,), "int64"))
        if not backend.accelerator:
            with pytest.raises(ValueError, match="classes"):
                fn.softmax_cross_entropy(x, t)
            return
        y = fn.softmax_cross_entropy(x, t)
        assert isnan(float(y)), f"class {wrong} of 3 gives the loss {float(y)}"
        total = sum(map(exp, rows[1]))
        right = [(exp(v) / total - (j == 1)) / 2 for j, v in enumerate(rows[1])]
        for create_graph in (False, True):
            (gx,) = grad(y, x, create_graph=create_graph)
            assert gx is not None
            found = values(gx)
            assert all(map(isnan, found[:3])), f"class {wrong} of 3 gives the gradient {found[:3]}"
            assert all(abs(a - b) <= 1e-6 for a, b in zip(found[3:], right, strict=True))

    @pytest.mark.parametrize("op", OPS, ids=str)
    def test_values(self, op: Op, backend: Backend) -> None:
        """Results are the reference's, in dtype, shape and value; they are arrays of this backend; inputs stay."""
        reference = reference_for(backend)
        for dtype in _dtypes(backend, reference):
            with use_backend(reference):
                expected = _results(op, op.draw(reference, dtype))
                if op.name in COUNTS:
                    expected = [y.astype("int64") for y in expected]
            xs = op.draw(backend, dtype)
            before = [bits(backend, x.data) for x in xs]
            found = _results(op, xs)
            assert len(found) == len(expected)
            for y, other in zip(found, expected, strict=True):
                _compare(y.astype("int64") if op.name in COUNTS else y, other, backend)
            assert [bits(backend, x.data) for x in xs] == before, f"{op} has changed an input"

    @pytest.mark.parametrize("op", DIFFERENTIABLE, ids=str)
    def test_gradients(self, op: Op, backend: Backend) -> None:
        """Gradients are the reference's; what they are computed from stays as it is."""
        reference = reference_for(backend)
        for dtype in _dtypes(backend, reference):
            with use_backend(reference):
                others = op.draw(reference, dtype)
                expected = _gradients(_results(op, others), others)
            xs = op.draw(backend, dtype)
            ys = _results(op, xs)
            before = [bits(backend, x.data) for x in (*xs, *ys)]
            for gx, other in zip(_gradients(ys, xs), expected, strict=True):
                assert (gx is None) == (other is None)
                if gx is not None:
                    _compare(gx, other, backend, atol=10.0)
            assert [bits(backend, x.data) for x in (*xs, *ys)] == before, f"the gradient of {op} has changed an array"

    @pytest.mark.parametrize("op", DIFFERENTIABLE, ids=str)
    def test_derivatives(self, op: Op, backend: Backend) -> None:
        """First and second derivatives are those that differences of values show."""
        xs = op.draw(backend, widest(backend))
        check_gradients(lambda *xs: op.call(offered(), *xs), *xs, order=op.order)

    @pytest.mark.parametrize("op", DIFFERENTIABLE, ids=str)
    def test_dtypes(self, op: Op, backend: Backend) -> None:
        """float32 stays float32 in results, first and second derivatives; so does float16, where it is there."""
        for dtype in COMPUTED:
            if dtype not in backend.dtypes:
                continue
            xs = op.draw(backend, dtype)
            ys = _results(op, xs)
            leaves = [x for x in xs if x.requires_grad]
            first = grad(ys, leaves, create_graph=True, allow_unused=True)
            again = [g for g in first if g is not None and g.requires_grad]
            second = grad(again, leaves, allow_unused=True) if again and dtype != "float64" else []
            wanted = "float32" if op.name == "astype" else dtype
            for found in (ys, first, second):
                for x in found:
                    if x is not None:
                        assert backend.dtype_name(x.dtype) == (wanted if found is ys else dtype)
                        assert backend.owns(x.data)

    @pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if op.elementwise], ids=str)
    def test_shapes(self, op: Op, backend: Backend) -> None:
        """Arrays without axes and without elements go through, with their gradients."""
        for shape in ((), (0, 3)):
            xs = op._replace(inputs=tuple(sample._replace(shape=shape) for sample in op.inputs)).draw(
                backend, "float32"
            )
            (y,) = _results(op, xs)
            assert y.shape == shape
            assert backend.owns(y.data)
            for gx in _gradients([y], xs):
                assert gx is None or gx.shape == shape
