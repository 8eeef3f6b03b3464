"""What an entry of the op table is, and how the modules beside this one write it."""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from ...backend import Backend
from ...graph import Variable
from ..draw import Source, constant

__all__ = ["OPS", "B", "I", "Op", "P", "R", "Real", "Whole", "op"]


class Real(NamedTuple):
    """Floating-point samples: distinct, spread over [low, high], away from the ends and, if low = -high, from 0.

    Samples of the first, second … input stand at different fractions of the spacing, so that those of two inputs of
    one shape are distinct too.
    """

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0

    def draw(self, source: Source, backend: Backend, position: int, dtype: str) -> Variable:
        n = prod(self.shape)
        order, jitter = source.permutation(n), source.uniform(n, -0.08, 0.08)
        fraction, spacing = (0.25, 0.7, 0.4, 0.85)[position % 4], (self.high - self.low) / max(n, 1)
        x = [self.low + spacing * (k + j + fraction) for k, j in zip(order, jitter, strict=True)]
        return Variable(constant(x, self.shape, dtype, backend))


class Whole(NamedTuple):
    """Integer samples in [0, high), or booleans."""

    shape: tuple[int, ...]
    high: int = 2
    dtype: str = "int64"

    def draw(self, source: Source, backend: Backend, position: int, dtype: str) -> Variable:
        x = [int(u) for u in source.uniform(prod(self.shape), 0, self.high)]
        return constant(x, self.shape, self.dtype, backend)


class Op(NamedTuple):
    """One way to call one function."""

    name: str
    label: str  #: distinguishes the entries of one name
    inputs: tuple[Real | Whole, ...]
    call: Callable[..., Any]  #: of the namespace `dzcore`, and the inputs
    reference: Callable[..., Any]  #: of another namespace, and the inputs as its arrays
    order: int  #: 0: no gradient, 1: the second derivative is 0 or undefined, 2: differentiable again and again
    elementwise: bool  #: whether inputs broadcast against each other

    def draw(self, backend: Backend, dtype: str = "float64", seed: int = 0) -> list[Variable]:
        """Draw the inputs from the stream `seed`: leaves for the floating-point ones."""
        source = Source(seed)
        return [sample.draw(source, backend, i, dtype) for i, sample in enumerate(self.inputs)]

    def __str__(self) -> str:
        return f"{self.name}-{self.label}" if self.label else self.name


OPS: list[Op] = []


def op(
    name: str,
    *inputs: Real | Whole,
    label: str = "",
    call: Callable[..., Any] | None = None,
    reference: Callable[..., Any] | None = None,
    order: int = 2,
    elementwise: bool = False,
    **options: Any,
) -> None:
    """Add an entry. `call` and `reference` default to `namespace.name(*inputs, **options)`."""

    def plain(xp: Any, *xs: Any) -> Any:
        return getattr(xp, name)(*xs, **options)

    says = label or ",".join(f"{k}={v}".replace(" ", "") for k, v in options.items())
    OPS.append(Op(name, says, inputs, call or plain, reference or call or plain, order, elementwise))


def R(*shape: int, low: float = -2.0, high: float = 2.0) -> Real:
    """Real samples."""
    return Real(shape, low, high)


def P(*shape: int) -> Real:
    """Positive samples."""
    return Real(shape, 0.3, 2.5)


def I(*shape: int, high: int = 3) -> Whole:  # noqa: E743
    """Integer samples."""
    return Whole(shape, high)


def B(*shape: int) -> Whole:
    """Boolean samples."""
    return Whole(shape, 2, "bool")
