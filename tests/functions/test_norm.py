"""Normalization: what the mathematics says, numbers far from 0, running statistics, and what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import dzcore
import dzcore.functions as F
from dzcore import Variable, get_backend, no_grad, test_mode
from dzcore.backend import Backend
from dzcore.layers import Buffer
from dzcore.testing import assert_close, check_gradients, values

numbers = arrays(np.float64, array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=4),
                 elements=st.floats(-100, 100, width=32))  # fmt: skip


def host(x: Variable) -> Any:
    return np.frombuffer(x.to_host().buffer, x.to_host().dtype).reshape(x.shape)


def plain(c: int, dtype: str = "float64") -> list[Any]:
    """Return gamma, beta, mean, var that change nothing."""
    return [np.ones(c, dtype), np.zeros(c, dtype), np.zeros(c, dtype), np.ones(c, dtype)]


def normalized(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    x = x.astype("float64")
    return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + eps)


# The mathematics -----------------------------------------------------------------------------------------------------


@given(x=numbers, seed=st.integers(0, 99))
def test_batch_norm_forgets_shift_and_scale_of_each_channel(x: Any, seed: int) -> None:
    """The mean of each channel becomes beta, its deviation |gamma|, as far as eps is small beside the variance."""
    g = np.random.default_rng(seed)
    gamma, beta = g.normal(size=(2, x.shape[1]))
    x = x + g.uniform(1, 2, x.shape)
    y = host(F.batch_norm(Variable(x), gamma, beta, *plain(x.shape[1])[2:], eps=1e-12))
    axes = (0, *range(2, x.ndim))
    np.testing.assert_allclose(y.mean(axis=axes), beta, atol=1e-9)
    np.testing.assert_allclose(y.std(axis=axes), np.abs(gamma), rtol=1e-6)


@given(x=numbers)
def test_gradients_are_orthogonal_to_shift_and_scale(x: Any) -> None:
    """As a shift of x changes nothing, gradients have mean 0; as a factor does not (but for eps), gx · x is 0."""
    for norm, axes in (
        (lambda x: F.batch_norm(x, *plain(x.shape[1]), eps=1e-14), (0, *range(2, x.ndim))),
        (lambda x: F.layer_norm(x, *[each[: x.shape[-1]] for each in plain(9)[:2]], eps=1e-14), (-1,)),
    ):
        v = Variable(x + np.linspace(0, 3, x.size).reshape(x.shape) ** 2)
        y = norm(v)
        (gx,) = dzcore.grad(y, v, Variable(np.cos(np.arange(x.size)).reshape(x.shape)))
        np.testing.assert_allclose(host(gx).sum(axis=axes), 0, atol=1e-6)
        np.testing.assert_allclose((host(gx) * host(v)).sum(axis=axes), 0, atol=1e-5)


def test_group_norm_is_layer_norm_with_one_group() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    y = F.group_norm(Variable(x), 1, np.ones(4), np.zeros(4))
    assert_close(y.detach(), F.layer_norm(Variable(x), np.ones((4, 5)), np.zeros((4, 5))).detach(), rtol=1e-13)


def test_third_derivatives(backend: Backend) -> None:
    """The gradient of a gradient of a gradient: here nothing must be held constant either."""

    def gradient(x: Variable) -> Variable:
        y = F.layer_norm(x, Variable(w), Variable(b))
        weights = Variable([[1.0, 3.0, -2.0]], dtype="float64").detach()
        return dzcore.grad(y, x, F.broadcast_to(weights, y.shape), create_graph=True)[0]

    w, b = backend.asarray([1.5, -0.5, 2.0], "float64"), backend.asarray([0.0, 0.1, 0.2], "float64")
    check_gradients(gradient, [[0.3, -1.0, 2.0], [1.0, 1.5, -2.0]])


# Numbers far from 0 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4096, 3), (8, 3, 16, 16)])
def test_large_means_in_float32(shape: tuple[int, ...], backend: Backend) -> None:
    """x around 1e4 with deviation 1: the variance, and every element, to some 1e-6 of what float64 makes of them."""
    x = (np.random.default_rng(0).normal(size=shape) + 1e4).astype("float32")
    axes = (0, *range(2, x.ndim))
    v = Variable(x).to(backend)
    mean, var = Buffer([0.0] * 3), Buffer([0.0] * 3)
    one, zero = dzcore.ones(3).detach(), dzcore.zeros(3).detach()
    y = F.batch_norm(v, one, zero, mean, var, decay=0.0)
    np.testing.assert_allclose(host(y), normalized(x, axes, 2e-5), atol=1e-5)
    np.testing.assert_allclose(host(mean), x.astype("float64").mean(axis=axes), rtol=2e-7)
    np.testing.assert_allclose(host(var), x.astype("float64").var(axis=axes, ddof=1), rtol=2e-6)
    with test_mode():
        tested = host(F.batch_norm(v, one, zero, mean, var))
    np.testing.assert_allclose(tested, normalized(x, axes, 2e-5), atol=2e-3)  # the mean itself is rounded by 5e-4
    flat = x.reshape(3, -1)
    gamma = dzcore.ones(flat.shape[1])
    y = F.layer_norm(Variable(flat).to(backend), gamma, gamma * 0.0)
    np.testing.assert_allclose(host(y), normalized(flat, (1,), 1e-5), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_types_are_normalized_in_float32(dtype: str, numpy_backend: Backend) -> None:
    """Squares of ±1000 are more than float16 can hold."""
    if dtype not in numpy_backend.dtypes:
        pytest.skip("this NumPy has no bfloat16")
    x = Variable([[1000.0, -1000.0, 500.0], [-1000.0, 1000.0, 0.0], [1000.0, 0.0, -500.0]], dtype=dtype)
    c = [Variable([v] * 3, dtype=dtype) for v in (1.0, 0.0)]
    mean, var = Buffer([0.0] * 3, dtype=dtype), Buffer([1.0] * 3, dtype="float32")
    for y in (F.batch_norm(x, *c, mean, var), F.layer_norm(x, *c)):
        assert numpy_backend.dtype_name(y.dtype) == dtype
        y.backward()
        assert numpy_backend.dtype_name(x.grad.dtype) == dtype
    exact = normalized(np.asarray(values(x)).reshape(3, 3), (1,), 1e-5)
    assert np.abs(np.asarray(values(y)).reshape(3, 3) - exact).max() < 0.02
    assert numpy_backend.dtype_name(mean.dtype) == dtype
    assert numpy_backend.dtype_name(var.dtype) == "float32"
    assert max(values(var)) > 1e5


def test_constant_channels_become_beta(backend: Backend) -> None:
    x = Variable([[3.0, 1.0], [3.0, 2.0]])
    y = F.batch_norm(x, *[Variable([v, v]) for v in (2.0, 5.0, 0.0, 1.0)])
    assert values(y)[::2] == [5.0, 5.0]
    F.sum(y * y).backward()
    assert np.isfinite(host(x.grad)).all()


# Running statistics --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 2), (3, 2, 4), (2, 2, 3, 2)])
def test_running_statistics(shape: tuple[int, ...], backend: Backend) -> None:
    """mean ← decay mean + (1 - decay) mean(x), var the same with n - 1; not in test mode, but also under no_grad."""
    g = np.random.default_rng(1)
    axes = (0, *range(2, len(shape)))
    want = [np.array([1.0, -1.0]), np.array([2.0, 0.5])]
    mean, var = (Buffer(w.tolist(), dtype="float64") for w in want)
    one, zero = dzcore.ones(2, dtype="float64"), dzcore.zeros(2, dtype="float64")
    for step in range(4):
        x = g.normal(size=shape) * 3 + 2
        first = mean.data
        v = Variable(x.tolist(), dtype="float64")
        if step == 2:
            with test_mode():
                F.batch_norm(v, one, zero, mean, var, 0.7)
            assert mean.data is first
            continue
        if step == 3:
            with no_grad():
                F.batch_norm(v, one, zero, mean, var, 0.7)
        else:
            F.batch_norm(v, one, zero, mean, var, 0.7)
        want = [0.7 * w + 0.3 * s for w, s in zip(want, (x.mean(axis=axes), x.var(axis=axes, ddof=1)), strict=True)]
        assert mean.data is not first
        np.testing.assert_allclose(host(mean), want[0], rtol=1e-12)
        np.testing.assert_allclose(host(var), want[1], rtol=1e-12)
    assert mean.backend is backend
    assert not mean.requires_grad


def test_arrays_are_written_to(backend: Backend) -> None:
    """DeZero's call shape, and its published name."""
    assert F.batch_nrom is F.batch_norm
    x = Variable([[1.0, 2.0], [3.0, 6.0]])
    gamma, beta, mean, var = (backend.asarray([v, v], "float32") for v in (1.0, 0.0, 0.0, 1.0))
    F.batch_nrom(x, gamma, beta, mean, var, decay=0.5)
    assert_close(Variable(mean), [1.0, 2.0])
    assert_close(Variable(var), [1.5, 4.5])


