"""Every kernel against the portable form: odd shapes, nothing at all, one to three axes, blocks and grids overrun."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
from dzbackend_cupy import CupyBackend, kernels, repeatable_sums
from dzbackend_numpy import NumpyBackend
from dzcore.backend import portable
from dzcore.backend.namespace import EXTENSIONS
from tests.backend.test_portable import VALUES, geometry, integers

from .usable import cupy_or_skip

cupy = cupy_or_skip()
from dzbackend_cupy import launch  # noqa: E402  # imports CuPy

backend = CupyBackend()
host = NumpyBackend()

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]


def device(array):
    return cupy.asarray(array)


@pytest.fixture
def few_blocks(monkeypatch):
    """Let a launch have three blocks at most, so that a thread has more than one element to do."""
    monkeypatch.setattr(kernels, "MAX_BLOCKS", 3)


@pytest.fixture
def repeatable():
    repeatable_sums(True)
    yield
    repeatable_sums(False)


# index_add -----------------------------------------------------------------------------------------------------------


@given(
    data=st.data(),
    size=st.integers(0, 7),
    n=st.integers(0, 20),
    tail=st.sampled_from([(), (1,), (3,), (2, 2), (0,)]),
    dtype=st.sampled_from(["float16", "float32", "float64", "int32", "int8"]),
    kind=st.sampled_from(["int32", "int64", "uint8"]),
    fixed=st.booleans(),
)
def test_index_add_is_the_portable_one(data, size, n, tail, dtype, kind, fixed):
    n = n if size else 0
    index = np.array(data.draw(st.lists(st.integers(0, max(size - 1, 0)), min_size=n, max_size=n)), dtype=kind)
    count = n * int(np.prod(tail))
    drawn = st.integers(-9, 9) if dtype.startswith("int") else VALUES
    values = np.array(data.draw(st.lists(drawn, min_size=count, max_size=count)), dtype=dtype).reshape(n, *tail)
    with np.errstate(invalid="ignore"):
        expected = portable.index_add(np, size, index, values)
    repeatable_sums(fixed)
    try:
        found = backend.index_add(size, device(index), device(values))
    finally:
        repeatable_sums(False)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found.get(), expected)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_index_add_knows_every_dtype(dtype, fixed):
    own = host.dtype(dtype)
    index, values = np.array([4, 1, 1, 0, 4, 4]), np.arange(1, 13).reshape(6, 2)
    exact = np.zeros((5, 2))
    np.add.at(exact, index, values)
    repeatable_sums(fixed)
    found = backend.index_add(5, device(index), device(values.astype(own)))
    repeatable_sums(False)
    assert found.dtype == own
    np.testing.assert_array_equal(found.get().astype(float), exact)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_index_add_of_many_rows(dtype, few_blocks):
    rng = np.random.default_rng(0)
    index, values = rng.integers(0, 50, 3000), rng.integers(-3, 4, size=(3000, 3)).astype(dtype)
    exact = np.zeros((50, 3))
    np.add.at(exact, index, values)
    found = backend.index_add(50, device(index), device(values)).get()
    np.testing.assert_array_equal(found, exact.astype(dtype))


def test_index_add_reads_values_and_index_of_any_layout():
    values, index = np.arange(24.0).reshape(4, 6).T[::2], np.array([1, 9, 0, 9, 1])[::2]
    found = backend.index_add(2, device(np.array([1, 9, 0, 9, 1]))[::2], device(np.arange(24.0).reshape(4, 6)).T[::2])
    np.testing.assert_array_equal(found.get(), host.index_add(2, index, values))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_index_add_leaves_out_what_is_out_of_range(dtype, monkeypatch):
    """The contract excludes it, a GPU cannot raise, and what lies before and after must not be written."""
    zeros, around = cupy.zeros, cupy.zeros((9, 2), dtype)
    monkeypatch.setattr(cupy, "zeros", lambda shape, *a, **k: around[3:6] if shape == (3, 2) else zeros(shape, *a, **k))
    index, values = np.array([-1, 0, 3, 2, -3, 5, 2**40]), np.ones((7, 2), dtype)
    found = backend.index_add(3, device(index), device(values))
    np.testing.assert_array_equal(found.get(), [[1, 1], [0, 0], [1, 1]])
    assert float(around.sum()) == 4.0


@pytest.mark.parametrize("fixed", [False, True])
def test_an_index_out_of_range_reads_from_elsewhere_and_has_no_gradient(fixed):
    """As the README says: [-n, n) are in range; others are read modulo n, and their gradient goes nowhere."""
    x = dzcore.Variable(device(np.arange(4.0)), backend=backend)
    y = x[device(np.array([-4, 3, 5, 4, -5, -9, 1]))]
    np.testing.assert_array_equal(y.data.get(), [0, 3, 1, 0, 3, 3, 1])
    repeatable_sums(fixed)
    (gradient,) = dzcore.grad([F.sum(y)], [x])
    repeatable_sums(False)
    np.testing.assert_array_equal(gradient.data.get(), [1, 1, 0, 1])


def test_sums_that_have_to_be_repeatable_are_made_in_order(repeatable):
    """In float32, 1e8 + 1 - 1e8 depends on the order: the sum in the order of the rows is what NumPy has."""
    values = np.array([1e8, 1.0, -1e8, 1.0], dtype=np.float32)
    found = backend.index_add(1, device(np.zeros(4, np.int64)), device(values))
    np.testing.assert_array_equal(found.get(), host.index_add(1, np.zeros(4, np.int64), values))


# Windows -------------------------------------------------------------------------------------------------------------


@given(geometry=geometry(), lead=st.sampled_from([(), (2,), (2, 3), (0,)]), flip=st.booleans())
def test_windows_and_their_adjoint_are_the_portable_ones(geometry, lead, flip):
    spatial, *rest = geometry
    x = integers((*lead, *spatial)).astype(np.float32)
    on_device = device(x)
    x, on_device = (x[..., ::-1], on_device[..., ::-1]) if flip else (x, on_device)
    found, expected = backend.windows(on_device, *rest), portable.windows(np, x, *rest)
    np.testing.assert_array_equal(found.get(), expected)
    y = integers(found.shape).astype(np.float32)
    back, other = backend.windows_adjoint(device(y), spatial, *rest), portable.windows_adjoint(np, y, spatial, *rest)
    np.testing.assert_array_equal(back.get(), other)
    assert back.dtype == other.dtype == np.float32


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("spatial", "size", "stride", "dilation"),
    [
        ((2000,), (5,), (2,), (3,)),
        ((31, 45), (3, 3), (1, 1), (1, 1)),
        ((31, 45), (3, 2), (2, 3), (2, 1)),
        ((7, 9, 11), (2, 3, 2), (2, 1, 3), (1, 2, 2)),
        ((9, 9), (1, 1), (4, 3), (1, 1)),  # most elements are in no window
    ],
)
def test_the_adjoint_of_large_windows(spatial, size, stride, dilation, dtype, few_blocks):
    out = portable.window_counts(spatial, size, stride, dilation)
    columns = np.random.default_rng(0).integers(-2, 3, (3, *size, *out))
    exact = portable.windows_adjoint(np, columns.astype(np.float64), spatial, size, stride, dilation)
    found = backend.windows_adjoint(device(columns.astype(host.dtype(dtype))), spatial, size, stride, dilation)
    assert found.dtype == host.dtype(dtype)
    np.testing.assert_array_equal(found.get().astype(np.float64), exact)


def test_the_adjoint_reads_columns_of_any_layout():
    """As they come from a convolution: the channels first, the batch in the middle."""
    columns = np.random.default_rng(0).normal(size=(4, 3, 3, 2, 5, 5)).astype(np.float32)  # c, kh, kw, n, oh, ow
    order, geometry = (3, 0, 1, 2, 4, 5), ((7, 7), (3, 3), (1, 1), (1, 1))
    found = backend.windows_adjoint(device(columns).transpose(order), *geometry)
    expected = host.windows_adjoint(columns.transpose(order), *geometry)
    np.testing.assert_allclose(found.get(), expected, rtol=1e-5, atol=1e-5)


def test_windows_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="does not fit"):
        backend.windows(cupy.zeros((2, 3)), (4,), (1,), (1,))
    with pytest.raises(ValueError, match="does not fit"):
        backend.windows_adjoint(cupy.zeros((2, 4, 1)), (3,), (4,), (1,), (1,))


# Random bits ---------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 2**62) | st.integers(0, 20), count=st.integers(0, 50))
def test_random_bits_are_the_portable_ones(seed, position, count):
    found = backend.random_bits(seed, position, count)
    assert (found.dtype, found.shape) == (np.uint32, (count,))
    np.testing.assert_array_equal(found.get(), portable.random_bits(np, seed, position, count))


@pytest.mark.parametrize("position", [0, 1, 7, 8, 12345, 2**34 + 3, 2**62 - 100_000])
def test_many_random_bits(position, few_blocks):
    found = backend.random_bits(2**63 + 11, position, 100_000)
    np.testing.assert_array_equal(found.get(), host.random_bits(2**63 + 11, position, 100_000))


# Cross-entropy -------------------------------------------------------------------------------------------------------

RTOL = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 2e-6, "float64": 1e-13}


def reference(x, t, gy):
    """The loss and its gradient in float64."""
    x = x.astype(np.float64)
    loss = EXTENSIONS["cross_entropy"](host.ops, x, t)
    return loss, EXTENSIONS["cross_entropy_gradient"](host.ops, np.float64(gy), x, t)


def check(x, t, gy=1.5, rtol=None):
    dtype = host.dtype_name(x.dtype)
    rtol = RTOL[dtype] if rtol is None else rtol
    loss, gradient = backend.cross_entropy(device(x), device(t)), None
    gradient = backend.cross_entropy_gradient(device(np.array(gy, x.dtype)), device(x), device(t))
    assert (loss.dtype, loss.shape, gradient.dtype, gradient.shape) == (x.dtype, (), x.dtype, x.shape)
    right, slope = reference(x, t, gy)
    np.testing.assert_allclose(loss.get().astype(float), right, rtol=rtol, atol=rtol)  # a small one is a difference
    np.testing.assert_allclose(gradient.get().astype(float), slope, rtol=rtol, atol=rtol * gy / len(x))  # p - 1


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 33, 256, 257, 1000])
@pytest.mark.parametrize("n", [1, 7, 300])
def test_cross_entropy_and_its_gradient(n, classes, dtype, few_blocks):
    rng = np.random.default_rng(n + classes)
    check((3 * rng.normal(size=(n, classes))).astype(host.dtype(dtype)), rng.integers(0, classes, n))


@pytest.mark.parametrize("team", [4, 32, 256])
@pytest.mark.parametrize("classes", [3, 33, 300])
def test_a_team_of_any_size_does_a_row(classes, team, monkeypatch):
    monkeypatch.setattr(launch, "_team", lambda classes: team)
    rng = np.random.default_rng(0)
    check(3 * rng.normal(size=(70, classes)), rng.integers(0, classes, 70))


@pytest.mark.parametrize("kind", INTEGERS)
def test_classes_are_of_any_integer_dtype(kind):
    check(np.random.default_rng(0).normal(size=(20, 5)), np.arange(20).astype(kind) % 5)


def test_cross_entropy_of_large_scores_does_not_overflow():
    x = np.array([[1e4, 0.0, -1e4], [6e4, 6e4, 6e4], [-6e4, -6e4, 0.0]])
    for dtype in ("float16", "float32", "float64"):
        check(x.astype(dtype), np.array([2, 0, 2]))
    check(np.array([[1e308, 0.0], [-0.5e308, 0.5e308]]), np.array([0, 1]))


@pytest.mark.parametrize("wrong", [-1, 3, 2**40])
@pytest.mark.parametrize("classes", [3, 40])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_class_that_does_not_exist_makes_the_loss_and_its_row_of_the_gradient_nan(dtype, classes, wrong):
    x = np.random.default_rng(0).normal(size=(5, classes)).astype(host.dtype(dtype))
    t = np.array([0, 1, classes if wrong == 3 else wrong, 2, 0])
    assert np.isnan(backend.cross_entropy(device(x), device(t)).get())
    found = backend.cross_entropy_gradient(device(np.array(1.0, x.dtype)), device(x), device(t)).get()
    assert np.isnan(found[2].astype(float)).all()
    rest, right = [0, 1, 3, 4], np.where(t == t[2], 0, t)
    _, slope = reference(x, right, 1.0)
    np.testing.assert_allclose(found[rest].astype(float), slope[rest], rtol=RTOL[dtype], atol=RTOL[dtype] / 5)
    portable_form = EXTENSIONS["cross_entropy_gradient"](
        backend.ops, device(np.array(1.0)), device(x.astype(float)), device(t)
    )
    np.testing.assert_array_equal(np.isnan(portable_form.get()), np.isnan(found.astype(float)))


def test_a_model_with_a_class_that_does_not_exist_has_no_gradient_to_go_by():
    """From the layer below the loss on, everything that sums over the rows is nan: nothing is learnt in silence."""
    with dzcore.use_backend(backend):
        x, w = dzcore.ones((3, 2)), dzcore.Parameter(cupy.ones((2, 4), dtype=np.float32))
        loss = F.softmax_cross_entropy(x @ w, dzcore.Variable(device(np.array([0, 4, 1]))))
        (gradient,) = dzcore.grad([loss], [w])
    assert np.isnan(float(loss))
    assert np.isnan(gradient.data.get()).all()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("classes", [3, 300])
def test_special_values_reach_what_the_portable_form_lets_them_reach(special, classes):
    x = np.random.default_rng(0).normal(size=(4, classes)).astype(np.float32)
    x[1, 2] = special
    x[3, :] = special
    t = np.array([0, 2, 1, 0])
    with np.errstate(invalid="ignore"):
        right, slope = reference(x, t, 1.0)
    np.testing.assert_allclose(backend.cross_entropy(device(x), device(t)).get(), right, rtol=1e-6)
    found = backend.cross_entropy_gradient(device(np.array(1.0, np.float32)), device(x), device(t)).get()
    np.testing.assert_allclose(found, slope, rtol=1e-5, atol=1e-7)


def test_scores_and_classes_of_any_layout():
    x, t = np.random.default_rng(0).normal(size=(6, 14)), np.array([1, 0, 2, 1, 0, 2, 1])
    on_device, classes = device(x).T[::2, ::-2], device(np.repeat(t, 2))[::2]
    right, slope = reference(x.T[::2, ::-2], t, 1.0)
    np.testing.assert_allclose(backend.cross_entropy(on_device, classes).get(), right, rtol=1e-12)
    found = backend.cross_entropy_gradient(device(np.array(1.0)), on_device, classes)
    np.testing.assert_allclose(found.get(), slope, rtol=1e-12)


def test_no_rows_at_all():
    x, t = cupy.zeros((0, 3)), cupy.zeros(0, dtype=np.int64)
    assert np.isnan(backend.cross_entropy(x, t).get())
    assert backend.cross_entropy_gradient(cupy.ones(()), x, t).shape == (0, 3)


def test_the_mean_has_the_same_bits_every_time():
    rng = np.random.default_rng(0)
    x, t = device(rng.normal(size=(5000, 10)).astype(np.float32)), device(rng.integers(0, 10, 5000))
    assert len({backend.cross_entropy(x, t).get().tobytes() for _ in range(3)}) == 1
