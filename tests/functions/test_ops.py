"""Every function of the op table, on every backend: values, derivatives, dtypes, shapes, and no array changed."""

import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, basic_indices, mutually_broadcastable_shapes

import dzcore
import dzcore.functions as F
from dzcore import Variable
from dzcore.backend import Backend, use_backend
from dzcore.graph import engine
from dzcore.graph.node import Node
from dzcore.testing import OPS, Op, assert_close, check_gradients, values

#: Names of dzcore.functions that are no operations on arrays; tests/test_array_api.py has them.
NO_OPERATIONS = {
    "can_cast", "e", "finfo", "from_dlpack", "iinfo", "inf", "isdtype", "nan", "newaxis", "pi", "result_type",
}  # fmt: skip
DIFFERENTIABLE = [op for op in OPS if op.order]
ELEMENTWISE = [op for op in DIFFERENTIABLE if op.elementwise]
NOT_LOOKED_AT = "the integers in an array on an accelerator are not looked at"


def ids(op: Op) -> str:
    return str(op)


def host(x: Any) -> Any:
    """Return anything as NumPy arrays."""
    if isinstance(x, Variable):
        return np.frombuffer(x.to_host().buffer, x.to_host().dtype).reshape(x.shape)
    return tuple(host(each) for each in x) if isinstance(x, tuple | list) and any(map(_variable, x)) else x


def _variable(x: Any) -> bool:
    return isinstance(x, Variable)


def results(op: Op, xs: list[Variable]) -> list[Any]:
    y = op.call(dzcore, *xs)
    return list(y) if isinstance(y, tuple) else [y]


def gradients(op: Op, xs: list[Variable]) -> list[Any]:
    """Return the gradients of sum(y * (1, 2, 3 …)) as NumPy arrays, None for what the results ignore."""
    ys = [y for y in results(op, xs) if y.requires_grad]
    leaves = [x for x in xs if x.requires_grad]
    seeds = [x.backend.from_host(as_host(1 + np.arange(x.size, dtype=host(x).dtype).reshape(x.shape))) for x in ys]
    return [g if g is None else host(g) for g in dzcore.grad(ys, leaves, seeds, allow_unused=True)]


def as_host(x: Any) -> dzcore.backend.HostArray:
    return dzcore.backend.HostArray(x.dtype.name, x.shape, np.ascontiguousarray(x).tobytes())


# The table -----------------------------------------------------------------------------------------------------------


def test_the_table_is_complete() -> None:
    assert {op.name for op in OPS} == set(F.__all__) - NO_OPERATIONS
    assert len({str(op) for op in OPS}) == len(OPS), "two entries have one name and label"


def test_every_rule_is_used_by_some_entry(numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """No rule hides behind a function that the table calls in one form only."""
    seen: set[Any] = set()
    pull = Node.pull

    def record(self: Node, *args: Any) -> Any:
        seen.add(self.plan)
        return pull(self, *args)

    monkeypatch.setattr(Node, "pull", record)
    monkeypatch.setattr(engine, "Node", None)  # which has a quick way around `pull`
    for op in DIFFERENTIABLE:
        check_gradients(lambda *xs, op=op: op.call(dzcore, *xs), *op.draw(numpy_backend), order=op.order, directions=1)
    modules = [m for name, m in vars(F).items() if isinstance(m, types.ModuleType) and name != "sys"]
    specs = {id(f.spec): f.spec for m in modules for f in vars(m).values() if hasattr(f, "spec")}
    rules = [spec for spec in specs.values() if spec.gradients]
    assert len(rules) > 60
    unused = {spec.name for spec in rules if seen.isdisjoint(spec.plans.values())}
    assert unused <= {"astype", "dropped", "window_pick"}  # the last is of the third order, and has a test of its own


@pytest.mark.parametrize("op", OPS, ids=ids)
def test_values(op: Op, backend: Backend) -> None:
    xs = op.draw(backend)
    found = results(op, xs)
    wanted = op.reference(np, *[host(x) for x in xs])
    wanted = list(wanted) if isinstance(wanted, tuple) and op.name != "broadcast_shapes" else [wanted]
    if op.name == "broadcast_shapes":
        assert op.call(dzcore) == wanted[0]
        return
    assert len(found) == len(wanted)
    for y, expected in zip(found, wanted, strict=True):
        assert y.backend is backend
        expected = np.asarray(expected)
        single = y.dtype == dzcore.float32
        assert_close(y, expected.tolist() if expected.size else y.detach(), rtol=1e-6 if single else 1e-11, atol=1e-12)
        assert y.shape == expected.shape
        if xs and not single:
            assert str(y.dtype).rpartition(".")[2] == expected.dtype.name


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=ids)
def test_derivatives(op: Op, backend: Backend) -> None:
    check_gradients(lambda *xs: op.call(dzcore, *xs), *op.draw(backend), order=op.order)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=ids)