def test_arrays_that_cannot_be_written_to_are_refused(numpy_backend: Backend) -> None:
    x, fixed = Variable(np.array([[1.0], [2.0]])), np.zeros(1)
    fixed.flags.writeable = False
    with pytest.raises(TypeError, match=r"mean is an array that cannot be written to; give a .*Buffer"):
        F.batch_norm(x, np.ones(1), np.zeros(1), fixed, np.ones(1))


def test_a_graph_keeps_its_statistics(numpy_backend: Backend) -> None:
    """A graph made in test mode is differentiated with the statistics it was made with."""
    x, mean, var = Variable(np.array([[1.0], [4.0]])), Buffer(np.zeros(1)), Buffer(np.full(1, 4.0))
    with test_mode():
        y = F.batch_norm(x, np.ones(1), np.zeros(1), mean, var, eps=1e-12)
    F.batch_norm(x, np.ones(1), np.zeros(1), mean, var)
    y.backward()
    assert_close(x.grad, [[0.5], [0.5]], rtol=1e-9)


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 3), (0, 3), (1, 3, 1), (1, 3, 1, 1)])
def test_one_value_a_channel_is_refused(shape: tuple[int, ...], backend: Backend) -> None:
    x = dzcore.ones(shape)
    channels = [dzcore.ones(3), dzcore.zeros(3), dzcore.zeros(3), dzcore.ones(3)]
    with pytest.raises(ValueError, match="batch_norm: x has shape .* two values or more"):
        F.batch_norm(x, *channels)
    with test_mode():
        assert F.batch_norm(x, *channels).shape == shape


