"""Elementwise formulas for `fuse` and `update`: dzcore's own, and what a compiler of formulas stumbles over."""

from collections.abc import Callable, Iterator
from math import inf, nan, prod
from typing import Any, NamedTuple

from ... import optimizers
from ...backend import Backend
from ..compare import RTOL
from .measure import COMPUTED, LAYOUTS, send

__all__ = ["FUSED", "UPDATES", "Formula"]

#: Shapes of inputs; (64, 33) is more than one block or launch in most libraries.
SHAPES: list[tuple[int, ...]] = [(3, 4), (), (0,), (64, 33)]
#: What is mixed into the inputs, unless the formula has to do with finite numbers only.
SPECIAL = [0.0, -0.0, 1.0, inf, -inf, nan, -3.0, 0.5]


class Formula(NamedTuple):
    """A formula `call(xp, *arrays, *scalars)`, the first `targets` of the arrays being those of an update."""

    name: str
    call: Callable[..., Any]
    arrays: int
    scalars: tuple[Any, ...] = ()
    targets: int = 0
    positive: bool = False  #: inputs are in [0.25, 2) rather than [-4, 4) with inf and nan among them
    exact: bool = False  #: every operation is exact or rounds once, so that nothing may differ
    only: tuple[str, ...] = COMPUTED

    def __str__(self) -> str:
        return self.name

    def dtypes(self, backend: Backend) -> list[str]:
        """List the dtypes to try."""
        return [dtype for dtype in self.only if dtype in backend.dtypes]

    def inputs(self, backend: Backend, dtype: str) -> Iterator[list[Any]]:
        """Yield lists of arrays: of each shape, and of each layout."""
        wide = dtype in ("float32", self.only[0] if self.only != COMPUTED else "")
        for shape in SHAPES if wide else SHAPES[:1]:  # some libraries compile every shape of every dtype anew
            yield [send(backend, self._numbers(prod(shape), k, dtype), shape, dtype) for k in range(self.arrays)]
        for layout in LAYOUTS.values() if wide and self.exact else ():
            if not self.targets:  # an update writes into arrays that are whole
                plain = [send(backend, self._numbers(12, k, dtype), (3, 4), dtype) for k in range(self.arrays)]
                yield [layout(backend.xp, x) for x in plain]

    def _numbers(self, count: int, k: int, dtype: str) -> list[Any]:
        if dtype == "bool":
            return [(i * 5 + k) % 3 == 0 for i in range(count)]
        if "int" in dtype:
            return [(i * 37 + 11 * k) % 101 for i in range(count)]
        drawn = [((i * 7919 + 104729 * k) % 1024) / 128 - 4 for i in range(count)]
        if self.positive:
            return [0.25 + abs(x) / 2.5 for x in drawn]
        for i in range(0, count, 3):
            drawn[i] = SPECIAL[(i // 3 + 3 * k) % len(SPECIAL)]
        return drawn

    def rtol(self, dtype: str) -> float | None:
        """Return the relative tolerance: some ten units in the last place, none where the formula is exact."""
        return 0.0 if self.exact else None

    def atol(self, dtype: str) -> float:
        """Return what cancellation may leave of numbers of magnitude 10."""
        return 0.0 if self.exact else 10 * RTOL.get(dtype, 0.0)


def _gelu(xp: Any, x: Any) -> Any:
    return 0.5 * x * (1 + xp.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


def _dropped(xp: Any, x: Any, keep: Any, scale: Any) -> Any:
    return x * (xp.astype(keep < 0.25, x.dtype) * scale)


def _drawn(xp: Any, words: Any, threshold: Any) -> Any:
    return xp.where(words < threshold, xp.astype(words, xp.float32) * 0.5, 0.0)


def _sigmoid(xp: Any, x: Any) -> Any:
    return 1.0 / (1.0 + xp.exp(-xp.clip(x, -9.0, 9.0)))


def _several(xp: Any, x: Any, y: Any) -> Any:
    z = xp.maximum(x, y)
    return z, -z, xp.where((x > y) & ~(x == 1.0), x, y)


FUSED = [
    Formula("identity", lambda xp, x: x * 1.0, 1, exact=True),
    Formula("negative", lambda xp, x: -x, 1, exact=True),
    Formula("sum", lambda xp, x, y: x + y, 2, exact=True),
    Formula("product", lambda xp, x, y: x * y, 2, exact=True),
    Formula("number", lambda xp, x, a: a - x, 1, (0.5,), exact=True),
    Formula("whole-number", lambda xp, x, n: x * n, 1, (3,), exact=True),
    Formula("quotient", lambda xp, x, y: x / y, 2, exact=True, only=("float32", "float64")),
    Formula("maximum", lambda xp, x: xp.maximum(x, 0.5), 1, exact=True),
    Formula("abs-sign", lambda xp, x: xp.abs(x) + xp.sign(xp.where(xp.isnan(x), 0.0, x)), 1, exact=True),
    Formula("where", lambda xp, x, y: xp.where(x < y, x, 0.25), 2, exact=True),
    Formula("several", _several, 2, exact=True, only=("float32", "float64")),
    Formula("dropped", _dropped, 2, (2.0,), exact=True),
    Formula("clip", lambda xp, x: xp.clip(x, -0.5, 0.75), 1, exact=True),
    Formula("square-root", lambda xp, x: xp.sqrt(xp.abs(x)), 1, only=("float16", "float32", "float64")),
    Formula("power", lambda xp, x: x**2 + x**0.5, 1, positive=True, only=("float32", "float64")),
    Formula("exp-log", lambda xp, x: xp.exp(x) + xp.log(xp.abs(x)), 1, only=("float32", "float64")),
    Formula("near-zero", lambda xp, x: xp.expm1(x) + xp.log1p(xp.abs(x)), 1, only=("float32", "float64")),
    Formula("log-sum", lambda xp, x, y: xp.logaddexp(x, y), 2, only=("float32", "float64")),
    Formula("hyperbolic", lambda xp, x: xp.tanh(x) * xp.tanh(x * 0.001), 1, only=("float32", "float64")),
    Formula("gelu", _gelu, 1, positive=True),
    Formula("sigmoid", _sigmoid, 1),
    Formula("bits", lambda xp, w: xp.where(w < 50, w * 2, 7), 1, exact=True, only=("int32", "int64", "uint32")),
    Formula("drawn", _drawn, 1, (50,), exact=True, only=("int32", "int64", "uint32")),
    Formula("mask", lambda xp, m, n: xp.where(m | ~n, n, m & n), 2, exact=True, only=("bool",)),
]


def _rule(optimizer: optimizers.Optimizer, name: str, exact: bool = False) -> Formula:
    optimizer.t = 3
    numbers = tuple(optimizer.numbers())
    targets = 1 + optimizer.states
    return Formula(name, optimizer.formula, targets + 1, numbers, targets, positive=True, exact=exact)


UPDATES = [
    _rule(optimizers.SGD(0.1), "sgd"),
    _rule(optimizers.MomentumSGD(0.1), "momentum"),
    _rule(optimizers.AdaGrad(0.1), "adagrad"),
    _rule(optimizers.AdaDelta(), "adadelta"),
    _rule(optimizers.Adam(0.1), "adam"),
    _rule(optimizers.AdamW(0.1), "adamw"),
    Formula("swap", lambda xp, a, b: (b, a), 2, (), 2, exact=True),
    Formula("swap-sum", lambda xp, a, b: (b, a + b), 2, (), 2, exact=True),
    Formula("an-input", lambda xp, a, b, g: (g, a), 3, (), 2, exact=True),
    Formula("numbers", lambda xp, a, n: (a * n + 0.0,), 1, (2,), 1, exact=True),
    Formula("special", lambda xp, a, b, g: (xp.where(g > a, a, g), -b), 3, (), 2, exact=True),
]
