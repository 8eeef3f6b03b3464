"""RandomStream: the words are Philox4x64-10's, and all that is made of them is the same bit for bit."""

from math import prod
from typing import Any

import pytest
from hypothesis import strategies as st

from ...backend import Backend
from ...random import Generator
from .group import Group
from .measure import bits, describe, measures_of, numbers, own, prove
from .philox import PUBLISHED, philox4x64, words

__all__ = ["RandomStream"]

SEEDS = st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
POSITIONS = (
    st.integers(0, 40)
    | st.sampled_from([2**35 - 8, 2**35 - 3, 2**35, 8 * 2**32 - 1, 8 * 2**32 + 5, 2**62 - 64])
    | st.integers(0, 2**62 - 64)
)
COUNTS = st.sampled_from([0, 1, 2, 7, 8, 9, 33])  # few, for some libraries compile every shape anew

DRAWS: dict[str, Any] = {
    "uniform": lambda g, b, shape: g.uniform(shape, backend=b),
    "uniform between": lambda g, b, shape: g.uniform(shape, -0.3, 2.7, backend=b),
    "uniform float64": lambda g, b, shape: g.uniform(shape, -1.0, 1.0, "float64", backend=b),
    "normal": lambda g, b, shape: g.normal(shape, backend=b),
    "normal scaled": lambda g, b, shape: g.normal(shape, 0.1, 0.02, backend=b),
    "normal float64": lambda g, b, shape: g.normal(shape, 0.1, 3.0, "float64", backend=b),
    "bernoulli": lambda g, b, shape: g.bernoulli(0.3, shape, backend=b),
    "bernoulli 1": lambda g, b, shape: g.bernoulli(1.0, shape, backend=b),
    "integers": lambda g, b, shape: g.integers(-5, 1000, shape, backend=b),
    "permutation": lambda g, b, shape: g.permutation(prod(shape), backend=b),
}


def _at(seed: int, position: int) -> Generator:
    generator = Generator(seed)
    generator.state = (seed, position)
    return generator


class RandomStream(Group):
    """The random stream's answers."""

    def test_published_answers(self, backend: Backend) -> None:
        """The stream 0 begins with the published block, and the kit's own Philox gives all three."""
        for counter, key, answer in PUBLISHED:
            found = philox4x64(*(tuple(int(word, 16) for word in text.split()) for text in (counter, key)))
            assert [f"{x:016x}" for x in found] == answer.split()
        raw = numbers(backend, backend.random_bits(0, 0, 8))
        pairs = zip(raw[0::2], raw[1::2], strict=True)
        assert [f"{high:08x}{low:08x}" for low, high in pairs] == PUBLISHED[0][2].split()

    def test_words(self, backend: Backend) -> None:
        """Any words from any position, odd ones and those beyond 2**32 blocks included."""

        def check(seed: int, position: int, count: int) -> None:
            array = own(backend, backend.random_bits(seed, position, count))
            dtype, shape = describe(backend, array)
            assert dtype in ("uint32", "int64", "uint64")
            assert shape == (count,)
            assert numbers(backend, array) == words(seed, position, count)

        prove(check, SEEDS, POSITIONS, COUNTS, examples=30)

    def test_many_words(self, backend: Backend) -> None:
        """A long run, of several launches or blocks in most libraries, is the stream from end to end."""
        found = numbers(backend, backend.random_bits(3, 5, 5001))
        wrong = [i for i, (x, y) in enumerate(zip(found, words(3, 5, 5001), strict=True)) if x != y]
        assert not wrong, f"{len(wrong)} of 5001 words differ, the first of them at {wrong[:5]}"

    @pytest.mark.parametrize("draw", DRAWS)
    def test_draws(self, draw: str, backend: Backend) -> None:
        """Numbers are equal bit for bit to those of the portable stream and of the reference."""
        others = measures_of(backend)
        if "float64" in draw and not all("float64" in each.dtypes for each in (backend, *others)):
            return

        def check(seed: int, position: int, shape: tuple[int, ...]) -> None:
            generator = _at(seed, position)
            found = bits(backend, DRAWS[draw](generator, backend, shape))
            for other in others:
                again = _at(seed, position)
                dtype, size, raw = bits(other, DRAWS[draw](again, other, shape))
                if draw != "permutation":  # the integer dtype of indices is the library's own choice
                    assert found == (dtype, size, raw), f"on {other}"
                else:
                    mine = numbers(backend, DRAWS[draw](_at(seed, position), backend, shape))
                    assert mine == numbers(other, DRAWS[draw](_at(seed, position), other, shape)), f"on {other}"
                assert generator.state == again.state

        prove(check, SEEDS, POSITIONS, st.sampled_from([(), (0,), (5,), (2, 3), (33,)]), examples=12)
