"""Whole sequences as one node: their derivatives, their graph, what backends make of them, and what is refused."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
from dzcore import Variable, get_backend, grad, random, use_backend
from dzcore.backend import Backend, register_backend, unregister_backend
from dzcore.errors import MixedBackendError
from dzcore.functions.recurrent import GRU, LSTM, RNN, Cell
from dzcore.graph.engine import reachable
from dzcore.testing import assert_close, check_gradients

CELLS = [RNN, LSTM, GRU]


def draw(*shape: int, seed: int = 1, dtype: str = "float64") -> Variable:
    return Variable(random.Generator(seed).uniform(shape, -1.0, 1.0, dtype))


def inputs(cell: Cell, steps: int = 3, n: int = 2, hidden: int = 3, dtype: str = "float64") -> list[Variable]:
    """Return x, W, b, U, perhaps d, h, perhaps c."""
    width = cell.gates * hidden
    shapes = [
        (steps, n, 4),
        (4, width),
        (width,),
        (hidden, width),
        *[(width,)] * cell.reset,
        *[(n, hidden)] * (1 + (cell is LSTM)),
    ]
    return [draw(*shape, seed=2 + i, dtype=dtype) for i, shape in enumerate(shapes)]


def outputs(cell: Cell, *xs: Any) -> list[Variable]:
    """Return every h, and the last c of an LSTM."""
    if cell is LSTM:
        return list(F.lstm(*xs))
    return [F.rnn(*xs) if cell is RNN else F.gru(*xs)]


def unrolled(cell: Cell, x: Variable, W: Variable, b: Variable, U: Variable, *rest: Variable) -> list[Variable]:
    """Return the same from the formulas, an operation a node."""
    *bias, h = rest[:-1] if cell is LSTM else rest
    c = rest[-1]
    hs = []
    for each in x:
        a = F.linear(each, W, b)
        p, q = F.split(a, cell.gates, axis=1), F.split(F.matmul(h, U), cell.gates, axis=1)
        if cell is RNN:
            h = F.tanh(p[0] + q[0])
        elif cell is LSTM:
            f, i, o, u = (one + other for one, other in zip(p, q, strict=True))
            c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(u)
            h = F.sigmoid(o) * F.tanh(c)
        else:
            d = F.split(bias[0], 3)
            r, z = F.sigmoid(p[0] + q[0] + d[0]), F.sigmoid(p[1] + q[1] + d[1])
            h = (1.0 - z) * F.tanh(p[2] + r * (q[2] + d[2])) + z * h
        hs.append(h)
    return [F.stack(hs), *[c] * (cell is LSTM)]


def weighted(ys: list[Variable]) -> Variable:
    """Return a number that depends on every result in a way of its own."""
    total: Any = 0.0
    for k, y in enumerate(ys):
        weight = draw(*y.shape, seed=9 + k, dtype=y.backend.dtype_name(y.dtype)).detach()
        total = total + F.sum(y * F.sin(weight * 3.0))
    return total  # type: ignore[no-any-return]


# Derivatives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("steps", [1, 4])
def test_derivatives_of_all_results_together(cell: Cell, steps: int, backend: Backend) -> None:
    check_gradients(lambda *xs: outputs(cell, *xs), *inputs(cell, steps), directions=1)


@pytest.mark.parametrize("cell", CELLS)
def test_the_third_derivative_is_that_of_the_formulas(cell: Cell) -> None:
    found = []
    for form in (outputs, unrolled):
        xs = inputs(cell)
        y = weighted(form(cell, *xs))
        for order in range(3):
            gxs = grad(y, xs, create_graph=True)
            y = weighted([g * g for g in gxs if g is not None]) if order < 2 else y
        found.append([np.asarray(g.data) for g in gxs if g is not None])
    for one, other in zip(*found, strict=True):
        assert np.abs(one).max() > 1e-3
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("graph", [False, True])
def test_any_choice_of_inputs(cell: Cell, graph: bool) -> None:
    """The gradients of those that need one do not depend on whether the others do."""
    whole = inputs(cell)
    wanted = grad(weighted(outputs(cell, *whole)), whole)
    for choice in range(1, 2 ** len(whole)):
        xs = [x.alias() if choice >> i & 1 else x.detach() for i, x in enumerate(whole)]
        needed = [i for i in range(len(xs)) if choice >> i & 1]
        found = grad(weighted(outputs(cell, *xs)), [xs[i] for i in needed], create_graph=graph)
        for i, g in zip(needed, found, strict=True):
            np.testing.assert_allclose(g.data, wanted[i].data, rtol=1e-12)  # type: ignore[union-attr]


def test_the_last_c_alone_has_a_gradient() -> None:
    xs, ys = inputs(LSTM), inputs(LSTM)
    found, wanted = grad(weighted(outputs(LSTM, *xs)[1:]), xs), grad(weighted(unrolled(LSTM, *ys)[1:]), ys)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-12)  # type: ignore[union-attr]


@given(
    cell=st.sampled_from(CELLS),
    steps=st.integers(1, 4),
    n=st.integers(0, 3),
    hidden=st.integers(1, 3),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e3]),
)
def test_it_is_the_formulas(cell: Cell, steps: int, n: int, hidden: int, scale: float) -> None:
    """In values and gradients, also where gates are shut or open."""
    found = []
    for form in (outputs, unrolled):
        xs = [x.detach() * scale for x in inputs(cell, steps, n, hidden)]
        xs = [Variable(x.data) for x in xs]
        ys = form(cell, *xs)
        found.append([np.asarray(y.data) for y in (*ys, *grad(weighted(ys), xs))])  # type: ignore[union-attr]
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12 * max(1.0, scale))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_spreads_as_in_the_formulas(cell: Cell, bad: float) -> None:
    """From one row to no other."""
    found = []
    for form in (outputs, unrolled):
        xs = inputs(cell)
        xs[0].data[1, 0, :2] = bad
        with np.errstate(all="ignore"):
            ys = form(cell, *xs)
            (gx,) = grad(weighted(ys), xs[:1])
        found.append([np.asarray(y.data) for y in (*ys, gx)])  # type: ignore[union-attr]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert np.isfinite(found[0][0][:, 1]).all()


@pytest.mark.parametrize("cell", CELLS)
def test_large_arrays(cell: Cell) -> None:
    """Where a backend computes in loops of its own, the results are those of small portions."""
    xs = inputs(cell, steps=5, n=70, hidden=40, dtype="float32")
    whole = outputs(cell, *xs)
    gx = grad(weighted(whole), xs)[0]
    ends, begin = [], [0, 3, 40, 70]
    gy = [F.sin(draw(*y.shape, seed=9 + k, dtype="float32").detach() * 3.0) for k, y in enumerate(whole)]
    for i, j in pairwise(begin):
        part = [x.detach() for x in xs]
        part[0] = part[0][:, i:j]
        states = 2 if cell is LSTM else 1
        part[-states:] = [x[i:j] for x in part[-states:]]
        part = [Variable(x.data) for x in part]
        ys = outputs(cell, *part)
        gs = [g[..., i:j, :] for g in gy]
        ends.append([*[y.data for y in ys], grad(ys, part, gs)[0].data])  # type: ignore[union-attr]
    for k, y in enumerate([*[y.data for y in whole], gx.data]):  # type: ignore[union-attr]
        joined = np.concatenate([end[k] for end in ends], axis=y.ndim - 2)
        np.testing.assert_allclose(joined, y, rtol=2e-5, atol=1e-5 * np.abs(y).max())


# The graph -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_is_one_node(cell: Cell) -> None:
    """However long it is."""
    counts = [len(reachable([outputs(cell, *inputs(cell, steps))[0].node])) for steps in (2, 50)]
    slices = int(cell is LSTM)
    assert counts == [1 + slices + len(inputs(cell))] * 2


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_are_left_alone(cell: Cell) -> None:
    xs = inputs(cell, steps=3, n=50, hidden=50)
    before = [x.data.copy() for x in xs]
    ys = outputs(cell, *xs)
    numbers = [y.data.copy() for y in ys]
    gys = [draw(*y.shape, seed=20) for y in ys]
    weights = [g.data.copy() for g in gys]
    first = grad(ys, xs, gys)
    again = grad(ys, xs, gys)
    for array, copy in zip([*[x.data for x in (*xs, *ys, *gys)]], [*before, *numbers, *weights], strict=True):
        np.testing.assert_array_equal(array, copy)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.data, other.data)  # type: ignore[union-attr]


# Backends ------------------------------------------------------------------------------------------------------------


class Plain(type(get_backend("numpy"))):  # type: ignore[misc]
    """NumPy with the core's own loops over the steps."""

    name = "plain"
    steps_ahead = steps_back = None


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loops_of_a_backend_are_those_of_the_core(cell: Cell, dtype: str) -> None:
    register_backend(Plain)
    try:
        found = []
        for name in ("numpy", "plain"):
            with use_backend(name):
                xs = inputs(cell, steps=4, dtype=dtype)
                ys = outputs(cell, *xs)
                gxs = grad(weighted(ys), xs)
            found.append([np.asarray(y.data) for y in (*ys, *gxs)])  # type: ignore[union-attr]
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6)
    finally:
        unregister_backend("plain")


