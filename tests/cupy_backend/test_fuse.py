"""Fusion: the values and dtypes of the plain evaluation, in place where it can be, whatever overlaps."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dzbackend_cupy import CupyBackend
from dzbackend_numpy import NumpyBackend
from dzcore.backend.namespace import EXTENSIONS
from dzcore.optimizers import SGD, AdaDelta, AdaGrad, Adam, AdamW, MomentumSGD

from .usable import cupy_or_skip, emulated

cupy = cupy_or_skip()
from dzbackend_cupy.fuse import Fused  # noqa: E402  # imports CuPy

backend = CupyBackend()
host = NumpyBackend()
FLOATS = ["float16", "float32", "float64"]
RULES = [SGD(), MomentumSGD(), AdaGrad(), AdaDelta(), Adam(), AdamW()]


def draw(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).uniform(0.1, 1.0, shape).astype(dtype)


def fused(formula, *inputs, into=0):
    """Evaluate by a new Fused, and tell whether a kernel did it."""
    f = Fused(backend.ops, formula)
    result = f.update(inputs[:into], inputs[into:]) if into else f(*inputs)
    return result, bool(f._kernels) and None not in f._kernels.values()


def assert_same(found, expected, rtol=0.0):
    """Compare with the plain evaluation on the device. A GPU contracts a * b + c, the emulator does not."""
    assert type(found) is type(expected) is cupy.ndarray
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if not emulated:
        rtol = rtol or {"float16": 2e-3, "float32": 1e-6}.get(found.dtype.name, 1e-14)
    np.testing.assert_allclose(found.get(), expected.get(), rtol=rtol)


def step(rule):
    rule.t = 3
    return rule.formula, tuple(float(n) for n in rule.numbers())


# Updates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (0,), (4, 0)])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_an_update_is_one_kernel_in_place(rule, shape, dtype):
    formula, numbers = step(rule)
    arrays = [cupy.asarray(draw(*shape, dtype=dtype, seed=i)) for i in range(rule.states + 2)]
    targets, gradient, before = tuple(arrays[:-1]), arrays[-1], arrays[-1].copy()
    expected = formula(backend.xp, *[x.copy() for x in arrays], *numbers)
    pointers = [x.data.ptr for x in targets]
    new, kernel = fused(formula, *targets, gradient, *numbers, into=len(targets))
    assert kernel
    assert all(a is b for a, b in zip(new, targets, strict=True))
    assert [x.data.ptr for x in new] == pointers
    for found, right in zip(new, expected, strict=True):
        assert_same(found, backend.xp.asarray(right))
    np.testing.assert_array_equal(gradient.get(), before.get())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_many_steps_agree_with_numpy(rule):
    formula, _ = step(rule)
    start = [draw(50, dtype="float64", seed=i) * (i == 0) for i in range(rule.states + 1)]
    here, there = tuple(x.copy() for x in start), tuple(map(cupy.asarray, start))
    for t in range(1, 20):
        rule.t, gradient = t, draw(50, dtype="float64", seed=t)
        numbers = [float(n) for n in rule.numbers()]
        here = host.update(formula, here, gradient, *numbers)
        there = backend.update(formula, there, cupy.asarray(gradient), *numbers)
    for found, expected in zip(there, here, strict=True):
        np.testing.assert_allclose(found.get(), expected, rtol=1e-12)


def swap(xp, a, b):
    return b, a


def test_targets_that_change_places():
    a, b = cupy.arange(4.0), cupy.arange(4.0) + 10
    new, kernel = fused(swap, a, b, into=2)
    assert kernel
    np.testing.assert_array_equal(a.get(), [10, 11, 12, 13])
    np.testing.assert_array_equal(b.get(), [0, 1, 2, 3])
    assert new == (a, b) or (new[0] is a and new[1] is b)


def rotate(xp, a, b, c):
    return b + 0.0, c, a


def test_targets_that_go_round():
    arrays = tuple(cupy.full(3, float(i)) for i in range(3))
    fused(rotate, *arrays, into=3)
    assert [float(x[0]) for x in arrays] == [1.0, 2.0, 0.0]


def minus(xp, p, g, lr):
    return (p - g * lr,)


@pytest.mark.parametrize("shift", [-3, -1, 1, 3])
def test_a_target_that_overlaps_an_input_is_written_after_it_is_read(shift):
    whole = draw(600)
    on_device = cupy.asarray(whole)
    target, gradient = slice(10, 500), slice(10 + shift, 500 + shift)
    expected = whole[target] - whole[gradient] * np.float32(0.5)
    new, kernel = fused(minus, on_device[target], on_device[gradient], 0.5, into=1)
    assert not kernel
    np.testing.assert_allclose(on_device.get()[target], expected, rtol=1e-6)
    assert new[0].data.ptr == on_device[target].data.ptr


def test_a_target_that_is_its_own_input():
    p = cupy.asarray(draw(9))
    expected = draw(9) - draw(9) * np.float32(0.5)
    _, kernel = fused(minus, p, p, 0.5, into=1)
    assert kernel  # every thread reads and writes its own element
    np.testing.assert_allclose(p.get(), expected, rtol=1e-6)


def test_a_target_that_is_its_own_input_turned_around():
    p = cupy.asarray(draw(9))
    _, kernel = fused(minus, p, p[::-1], 0.5, into=1)
    assert not kernel
    np.testing.assert_allclose(p.get(), draw(9) - draw(9)[::-1] * np.float32(0.5), rtol=1e-6)


def test_one_array_as_two_targets_is_no_kernel():
    p = cupy.asarray(draw(9))
    _, kernel = fused(lambda xp, a, b: (a + 1.0, b * 2.0), p, p, into=2)
    assert not kernel


@pytest.mark.parametrize("make", [lambda x: x.T, lambda x: x[:, ::2], lambda x: x[::-1]], ids=["T", "steps", "back"])
def test_targets_and_inputs_of_any_layout(make):
    p, g = draw(6, 8), draw(6, 8, seed=1)
    on_device, gradient = cupy.asarray(p), cupy.asarray(g)
    expected = p.copy()
    make(expected)[...] -= make(g) * np.float32(0.5)
    _, kernel = fused(minus, make(on_device), make(gradient), 0.5, into=1)
    assert kernel
    np.testing.assert_allclose(on_device.get(), expected, rtol=1e-6)


def test_an_array_without_axes_is_for_every_element():
    p = cupy.asarray(draw(3, 4))
    _, kernel = fused(minus, p, cupy.asarray(np.float32(2.0)), 0.5, into=1)
    assert kernel
    np.testing.assert_allclose(p.get(), draw(3, 4) - 1, rtol=1e-6)


def test_a_result_of_another_shape_or_dtype_leaves_the_target_alone():
    p = cupy.asarray(draw(4))
    for g in (cupy.asarray(draw(3, 4)), cupy.asarray(draw(4, dtype="float64"))):
        (new,), kernel = fused(minus, p, g, 0.5, into=1)
        assert not kernel
        assert new is not p
        assert_same(new, p - g * 0.5)
        np.testing.assert_array_equal(p.get(), draw(4))


def test_a_target_is_not_broadcast():
    p = cupy.asarray(draw(1, 4))
    (new,), _ = fused(minus, p, cupy.asarray(draw(3, 4)), 0.5, into=1)
    assert new.shape == (3, 4)
    np.testing.assert_array_equal(p.get(), draw(1, 4))


# Formulas ------------------------------------------------------------------------------------------------------------


def gelu(xp, x):
    return 0.5 * x * (1.0 + xp.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


FORMULAS = {
    "gelu": (gelu, 1, ()),
    "numbers meet": (lambda xp, x, a, b: x * (a * b) + (1.0 - a), 1, (0.3, 7.0)),
    "a whole number": (lambda xp, x, n: x * n + 2, 1, (3,)),
    "comparison": (lambda xp, x, y: xp.where(x < y, x, 0.0), 2, ()),
    "a mask": (lambda xp, x, y: x * xp.astype(x < y, x.dtype), 2, ()),
    "power": (lambda xp, x: x**2 + x**0.5, 1, ()),
    "maximum": (lambda xp, x, a: xp.maximum(x, a) - xp.minimum(x, 0.25), 1, (0.5,)),
    "clip": (lambda xp, x: xp.clip(x, 0.3, 0.6), 1, ()),
    "two results": (lambda xp, x, y: (x + y, x * y), 2, ()),
    "itself": (lambda xp, x: x, 1, ()),
    "signs": (lambda xp, x: xp.sign(0.5 - x) * x, 1, ()),
    "zeros": (lambda xp, x: xp.logaddexp(x, xp.zeros_like(x)), 1, ()),
    "a function of dzcore": (lambda xp, x: xp.sigmoid(x) * 2.0, 1, ()),
    "a formula within": (lambda xp, x: xp.fused(gelu, x) + x, 1, ()),
    "a boolean": (lambda xp, x, y: x < y, 2, ()),
    "there and back": (lambda xp, x: xp.astype(xp.astype(x, xp.float16), x.dtype), 1, ()),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_is_one_kernel_with_the_plain_values(name, dtype):
    formula, count, numbers = FORMULAS[name]
    inputs = [cupy.asarray(draw(4, 5, dtype=dtype, seed=i)) for i in range(count)]
    found, kernel = fused(formula, *inputs, *numbers)
    expected = formula(backend.ops, *inputs, *numbers)
    assert kernel
    for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (found, expected)), strict=True):
        assert_same(a, b)
        assert not any(a.data.ptr == x.data.ptr for x in inputs)


OUTSIDE = cupy.arange(5, dtype=np.float32)
REFUSED = {
    "a sum": lambda xp, x: x - xp.sum(x),
    "a maximum": lambda xp, x: x / xp.max(x, axis=1, keepdims=True),
    "a shape": lambda xp, x: xp.reshape(x, (-1,)) * 2.0,
    "an array from outside": lambda xp, x: x + OUTSIDE,
    "a function of numbers": lambda xp, x: x * xp.maximum(0.25, 0.5),
    "a number": lambda xp, x: (x, 1.0)[1] * xp.ones(3),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_elementwise_is_evaluated_the_plain_way(name):
    x = cupy.asarray(draw(4, 5))
    found, kernel = fused(REFUSED[name], x)
    assert not kernel
    assert_same(found, REFUSED[name](backend.xp, x))


def test_an_error_of_the_formula_is_its_own():
    def wrong(xp, x):
        raise KeyError("mine")

    f = Fused(backend.xp, wrong)
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            f(cupy.zeros(3))


def test_an_error_of_the_compiler_comes_through(monkeypatch):
    """And the kernel is made when it compiles the next time: no launch a step, in silence, for good."""
    f, x = Fused(backend.xp, lambda xp, x: xp.exp(x) * 0.1250017 - x), cupy.asarray(draw(3))

    def refuse(*inputs):
        raise cupy.cuda.compiler.CompileException("expected a ';'", "source", "name", ())

    with monkeypatch.context() as patch:
        patch.setattr(cupy, "fuse", lambda **_: lambda traced: refuse)
        for _ in range(2):
            with pytest.raises(cupy.cuda.compiler.CompileException, match="expected a ';'"):
                f(x)
    assert_same(f(x), f.formula(backend.xp, x), rtol=1e-6)
    assert None not in f._kernels.values()


def test_a_source_that_does_not_compile_is_an_error():
    """Through CuPy's own fusion: what it compiles lies outside of what it takes for a formula that it cannot trace."""
    broken = cupy._core.create_ufunc("dz_broken", ("f->f", "d->d"), "out0 = no_such_function(in0)")
    f = Fused(SimpleNamespace(broken=broken), lambda xp, x: xp.broken(x))
    for _ in range(2):
        with pytest.raises(cupy.cuda.compiler.CompileException, match="no_such_function"):
            f(cupy.asarray(draw(3)))
    assert not f._kernels


