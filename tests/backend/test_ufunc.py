"""Formulas as universal functions: every layout and dtype, what is written over, numbers, and where NumPy decides."""

import os
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dzbackend_numpy.compiled import native
from dzbackend_numpy.compiled.loops import Plan
from dzbackend_numpy.compiled.ufunc import ufunc
from dzbackend_numpy.fuse import Fused
from dzbackend_numpy.trace import trace
from dzcore.backend import get_backend

from .test_compiled import same, views

xp = get_backend("numpy").ops

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="the compiler is an extra")

SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 4), (0, 3), (2, 1, 3, 2), (40,), (8, 64)]


def made(formula, *signature):
    """The universal function of a formula; of f4 where nothing is said."""
    found = ufunc(trace(xp, formula, signature or (np.dtype("f4"),)), "name")
    assert type(found) is np.ufunc
    return found


def combined(xp, x, y, z):
    """Exact steps only, so that the bits are those of the plain evaluation."""
    s = xp.sqrt(xp.abs(x)) * y - z / (y * y + 1.0)
    return xp.where(s > z, s, -x), xp.maximum(s, 0.25) + z


@given(shape=st.sampled_from(SHAPES), data=st.data())
def test_any_layout(shape, data):
    inputs = [data.draw(views(shape)) for _ in range(3)]
    with np.errstate(all="ignore"):
        expected = combined(xp, *inputs)
    found = Fused(xp, combined)(*inputs)
    for one, other in zip(found, expected, strict=True):
        same(one, np.asarray(other))


@given(shape=st.sampled_from(SHAPES), data=st.data())
def test_results_in_any_layout(shape, data):
    """In place: with gaps, transposed."""
    inputs = [np.asarray(data.draw(views(shape))) for _ in range(3)]
    full = np.broadcast_shapes(*[x.shape for x in inputs])
    places = [np.empty((*full, 2), "f4")[..., 0], np.empty(full[::-1], "f4").T]
    for place, x in zip(places, inputs, strict=False):
        place[...] = x
    with np.errstate(all="ignore"):
        expected = [np.asarray(y) for y in combined(xp, *places, inputs[2])]
    found = Fused(xp, combined).update(tuple(places), (inputs[2],))
    for one, place, other in zip(found, places, expected, strict=True):
        same(np.ascontiguousarray(one), np.ascontiguousarray(other))
        assert one is place


@pytest.mark.parametrize("shift", [0, 1, 3, 16])
def test_inputs_count_as_read_before_anything_is_written(shift):
    memory = np.random.default_rng(0).normal(size=100).astype("f4")
    p, m = memory[: 100 - shift], np.ones(100 - shift, "f4")
    g = memory[shift:]
    expected = m * 0.5 + g, p - g
    targets = Fused(xp, lambda xp, m, p, g: (m * 0.5 + g, p - g)).update((m, p), (g,))
    assert targets[0] is m
    assert targets[1] is p
    same(m, expected[0])
    same(p, expected[1])


@pytest.mark.parametrize("shift", [1, 2, 7, 8, 9, 31, 32, 33, -1, -8, -33])
def test_one_result_over_its_own_input(shift):
    """NumPy copies nothing where what is read lies ahead: the loop has to read before it writes."""
    memory = np.random.default_rng(1).normal(size=400).astype("f4")
    p, g = (memory[:300], memory[shift:300]) if shift > 0 else (memory[-shift:300], memory[: 300 + shift])
    p = p[: g.size]
    expected = np.tanh(g.astype("f8")) + p
    Fused(xp, lambda xp, p, g: (xp.tanh(g) + p,)).update((p,), (g,))
    np.testing.assert_allclose(p, expected, rtol=1e-5, atol=1e-6)


def test_nothing_is_touched_where_there_is_nothing():
    memory = np.ones(64, "f4")
    out = memory[:0]
    assert made(lambda xp, x: x * 2.0 + 1.0)(memory[:0], out=out) is out
    assert made(lambda xp, x: x * 2.0 + 1.0)(memory[:0:2], out=out) is out
    assert (memory == 1).all()