def test_gradients_are_the_same_on_every_backend(op: Op, backend: Backend, numpy_backend: Backend) -> None:
    found = gradients(op, op.draw(backend))
    with use_backend(numpy_backend):
        wanted = gradients(op, op.draw(numpy_backend))
    for g, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("op", [op for op in OPS if not op.order], ids=ids)
def test_no_gradient(op: Op, numpy_backend: Backend) -> None:
    """What the table says has no gradient gives constants, and nothing comes out of the others but floats."""
    if op.name not in ("astype", "broadcast_shapes"):
        assert not any(y.requires_grad for y in results(op, op.draw(numpy_backend)))


# Dtypes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=ids)
def test_dtype(op: Op, backend: Backend, dtype: str) -> None:
    """float32 stays float32, in results, first and second derivatives, also beside Python numbers."""
    xs = op.draw(backend, dtype)
    ys = results(op, xs)
    assert {backend.dtype_name(y.dtype) for y in ys} == {dtype}
    leaves = [x for x in xs if x.requires_grad]
    for create_graph in (False, True):
        found = dzcore.grad(ys, leaves, create_graph=create_graph, allow_unused=True)
        assert {backend.dtype_name(g.dtype) for g in found if g is not None} == {dtype}
    again = [g for g in found if g is not None and g.requires_grad]
    if again:
        second = dzcore.grad(again, leaves, allow_unused=True)
        assert {backend.dtype_name(g.dtype) for g in second if g is not None} <= {dtype}


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=ids)
def test_float16(op: Op, numpy_backend: Backend) -> None:
    """float16 is what NumPy makes of float16, and its gradients are float16."""
    xs = op.draw(numpy_backend, "float16")
    for y in results(op, xs):
        assert y.dtype == np.float16
    for y, expected in zip(results(op, xs), results(op, op.draw(numpy_backend)), strict=True):
        np.testing.assert_allclose(host(y), host(expected), rtol=0.02, atol=0.03)
    assert {g.dtype for g in gradients(op, xs) if g is not None} == {np.dtype("float16")}


@pytest.mark.parametrize("op", ELEMENTWISE, ids=ids)
def test_mixed_precision(op: Op, numpy_backend: Backend) -> None:
    """A float32 operand beside float64 ones is promoted, and its gradient comes back in float32."""
    xs = op.draw(numpy_backend)
    floats = [i for i, x in enumerate(xs) if x.requires_grad]
    if len(floats) > 1:
        single = [Variable(x.data.astype("float32")) if i == floats[0] else x for i, x in enumerate(xs)]
        (y,) = results(op, single)
        assert y.dtype == np.float64
        found = dzcore.grad(y, [single[i] for i in floats])
        assert [g.dtype for g in found] == ["float32"] + ["float64"] * (len(floats) - 1)