@pytest.mark.parametrize("error", ["OutOfMemoryError", "CUDARuntimeError"])
def test_an_error_of_the_device_says_nothing_about_the_formula(error):
    errors = [cupy.cuda.memory.OutOfMemoryError(8, 8)
              if error == "OutOfMemoryError" else cupy.cuda.runtime.CUDARuntimeError(2)]  # fmt: skip

    def formula(xp, x):
        if errors:
            raise errors.pop()
        return x + 1.0

    f, x = Fused(backend.xp, formula), cupy.asarray(draw(3))
    with pytest.raises((cupy.cuda.memory.OutOfMemoryError, cupy.cuda.runtime.CUDARuntimeError)):
        f(x)
    assert_same(f(x), x + 1.0)
    assert None not in f._kernels.values()


def test_shapes_that_do_not_go_together_are_an_error_once():
    f = Fused(backend.xp, lambda xp, x, y: x * y + 1.0)
    with pytest.raises(ValueError, match="broadcast"):
        f(cupy.ones(3), cupy.ones(4))
    assert_same(f(cupy.ones(3), cupy.ones(3)), cupy.full(3, 2.0))
    assert list(map(bool, f._kernels.values())) == [True]


def test_complex_numbers_are_evaluated_the_plain_way():
    """A fused cast to real numbers would not compile."""
    x = cupy.asarray(draw(4)).astype(np.complex64)
    found, kernel = fused(lambda xp, x: xp.real(x) + xp.imag(x * 2.0), x)
    assert not kernel
    assert_same(found, cupy.asarray(draw(4)))