# What is refused, and what is not ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "which", "shape", "message"),
    [
        (RNN, 0, (2, 3), r"rnn: x has shape \(2, 3\) and W \(4, 3\); x must be \(steps, n, size\)"),
        (LSTM, 0, (0, 2, 4), r"lstm: x has shape \(0, 2, 4\).* one step at least"),
        (GRU, 0, (3, 2, 5), r"gru: x has shape \(3, 2, 5\) and W \(4, 9\).* last axis of x must be the first of W"),
        (GRU, 1, (4,), r"gru: x has shape \(3, 2, 4\) and W \(4,\)"),
        (GRU, 1, (4, 8), r"gru: W has shape \(4, 8\); its columns are those of 3 gates, of equal width"),
        (
            RNN,
            2,
            (1,),
            r"rnn: b has shape \(1,\); for x of shape \(3, 2, 4\) and W of shape \(4, 3\) it must be \(3,\)",
        ),
        (LSTM, 3, (3, 9), r"lstm: U has shape \(3, 9\);.* it must be \(3, 12\)"),
        (LSTM, 3, (), r"lstm: U has shape \(\);"),
        (GRU, 4, (3,), r"gru: d has shape \(3,\);.* it must be \(9,\)"),
        (RNN, 4, (1, 3), r"rnn: h has shape \(1, 3\);.* it must be \(2, 3\)"),
        (LSTM, 5, (2, 4), r"lstm: c has shape \(2, 4\)"),
    ],
)
def test_wrong_shapes(cell: Cell, which: int, shape: tuple[int, ...], message: str) -> None:
    xs: list[Any] = inputs(cell)
    xs[which] = draw(*shape)
    with pytest.raises(ValueError, match=message):
        outputs(cell, *xs)