def test_numbers_are_numbers():
    scaled = Fused(xp, lambda xp, x, a, b: xp.where(x > a, x, x * b))
    for dtype in ("f4", "f8"):
        x = np.linspace(-1, 1, 9).astype(dtype)
        same(scaled(x, 0.25, 0.1), np.where(x > 0.25, x, x * 0.1))
        same(scaled(x, 0, 3), np.where(x > 0, x, x * 3))  # integers are for NumPy
    with pytest.raises(OverflowError):
        Fused(xp, lambda xp, x, n: x + n)(np.ones(3, np.int8), 1000)


def test_a_tuple_of_one_is_a_tuple():
    assert [type(y) for y in Fused(xp, lambda xp, x: (x * x,))(np.ones(3))] == [np.ndarray]
    x = np.ones(3)
    assert Fused(xp, lambda xp, p, g: (p - g,)).update((x,), (np.ones(3),))[0] is x
    assert not x.any()


@pytest.mark.parametrize("kinds", ["ff", "dd", "fd", "df", "ll", "lf", "?f", "bb", "??", "ef"])
def test_dtypes_are_those_of_numpy(kinds):
    def formula(xp, x, y):
        return xp.where(x > y, x, y) + y

    x, y = (np.array([1, 0, 1, 1]).astype(kind) for kind in kinds)
    same(Fused(xp, formula)(x, y), formula(xp, x, y))


def test_other_byte_orders_and_masks_are_for_numpy():
    x = np.linspace(0, 1, 5).astype(">f4")
    same(Fused(xp, lambda xp, x: x * x + x)(x).astype("f4"), (x * x + x).astype("f4"))
    masked = Fused(xp, lambda xp, x: x * x + x)(np.ma.masked_array([1.0, 2.0], [True, False]))
    assert isinstance(masked, np.ma.MaskedArray)


def test_errors_are_those_of_numpy():
    formula = Fused(xp, lambda xp, x, y: x * y + x)
    with pytest.raises(ValueError, match="could not be broadcast"):
        formula(np.ones(3), np.ones(4))
    p = np.ones(3)
    frozen = np.ones(3)
    frozen.flags.writeable = False
    subtract = Fused(xp, lambda xp, p, g: (p - g,))
    (new,) = subtract.update((frozen,), (np.ones(3),))
    assert new is not frozen
    assert (frozen == 1).all()
    (new,) = subtract.update((p,), (np.ones((2, 3)),))  # a larger one takes its place
    assert new.shape == (2, 3)


def test_what_is_larger_than_the_results_is_not_filled():
    """NumPy would repeat them."""
    place = np.zeros((2, 3))
    square = Fused(xp, lambda xp, p, x: (x * x,))
    (found,) = square.update((place,), (np.ones(3),))
    assert found is not place
    assert found.shape == (3,)
    (found,) = square.update((np.zeros(3, "f4"),), (np.ones(3),))
    assert found.dtype == np.float64


def test_no_warnings():
    """The mathematics computes what it does not need: that is not the user's affair."""
    x = np.array([np.inf, -np.inf, np.nan, 1e30, -1e30, 0.0, 1e-40, 3e38] * 5, "f4")
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        for name in ("exp", "tanh", "log", "expm1", "log1p", "sigmoid"):
            Fused(xp, lambda xp, x, name=name: getattr(xp, name)(x) * 1.0)(x)
            Fused(xp, lambda xp, x, name=name: getattr(xp, name)(x) * 1.0)(x[::2])


def test_elements_apart_are_computed_like_those_side_by_side():
    x = np.random.default_rng(3).normal(size=(64, 3), scale=9).astype("f4")
    for name in ("exp", "tanh", "log1p", "sigmoid"):
        f = made(lambda xp, x, name=name: getattr(xp, name)(x))
        same(f(np.abs(x[:, 1])), f(np.ascontiguousarray(np.abs(x[:, 1]))))