@pytest.mark.parametrize(
    "call", [dzcore.concat, dzcore.stack, lambda xs: xs[0] @ xs[1], lambda xs: F.linear(xs[0], xs[1], xs[2])]
)
def test_mixed_precision_of_the_others(call: Callable[..., Variable]) -> None:
    xs = [Variable(np.ones(shape, dtype)) for shape, dtype in (((2, 2), "f4"), ((2, 2), "f8"), ((2, 2), "f4"))]
    y = call(xs)
    assert y.dtype == np.float64
    used = dzcore.grad(y, xs, allow_unused=True)
    assert [g.dtype for g in used if g is not None] == [x.dtype for x, g in zip(xs, used, strict=True) if g is not None]


@pytest.mark.parametrize("op", [op for op in ELEMENTWISE if str(op) != "pow--2" and op.name != "where"], ids=ids)
def test_integers_carry_no_gradient(op: Op, numpy_backend: Backend) -> None:
    xs = [Variable(np.ones(x.shape, "int64")) for x in op.draw(numpy_backend)]
    with np.errstate(all="ignore"):
        assert not any(y.requires_grad for y in results(op, xs))


def test_integer_operands_get_no_gradient(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    n = Variable([3, 4])
    (dzcore.where(n > 3, x, 0.0) + dzcore.take(x, n - 3)).backward()
    assert n.grad is None
    assert not n.requires_grad
    assert_close(x.grad, [1.0, 2.0])


# Shapes --------------------------------------------------------------------------------------------------------------

BINARY = [op for op in DIFFERENTIABLE if op.elementwise and len(op.inputs) == 2 and op.label == ""]


def dtypes(op: Op) -> list[str]:
    return ["float64" if hasattr(sample, "low") else "bool" for sample in op.inputs]


@pytest.mark.parametrize("op", BINARY, ids=ids)
@given(data=st.data())
def test_broadcasting(op: Op, data: st.DataObject) -> None:
    shapes = data.draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0))
    samples = [s._replace(shape=shape) for s, shape in zip(op.inputs, shapes.input_shapes, strict=True)]
    xs = op._replace(inputs=tuple(samples)).draw(dzcore.get_backend("numpy"))
    (y,) = results(op, xs)
    assert y.shape == shapes.result_shape
    np.testing.assert_allclose(host(y), op.reference(np, *[host(x) for x in xs]), rtol=1e-15, atol=1e-15)
    found = dzcore.grad(y, xs)
    full = [Variable(np.broadcast_to(x.data, y.shape)) for x in xs]
    wide = dzcore.grad(results(op, full), full)
    for x, g, gx in zip(xs, found, wide, strict=True):
        assert g.shape == x.shape
        np.testing.assert_allclose(host(g), host(F.sum_to(gx, x.shape)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("op", ELEMENTWISE, ids=ids)
def test_without_axes(op: Op, backend: Backend) -> None:
    xs = op._replace(inputs=tuple(s._replace(shape=()) for s in op.inputs)).draw(backend)
    (y,) = results(op, xs)
    assert y.shape == ()
    assert type(y.data) is type(xs[-1].data)
    check_gradients(lambda *xs: op.call(dzcore, *xs), *xs, order=op.order)


@pytest.mark.parametrize("op", ELEMENTWISE, ids=ids)
def test_empty(op: Op, backend: Backend) -> None:
    xs = op._replace(inputs=tuple(s._replace(shape=(0, 3)) for s in op.inputs)).draw(backend)
    (y,) = results(op, xs)
    assert y.shape == (0, 3)
    leaves = [x for x in xs if x.requires_grad]
    for create_graph in (False, True):
        assert all(g.shape == (0, 3) for g in dzcore.grad(y, leaves, create_graph=create_graph))


EMPTY: dict[str, Callable[..., Any]] = {
    "sum": lambda x: dzcore.sum(x, axis=1),
    "prod": lambda x: dzcore.prod(x, axis=1),
    "cumulative_sum": lambda x: dzcore.cumulative_sum(x, axis=1),
    "cumulative_prod": lambda x: dzcore.cumulative_prod(x, axis=0),
    "reshape": lambda x: dzcore.reshape(x, (3, 0)),
    "flatten": F.flatten,
    "permute_dims": lambda x: dzcore.permute_dims(x, (1, 0)),
    "concat": lambda x: dzcore.concat([x, x], axis=0),
    "matmul": lambda x: x @ x.T,
    "matmul to zeros": lambda x: x.T @ x,
    "linear": lambda x: F.linear(x, Variable(np.ones((3, 2))).to(x.backend), Variable(np.ones(2)).to(x.backend)),
    "rows": lambda x: x[[], :],
    "slice": lambda x: x[:, 1:],
    "mask": lambda x: x[x > 0],
    "pad": lambda x: F.pad(x, [(1, 0), (0, 0)]),
    "softmax": F.softmax,
    "log_softmax": F.log_softmax,
    "softmax_cross_entropy": lambda x: F.softmax_cross_entropy(x, x.backend.asarray([], "int64"), reduction="sum"),
    "broadcast_to": lambda x: dzcore.broadcast_to(x, (2, 0, 3)),
    "tile": lambda x: dzcore.tile(x, (2, 2)),
    "repeat": lambda x: dzcore.repeat(x, 2, axis=1),
    "sort": dzcore.sort,
    "max over the other axis": lambda x: dzcore.max(x, axis=1),
}


@pytest.mark.parametrize("name", EMPTY)
def test_empty_of_the_others(name: str, backend: Backend) -> None:
    x = Variable(np.ones((0, 3))).to(backend)
    x = Variable(x.data)
    y = EMPTY[name](x)
    for create_graph in (False, True):
        (g,) = dzcore.grad(y, x, create_graph=create_graph)
        assert g.shape == (0, 3)


@pytest.mark.parametrize("layout", ["transposed", "strided", "reversed"])
@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=ids)
def test_layouts(op: Op, layout: str, numpy_backend: Backend) -> None:
    """Values and gradients do not depend on how the inputs lie in memory."""
    xs = op.draw(numpy_backend)
    moved = [Variable(x.detach() if not x.requires_grad else _laid_out(x.data, layout)) for x in xs]
    for y, expected in zip(results(op, moved), results(op, xs), strict=True):
        np.testing.assert_allclose(host(y), host(expected), rtol=1e-13, atol=1e-15)
    for g, expected in zip(gradients(op, moved), gradients(op, xs), strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-12, atol=1e-13)


def _laid_out(x: Any, layout: str) -> Any:
    if layout == "transposed":
        return np.asfortranarray(x)
    if layout == "strided":
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan) if x.ndim else x
        wide[..., ::2] = x
        return wide[..., ::2]
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