def test_wrong_shapes_and_types_are_refused() -> None:
    x = Variable(np.ones((2, 4, 3)))
    with pytest.raises(ValueError, match=r"gamma has shape \(3,\).*must be \(4,\)"):
        F.batch_norm(x, np.ones(3), *plain(4)[1:])
    with pytest.raises(ValueError, match=r"var has shape \(1,\)"):
        F.batch_norm(x, *plain(4)[:3], np.ones(1))
    with pytest.raises(ValueError, match=r"x has shape \(4,\)"):
        F.batch_norm(np.ones(4), *plain(4))
    with pytest.raises(ValueError, match=r"beta has shape \(4,\).*must be \(3,\)"):
        F.layer_norm(x, np.ones(3), np.zeros(4))
    with pytest.raises(ValueError, match=r"gamma has shape \(3, 4\).*must be \(4, 3\)"):
        F.layer_norm(x, np.ones((3, 4)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="two values or more"):
        F.layer_norm(np.ones((3, 1)), np.ones(1), np.zeros(1))
    for groups in (3, 0, -1):
        with pytest.raises(ValueError, match=f"groups={groups} does not divide"):
            F.group_norm(x, groups, np.ones(4), np.zeros(4))
    with pytest.raises(ValueError, match="two values or more"):
        F.group_norm(np.ones((2, 4)), 4, np.ones(4), np.zeros(4))
    for call in (
        lambda x: F.batch_norm(x, *plain(3)), lambda x: F.layer_norm(x, np.ones(3), np.zeros(3)),
        lambda x: F.group_norm(x, 1, np.ones(3), np.zeros(3)),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="x has dtype int64; it must be floating-point"):
            call(np.ones((2, 3), "int64"))


def test_running_statistics_on_another_backend_are_refused(strict: str) -> None:
    x = dzcore.ones((2, 3))
    with pytest.raises(dzcore.MixedBackendError):
        F.batch_norm(
            x, dzcore.ones(3), dzcore.zeros(3), Buffer([0.0] * 3, backend=get_backend("strict")), dzcore.ones(3)
        )


def test_running_statistics_that_cannot_run() -> None:
    """Integers would be cut off at every step."""
    x, ones = np.ones((4, 3)), np.ones(3)
    with pytest.raises(TypeError, match="mean"):
        F.batch_norm(x, ones, ones, np.zeros(3, int), ones)
    with pytest.raises(ValueError, match="decay=5"):
        F.batch_norm(x, ones, ones, np.zeros(3), ones, decay=5)
