"""The portable primitives against NumPy and against the published answers, on strict arrays of both devices."""

from itertools import product

import array_api_compat.numpy
import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dzcore.backend import HostArray, portable
from dzcore.testing.conformance.philox import PUBLISHED
from tests.strict_backend import StrictBackend


@pytest.fixture(params=[None, "device1"], ids=["cpu", "device1"], scope="module")
def strict(request):
    return StrictBackend(request.param)


def read(backend, array):
    """A NumPy copy of an array of the backend."""
    host = backend.to_host(array)
    return np.ndarray(host.shape, dtype=host.dtype, buffer=host.buffer)


def send(backend, array):
    """An array of the backend with the contents of a NumPy array."""
    return backend.from_host(HostArray(array.dtype.name, array.shape, array.tobytes()))


def numbers(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), PUBLISHED)
def test_philox_gives_the_published_answers(counter, key, answer):
    xp = array_api_strict
    words = [xp.asarray([half]) for c in numbers(counter) for half in (c & 0xFFFFFFFF, c >> 32)]
    out = [int(w[0]) for w in portable.philox(xp, words, tuple(numbers(key)))]
    assert [low | high << 32 for low, high in zip(out[0::2], out[1::2], strict=True)] == numbers(answer)


def test_the_stream_begins_with_the_published_block(strict):
    words = read(strict, strict.random_bits(0, 0, 8)).tolist()
    assert [f"{high:08x}{low:08x}" for low, high in zip(words[0::2], words[1::2], strict=True)] == PUBLISHED[0][
        2
    ].split()


@given(
    seed=st.integers(0, 2**64 - 1), start=st.integers(0, 2**62 - 100), skip=st.integers(0, 40), count=st.integers(0, 40)
)
def test_any_slice_of_the_stream_is_the_slice_of_a_long_run(seed, start, skip, count):
    xp = array_api_compat.numpy
    long = portable.random_bits(xp, seed, start, 80)
    short = portable.random_bits(xp, seed, start + skip, count)
    assert short.dtype == np.int64
    np.testing.assert_array_equal(short, long[skip : skip + count])
    assert ((long >= 0) & (long < 2**32)).all()


VALUES = st.sampled_from([0.0, -0.5, 1.0, 3.25, -7.0, 16.0, np.inf, -np.inf, np.nan])


@given(
    data=st.data(), size=st.integers(0, 7), n=st.integers(0, 20), tail=st.sampled_from([(), (1,), (3,), (2, 2), (0,)])
)
def test_index_add_adds_up_duplicates_and_leaks_nothing(strict, data, size, n, tail):
    n = n if size else 0
    index = np.array(data.draw(st.lists(st.integers(0, max(size - 1, 0)), min_size=n, max_size=n)), dtype=np.int64)
    count = n * int(np.prod(tail))
    values = np.array(data.draw(st.lists(VALUES, min_size=count, max_size=count)), dtype=np.float32).reshape(n, *tail)
    expected = np.zeros((size, *tail), dtype=np.float32)
    with np.errstate(invalid="ignore"):
        for k, i in enumerate(index):
            expected[i] += values[k]
        found = strict.index_add(
            size,
            strict.asarray(index.tolist(), "int64"),
            strict.asarray(values.tolist(), "float32")
            if count
            else strict.xp.zeros(values.shape, dtype=strict.xp.float32, device=strict.device),
        )
    np.testing.assert_array_equal(read(strict, found), expected)  # these values add up exactly in any order
    assert found.dtype == strict.xp.float32


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "int64"])
def test_index_add_takes_any_integer_index(strict, dtype):
    index = strict.asarray([3, 100, 3], dtype)
    out = read(strict, strict.index_add(300, index, strict.asarray([1.0, 2.0, 4.0], "float64")))
    assert (out[3], out[100], out.sum()) == (5.0, 2.0, 7.0)