# Nothing is changed in place -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=ids)
def test_nothing_is_mutated(op: Op, numpy_backend: Backend) -> None:
    """Inputs, results and upstream gradients are as before after both backward passes; here they are read-only."""
    xs = op.draw(numpy_backend)
    for x in xs:
        x.data.flags.writeable = False
    ys = [y for y in results(op, xs) if y.requires_grad]
    seeds = [Variable(1 + np.arange(y.size, dtype=float).reshape(y.shape)).detach() for y in ys]
    leaves = [x for x in xs if x.requires_grad]
    for array in [*(y.data for y in ys), *(seed.data for seed in seeds)]:
        if array.base is None:
            array.flags.writeable = False
    before = [a.data.copy() for a in (*xs, *ys, *seeds)]
    first = [g for g in dzcore.grad(ys, leaves, seeds, allow_unused=True) if g is not None]
    copies = [g.data.copy() for g in first]
    slow = dzcore.grad(ys, leaves, seeds, create_graph=True, allow_unused=True)
    slow = [g for g in slow if g is not None and g.requires_grad]
    if slow:
        dzcore.grad(slow, leaves, allow_unused=True)
    for a, b in zip([*xs, *ys, *seeds, *first], [*before, *copies], strict=True):
        np.testing.assert_array_equal(a.data, b)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=ids)
