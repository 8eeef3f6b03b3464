"""Random numbers: one counter-based stream, the same bits on every backend, whose whole state is two integers.

The words are those of Philox4x64-10 (see `Backend.random_bits`). Everything made of them is integer arithmetic up to
one exact conversion, so that initial weights, dropout masks and shuffles are equal bit for bit wherever they are drawn.

>>> from dzcore import random
>>> random.seed(0)
>>> random.uniform((2, 3)).shape
(2, 3)
>>> random.get_state()
(0, 6)
"""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

from .backend import Backend, current_backend, get_backend
from .errors import StateError

__all__ = [
    "Generator",
    "bernoulli",
    "bits",
    "blank",
    "default_generator",
    "get_state",
    "integers",
    "normal",
    "permutation",
    "seed",
    "set_state",
    "uniform",
    "use_generator",
]

Shape = int | tuple[int, ...]
Chosen = str | Backend | None

#: Bits of a uniform number: the width of the mantissa.
_MANTISSA = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
#: Normal numbers are multiples of 2**-21 below 8 in magnitude: exact in float32.
_SCALE = 21


class Generator:
    """A place in a random stream: the stream's number `seed`, and the `position` of the next 32-bit word.

    Each method draws on the current backend, or on `backend`, and advances the position by the words that it uses,
    which depends on nothing but the shape and the dtype. Safe to share among threads: no word is given out twice.
    """

    def __init__(self, seed: int | None = None) -> None:
        """Start at the beginning of stream `seed`, 0 <= seed < 2**64; None takes one from the operating system."""
        self._lock = threading.Lock()
        self.state = (int.from_bytes(os.urandom(8), "little") if seed is None else seed, 0)

    @property
    def state(self) -> tuple[int, int]:
        """The whole state, (seed, position): save it, and set it to continue from there."""
        return self._state

    @state.setter
    def state(self, state: tuple[int, int]) -> None:
        seed, position = (int(number) for number in state)
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed={seed} is not in [0, 2**64)")
        if not 0 <= position <= 2**62:
            raise ValueError(f"position={position} is not in [0, 2**62]")
        with self._lock:
            self._state = seed, position

    def state_dict(self) -> dict[str, int]:
        """Return the state under names, as a part of a checkpoint."""
        seed, position = self.state
        return {"seed": seed, "position": position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from what `state_dict` returned."""
        if not isinstance(state, dict) or set(state) != {"seed", "position"} or {*map(type, state.values())} != {int}:
            raise StateError(f"{state!r:.80} is not the state of a Generator, which has the integers seed and position")
        try:
            self.state = state["seed"], state["position"]
        except ValueError as e:
            raise StateError(str(e)) from None

    def branch(self, *numbers: int) -> "Generator":
        """Return a generator at the beginning of another stream, which follows from the state and `numbers`.

        Nothing is drawn, and other numbers give another stream. Its seed is a digest (BLAKE2, RFC 7693).
        """
        return _Branch((*self.state, *numbers))

    def bits(self, count: int, backend: Chosen = None) -> Any:
        """Draw `count` words in [0, 2**32), as an integer array (count,) of a dtype that the backend likes."""
        return self._bits(count, _open(backend))

    def _bits(self, count: int, backend: Backend) -> Any:
        seed, position = self._advance(count)
        return backend.random_bits(seed, position, count)

    def _advance(self, count: int) -> tuple[int, int]:
        """Return the state before the next `count` words, which are the caller's."""
        with self._lock:
            seed, position = self._state
            if position + count > 2**62:
                raise ValueError(f"stream {seed} ends at word 2**62; count={count} is too many, take another seed")
            self._state = seed, position + count
        return seed, position

    def uniform(
        self, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: str = "float32", backend: Chosen = None
    ) -> Any:
        """Draw from the uniform distribution on [low, high).

        Every value is `low + (high - low) * k * 2**-m`, with m = 24 random bits for float32 and 53, of two words,
        for float64. Rounding may give `high` itself where `low` and `high` are not 0 and 1.
        """
        own, shape, width = _open(backend), _tuple(shape), _width(dtype)
        count, xp = prod(shape), own.xp
        if width == 53:
            words = xp.astype(xp.reshape(self._bits(2 * count, own), (*shape, 2)), xp.int64)
            words = ((words[..., 0] >> 5) << 26) | (words[..., 1] >> 6)
        else:
            words = xp.reshape(self._bits(count, own) >> (32 - width), shape)
        return _affine(xp.astype(words, own.dtype(dtype)) * 2.0**-width, high - low, low)

    def normal(
        self, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: str = "float32", backend: Chosen = None
    ) -> Any:
        """Draw from the normal distribution.

        One word a value: a sign, and 31 bits that are looked up in a table of quantiles of |x| with linear
        interpolation in integers (error below 0.0021 up to 3.3, below 0.015 beyond), the last of 4096 intervals in
        a table of its own, up to 6.2. The resolution is 2**-21 in every dtype.
        """
        own, shape = _open(backend), _tuple(shape)
        _width(dtype)
        if _blank.get():
            return own.xp.zeros(shape, dtype=own.dtype(dtype), device=own.device)
        seed, position = self._advance(count := prod(shape))
        piece = max(count, 1) if own.accelerator else _PIECE
        pieces = []
        for i in range(0, max(count, 1), piece):
            values = _gauss(own, own.random_bits(seed, position + i, min(piece, count - i)))
            pieces.append(_affine(own.xp.astype(values, own.dtype(dtype), copy=False), std, mean))
        return own.xp.reshape(own.xp.concat(pieces) if len(pieces) > 1 else pieces[0], shape)

    def bernoulli(self, p: float, shape: Shape, backend: Chosen = None) -> Any:
        """Draw a boolean array that is True with probability `p`, to within 2**-33; exactly never at 0, always at 1."""
        if not 0 <= p <= 1:
            raise ValueError(f"p={p} is not a probability; it must be in [0, 1]")
        own, shape, threshold = _open(backend), _tuple(shape), round(p * 2**32)
        words = self._bits(prod(shape), own)
        if threshold == 2**32:  # does not fit into uint32
            return own.xp.ones(shape, dtype=own.xp.bool, device=own.device)
        return own.xp.reshape(words < threshold, shape)

    def permutation(self, n: int, backend: Chosen = None) -> Any:
        """Draw a random order of 0 … n-1, as an integer array (n,)."""
        own = _open(backend)
        return own.xp.argsort(self._bits(n, own), stable=True)

    def integers(self, low: int, high: int, shape: Shape, backend: Chosen = None) -> Any:
        """Draw integers in [low, high), high - low at most 2**31, as an int64 array."""
        if not 0 < high - low <= 2**31:
            raise ValueError(f"low={low}, high={high}: high - low must be positive and at most 2**31")
        own, shape = _open(backend), _tuple(shape)
        words = own.xp.astype(self._bits(prod(shape), own), own.xp.int64)
        return own.xp.reshape(((words * (high - low)) >> 32) + low, shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, self.state

    def __repr__(self) -> str:
        seed, position = self.state
        return f"<Generator seed={seed} position={position}>"


class _Branch(Generator):
    """A generator whose seed is computed when it is needed: most batches draw nothing."""

    def __init__(self, origin: tuple[int, ...]) -> None:
        self._lock = threading.Lock()
        self._origin = origin

    @cached_property
    def _state(self) -> tuple[int, int]:  # type: ignore[override]
        import hashlib  # slow to import

        return int.from_bytes(hashlib.blake2b(repr(self._origin).encode(), digest_size=8).digest(), "little"), 0


def _restored(seed: int, position: int) -> Generator:
    generator = Generator(seed)
    generator.state = seed, position
    return generator


_blank: ContextVar[bool] = ContextVar("blank", default=False)


@contextmanager
def blank() -> Iterator[None]:
    """Let `normal` return zeros inside the with block, in this thread or task: for models run for their shapes only."""
    token = _blank.set(True)
    try:
        yield
    finally:
        _blank.reset(token)


def _open(backend: Chosen) -> Backend:
    return current_backend() if backend is None else get_backend(backend)


def _tuple(shape: Shape) -> tuple[int, ...]:
    lengths = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(length < 0 for length in lengths):
        raise ValueError(f"shape={shape!r} has a negative length")
    return lengths


def _width(dtype: str) -> int:
    try:
        return _MANTISSA[dtype]
    except KeyError:
        raise TypeError(f"dtype={dtype!r} is not a floating one; say one of {', '.join(_MANTISSA)}") from None


def _affine(x: Any, scale: float, shift: float) -> Any:
    """Return `x * scale + shift`, as two operations: a fused one would round differently."""
    if scale != 1.0:
        x = x * float(scale)
    return x if shift == 0.0 else x + float(shift)


#: How many words the host makes normal numbers of at a time: what it computes on the way stays in its cache.
_PIECE = 2**15


def _gauss(own: Backend, words: Any) -> Any:
    """Make standard normal numbers, in float32, of random words."""
    xp, (table, slope) = own.xp, _quantiles(own)
    words = xp.astype(words, xp.int64)
    k = words & 0x7FFFFFFF
    last = k >= 4095 << 19
    index = xp.where(last, 4095 + ((k >> 7) & 0xFFF), k >> 19)
    part = xp.where(last, (k & 0x7F) << 12, k & 0x7FFFF)
    size = xp.take(table, index) + ((xp.take(slope, index) * part) >> 19)
    return xp.astype(xp.where(words > 0x7FFFFFFF, -size, size), xp.float32) * 2.0**-_SCALE


_tables: WeakKeyDictionary[Backend, tuple[Any, Any]] = WeakKeyDictionary()
_quantile_table: list[int] = []


def _quantiles(backend: Backend) -> tuple[Any, Any]:
    """Return quantiles of |x|, times 2**21, and the steps between them, as arrays of the backend.

    Entry i belongs to the probability i / 4096 up to i = 4095, entry 4095 + j to (4095 + j / 4096) / 4096.
    """
    if backend not in _tables:
        table = _quantile_table or _compute_quantiles()
        steps = [b - a for a, b in pairwise(table)]
        xp, device = backend.xp, backend.device
        table_, steps_ = (xp.asarray(t, dtype=xp.int64, device=device) for t in (table, steps))
        _tables[backend] = table_, steps_
    return _tables[backend]


def _compute_quantiles() -> list[int]:
    from statistics import NormalDist  # 10 ms, and only for whoever draws normal numbers

    inverse = NormalDist().inv_cdf
    tails = [1 - i / 4096 for i in range(4095)]
    tails += [(1 - j / 4096) / 4096 for j in range(4096)] + [2.0**-32]
    _quantile_table[:] = [round(-inverse(tail / 2) * 2**_SCALE) for tail in tails]
    return _quantile_table


_scoped: ContextVar[Generator | None] = ContextVar("dzcore_generator", default=None)


class _Default(Generator):
    """The innermost `use_generator`, or else a stream of its own."""

    @property
    def state(self) -> tuple[int, int]:
        own = _scoped.get()
        return self._state if own is None else own.state

    @state.setter
    def state(self, state: tuple[int, int]) -> None:
        own = _scoped.get()
        if own is None:
            Generator.state.__set__(self, state)  # type: ignore[attr-defined]
        else:
            own.state = state

    def _advance(self, count: int) -> tuple[int, int]:
        own = _scoped.get()
        return super()._advance(count) if own is None else own._advance(count)


class _Using:
    """What a generator-based context manager would do, at a third of its price; a DataLoader pays it for each batch."""

    __slots__ = ("generator", "token")

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def __enter__(self) -> Generator:
        self.token = _scoped.set(None if self.generator is default_generator else self.generator)
        return self.generator

    def __exit__(self, *_: object) -> None:
        _scoped.reset(self.token)


def use_generator(generator: Generator) -> AbstractContextManager[Generator]:
    """Let everything that draws from the default generator draw from `generator` inside the with block.

    This holds for the running thread or task alone.

    >>> with use_generator(Generator(0)):
    ...     get_state()
    (0, 0)
    """
    return _Using(generator)


#: The generator behind the functions of this module; seeded by the operating system until `seed` is called.
default_generator: Generator = _Default()
bits = default_generator.bits
uniform = default_generator.uniform
normal = default_generator.normal
bernoulli = default_generator.bernoulli
permutation = default_generator.permutation
integers = default_generator.integers


def seed(n: int) -> None:
    """Put the default generator at the beginning of stream `n`, 0 <= n < 2**64."""
    default_generator.state = (n, 0)


def get_state() -> tuple[int, int]:
    """Return the state of the default generator, (seed, position)."""
    return default_generator.state


def set_state(state: tuple[int, int]) -> None:
    """Continue the default generator from a state that `get_state` returned."""
    default_generator.state = state
