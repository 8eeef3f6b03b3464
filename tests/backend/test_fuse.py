"""A fused formula gives the bits of the plain one, whatever the formula, the shape and the block.

Compiled, exp, log, tanh and odd powers have last bits of their own (`test_compiled_mathematics.py` says how many); a
formula that holds them gives the bits that they give one by one.
"""

import threading
import warnings
from contextlib import nullcontext
from unittest import mock

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dzbackend_numpy import NumpyBackend
from dzbackend_numpy.blocks import BLOCK, LEAST, Program
from dzbackend_numpy.compiled import loops
from dzbackend_numpy.compiled.native import compiler
from dzbackend_numpy.fuse import Fused
from dzbackend_numpy.trace import trace

pytestmark = [
    pytest.mark.usefixtures("each_size"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    # where a formula meets numbers only, ~ is that of Python's bool, which warns from Python 3.12 on
    pytest.mark.filterwarnings("ignore:Bitwise inversion:DeprecationWarning"),
]

UNARY = {
    "neg": lambda xp, x: -x,
    "abs": lambda xp, x: abs(x),
    "exp": lambda xp, x: xp.exp(x),
    "log": lambda xp, x: xp.log(x),
    "sqrt": lambda xp, x: xp.sqrt(x),
    "tanh": lambda xp, x: xp.tanh(x),
    "square": lambda xp, x: xp.square(x),
    "sign": lambda xp, x: xp.sign(x),
    "floor": lambda xp, x: xp.floor(x),
    "clip": lambda xp, x: xp.clip(x, -0.5, 0.5),
    "astype": lambda xp, x: xp.astype(x, xp.float64),
    **{f"pow {e}": lambda xp, x, e=e: x**e for e in (0, 1, 2, 3, -1, 0.5, 2.0, -2.5)},
    "rpow": lambda xp, x: 2.0**x,
    "zeros_like": lambda xp, x: xp.zeros_like(x),
}
BINARY = {
    "+": lambda xp, x, y: x + y,
    "-": lambda xp, x, y: x - y,
    "*": lambda xp, x, y: x * y,
    "/": lambda xp, x, y: x / y,
    "//": lambda xp, x, y: x // y,
    "%": lambda xp, x, y: x % y,
    "maximum": lambda xp, x, y: xp.maximum(x, y),
    "minimum": lambda xp, x, y: xp.minimum(x, y),
    "where <": lambda xp, x, y: xp.where(x < y, x, y),
    "where >= &": lambda xp, x, y: xp.where((x >= y) & ~(x == 1.0), y, 0.0 * x),
    "count": lambda xp, x, y: xp.astype(x != y, xp.float32) * x,
}


#: Lines whose last bits are the compiler's own; not those of float16, for which there are no loops.
OWN = {"exp", "log", "sqrt", "tanh", *(name for name in UNARY if name.startswith("pow "))}


def way(compile_it):
    """Within it, formulas are compiled, or go block by block as they do without the compiler."""
    return nullcontext() if compile_it else mock.patch.object(loops, "compiler", return_value=None)


class Lines:
    """A random straight-line formula of lines: names of operations, and the numbers of their operands."""

    def __init__(self, lines, arrays, out):
        self.lines, self.arrays, self.out = lines, arrays, out

    def __call__(self, xp, *inputs):
        return self.run(lambda name, *operands: (UNARY | BINARY)[name](xp, *operands), *inputs)

    def run(self, do, *inputs):
        values, constants = list(inputs[: self.arrays]), [*inputs[self.arrays :], 0.75]
        for name, operands in self.lines:
            values.append(do(name, *[constants[-i - 1] if i < 0 else values[i] for i in operands]))
        return tuple(values[i] for i in self.out) if isinstance(self.out, list) else values[self.out]

    def line_by_line(self, *inputs):
        """What `OWN` lines alone make of their operands, and NumPy of the others."""

        def do(name, *operands):
            if name in OWN and type(operands[0]) is np.ndarray:
                return Fused(xp, UNARY[name], 1, 1)(*operands)
            return (UNARY | BINARY)[name](xp, *operands)

        return self.run(do, *inputs)

    def __repr__(self):
        return f"Lines({self.lines}, {self.arrays}, {self.out})"


@st.composite
def formulas(draw, arrays, scalars, results=None):
    """A random straight-line formula, written as a list of lines."""
    lines, live = [], arrays
    for _ in range(draw(st.integers(1, 8))):
        if draw(st.booleans()):
            lines.append((draw(st.sampled_from(sorted(UNARY))), (draw(st.integers(0, live - 1)),)))
        else:
            pair = (draw(st.integers(0, live - 1)), draw(st.integers(-scalars - 1, live - 1)))
            pair = pair[::-1] if draw(st.booleans()) else pair
            lines.append((draw(st.sampled_from(sorted(BINARY))), pair))
        live += 1
    return Lines(lines, arrays, [draw(st.integers(0, live - 1)) for _ in range(results)] if results else live - 1)


FLOATS = st.sampled_from(["float16", "float32", "float64"])


def data(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=shape) * 2).round(2)
    x.reshape(-1)[:: max(x.size // 5, 1)] = rng.choice([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan])
    return x.astype(dtype)


def same(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    both = np.isnan(found) & np.isnan(expected)  # a NaN's sign is nobody's business
    np.testing.assert_array_equal(np.where(both, 0, found), np.where(both, 0, expected))
    assert (np.signbit(found) | both).tobytes() == (np.signbit(expected) | both).tobytes()


@given(formula=formulas(2, 2), dtypes=st.tuples(FLOATS, FLOATS), n=st.integers(1, 70), block=st.integers(1, 40),
       scalars=st.tuples(st.floats(-3, 3), st.integers(1, 4)), compile_it=st.booleans())  # fmt: skip
def test_fused_is_plain_bit_for_bit(formula, dtypes, n, block, scalars, compile_it):
    inputs = [data(n, dtype, i) for i, dtype in enumerate(dtypes)]
    before = [x.copy() for x in inputs]
    with np.errstate(all="ignore"), way(compile_it):
        found = Fused(xp, formula, block, 1)(*inputs, *scalars)
        same(found, answer(formula, 0, *inputs, *scalars))
    for x, y in zip(inputs, before, strict=True):
        same(x, y)


@given(formula=formulas(3, 1, results=2), dtype=FLOATS, other=FLOATS, n=st.integers(1, 70), block=st.integers(1, 40),
       compile_it=st.booleans())  # fmt: skip
def test_update_is_plain_bit_for_bit(formula, dtype, other, n, block, compile_it):
    inputs = [data(n, d, i) for i, d in enumerate((dtype, dtype, other))]
    copies = [x.copy() for x in inputs]
    with np.errstate(all="ignore"), way(compile_it):
        expected = [x.copy() for x in answer(formula, 2, *copies, 0.3)]
        found = Fused(xp, formula, block, 1).update(tuple(inputs[:2]), (inputs[2], 0.3))
    for target, result, wanted in zip(inputs, found, expected, strict=False):
        same(result, wanted)
        assert result is target or {e.dtype for e in expected} != {np.dtype(dtype)}


def looped(formula, *inputs, targets=0):
    """Tell whether these inputs get a compiled loop."""
    return isinstance(Fused(xp, formula, 1, 1).plan(inputs, inputs[:targets]), loops.Plan)


def answer(formula, targets, *inputs):
    """What the formula has to give: all of it is NumPy's where one operation has no loop."""
    if looped(formula, *inputs, targets=targets):
        return formula.line_by_line(*inputs)
    return formula(xp, *inputs)


def adam(xp, p, m, v, g, lr, b1, b2, t, eps):
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g**2
    return p - lr * m / (1 - b1**t) / ((v / (1 - b2**t)) ** 0.5 + eps), m, v


def gelu(xp, x):
    return 0.5 * x * (1 + xp.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("n", [1, LEAST, LEAST + 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17])
def test_adam_at_the_real_block_size(dtype, n):
    backend = NumpyBackend()
    p, m, g = (np.random.default_rng(i).normal(size=n).astype(dtype) for i in range(3))
    v = m**2
    for t in range(1, 4):
        expected = adam(xp, p.copy(), m.copy(), v.copy(), g, 1e-3, 0.9, 0.999, t, 1e-8)
        found = backend.update(adam, (p, m, v), g, 1e-3, 0.9, 0.999, t, 1e-8)
        assert all(a is b for a, b in zip(found, (p, m, v), strict=True))
        if compiler() and n >= LEAST and dtype == "float32":  # its root may be an estimate
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(found[0], expected[0], rtol=4 * eps, atol=1e-3 * eps)
            expected = found[0], *expected[1:]
        for a, b in zip(found, expected, strict=True):
            same(a, b)


@pytest.mark.skipif(compiler() is None, reason="the compiler is an extra")
def test_the_random_formulas_do_get_compiled():
    x = np.ones(9, "f4")
    assert {name for name, line in UNARY.items() if not looped(line, x)} == {"rpow", "pow -2.5"}
    assert {name for name, line in BINARY.items() if not looped(line, x, x)} == {"//", "%"}


@pytest.fixture(params=["loops", "blocks"])
def each_way(request):
    with way(request.param == "loops"):
        yield


def fused(formula, block=8):
    """The formula, fused for more elements than there are in a block."""
    return Fused(xp, formula, block, block + 1)


def test_common_formulas_are_compiled_and_not_left_to_the_plain_way():
    f4 = np.dtype("f4")
    assert trace(xp, gelu, [f4])
    made = trace(xp, adam, [f4] * 4 + [float] * 3 + [int, float])
    assert made is not None
    assert len(Program.of(made, 3).scratch) <= 3
    assert trace(xp, lambda xp, x, keep: xp.where(keep, x / 0.5, 0.0), [f4, np.dtype(bool)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*UNARY, *BINARY])
@pytest.mark.usefixtures("each_way")
def test_every_supported_operation_is_compiled_and_exact(name, dtype):
    def formula(xp, x):
        return UNARY[name](xp, x) if name in UNARY else BINARY[name](xp, x, 0.5)

    assert trace(xp, formula, [np.dtype(dtype)]) is not None
    x = np.tile(np.array([0.0, -0.0, 1.0, -1.0, 0.3, 7.5, -2.6, np.inf, -np.inf, np.nan, 3e38, 1e-40], dtype), 11)
    found, expected = fused(formula, 16)(x), formula(xp, x)
    if name in OWN and looped(formula, x):
        far = np.abs(found - expected) > 4 * np.spacing(np.abs(expected))
        assert not np.any(far & np.isfinite(expected))
        found = np.where(np.isfinite(expected), expected, found)
    same(found, expected)


CLOSED_OVER = np.ones(100, dtype=np.float32)


@pytest.mark.parametrize(
    "formula",
    [
        lambda xp, x, s: x if s > 1 else -x,
        lambda xp, x, s: xp.cumulative_sum(x) * s,
        lambda xp, x, s: x / xp.sum(x),
        lambda xp, x, s: x[::-1],
        lambda xp, x, s: x + CLOSED_OVER,
        lambda xp, x, s: xp.flip(x),
        lambda xp, x, s: x * float(s),
        lambda xp, x, s: x * len(x),
    ],
)
@pytest.mark.usefixtures("each_way")
def test_what_is_not_elementwise_is_left_to_the_plain_way(formula):
    assert trace(xp, formula, [np.dtype("f4"), float]) is None
    x = data(100, "float32", 0)
    same(fused(formula)(x, 2.0), formula(xp, x, 2.0))


@pytest.mark.parametrize(
    "inputs",
    [
        (np.ones((20, 1), "f4"), np.ones((1, 30), "f4")),
        (np.ones((20, 30), "f4").T, np.ones((30, 20), "f4")),
        (np.ones((20, 30), "f4"), np.float64(2)),
        (np.ones((20, 30), "f4"), np.ones((), "f8")),
        (np.ones((20, 30), "f4"), True),
        (np.ones((0, 3), "f4"), 2.0),
        (np.float32(1), 2),
        (np.ones((20, 30), ">f4"), 2.0),
        (np.ma.masked_equal(np.arange(600.0), 3), 2.0),
    ],
    ids=lambda x: "",
)
@pytest.mark.usefixtures("each_way")
def test_any_other_input_gives_the_plain_answer(inputs):
    def formula(xp, x, y):
        return xp.sqrt(x) - y * x

    found, expected = fused(formula)(*inputs), formula(xp, *inputs)
    same(found, expected)
    assert type(found) is type(expected)


def swap(xp, a, b):
    return b, a


@pytest.mark.usefixtures("each_way")
def test_targets_that_change_places():
    for n in (5, 100):
        a, b = np.arange(n, dtype="f4"), -np.arange(n, dtype="f4")
        found = fused(swap).update((a, b), ())
        assert found[0] is a
        assert found[1] is b
        np.testing.assert_array_equal(a, -np.arange(n))
        np.testing.assert_array_equal(b, np.arange(n))


@pytest.mark.parametrize("shift", [0, 1, 7])
@pytest.mark.parametrize("n", [5, 100])
@pytest.mark.usefixtures("each_way")
def test_targets_that_share_memory_with_an_input(n, shift):
    memory = np.arange(n + shift, dtype=np.float64)
    p, g = memory[:n], memory[shift:]
    expected = p - 0.5 * g, p * g
    found = fused(lambda xp, p, q, g: (p - 0.5 * g, p * g)).update((p, np.empty(n)), (g,))
    assert found[0] is p
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n", [5, 100])
@pytest.mark.usefixtures("each_way")
def test_a_result_that_is_an_input_whose_view_is_a_target(n):
    g = np.arange(n, dtype=np.float64)
    p, q = g[:], np.zeros(n)
    fused(lambda xp, p, q, g: (q, g)).update((p, q), (g,))
    np.testing.assert_array_equal(q, np.arange(n))
    np.testing.assert_array_equal(p, 0)


def sgd(xp, p, g, lr):
    return (p - lr * g,)


@pytest.mark.parametrize("n", [5, 100])
@pytest.mark.usefixtures("each_way")
def test_targets_that_cannot_be_written_give_new_arrays(n):
    p, g = np.broadcast_to(np.float32(1), (n,)), np.ones(n, "f4")
    (found,) = fused(sgd).update((p,), (g, 0.5))
    assert found is not p
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.full(n, 0.5))
    np.testing.assert_array_equal(p, 1)


@pytest.mark.parametrize("n", [5, 100])
@pytest.mark.usefixtures("each_way")
def test_a_read_only_target_is_left_alone(n):
    p, g = np.ones(n), np.ones(n)
    p.flags.writeable = False
    (found,) = fused(sgd).update((p,), (g, 0.5))
    np.testing.assert_array_equal(found, np.full(n, 0.5))
    np.testing.assert_array_equal(p, 1)


@pytest.mark.parametrize("n", [5, 100])
@pytest.mark.usefixtures("each_way")
def test_a_result_of_another_dtype_gives_a_new_array(n):
    p = np.ones(n, "f4")
    (found,) = fused(sgd).update((p,), (np.ones(n, "f8"), 0.5))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(p, 1)


@pytest.mark.parametrize("layout", [lambda x: x.T, lambda x: x[::2], lambda x: x[:, 1:]])
@pytest.mark.usefixtures("each_way")
def test_targets_of_any_layout_are_written_in_place(layout):
    p, g = (np.random.default_rng(i).normal(size=(20, 30)) for i in range(2))
    target, gradient = layout(p), layout(g)
    expected = target - 0.1 * gradient
    (found,) = fused(sgd).update((target,), (gradient, 0.1))
    assert found is target
    np.testing.assert_array_equal(layout(p), expected)


@pytest.mark.usefixtures("each_way")
def test_results_are_new_arrays():
    x = np.ones(100)
    a, b = fused(lambda xp, x: (x, x))(x)
    assert not np.may_share_memory(a, b)
    assert not np.may_share_memory(a, x)


@pytest.mark.usefixtures("each_way")
def test_scalars_are_read_anew_at_every_call():
    f = fused(lambda xp, x, s, t: x * (1 - s**t))
    x = np.arange(100, dtype="f4")
    for s, t in ((0.9, 1), (0.9, 2), (0.5, 3), (2, 0.5)):
        same(f(x, s, t), x * (1 - s**t))


@pytest.mark.usefixtures("each_way")
def test_an_error_in_the_formula_is_raised_where_it_belongs():
    with pytest.raises(ZeroDivisionError):
        fused(lambda xp, x, s: x * (1 / s))(np.ones(100), 0.0)
    with pytest.raises(AttributeError, match="sine"):
        fused(lambda xp, x: xp.sine(x))(np.ones(100))


def test_none_among_the_inputs_is_the_formulas_own_affair():
    x = np.ones(100, "f4")
    f = fused(lambda xp, x, y: x * 2.0 if y is None else x * y)
    same(f(x, None), x * 2)
    same(f(x, x), x)


@pytest.mark.usefixtures("each_way")
def test_warnings_obey_errstate():
    f = fused(lambda xp, x: 1.0 / x)
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.simplefilter("error")
        f(np.zeros(100))


@pytest.mark.usefixtures("each_way")
def test_it_is_safe_among_threads():
    f, x = fused(gelu, 64), data(5000, "float32", 0)
    expected, found = f(x), []
    np.testing.assert_allclose(expected, gelu(xp, x), rtol=1e-5, atol=1e-6)
    threads = [threading.Thread(target=lambda: found.extend(f(x) for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    for y in found:
        same(y, expected)


class Scaling:
    def by(self, xp, x):
        return x * 3.0


@pytest.mark.parametrize("formula", [lambda xp, x, k=3.0: x * k, Scaling().by, lambda xp, *x: x[0] * 3.0])
def test_parameters_of_any_kind(formula):
    x = np.ones(5, "f4")
    for _ in range(2):
        same(NumpyBackend().fuse(formula)(x), np.full(5, 3.0, "f4"))
