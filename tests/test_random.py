"""The random stream: equal bits on every backend, and the distributions that the mathematics asks for."""

import math
import subprocess
import sys
import threading
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dzbackend_numpy import NumpyBackend
from dzcore import random
from dzcore.backend import Backend
from dzcore.random import Generator
from dzcore.testing import values
from tests.strict_backend import StrictBackend

NUMPY = NumpyBackend()
OTHERS = [StrictBackend(), StrictBackend("device1")]
N = 1_000_000


def read(backend, array):
    assert backend.owns(array)
    host = backend.to_host(array)
    return host.dtype, host.shape, bytes(host.buffer)


SHAPES = st.lists(st.integers(0, 6), max_size=3).map(tuple) | st.integers(0, 9)
DRAWS = {
    "uniform": lambda g, b, shape: g.uniform(shape, backend=b),
    "uniform low high": lambda g, b, shape: g.uniform(shape, -0.3, 2.7, backend=b),
    "uniform float64": lambda g, b, shape: g.uniform(shape, -1.0, 1.0, "float64", backend=b),
    "normal": lambda g, b, shape: g.normal(shape, backend=b),
    "normal mean std": lambda g, b, shape: g.normal(shape, 0.1, 0.02, backend=b),
    "normal float64": lambda g, b, shape: g.normal(shape, 0.1, 3.0, "float64", backend=b),
    "bernoulli": lambda g, b, shape: g.bernoulli(0.3, shape, backend=b),
    "integers": lambda g, b, shape: g.integers(-5, 1000, shape, backend=b),
}


@pytest.mark.parametrize("name", DRAWS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 2**62 - 9999), shape=SHAPES)
def test_every_backend_draws_the_same_bits(name, seed, position, shape):
    draw, found = DRAWS[name], []
    for backend in (NUMPY, *OTHERS):
        g = Generator(seed)
        g.state = (seed, position)
        found.append((read(backend, draw(g, backend, shape)), g.state))
    assert found[0] == found[1] == found[2]
    assert found[0][0][1] == ((shape,) if isinstance(shape, int) else shape)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), n=st.integers(0, 200))
def test_permutations_agree_and_are_permutations(seed, n):
    orders = [b.to_host(Generator(seed).permutation(n, b)) for b in (NUMPY, *OTHERS)]
    found = [np.frombuffer(bytes(o.buffer), o.dtype).tolist() for o in orders]
    assert found[0] == found[1] == found[2]
    assert sorted(found[0]) == list(range(n))


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda g: g.bits(5, NUMPY), 5),
        (lambda g: g.uniform((2, 3), backend=NUMPY), 6),
        (lambda g: g.uniform((2, 3), dtype="float64", backend=NUMPY), 12),
        (lambda g: g.normal((2, 3), dtype="float64", backend=NUMPY), 6),
        (lambda g: g.bernoulli(1.0, (2, 3), NUMPY), 6),
        (lambda g: g.bernoulli(0.0, 7, NUMPY), 7),
        (lambda g: g.permutation(9, NUMPY), 9),
        (lambda g: g.uniform((), backend=NUMPY), 1),
        (lambda g: g.uniform((0, 4), backend=NUMPY), 0),
    ],
)
def test_the_position_advances_by_the_words_used(draw, words):
    g = Generator(3)
    g.state = (3, 11)
    draw(g)
    assert g.state == (3, 11 + words)


def test_a_saved_state_continues_where_it_was():
    g = Generator(12)
    g.normal(7, backend=NUMPY)
    state = g.state
    first = g.uniform(100, backend=NUMPY)
    other = Generator()
    other.state = state
    assert other.uniform(100, backend=OTHERS[0]).shape == (100,)
    other.state = state
    np.testing.assert_array_equal(other.uniform(100, backend=NUMPY), first)