def test_gradients_repeat(op: Op, numpy_backend: Backend) -> None:
    """A graph that is swept twice gives the same gradients, bit for bit."""
    xs = op.draw(numpy_backend)
    ys, leaves = results(op, xs), [x for x in xs if x.requires_grad]
    for a, b in zip(
        dzcore.grad(ys, leaves, allow_unused=True), dzcore.grad(ys, leaves, allow_unused=True), strict=True
    ):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if len(op.inputs) > 1], ids=ids)
def test_each_input_alone(op: Op, numpy_backend: Backend) -> None:
    """The gradient of one input does not depend on whether the others have one."""
    xs = op.draw(numpy_backend)
    places = [i for i, x in enumerate(xs) if x.requires_grad]
    together = dict(zip(places, gradients(op, xs), strict=True))
    for i, expected in together.items():
        alone = [x if k == i else x.detach() for k, x in enumerate(xs)]
        if expected is not None and any(y.requires_grad for y in results(op, alone)):
            np.testing.assert_allclose(gradients(op, alone)[0], expected, rtol=1e-13)


# x[...] --------------------------------------------------------------------------------------------------------------

INDICES: list[Any] = [
    0, -1, slice(None), slice(1, 3), slice(None, None, -1), slice(-2, None), slice(5, 100), slice(3, 1), slice(-100, 2),
    slice(None, None, 2), slice(3, None, -2), slice(2, None, -1), ..., None, (), (1, 2), (..., 0), (0, ...),
    (1, ..., -1),
    (slice(1, None), slice(None, -1)), (slice(None), 1), (None, 0), (..., None), (0, None, slice(None)),
    (slice(2), None, 1),
    [0, 2, 0], [-1, 0, -1], [], [[0, 1], [1, 0]], range(2), ([0, 0], [1, 1]), ([0, 1], 2), (1, [0, 0, 3]),
    (slice(None), [3, 3, 0]), ([2, 2], slice(1, None)), ([2, 2], slice(None, None, -1)), (..., [1, 1]), ([0, 2], ...),
    (None, [1, 1]), ([1, 1], None), ([[0], [2]], [[1, 1]]), ([0, 1], None, [1, 1]), (0, slice(None), [1, 1]),
    (slice(None), 0, [1, 1]), ([0, 1], slice(None), [2, 2]), ([0, 1], slice(None), 1), (slice(1), [[0, 0], [1, 1]], 1),
    (slice(None), [0, 0], [1, 1]), (slice(None), None, [0, 0], [1, 1]),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_indices(index: Any, backend: Backend) -> None:
    axes = sum(1 for i in (index if isinstance(index, tuple) else (index,)) if i is not None and i is not ...)
    plain = np.arange(1.0, 13).reshape(3, 4) if axes < 3 else np.arange(1.0, 37).reshape(3, 4, 3)
    x = Variable(Variable(plain).to(backend).data)
    asked = tuple(list(i) if isinstance(i, range) else i for i in index) if isinstance(index, tuple) else index
    numpy_index = _integers(asked)
    y = x[index]
    expected = plain[numpy_index]
    assert y.shape == expected.shape
    np.testing.assert_array_equal(host(y), expected)
    weights = np.arange(1.0, expected.size + 1).reshape(expected.shape)
    gx = np.zeros_like(plain)
    np.add.at(gx, numpy_index, weights)
    for create_graph in (False, True):
        (g,) = dzcore.grad(y, x, Variable(weights).detach().to(backend), create_graph=create_graph)
        np.testing.assert_array_equal(host(g), gx)


def _integers(index: Any) -> Any:
    """An empty list is an index of floats to NumPy."""
    if isinstance(index, tuple):
        return tuple(_integers(i) for i in index)
    return np.asarray(index, "int64") if isinstance(index, list | range) else index


@pytest.mark.parametrize("how", ["array", "Variable", "number", "mask", "Variable mask", "row mask", "column mask"])
def test_indices_that_are_arrays(how: str, backend: Backend) -> None:
    plain = np.arange(12.0).reshape(3, 4)
    mask = plain % 3 == 1
    own, numpys = {
        "array": (lambda: raw([2, 0, 2]), [2, 0, 2]),
        "Variable": (lambda: Variable([2, 0, 2]), [2, 0, 2]),
        "number": (lambda: np.int64(1), 1),
        "mask": (lambda: raw(mask.tolist()), mask),
        "Variable mask": (lambda: Variable(mask.tolist()), mask),
        "row mask": (lambda: [True, False, True], [True, False, True]),
        "column mask": (
            lambda: (slice(None), raw([True, False, True, True])),
            (slice(None), [True, False, True, True]),
        ),
    }[how]

    def raw(data: Any) -> Any:
        return backend.asarray(data)

    x = Variable(plain.tolist(), dtype="float64")
    y = x[own()]
    np.testing.assert_array_equal(host(y), plain[numpys])
    y.backward()
    gx = np.zeros_like(plain)
    np.add.at(gx, numpys, 1.0)
    np.testing.assert_array_equal(host(x.grad), gx)


@pytest.mark.parametrize(
    "index",
    [3, -4, (0, 4), (0, 0, 0), [3], [-4], ([0], [4]), ([0], [-5]), (..., ...), [True, True, True, True],
     (slice(None), [True, False]), [0.5], "a", 1.5],
    ids=repr,
)  # fmt: skip
def test_indices_that_are_wrong(index: Any, backend: Backend) -> None:
    if backend.accelerator and index in ([3], [-4], ([0], [4]), ([0], [-5])):
        pytest.skip(NOT_LOOKED_AT)
    with pytest.raises((IndexError, TypeError, AttributeError)):
        Variable([[1.0] * 4] * 3)[index]


@given(data=st.data())
def test_any_basic_index(data: st.DataObject) -> None:
    shape = data.draw(array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    index = data.draw(basic_indices(shape, allow_newaxis=True, max_dims=6))
    plain = np.arange(float(np.prod(shape))).reshape(shape)
    x = Variable(plain)
    np.testing.assert_array_equal(host(x[index]), plain[index])
    gx = np.zeros(shape)
    gx[index] += 1.0
    np.testing.assert_array_equal(host(dzcore.grad(x[index], x)[0]), gx)


@pytest.mark.parametrize("name", ["take", "take_along_axis", "get_item", "softmax_cross_entropy"])
def test_integers_out_of_bounds(name: str, backend: Backend) -> None:
    if backend.accelerator:
        pytest.skip(NOT_LOOKED_AT)
    x = Variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    with pytest.raises((IndexError, ValueError), match=r"out of bounds|outside"):
        {
            "take": lambda: dzcore.take(x, dzcore.asarray([3]), axis=1),
            "take_along_axis": lambda: dzcore.take_along_axis(x, dzcore.asarray([[3], [0]])),
            "get_item": lambda: x[[0, -3]],
            "softmax_cross_entropy": lambda: F.softmax_cross_entropy(x, dzcore.asarray([3, 0])),
        }[name]()


# Linear operations are the transposes of their gradients -------------------------------------------------------------

shaped = arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=4), elements=st.floats(-4, 4, width=32))