def test_the_size_decides(monkeypatch):
    """One thread does what is small, the team the rest."""
    calls = []
    run = Plan.run
    monkeypatch.setattr(Plan, "run", lambda self, *given: calls.append(self) or run(self, *given))
    fused = Fused(xp, lambda xp, x, y: xp.tanh(x) * y)
    small, large = np.ones((3, 1), "f4"), np.ones(100_000, "f4")
    fused(small, small)
    assert not calls
    for pair in ((large, large), (large, small[0]), (small[0], large)):
        fused(*pair)
    assert len(calls) == 3


def test_results_that_do_not_depend_on_every_array_keep_their_shapes():
    """Whatever the size is: NumPy would repeat them."""

    def formula(xp, x, y):
        return x + 1.0, x * y

    for n in (4, 100_000):
        x, y = np.ones((3, 1), "f4"), np.ones((1, n), "f4")
        assert [z.shape for z in Fused(xp, formula)(x, y)] == [(3, 1), (3, n)]
        places = np.zeros((3, n), "f4"), np.zeros((3, n), "f4")
        found, _ = Fused(xp, lambda xp, p, q, x, y: formula(xp, x, y)).update(places, (x, y))
        assert found.shape == (3, 1)
    assert [z.shape for z in Fused(xp, formula)(y, y)] == [(1, n), (1, n)]


def test_more_operands_than_a_universal_function_has():
    found = Fused(xp, lambda xp, *x: sum(x[1:], x[0]))(*[np.ones(2)] * 70)
    assert found.tolist() == [70.0, 70.0]


def test_integers_with_and_without_a_sign():
    for kind in ("i1", "i4", "i8"):
        x, y = np.array([-1, 2, 3]).astype(kind), np.array([2**64 - 1, 2, 5], "u8")
        for compare in (lambda xp, x, y: x < y, lambda xp, x, y: x == y, lambda xp, x, y: x >= y):
            same(Fused(xp, compare)(x, y), compare(xp, x, y))
            same(Fused(xp, compare)(y, x), compare(xp, y, x))


@pytest.mark.parametrize("bound", [np.nan, 1e-60, 0.0, -0.0, 1.0, -2.5, np.inf])
def test_bounds_that_stand_in_the_formula(bound):
    x = np.array([-0.0, 0.0, 1.0, -3.0, np.nan, np.inf, -np.inf, 2.0], "f4")
    for formula in (lambda xp, x: xp.maximum(x, bound) * 1.0, lambda xp, x: xp.minimum(x, bound) * 1.0):
        np.testing.assert_array_equal(Fused(xp, formula)(x), formula(xp, x))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_tanh_is_one_in_the_end(dtype):
    x = np.array([9.1, 20.0, 1e30, np.inf], dtype) * (1 if dtype == "f4" else 3)
    f = made(lambda xp, x: xp.tanh(x), np.dtype(dtype))
    assert (f(x) == 1).all()
    assert (f(-x) == -1).all()
    near = np.linspace(-10, 10, 100_001).astype(dtype)
    assert (np.abs(f(near)) <= 1).all()


def test_a_fork_while_another_thread_compiles():
    """The lock of the compiler is nobody's in the child."""
    script = """
import os, signal, threading
import numpy as np
from dzcore.backend import get_backend
from dzbackend_numpy.compiled import native

backend = get_backend("numpy")
begun = threading.Event()
compile_ = native.Compiler._compile

def slowly(self, text):
    begun.set()
    return compile_(self, text)

native.Compiler._compile = slowly
formula = lambda xp, x: xp.exp(xp.log1p(xp.tanh(x * 1.25))) + xp.expm1(x)
thread = threading.Thread(target=lambda: backend.fuse(formula)(np.ones(5)))
thread.start()
assert begun.wait(60)
child = os.fork()
if child == 0:
    signal.alarm(60)
    backend.fuse(lambda xp, x: x * 7.125 + 1.0)(np.ones(3))
    os._exit(0)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        quiet = ["-W", "ignore::DeprecationWarning"]  # from 3.12 on a fork beside threads warns, and this is one
        command = [sys.executable, *quiet, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert (done.stdout.strip(), done.stderr) == ("0", "")


def test_it_has_the_name_of_its_formula():
    assert made(lambda xp, x: x * x + 1).__name__ == "name"
