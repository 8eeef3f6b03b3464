"""Samples for tests: the same on every backend, and cheap where random bits are not."""

from collections.abc import Sequence
from functools import lru_cache
from math import prod

from ..backend import Backend, current_backend
from ..graph import Variable
from ..random import Generator
from .compare import host_array, values

__all__ = ["Source"]

_CHUNK = 4096


@lru_cache(maxsize=256)
def _uniforms(seed: int, chunk: int) -> Sequence[float]:
    """Draw a chunk of the stream `seed` on the current backend, whichever it is: it is the same on all of them."""
    generator = Generator(seed)
    generator.state = (seed, 2 * _CHUNK * chunk)  # two words a number
    backend = current_backend()
    words = values(Variable._of(generator.bits(2 * _CHUNK, backend), backend, None))
    return [((a >> 5) << 26 | b >> 6) * 2.0**-53 for a, b in zip(words[::2], words[1::2], strict=True)]


class Source:
    """Numbers from a stream of dzcore.random, in plain Python or as constants of a backend."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.position = 0

    def uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> list[float]:
        """Draw from [low, high)."""
        places = range(self.position, self.position + count)
        self.position += count
        return [low + (high - low) * _uniforms(self.seed, i // _CHUNK)[i % _CHUNK] for i in places]

    def permutation(self, count: int) -> list[int]:
        """Draw an order of 0 … count-1."""
        keys = self.uniform(count)
        return sorted(range(count), key=keys.__getitem__)

    def like(self, x: Variable) -> Variable:
        """Draw a constant of x's shape, dtype and backend from [-1, 1)."""
        return constant(self.uniform(x.size, -1.0, 1.0), x.shape, x.backend.dtype_name(x.dtype), x.backend)


def constant(numbers: Sequence[float], shape: tuple[int, ...], dtype: str, backend: Backend) -> Variable:
    """Make a constant of Python numbers."""
    if len(numbers) != prod(shape):
        raise ValueError(f"{len(numbers)} numbers do not fill shape {shape}")
    return Variable._of(backend.from_host(host_array(numbers, shape, dtype)), backend, None)