def test_draws_follow_each_other_in_the_stream():
    g, whole = Generator(5), Generator(5).uniform(30, backend=NUMPY)
    parts = [g.uniform(n, backend=NUMPY) for n in (1, 2, 8, 0, 19)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform_stays_below_one_and_fills_the_mantissa(dtype):
    class Extreme(NumpyBackend):
        def random_bits(self, seed, position, count):
            return np.full(count, 0xFFFFFFFF if position else 0, dtype=np.uint32)

    g = Generator(0)
    assert g.uniform(1, dtype=dtype, backend=Extreme())[0] == 0
    top = g.uniform(1, dtype=dtype, backend=Extreme())
    assert top.dtype == dtype
    assert top[0] == np.nextafter(np.array(1, dtype), np.array(0, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_is_uniform(dtype):
    x = np.sort(Generator(1).uniform(N, dtype=dtype, backend=NUMPY).astype(np.float64))
    assert abs(x.mean() - 0.5) < 5 / math.sqrt(12 * N)
    assert np.abs(x - np.arange(N) / N).max() < 2 / math.sqrt(N)  # Kolmogorov-Smirnov: p < 0.001


def test_normal_is_normal():
    x = np.sort(Generator(2).normal(N, backend=NUMPY)).astype(np.float64)
    assert abs(x.mean()) < 4 / math.sqrt(N)
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / N)
    assert abs((x**3).mean()) < 4 * math.sqrt(15 / N)
    assert abs((x**4).mean() - 3) < 4 * math.sqrt(96 / N)
    cdf = np.array([NormalDist().cdf(v) for v in x[::100]])
    assert np.abs(cdf - np.arange(0, N, 100) / N).max() < 2 / math.sqrt(N)
    for bound in (3.0, 3.6, 4.0):
        expected = 2 * N * NormalDist().cdf(-bound)
        assert abs((np.abs(x) > bound).sum() - expected) < 4 * math.sqrt(expected)


def test_normal_follows_the_exact_quantiles_in_order_and_into_the_tail():
    magnitudes = np.unique(
        np.concatenate(
            [
                np.linspace(0, 2**31 - 1, 50001).astype(np.int64),
                2**31 - 1 - np.arange(3000),
                (4095 << 19) + np.arange(-300, 300),
            ]
        )
    )

    class Given(NumpyBackend):
        def random_bits(self, seed, position, count):
            words = np.concatenate([magnitudes, magnitudes + 2**31]).astype(np.uint32)
            return words[position : position + count]

    x = Generator(0).normal(2 * len(magnitudes), dtype="float64", backend=Given())
    plus, minus = np.split(x, 2)
    np.testing.assert_array_equal(plus, -minus)
    assert (np.diff(plus) >= 0).all()
    exact = np.array([-NormalDist().inv_cdf((1 - m / 2**31) / 2) for m in magnitudes.tolist()])
    assert np.abs(plus - exact)[exact < 3.3].max() < 2.1e-3  # h**2 / 8 times the second derivative
    assert np.abs(plus - exact)[magnitudes < 2**31 - 4096].max() < 0.015
    assert 6.2 < plus.max() < 6.4


def test_normal_scales_in_the_target_dtype():
    x = Generator(4).normal(1000, backend=NUMPY)
    y = Generator(4).normal(1000, 0.5, 0.1, backend=NUMPY)
    np.testing.assert_array_equal(y, x * np.float32(0.1) + np.float32(0.5))
    half = Generator(4).normal(1000, dtype="float16", backend=NUMPY)
    assert np.isfinite(half).all()
    np.testing.assert_array_equal(half, x.astype(np.float16))


@pytest.mark.parametrize("p", [0.0, 1e-10, 0.001, 0.25, 0.5, 0.9, 1.0 - 1e-12, 1.0])
def test_bernoulli_keeps_its_probability(p):
    mask = Generator(6).bernoulli(p, (1000, 1000), NUMPY)
    assert mask.dtype == bool
    assert abs(mask.mean() - p) <= 5 * math.sqrt(p * (1 - p) / N) + 1e-9
    assert p not in (0.0, 1.0) or mask.all() == mask.any() == bool(p)


def test_bernoulli_at_one_needs_no_number_beyond_uint32():
    class Words(StrictBackend):
        def random_bits(self, seed, position, count):
            return self.xp.full(count, 0xFFFFFFFF, dtype=self.xp.uint32)  # refuses to be compared with 2**32

    backend = Words()
    assert bool(backend.xp.all(Generator(0).bernoulli(1.0, 9, backend)))


def test_equal_words_keep_their_order_in_a_permutation():
    class Ties(NumpyBackend):
        def random_bits(self, seed, position, count):
            return np.arange(count, dtype=np.uint32) % 2

    order = Generator(0).permutation(200, Ties())
    np.testing.assert_array_equal(order, [*range(0, 200, 2), *range(1, 200, 2)])


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_bernoulli_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match=f"p={p}"):
        Generator(0).bernoulli(p, 3, NUMPY)


def test_integers_stay_in_range():
    x = Generator(8).integers(-3, 5, 10000, NUMPY)
    assert sorted(set(x.tolist())) == list(range(-3, 5))
    assert Generator(8).integers(0, 2**31, 10000, NUMPY).max() > 2**30
    with pytest.raises(ValueError, match="low=3, high=3"):
        Generator(8).integers(3, 3, 1, NUMPY)


def test_every_place_of_a_permutation_is_as_likely():
    g = Generator(9)
    counts = np.zeros((4, 4))
    for _ in range(4000):
        counts[np.arange(4), g.permutation(4, NUMPY)] += 1
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(1000)


@pytest.mark.parametrize("state", [(-1, 0), (2**64, 0), (0, -1), (0, 2**62 + 1)])
def test_a_state_out_of_range_is_refused(state):
    with pytest.raises(ValueError, match="is not in"):
        Generator(0).state = state


def test_the_end_of_a_stream_is_an_error_and_draws_nothing():
    g = Generator(0)
    g.state = (0, 2**62 - 5)
    with pytest.raises(ValueError, match="ends"):
        g.bits(6, NUMPY)
    assert g.bits(5, NUMPY).shape == (5,)


def test_an_unknown_dtype_is_refused_before_a_word_is_drawn():
    g = Generator(0)
    for draw in (g.uniform, g.normal):
        with pytest.raises(TypeError, match="int32"):
            draw(3, dtype="int32", backend=NUMPY)
    assert g.state == (0, 0)


def test_threads_share_a_generator_without_drawing_a_word_twice():
    g, found, lock = Generator(10), [], threading.Lock()

    def work():
        for _ in range(300):
            words = g.bits(7, NUMPY).tolist()
            with lock:
                found.append(tuple(words))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = Generator(10).bits(4 * 300 * 7, NUMPY).reshape(-1, 7)
    assert sorted(found) == sorted(map(tuple, whole.tolist()))
    assert g.state == (10, 4 * 300 * 7)


def test_the_functions_of_the_module_share_one_state():
    before = random.get_state()
    try:
        random.seed(11)
        a = random.uniform(4, backend=NUMPY), random.normal(4, backend=NUMPY), random.bernoulli(0.5, 4, NUMPY)
        assert random.get_state() == (11, 12)
        random.set_state((11, 0))
        b = random.uniform(4, backend=NUMPY), random.normal(4, backend=NUMPY), random.bernoulli(0.5, 4, NUMPY)
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
        for draw in (random.permutation(3, NUMPY), random.bits(3, NUMPY), random.integers(0, 2, 3, NUMPY)):
            assert draw.shape == (3,)
    finally:
        random.set_state(before)


def test_unseeded_generators_differ():
    assert Generator().state[0] != Generator().state[0]
    assert Generator().state[1] == 0


def test_it_imports_no_array_library_and_no_statistics():
    code = "import sys, dzcore.random; print({'numpy', 'cupy', 'statistics'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Written down once: a change of the stream changes everybody's results, and must not pass unseen.
def test_the_numbers_of_seed_zero_do_not_change():
    g = Generator(0)
    assert g.bits(2, NUMPY).tolist() == [0xCA36314C, 0x16554D9E]
    assert g.uniform(2, backend=NUMPY).tolist() == UNIFORM
    assert g.normal(2, backend=NUMPY).tolist() == NORMAL
    assert g.permutation(6, NUMPY).tolist() == PERMUTATION
    assert g.bernoulli(0.5, 6, NUMPY).tolist() == BERNOULLI


UNIFORM = [0.40303128957748413, 0.855972170829773]  # 0x672d0fdc and 0xdb20fe9d, the third and fourth word
NORMAL = [-1.179760456085205, -1.0084271430969238]
PERMUTATION = [3, 2, 5, 1, 4, 0]
BERNOULLI = [True, True, True, False, False, False]


def test_normal_numbers_do_not_depend_on_the_pieces(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn a piece at a time is what is drawn at once, and the stream goes on behind it."""
    whole, state = random.Generator(5), random.Generator(5)
    expected = values(whole.normal((4, 5), 0.5, 2.0))
    monkeypatch.setattr(random, "_PIECE", 7)
    assert values(state.normal((4, 5), 0.5, 2.0)) == expected
    assert state.state == whole.state
    assert state.normal((0, 3)).shape == (0, 3)


@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_negative_lengths(draw):
    before = random.get_state()
    for shape in (-1, (2, -3)):
        with pytest.raises(ValueError, match="negative length"):
            getattr(random, draw)(shape)
    assert random.get_state() == before