@st.composite
def linear_operations(draw: st.DrawFn) -> tuple[Any, Callable[[Variable], Variable]]:
    x = draw(shaped)
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    index = draw(st.lists(st.integers(-n, n - 1), min_size=0, max_size=6))
    some = draw(st.lists(st.sampled_from(range(x.ndim)), unique=True))
    order = draw(st.permutations(range(x.ndim)))
    times = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    k = draw(st.integers(-3, 3))
    other = draw(arrays(np.float64, (x.shape[-1], 2), elements=st.floats(-2, 2, width=32)))
    return x, draw(
        st.sampled_from(
            [
                lambda x: dzcore.sum(x, axis=tuple(some)),
                lambda x: dzcore.sum(x, axis=axis, keepdims=True),
                lambda x: dzcore.mean(x, axis=axis),
                lambda x: dzcore.take(x, dzcore.asarray(index, dtype="int64"), axis=axis),
                lambda x: dzcore.moveaxis(x, axis, 0)[index],
                lambda x: x[..., ::-1][..., index],
                lambda x: dzcore.concat([x, x * 2.0, x], axis=axis),
                lambda x: dzcore.concat([x, x], axis=None),
                lambda x: dzcore.stack([x, -x], axis=axis),
                lambda x: dzcore.permute_dims(x, order),
                lambda x: dzcore.flip(x, axis=tuple(some)),
                lambda x: dzcore.roll(x, k, axis=axis),
                lambda x: dzcore.roll(x, k),
                lambda x: dzcore.cumulative_sum(x, axis=axis, include_initial=True),
                lambda x: dzcore.diff(x, axis=axis),
                lambda x: dzcore.repeat(x, 3, axis=axis),
                lambda x: dzcore.tile(x, times),
                lambda x: F.pad(x, [(1, 2)] * x.ndim),
                lambda x: dzcore.broadcast_to(x, (2, *x.shape)),
                lambda x: F.sum_to(x, (1,) * x.ndim),
                lambda x: dzcore.tril(x[None, ...], k=k),
                lambda x: dzcore.triu(x[..., None], k=k),
                lambda x: x @ other,
                lambda x: dzcore.tensordot(x, x.backend.asarray(other), axes=1),
                lambda x: dzcore.sort(x * 0.0, axis=axis) + x,
            ]
        )
    )


