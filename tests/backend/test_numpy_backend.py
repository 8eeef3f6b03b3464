"""NumpyBackend: every override against the portable form, and transfers bit for bit."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import array_api_compat.numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dzbackend_numpy import NumpyBackend
from dzcore.backend import HostArray, portable
from tests.backend.test_portable import VALUES, geometry, integers
from tests.strict_backend import StrictBackend

numpy = NumpyBackend()
DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
          "float64", "complex64", "complex128"]  # fmt: skip


@given(
    data=st.data(),
    size=st.integers(0, 7),
    n=st.integers(0, 20),
    tail=st.sampled_from([(), (1,), (3,), (2, 2), (0,)]),
    dtype=st.sampled_from(["float16", "float32", "float64", "int32"]),
    kind=st.sampled_from(["int32", "int64", "uint8"]),
)
def test_index_add_is_the_portable_one(data, size, n, tail, dtype, kind):
    n = n if size else 0
    index = np.array(data.draw(st.lists(st.integers(0, max(size - 1, 0)), min_size=n, max_size=n)), dtype=kind)
    count = n * int(np.prod(tail))
    drawn = st.integers(-99, 99) if dtype == "int32" else VALUES
    values = np.array(data.draw(st.lists(drawn, min_size=count, max_size=count)), dtype=dtype).reshape(n, *tail)
    with np.errstate(invalid="ignore"):
        found, expected = numpy.index_add(size, index, values), portable.index_add(numpy.xp, size, index, values)
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)


def test_index_add_reads_values_of_any_layout():
    values = np.arange(24.0).reshape(4, 6).T[::2]
    index = np.array([1, 0, 1])
    np.testing.assert_array_equal(numpy.index_add(2, index, values), [values[1], values[0] + values[2]])


def test_index_add_of_many_duplicates_is_right_to_rounding():
    rng = np.random.default_rng(0)
    index, values = rng.integers(0, 50, 20000), rng.normal(size=(20000, 3)).astype(np.float32)
    exact = np.zeros((50, 3))
    np.add.at(exact, index, values.astype(np.float64))
    for found in (numpy.index_add(50, index, values), portable.index_add(numpy.xp, 50, index, values)):
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)


@given(geometry=geometry(), lead=st.sampled_from([(), (2,), (2, 3), (0,)]), flip=st.booleans())
def test_windows_and_their_adjoint_are_the_portable_ones(geometry, lead, flip):
    spatial, *rest = geometry
    x = integers((*lead, *spatial)).astype(np.float32)
    x = x[..., ::-1] if flip else x
    found, expected = numpy.windows(x, *rest), portable.windows(numpy.xp, x, *rest)
    np.testing.assert_array_equal(found, expected)
    assert not found.flags.writeable
    y = integers(found.shape).astype(np.float32)
    back, other = numpy.windows_adjoint(y, spatial, *rest), portable.windows_adjoint(numpy.xp, y, spatial, *rest)
    np.testing.assert_array_equal(back, other)
    assert back.dtype == other.dtype == np.float32
    assert np.sum(found * y, dtype=np.float64) == np.sum(x * back, dtype=np.float64)


@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 2**62) | st.integers(0, 20), count=st.integers(0, 50))
def test_random_bits_are_the_portable_ones(seed, position, count):
    found = numpy.random_bits(seed, position, count)
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, portable.random_bits(numpy.xp, seed, position, count))


def test_random_bits_are_safe_among_threads():
    expected = {seed: numpy.random_bits(seed, 3, 5000) for seed in range(8)}
    with ThreadPoolExecutor(4) as pool:
        for seed, words in pool.map(lambda n: (n % 8, numpy.random_bits(n % 8, 3, 5000)), range(400)):
            np.testing.assert_array_equal(words, expected[seed])


def patterns(dtype):
    """Twelve elements of random bits, NaNs with payloads among them."""
    count = 12 * np.dtype(dtype).itemsize
    raw = np.random.default_rng(1).integers(0, 256, count, dtype=np.uint8)
    if dtype == "bool":
        return (raw % 2).view("bool").reshape(3, 4)
    return raw.view(dtype).reshape(3, 4)


LAYOUTS = {
    "plain": lambda x: x,
    "transposed": lambda x: x.T,
    "strided": lambda x: x[::2, ::-1],
    "broadcast": lambda x: np.broadcast_to(x[0], (2, 4)),
    "scalar": lambda x: x[0, 0],
    "0-d": lambda x: x[0, 0].reshape(()),
    "empty": lambda x: x[:0],
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_round_trip_loses_no_bit(dtype, layout):
    x = LAYOUTS[layout](patterns(dtype))
    host = numpy.to_host(x)
    back = numpy.from_host(host)
    assert (host.dtype, host.shape) == (dtype, x.shape)
    assert (back.dtype, back.shape, back.flags.c_contiguous) == (np.dtype(dtype), x.shape, True)
    native = (
        np.asarray(x).view(np.dtype(dtype).newbyteorder(x.dtype.byteorder)).byteswap() if layout == "big-endian" else x
    )
    assert back.tobytes() == native.tobytes()
    assert not np.may_share_memory(back, x)
    assert back.flags.writeable


@pytest.mark.parametrize("device", [None, "device1"])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "float16"])
def test_arrays_travel_to_another_library_and_back(dtype, device):
    strict, x = StrictBackend(device), patterns(dtype)
    there = strict.from_host(numpy.to_host(x))
    assert strict.owns(there)
    assert numpy.from_host(strict.to_host(there)).tobytes() == x.tobytes()


def test_the_copy_does_not_follow_the_original():
    x = np.ones(3)
    host = numpy.to_host(x)
    x[:] = 2
    y = numpy.from_host(host)
    y[:] = 3
    assert numpy.from_host(host).tolist() == [1, 1, 1]


def test_bfloat16_travels_where_ml_dtypes_is_installed():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3).T
    host = NumpyBackend().to_host(x)
    assert host.dtype == "bfloat16"
    assert NumpyBackend().from_host(host).tobytes() == x.tobytes()


def test_it_owns_arrays_and_array_scalars_only():
    assert all(map(numpy.owns, (np.ones(2), np.float32(1), np.ones(()))))
    assert not any(map(numpy.owns, (1.0, [1], StrictBackend().asarray([1]))))


def test_it_says_what_it_does_fast():
    primitives = ["index_add", "windows", "windows_adjoint", "random_bits", "number", "update", "updater", "fuse"]
    pooling = ["largest", "window_put", "window_sum", "window_spread"]
    convolution = ["convolve", "convolve_input", "convolve_weight", "convolve_biased"]
    recurrent = ["steps_ahead", "steps_back"]
    products = ["linear"]
    losses = ["cross_entropy", "cross_entropy_gradient"]
    assert sorted(numpy.capabilities()) == sorted([*primitives, *convolution, *pooling, *recurrent, *products, *losses])


def test_it_adopts_memory_that_one_may_write_to():
    for memory in (bytearray(8), bytes(8)):
        x = numpy.adopt(HostArray("float32", (2,), memory))
        x += 1.0
        assert (bytes(memory) == x.tobytes()) is isinstance(memory, bytearray)


def test_a_device_is_refused():
    with pytest.raises(ValueError, match="cpu"):
        NumpyBackend("cpu")


@pytest.mark.parametrize(
    ("numpy_is", "reason"),
    [
        ("sys.modules['numpy'] = None", "numpy cannot be imported"),
        ("import numpy; numpy.__version__ = '1.26.4'", "1.26.4 is older"),
    ],
)
def test_it_says_why_it_is_unavailable(numpy_is, reason):
    code = f"import sys; {numpy_is}; from dzbackend_numpy import NumpyBackend; print(NumpyBackend.why_unavailable())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert reason in done.stdout, done.stderr
    assert "pip install 'numpy>=2'" in done.stdout
    assert numpy.why_unavailable() is None


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
@pytest.mark.parametrize("shape", [(200, 300), (100_000,), (3, 4)])
def test_a_choice_by_bits_is_numpys(dtype, shape):
    rng = np.random.default_rng(0)
    x, y = ((rng.normal(size=shape) * 5).astype(dtype) for _ in range(2))
    if x.dtype.kind == "f":
        x.reshape(-1)[:4] = np.nan, np.inf, -0.0, 0.0
    m = rng.random(shape) > 0.5
    rows = [(m, x, y[:1]), (m, x[:1], y), (m[:1], x, y), (m, x[:1], y[:1])]
    wide = [(m, x, y.astype("float64")), (m.astype("int8"), x, y), (m.T, x.T, y.T), (m[::2], x[::2], y[::2])]
    for operands in [(m, x, y), (m, x, 0.0), (m, -0.0, y), (m, x, 2), (m, 1e300, 2.0), (True, x, y), *rows, *wide]:
        with np.errstate(over="ignore"):
            found, expected = numpy.xp.where(*operands), array_api_compat.numpy.where(*operands)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()