@st.composite
def geometry(draw, rank=None):
    """Spatial extents with a window that fits, its stride and its dilation."""
    rank = draw(st.integers(1, 3)) if rank is None else rank
    each = st.tuples(*[st.integers(1, 3)] * rank)
    size, stride, dilation, extra = draw(each), draw(each), draw(each), draw(st.tuples(*[st.integers(0, 4)] * rank))
    spatial = tuple(d * (k - 1) + 1 + e for k, d, e in zip(size, dilation, extra, strict=True))
    return spatial, size, stride, dilation


def integers(shape):
    return (np.arange(np.prod(shape), dtype=np.int64) * 7919 % 97 - 48).reshape(shape)


@given(geometry=geometry(), lead=st.sampled_from([(), (2,), (2, 3), (0,)]))
def test_windows_are_what_the_formula_says(strict, geometry, lead):
    spatial, size, stride, dilation = geometry
    x = integers((*lead, *spatial))
    found = read(strict, strict.windows(send(strict, x), size, stride, dilation))
    out = portable.window_counts(spatial, size, stride, dilation)
    assert found.shape == (*lead, *size, *out)
    for place in product(*map(range, (*size, *out))):
        k, o = place[: len(size)], place[len(size) :]
        source = tuple(i * d + j * s for i, d, j, s in zip(k, dilation, o, stride, strict=True))
        np.testing.assert_array_equal(found[(..., *place)], x[(..., *source)])


@given(geometry=geometry(), lead=st.sampled_from([(), (2,), (0,)]))
def test_the_adjoint_of_windows_is_its_transpose(strict, geometry, lead):
    spatial, size, stride, dilation = geometry
    xp = strict.xp
    x = send(strict, integers((*lead, *spatial)))
    columns = strict.windows(x, size, stride, dilation)
    y = send(strict, integers(columns.shape) ** 2)
    back = strict.windows_adjoint(y, spatial, size, stride, dilation)
    assert back.shape == x.shape
    assert back.dtype == y.dtype
    assert int(xp.sum(columns * y)) == int(xp.sum(x * back))


def test_an_inf_in_a_column_stays_where_it_belongs(strict):
    columns = strict.asarray([[np.inf, 1.0, 1.0], [1.0, 1.0, np.nan]], "float32")
    back = read(strict, strict.windows_adjoint(columns, (4,), (2,), (1,), (1,)))
    np.testing.assert_array_equal(back, [np.inf, 2.0, 2.0, np.nan])


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_the_adjoint_keeps_the_dtype(dtype):
    columns = np.ones((2, 3), dtype=dtype)
    assert portable.windows_adjoint(array_api_compat.numpy, columns, (4,), (2,), (1,), (1,)).dtype == dtype


@pytest.mark.parametrize(
    "wrong", [((2,), (3,), (1,), (1,)), ((5,), (3,), (1,), (3,)), ((5,), (3,), (0,), (1,)), ((5,), (0,), (1,), (1,))]
)
def test_a_window_that_does_not_fit_is_refused(strict, wrong):
    spatial, *rest = wrong
    with pytest.raises(ValueError, match="does not fit"):
        strict.windows(strict.xp.zeros(spatial, device=strict.device), *rest)


def test_the_portable_forms_run_on_torch():
    pytest.importorskip("torch")
    import array_api_compat.torch as xp

    np.testing.assert_array_equal(
        np.asarray(portable.random_bits(xp, 5, 3, 20)), portable.random_bits(array_api_compat.numpy, 5, 3, 20)
    )
    out = portable.index_add(xp, 4, xp.asarray([1, 3, 1]), xp.asarray([[1.0], [2.0], [4.0]]))
    np.testing.assert_array_equal(np.asarray(out), [[0.0], [5.0], [0.0], [2.0]])
    x = xp.reshape(xp.arange(30.0), (5, 6))
    geometry = ((2, 3), (2, 1), (1, 2))
    columns = portable.windows(xp, x, *geometry)
    back = portable.windows_adjoint(xp, columns, (5, 6), *geometry)
    assert float((columns * columns).sum()) == float((x * back).sum())