@given(case=linear_operations(), seed=st.integers(0, 2**32))
def test_adjoints_of_linear_operations(case: tuple[Any, Callable[[Variable], Variable]], seed: int) -> None:
    """<f(v), w> = <v, fᵀ(w)>, and fᵀ by the graph is fᵀ by raw arrays."""
    plain, f = case
    v = Variable(plain)
    y = f(v)
    assume(y.requires_grad)
    w = np.random.default_rng(seed).normal(size=y.shape)
    left = float(np.sum(host(y) * w))
    for create_graph in (False, True):
        (gx,) = dzcore.grad(y, v, Variable(w), create_graph=create_graph)
        assert float(np.sum(plain * host(gx))) == pytest.approx(left, rel=1e-10, abs=1e-9)


# Particular points ---------------------------------------------------------------------------------------------------


def first_and_second(f: Callable[[Variable], Variable], at: Any) -> tuple[Any, Any]:
    x = Variable(at, dtype="float64")
    (gx,) = dzcore.grad(f(x), x, create_graph=True)
    (ggx,) = dzcore.grad(gx, x, allow_unused=True) if gx.requires_grad else (None,)
    return values(gx), None if ggx is None else values(ggx)


def test_ties_share_the_gradient(backend: Backend) -> None:
    assert first_and_second(dzcore.max, [3.0, 1.0, 3.0, 3.0])[0] == [1 / 3, 0.0, 1 / 3, 1 / 3]
    assert first_and_second(lambda x: dzcore.min(x, axis=-1), [[2.0, 2.0], [5.0, 4.0]])[0] == [0.5, 0.5, 0.0, 1.0]
    for f in (dzcore.maximum, dzcore.minimum):
        x, y = Variable([1.0, 2.0]), Variable([1.0, 2.0])
        f(x, y).backward()
        assert_close(x.grad, [0.5, 0.5])
        assert_close(y.grad, [0.5, 0.5])


def test_products_with_zeros(backend: Backend) -> None:
    assert first_and_second(dzcore.prod, [0.0, 2.0, 3.0])[0] == [6.0, 0.0, 0.0]
    assert first_and_second(dzcore.prod, [0.0, 2.0, 0.0])[0] == [0.0, 0.0, 0.0]
    assert first_and_second(lambda x: dzcore.sum(dzcore.cumulative_prod(x)), [0.0, 2.0, 3.0])[0] == [9.0, 0.0, 0.0]
    for zeros in ([0.0, 2.0, 3.0], [0.0, 2.0, 0.0]):
        check_gradients(dzcore.prod, zeros)
        check_gradients(dzcore.cumulative_prod, zeros)


