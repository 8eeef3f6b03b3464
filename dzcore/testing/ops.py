"""The op table: every function of dzcore with sample inputs, options, a reference, and how often it is differentiable.

    for op in OPS:
        xs = op.draw(backend)                    # Variables, the same on every backend
        y = op.call(dzcore, *xs)
        expected = op.reference(numpy, *arrays)  # any namespace with the array API's functions

A reference is written against such a namespace. Where none stands here, it is the namespace's own function of this
name.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from ..backend import Backend
from ..graph import Variable
from .draw import Source, constant

__all__ = ["OPS", "Op", "Real", "Whole"]


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
    return Real(shape, low, high)


def P(*shape: int) -> Real:
    """Positive samples."""
    return Real(shape, 0.3, 2.5)


def I(*shape: int, high: int = 3) -> Whole:  # noqa: E743
    return Whole(shape, high)


def B(*shape: int) -> Whole:
    return Whole(shape, 2, "bool")


# Elementwise, one input -------------------------------------------------------------------------------------------

for _name in ("cos", "cosh", "exp", "expm1", "negative", "sin", "sinh", "square", "tanh", "asinh", "atan"):
    op(_name, R(3, 4), elementwise=True)
for _name in ("log", "log10", "log2", "reciprocal", "sqrt"):
    op(_name, P(3, 4), elementwise=True)
for _name in ("acos", "asin", "atanh"):
    op(_name, R(3, 4, low=-0.8, high=0.8), elementwise=True)
op("tan", R(3, 4, low=-1.2, high=1.2), elementwise=True)
op("acosh", R(3, 4, low=1.3, high=3.0), elementwise=True)
op("log1p", R(3, 4, low=-0.7, high=2.0), elementwise=True)
op("abs", R(3, 4), elementwise=True)
op("positive", R(3, 4), elementwise=True)

# Elementwise, two inputs and more -----------------------------------------------------------------------------------

for _name in ("add", "subtract", "multiply", "atan2", "hypot", "logaddexp", "maximum", "minimum", "copysign"):
    op(_name, R(3, 4), R(3, 4), elementwise=True)
    op(_name, R(3, 1), R(4), label="broadcast", elementwise=True)
for _name in ("divide", "remainder"):
    op(_name, R(3, 4), P(3, 4), elementwise=True)
    op(_name, R(3, 1), R(4), label="broadcast", elementwise=True)
op("pow", P(3, 4), R(3, 4), elementwise=True)
op("pow", P(3, 1), R(4), label="broadcast", elementwise=True)
for _exponent in (0, 1, 2, 3, -2, 0.5, 2.5):
    _base = R(3, 4) if isinstance(_exponent, int) and _exponent >= 0 else P(3, 4)
    op("pow", _base, call=lambda xp, x, n=_exponent: x**n, label=f"{_exponent}", elementwise=True)
op("pow", R(3, 4), call=lambda xp, x: 2.5**x, label="of-a-number", elementwise=True)
op("add", R(3, 4), call=lambda xp, x: 2.0 + x + 1, label="numbers", elementwise=True)
op("subtract", R(3, 4), call=lambda xp, x: 2.0 - x - 1, label="numbers", elementwise=True)
op("multiply", R(3, 4), call=lambda xp, x: 2.0 * x * 3, label="numbers", elementwise=True)
op("divide", P(3, 4), call=lambda xp, x: 2.0 / x / 3, label="numbers", elementwise=True)
op("remainder", R(3, 4, low=0.72, high=0.98), call=lambda xp, x: 2.0 % x + x % 0.7, label="numbers", elementwise=True)
op("maximum", R(3, 4), call=lambda xp, x: xp.maximum(x, 0.5), label="number", elementwise=True)
op("atan2", R(3, 4), call=lambda xp, x: xp.atan2(1.5, x), label="number", elementwise=True)
op("hypot", R(3, 4), call=lambda xp, x: xp.hypot(x, 1.5), label="number", elementwise=True)
op("copysign", R(3, 4), call=lambda xp, x: xp.copysign(x, -1.0), label="number", elementwise=True)
op("where", B(3, 4), R(3, 4), R(3, 4), elementwise=True)
op("where", B(3, 1), R(4), R(3, 4), label="broadcast", elementwise=True)
op("where", B(3, 4), R(3, 4), call=lambda xp, c, x: xp.where(c, x, 1.5), label="number", elementwise=True)
op("clip", R(3, 4), call=lambda xp, x: xp.clip(x, -1.0, 0.9), label="both", elementwise=True)
op("clip", R(3, 4), call=lambda xp, x: xp.clip(x, -1.0, None), label="low", elementwise=True)
op("clip", R(3, 4), call=lambda xp, x: xp.clip(x, None, 1.0), label="high", elementwise=True)
op("clip", R(3, 4), R(3, 4, low=-1.5, high=-0.5), R(4, low=0.5, high=1.5), label="arrays", elementwise=True)

# Activations ------------------------------------------------------------------------------------------------------


def _softmax(xp: Any, x: Any, axis: int) -> Any:
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


op("relu", R(3, 4), reference=lambda xp, x: xp.maximum(x, 0.0), elementwise=True)
op("leaky_relu", R(3, 4), reference=lambda xp, x: xp.where(x > 0, x, 0.2 * x), elementwise=True)
op("leaky_relu", R(3, 4), slope=0.01, reference=lambda xp, x: xp.where(x > 0, x, 0.01 * x), elementwise=True)
op("sigmoid", R(3, 4), reference=lambda xp, x: 1 / (1 + xp.exp(-x)), elementwise=True)
op("softplus", R(3, 4), reference=lambda xp, x: xp.log(1 + xp.exp(x)), elementwise=True)
for _axis in (0, 1, -1):
    op("softmax", R(3, 4), axis=_axis, reference=lambda xp, x, a=_axis: _softmax(xp, x, a))
    op("log_softmax", R(3, 4), axis=_axis, reference=lambda xp, x, a=_axis: xp.log(_softmax(xp, x, a)))
op("dropout", R(3, 4), dropout_ratio=0.0, reference=lambda xp, x: x)  # the others: tests/functions/test_dropout.py

# Reductions -------------------------------------------------------------------------------------------------------

for _name in ("sum", "mean", "max", "min", "prod", "var", "std"):
    op(_name, R(2, 3, 4))
    op(_name, R(2, 3, 4), axis=1)
    op(_name, R(2, 3, 4), axis=-1, keepdims=True)
    op(_name, R(2, 3, 4), axis=(0, -1))
op("var", R(3, 4), axis=0, correction=1.0, reference=lambda xp, x: xp.var(x, axis=0, ddof=1))
op("std", R(3, 4), axis=0, correction=1.0, reference=lambda xp, x: xp.std(x, axis=0, ddof=1))
op("average", R(3, 4), axis=0)
op("logsumexp", R(3, 4), reference=lambda xp, x: xp.log(xp.sum(xp.exp(x))))
op("logsumexp", R(3, 4), axis=-1, keepdims=True,
   reference=lambda xp, x: xp.log(xp.sum(xp.exp(x), axis=-1, keepdims=True)))  # fmt: skip
op("logsumexp", R(2, 3, 4), axis=(0, 2), reference=lambda xp, x: xp.log(xp.sum(xp.exp(x), axis=(0, 2))))
for _name in ("cumulative_sum", "cumulative_prod"):
    op(_name, R(5))
    op(_name, R(3, 4), axis=0)
    op(_name, R(3, 4), axis=-1, include_initial=True)
op("diff", R(3, 4))
op("diff", R(5, 3), axis=0, n=2)

# Shapes -----------------------------------------------------------------------------------------------------------

op("reshape", R(3, 4), call=lambda xp, x: xp.reshape(x, (2, -1)))
op("flatten", R(2, 3, 4), reference=lambda xp, x: xp.reshape(x, (2, 12)))
op("expand_dims", R(3, 4), axis=-1)
op("expand_dims", R(3, 4), axis=1)
op("squeeze", R(3, 1, 4, 1), axis=(1, -1))
op("permute_dims", R(2, 3, 4), call=lambda xp, x: xp.permute_dims(x, (2, 0, 1)))
op("transpose", R(2, 3, 4))
op("transpose", R(2, 3, 4), axes=(1, -1, 0))
op("matrix_transpose", R(2, 3, 4))
op("moveaxis", R(2, 3, 4), call=lambda xp, x: xp.moveaxis(x, (0, -1), (1, 0)))
op("flip", R(3, 4))
op("flip", R(3, 4), axis=-1)
op("roll", R(3, 4), shift=5)
op("roll", R(3, 4), shift=(1, -2), axis=(0, 1))
op("sum_to", R(2, 3, 4), call=lambda xp, x: xp.sum_to(x, (3, 1)),
   reference=lambda xp, x: xp.sum(xp.sum(x, axis=0), axis=1, keepdims=True))  # fmt: skip
op("broadcast_to", R(3, 1), call=lambda xp, x: xp.broadcast_to(x, (2, 3, 4)))
op("broadcast_arrays", R(3, 1), R(4))
op("meshgrid", R(3), R(4), R(2))
op("meshgrid", R(3), R(4), indexing="ij")
op("concat", R(3, 2), R(3, 4), call=lambda xp, *xs: xp.concat(xs, axis=1))
op("concat", R(3, 2), R(4), call=lambda xp, *xs: xp.concat(xs, axis=None), label="flat")
op("stack", R(3, 2), R(3, 2), call=lambda xp, *xs: xp.stack(xs, axis=-1))
op("unstack", R(3, 4), axis=1)
op("repeat", R(3, 4), call=lambda xp, x: xp.repeat(x, 3, axis=1))
op("repeat", R(3, 4), call=lambda xp, x: xp.repeat(x, 2), label="flat")
op("tile", R(3, 4), call=lambda xp, x: xp.tile(x, (2, 1, 3)))
op("pad", R(3, 4), call=lambda xp, x: xp.pad(x, [(1, 0), (0, 2)], 1.5),
   reference=lambda xp, x: xp.pad(x, [(1, 0), (0, 2)], constant_values=1.5))  # fmt: skip
op("tril", R(2, 3, 4), k=1)
op("triu", R(3, 4), k=-1)
op("astype", R(3, 4), call=lambda xp, x: xp.astype(x, xp.float32), order=0)  # float32 is too coarse for differences

# Indexing ---------------------------------------------------------------------------------------------------------

op("get_item", R(3, 4), call=lambda xp, x: x[1:, ::2], label="slices")
op("get_item", R(3, 4), I(5), call=lambda xp, x, i: x[i], label="rows")
op("get_item", R(3, 4), I(5), I(2, 1, high=4), call=lambda xp, x, i, j: x[i, j], label="points")
op("get_item", R(3, 4), B(3, 4), call=lambda xp, x, m: x[m], label="mask")
op("take", R(3, 4), I(5), call=lambda xp, x, i: xp.take(x, i, axis=0), label="axis=0")
op("take", R(3, 4), I(2, 3), call=lambda xp, x, i: xp.take(x, i, axis=-1), label="axis=-1,2d")
op("take", R(4), I(6), call=lambda xp, x, i: xp.take(x, i), label="1d")
op("take_along_axis", R(3, 4), I(3, 2), axis=1)
op("take_along_axis", R(3, 4), I(5, 4), axis=0)
op("sort", R(3, 4))
op("sort", R(3, 4), axis=0, descending=True, reference=lambda xp, x: xp.flip(xp.sort(x, axis=0), axis=0))

# Products ---------------------------------------------------------------------------------------------------------

for _left, _right in (((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((2, 3, 4), (4, 2)),
                      ((2, 1, 3, 4), (5, 4, 2)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3))):  # fmt: skip
    op("matmul", R(*_left), R(*_right), label=f"{_left}@{_right}".replace(" ", ""))
op("tensordot", R(2, 3, 4), R(3, 4, 5))
op("tensordot", R(2, 3, 4), R(4, 2), axes=((0, -1), (1, 0)))
op("tensordot", R(2, 3), R(4), axes=0)
op("vecdot", R(3, 4), R(3, 4))
op("vecdot", R(3, 4), R(3, 1), axis=0, reference=lambda xp, x1, x2: xp.sum(x1 * x2, axis=0))
op("linear", R(3, 4), R(4, 2), R(2), reference=lambda xp, x, W, b: x @ W + b)
op("linear", R(3, 4), R(4, 2), label="no-bias", reference=lambda xp, x, W: x @ W)
op("linear", R(5, 3, 4), R(4, 2), R(2), label="3d", reference=lambda xp, x, W, b: x @ W + b)

# Losses -----------------------------------------------------------------------------------------------------------


def _cross_entropy(xp: Any, x: Any, t: Any) -> Any:
    p = xp.log(_softmax(xp, x, 1))
    return -xp.mean(xp.take_along_axis(p, xp.reshape(t, (-1, 1)), axis=1))


op("mean_squared_error", R(3, 4), R(3, 4), reference=lambda xp, a, b: xp.mean((a - b) ** 2))
op("mean_absolute_error", R(3, 4), R(3, 4), reference=lambda xp, a, b: xp.mean(xp.abs(a - b)))
op("softmax_cross_entropy", R(5, 3), I(5), reference=_cross_entropy)
op("sigmoid_cross_entropy", R(3, 4), R(3, 4, low=0.0, high=1.0),
   reference=lambda xp, x, t: xp.mean(xp.log(1 + xp.exp(x)) - x * t))  # fmt: skip
op("sigmoid_cross_entropy", R(3, 4), I(3, 4, high=2), label="classes",
   reference=lambda xp, x, t: xp.mean(xp.log(1 + xp.exp(x)) - x * t))  # fmt: skip
op("binary_cross_entropy", R(3, 4, low=0.05, high=0.95), R(3, 4, low=0.0, high=1.0),
   reference=lambda xp, p, t: -xp.mean(t * xp.log(p) + (1 - t) * xp.log(1 - p)))  # fmt: skip
op("accuracy", R(5, 3), I(5), order=0,
   reference=lambda xp, y, t: xp.mean(xp.astype(xp.argmax(y, axis=1) == t, y.dtype)))  # fmt: skip

# Without a gradient -----------------------------------------------------------------------------------------------

for _name in ("ceil", "floor", "round", "trunc", "sign", "signbit", "isfinite", "isinf", "isnan"):
    op(_name, R(3, 4), order=0, elementwise=True)
for _name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
    op(_name, I(3, 4), I(3, 4), order=0, elementwise=True)
    op(_name, R(3, 4), R(4), order=0, label="reals", elementwise=True)
for _name in ("logical_and", "logical_or", "logical_xor"):
    op(_name, B(3, 4), B(4), order=0, elementwise=True)
op("logical_not", B(3, 4), order=0, elementwise=True)
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"):
    op(_name, I(3, 4, high=50), I(3, 4, high=4), order=0, elementwise=True)
op("bitwise_invert", I(3, 4), order=0, elementwise=True)
op("floor_divide", R(3, 4), P(3, 4), order=0, elementwise=True)
op("nextafter", R(3, 4), R(3, 4), order=0, elementwise=True)
for _name in ("all", "any"):
    op(_name, B(3, 4), order=0)
    op(_name, B(3, 4), order=0, axis=1, keepdims=True)
for _name in ("argmax", "argmin"):
    op(_name, R(3, 4), order=0)
    op(_name, R(3, 4), order=0, axis=-1)
op("argsort", R(3, 4), order=0, axis=0)
op("count_nonzero", I(3, 4), order=0, axis=1)
op("nonzero", B(3, 4), order=0)
op("isin", I(3, 4, high=6), I(3, high=6), order=0)
op("searchsorted", I(4), R(5, low=-1.0, high=4.0), order=0,
   call=lambda xp, a, v: xp.searchsorted(xp.sort(xp.astype(a, v.dtype)), v))  # fmt: skip
for _name in ("unique_all", "unique_counts", "unique_inverse"):
    op(_name, I(9, high=4), order=0)
op("unique_values", I(9, high=4), order=0, call=lambda xp, x: xp.sort(xp.unique_values(x)))
op("broadcast_shapes", order=0, call=lambda xp: xp.broadcast_shapes((3, 1), (4,), (1, 1, 1)))

# Creation ---------------------------------------------------------------------------------------------------------

op("arange", order=0, call=lambda xp: xp.arange(2, 9, 3))
op("arange", order=0, call=lambda xp: xp.arange(4.0), label="float")
op("linspace", order=0, call=lambda xp: xp.linspace(-1.0, 1.0, 5))
op("linspace", order=0, call=lambda xp: xp.linspace(-1.0, 1.0, 4, endpoint=False), label="open")
op("eye", order=0, call=lambda xp: xp.eye(3, 4, k=1))
op("zeros", order=0, call=lambda xp: xp.zeros((2, 3)))
op("ones", order=0, call=lambda xp: xp.ones(3))
op("full", order=0, call=lambda xp: xp.full((2, 3), 2.5))
op("empty", order=0, call=lambda xp: xp.empty((2, 3)) * 0 == 1, reference=lambda xp: xp.zeros((2, 3)) == 1)
op("asarray", order=0, call=lambda xp: xp.asarray([[1, 2], [3, 4]]))
op("zeros_like", R(3, 4), order=0)
op("ones_like", R(3, 4), order=0)
op("full_like", R(3, 4), order=0, call=lambda xp, x: xp.full_like(x, 2.5))
op("empty_like", R(3, 4), order=0, call=lambda xp, x: xp.empty_like(x).shape[0] * xp.ones_like(x))