NUMBERS = {
    "one number": (lambda xp, x, a: x * (1.0 - a), (0.1,)),
    "a chain": (lambda xp, x, a, b: x * ((a + b) / (a - b) * 2.0) - -a, (0.1, 1 / 3)),
    "whole numbers": (lambda xp, x, a, b: x * (a // b) + a % b, (17, 5)),
    "a power": (lambda xp, x, a, b: x / (1.0 - a**b), (0.999, 3)),
    "a comparison": (lambda xp, x, a, b: xp.where(x > 0.5, x, a * b) * (a < b), (0.7, 0.9)),
    "a division of whole numbers": (lambda xp, x, a, b: x + a / b, (1, 3)),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_meet_in_double_precision(name, dtype):
    """CuPy's fusion alone computes them in float16: 1 - 0.1 would be 0.8999."""
    formula, numbers = NUMBERS[name]
    x = cupy.asarray(draw(4, 5, dtype=dtype))
    found, kernel = fused(formula, x, *numbers)
    assert kernel
    assert_same(found, formula(backend.xp, x, *numbers))


def test_numbers_that_become_others():
    f, x = Fused(backend.xp, lambda xp, x, a, b: x * a**b), cupy.asarray(draw(3))
    for a, b in ((2, 3), (2, -3), (2, 3)):  # 2**-3 is no int
        assert_same(f(x, a, b), x * a**b)
    g = Fused(backend.xp, lambda xp, x, a: x * (1.0 / a))
    assert_same(g(x, 2.0), x * 0.5)
    with pytest.raises(ZeroDivisionError):
        g(x, 0.0)
    assert_same(g(x, 4.0), x * 0.25)
    assert None not in g._kernels.values()


def test_a_derived_number_too_large_for_an_integer_dtype():
    x = cupy.asarray(np.array([1, 2], dtype=np.int8))
    f = Fused(backend.xp, lambda xp, x, a: x + (a + 100))
    np.testing.assert_array_equal(f(x, 1).get(), [102, 103])
    with pytest.raises(OverflowError):
        f(x, 100)


@given(
    dtypes=st.lists(st.sampled_from([*FLOATS, "int32", "uint8", "bool"]), min_size=2, max_size=2),
    number=st.sampled_from([2, 0.5, True, -3, 2.5e-3]),
    shapes=st.sampled_from([((3, 4), (3, 4)), ((3, 1), (4,)), ((), (3,)), ((0, 2), (1, 2)), ((), ())]),
)
def test_dtypes_and_shapes_are_those_of_the_plain_evaluation(dtypes, number, shapes):
    def formula(xp, x, y, a):
        return x * a + y, (x + y) * a

    inputs = [cupy.asarray(np.ones(s) * 2, dtype=d) for s, d in zip(shapes, dtypes, strict=True)]
    try:
        expected = formula(backend.xp, *inputs, number)
    except (TypeError, OverflowError) as error:
        with pytest.raises(type(error)):
            fused(formula, *inputs, number)
        return
    for a, b in zip(fused(formula, *inputs, number)[0], expected, strict=True):
        assert_same(a, b)


def test_a_number_too_large_for_an_integer_dtype_is_the_plain_evaluations_business():
    bits = cupy.asarray(np.array([0, 2**31, 2**32 - 1], dtype=np.uint32))
    f = Fused(backend.xp, lambda xp, x, n: x < n)
    np.testing.assert_array_equal(f(bits, 2**31).get(), [True, False, False])
    for number in (2**32, 2**70, -1):
        try:
            expected = (bits < number).get()
        except OverflowError:
            with pytest.raises(OverflowError):
                f(bits, number)
        else:
            np.testing.assert_array_equal(f(bits, number).get(), expected)


def test_dropout_is_one_kernel():
    x, bits = cupy.asarray(draw(50, 3)), backend.random_bits(0, 0, 150).reshape(50, 3)
    masked = EXTENSIONS["dropped"]
    found, kernel = fused(masked, x, bits, 2**31, 2.0)
    assert kernel
    expected = host.fuse(masked)(x.get(), bits.get(), 2**31, 2.0)
    np.testing.assert_array_equal(found.get(), expected)  # no rounding differs: the masks agree on every backend


def test_what_was_compiled_is_kept():
    assert backend.ops.loops[gelu] is backend.ops.loops[gelu]
    f = Fused(backend.xp, gelu)
    for shape in ((3,), (4,), (900,)):
        f(cupy.ones(shape))
    assert len(f._kernels) == 1