def test_powers_at_zero(backend: Backend) -> None:
    assert first_and_second(lambda x: x**1, [0.0])[0] == [1.0]
    assert first_and_second(lambda x: x**2, [0.0, -1.0]) == ([0.0, -2.0], [2.0, 2.0])
    assert first_and_second(lambda x: x**0, [0.0])[0] == [0.0]
    x, y = Variable([0.0, 0.0, 2.0]), Variable([2.0, 0.0, 0.0])
    (x**y).backward()
    assert_close(x.grad, [0.0, 0.0, 0.0])
    assert_close(y.grad, [0.0, 0.0, float(np.log(2.0))], rtol=1e-6)


def test_kinks_have_a_defined_gradient(backend: Backend) -> None:
    assert first_and_second(dzcore.abs, [0.0])[0] == [0.0]
    assert first_and_second(F.relu, [0.0])[0] == [0.0]
    assert first_and_second(lambda x: dzcore.clip(x, -1.0, 1.0), [-1.0, 1.0, 1.5, -1.5])[0] == [1.0, 1.0, 0.0, 0.0]
    assert first_and_second(lambda x: dzcore.hypot(x, 0.0), [0.0])[0] == [0.0]


def test_large_arguments_do_not_overflow(backend: Backend) -> None:
    big = [-1e4, -800.0, 0.0, 800.0, 1e4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values(F.sigmoid(Variable(big))) == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0], abs=1e-37)
        assert values(F.softplus(Variable(big))) == pytest.approx([0.0, 0.0, np.log(2), 800.0, 1e4], rel=1e-6)
        assert float(F.logsumexp(Variable(big))) == 1e4
        assert values(F.log_softmax(Variable([big]))) == [-2e4, -10800.0, -1e4, -9200.0, 0.0]
        assert sum(values(F.softmax(Variable([big])))) == 1.0
        for t in (0.0, 1.0):
            x = Variable(big)
            loss = F.sigmoid_cross_entropy(x, Variable([t] * 5))
            loss.backward()
            assert np.isfinite(float(loss))
            assert np.isfinite(host(x.grad)).all()


def test_losses_refuse_shapes_that_would_broadcast() -> None:
    for loss in (F.mean_squared_error, F.mean_absolute_error, F.huber_loss):
        with pytest.raises(ValueError, match=r"\(3, 1\)"):
            loss(Variable(np.full((3, 1), 0.5)), np.full(3, 0.5))


def test_the_gradients_of_unneeded_inputs_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant operand costs no formula: the plan of the rule has none for it."""
    x, c = Variable(np.ones((2, 2))), Variable(np.ones((2, 2))).detach()
    for y in (x * c, c * x, x @ c, c @ x, dzcore.concat([c, x])):
        assert len(y.node.plan.gradients) == 1
        assert len(y.node.edges) == 1


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with np.errstate(all="raise", under="ignore"):
        yield


@pytest.mark.parametrize("name", ["matmul", "linear"])
def test_third_derivatives_of_rules_whose_gradients_are_rules(name: str, numpy_backend: Backend) -> None:
    op = next(op for op in DIFFERENTIABLE if op.name == name)

    def gradients(*xs: Variable) -> Any:
        y = op.call(dzcore, *xs)
        return dzcore.grad(y * y, xs, create_graph=True)

    check_gradients(gradients, *op.draw(numpy_backend), order=2, directions=1)


def test_second_derivatives_of_products_transpose_nothing(numpy_backend: Backend) -> None:
    """A matrix that is transposed in memory slows down whatever meets it."""
    xp = numpy_backend.xp
    x, W = (dzcore.Variable(xp.ones(shape)) for shape in ((2, 3), (3, 4)))
    gx, gW = dzcore.grad(F.sum(F.tanh(x @ W)), [x, W], create_graph=True)
    assert gx is not None
    assert gW is not None
    assert "transpose" not in dzcore.utils.get_dot_graph(F.sum(gx) + F.sum(gW))
    found = dzcore.grad([gx, gW], [x, W])
    assert all(g.data.flags.c_contiguous for g in found if g is not None)