def test_two_backends(strict: str) -> None:
    xs = inputs(RNN)
    xs[3] = xs[3].to(strict)
    with pytest.raises(MixedBackendError, match="a Variable on strict meets numpy; move it"):
        outputs(RNN, *xs)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("which", [0, 1, 3, -1])
def test_dtypes_are_promoted(cell: Cell, which: int, backend: Backend) -> None:
    """Each input's gradient has the input's own dtype."""
    xs = inputs(cell, dtype="float32")
    xs[which] = Variable(dzcore.astype(xs[which].detach(), "float64")._data)
    ys = outputs(cell, *xs)
    assert {backend.dtype_name(y.dtype) for y in ys} == {"float64"}
    gxs = grad(weighted(ys), xs)
    assert [g.dtype for g in gxs] == [x.dtype for x in xs]  # type: ignore[union-attr]


def test_arrays_are_taken() -> None:
    x, W, b, U, h = ([[[0.5]], [[-1.0]]], [[3.0]], [0.125], [[2.0]], [[0.25]])
    ys = F.rnn(*[np.asarray(each, "float32") for each in (x, W, b, U, h)])
    first = np.tanh(1.5 + 0.125 + 2 * 0.25)
    np.testing.assert_allclose(ys.data[:, 0, 0], [first, np.tanh(-3.0 + 0.125 + 2 * first)], rtol=1e-6)


def test_the_same_on_every_backend(backend: Backend) -> None:
    for cell in CELLS:
        found = outputs(cell, *inputs(cell))
        with use_backend("numpy"):
            wanted = outputs(cell, *inputs(cell))
        for one, other in zip(found, wanted, strict=True):
            assert_close(one.detach(), other.data.tolist(), rtol=1e-12)
