"""Elementwise functions of the array API, with their gradients."""

import math
from math import inf
from typing import Any

from ..graph import Variable, as_variable, rule
from ..graph.variable import is_scalar

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "clip",
    "copysign",
    "cos",
    "cosh",
    "divide",
    "exp",
    "expm1",
    "hypot",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "positive",
    "pow",
    "reciprocal",
    "remainder",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "where",
]  # fmt: skip


# Arithmetic ------------------------------------------------------------------------------------------------------


@rule(elementwise=True, x1=lambda gy: gy, x2=lambda gy: gy)
def add(xp: Any, x1: Any, x2: Any) -> Any:
    """Calculate x1 + x2."""
    return x1 + x2


@rule(elementwise=True, x1=lambda gy: gy, x2=lambda gy: -gy)
def subtract(xp: Any, x1: Any, x2: Any) -> Any:
    """Calculate x1 - x2."""
    return x1 - x2


@rule(elementwise=True, x1=lambda gy, x2: gy * x2, x2=lambda gy, x1: gy * x1)
def multiply(xp: Any, x1: Any, x2: Any) -> Any:
    """Calculate x1 · x2."""
    return x1 * x2


@rule(elementwise=True, x1=lambda gy, x2: gy / x2, x2=lambda gy, x2, y: -gy * (y / x2))
def divide(xp: Any, x1: Any, x2: Any) -> Any:
    """Calculate x1 / x2."""
    return x1 / x2


@rule(
    elementwise=True,
    x1=lambda gy: gy,
    x2=lambda xp, gy, x1, x2: -gy * xp.floor(x1 / x2),
)
def remainder(xp: Any, x1: Any, x2: Any) -> Any:
    """Calculate x1 - x2 · floor(x1 / x2), which has the sign of x2."""
    return x1 % x2


@rule(x=lambda gy: -gy)
def negative(xp: Any, x: Any) -> Any:
    """Calculate -x."""
    return -x


@rule(x=lambda gy: gy)
def positive(xp: Any, x: Any) -> Any:
    """Calculate +x."""
    return xp.positive(x)


@rule(fused=True, x=lambda xp, gy, x: gy * xp.sign(x))
def abs(xp: Any, x: Any) -> Any:
    """Calculate |x|; the derivative at 0 is 0."""
    return xp.abs(x)


@rule(x=lambda gy, y: -gy * (y * y))
def reciprocal(xp: Any, x: Any) -> Any:
    """Calculate 1 / x."""
    return 1.0 / x


# Powers ----------------------------------------------------------------------------------------------------------


@rule(x=lambda gy, x: gy * (x * 2.0))
def square(xp: Any, x: Any) -> Any:
    """Calculate x²."""
    return x * x


@rule(fused=True, x=lambda gy, y: gy / (y * 2.0))
def sqrt(xp: Any, x: Any) -> Any:
    """Calculate the square root of x."""
    return xp.sqrt(x)


def _product(x: Any, count: int) -> Any:
    """Multiply x by itself: `count` of them, by repeated squaring."""
    if count == 1:
        return x
    half = _product(x * x, count // 2)
    return half * x if count % 2 else half


def _whole(n: int) -> tuple[Any, Any]:
    """Return xⁿ and its gradient as formulas, each for one n."""
    if n == 0:
        return (lambda xp, x: xp.ones_like(x)), (lambda xp, gy, x: xp.zeros_like(gy))
    return (lambda xp, x: _product(x, n) if n > 1 else x * 1.0), (
        lambda xp, gy, x: gy * (_product(x, n - 1) * float(n)) if n > 1 else gy * 1.0
    )


#: A library's power takes some hundred times as long as a product, which errs by (n - 1) / 2 units in the last place.
_WHOLE = {n: _whole(n) for n in range(9)}


@rule(shown="power", x=lambda xp, gy, x, n: xp.fused(_WHOLE[n][1], gy, x))
def _whole_power(xp: Any, x: Any, /, n: int) -> Any:
    return xp.fused(_WHOLE[n][0], x)


@rule(fused=True, x=lambda xp, gy, x, exponent: gy * (exponent * xp.pow(x, exponent - 1)))
def _power(xp: Any, x: Any, /, exponent: float) -> Any:
    return x**exponent


@rule(
    elementwise=True,
    fused=True,
    # x2 = 0 makes a constant of x1; and x1 = 0 makes one of x2, where log(x1) would say nan
    x1=lambda xp, gy, x1, x2: gy * x2 * xp.pow(x1, xp.where(x2 == 0.0, 1.0, x2 - 1.0)),
    x2=lambda xp, gy, x1, y: gy * y * xp.log(xp.where(x1 == 0.0, 1.0, x1)),
)
def _power_of(xp: Any, x1: Any, x2: Any) -> Any:
    return x1**x2


def pow(x1: Any, x2: Any) -> Variable:
    """Calculate x1 to the power of x2; either may be a Python number.

    Floating-point numbers to the power of 0, 1 … 8 are multiplied: x³ is x² · x, exact to (x2 - 1) / 2 units in the
    last place.
    """
    if is_scalar(x2):
        x1 = as_variable(x1)
        if x2 in _WHOLE and (x1.node is not None or x1.backend.is_floating(x1.dtype)):
            return _whole_power(x1, int(x2))
        return _power(x1, float(x2) if isinstance(x2, float) else int(x2))  # np.float64 is a float
    if is_scalar(x1) and (x2 := as_variable(x2)).requires_grad:
        x1 = x2.backend.xp.full_like(x2._data, x1)
    return _power_of(x1, x2)


@rule(
    elementwise=True,
    fused=True,
    x1=lambda xp, gy, x1, y: gy * x1 / xp.where(y == 0.0, 1.0, y),
    x2=lambda xp, gy, x2, y: gy * x2 / xp.where(y == 0.0, 1.0, y),
)
def hypot(xp: Any, x1: Any, x2: Any) -> Any:
    """Calculate √(x1² + x2²); the derivative at the origin is 0."""
    return xp.hypot(x1, x2)


# Exponentials and logarithms ---------------------------------------------------------------------------------------


@rule(fused=True, x=lambda gy, y: gy * y)
def exp(xp: Any, x: Any) -> Any:
    """Calculate eˣ."""
    return xp.exp(x)


@rule(fused=True, x=lambda gy, y: gy * (y + 1.0))
def expm1(xp: Any, x: Any) -> Any:
    """Calculate eˣ - 1, accurately for small x."""
    return xp.expm1(x)


@rule(fused=True, x=lambda gy, x: gy / x)
def log(xp: Any, x: Any) -> Any:
    """Calculate the natural logarithm of x."""
    return xp.log(x)


@rule(fused=True, x=lambda gy, x: gy / (x + 1.0))
def log1p(xp: Any, x: Any) -> Any:
    """Calculate log(1 + x), accurately for small x."""
    return xp.log1p(x)


@rule(fused=True, x=lambda gy, x: gy / (x * math.log(2)))
def log2(xp: Any, x: Any) -> Any:
    """Calculate the logarithm of x to base 2."""
    return xp.log2(x)


@rule(fused=True, x=lambda gy, x: gy / (x * math.log(10)))
def log10(xp: Any, x: Any) -> Any:
    """Calculate the logarithm of x to base 10."""
    return xp.log10(x)


@rule(
    elementwise=True,
    fused=True,
    x1=lambda xp, gy, x1, y: gy * xp.exp(x1 - y),
    x2=lambda xp, gy, x2, y: gy * xp.exp(x2 - y),
)
def logaddexp(xp: Any, x1: Any, x2: Any) -> Any:
    """Calculate log(eˣ¹ + eˣ²) without overflow."""
    return xp.logaddexp(x1, x2)


# Trigonometry ----------------------------------------------------------------------------------------------------


@rule(fused=True, x=lambda xp, gy, x: gy * xp.cos(x))
def sin(xp: Any, x: Any) -> Any:
    """Calculate the sine of x, in radians."""
    return xp.sin(x)


@rule(fused=True, x=lambda xp, gy, x: -gy * xp.sin(x))
def cos(xp: Any, x: Any) -> Any:
    """Calculate the cosine of x, in radians."""
    return xp.cos(x)


@rule(fused=True, x=lambda gy, y: gy * (y * y + 1.0))
def tan(xp: Any, x: Any) -> Any:
    """Calculate the tangent of x, in radians."""
    return xp.tan(x)


@rule(fused=True, x=lambda xp, gy, x: gy / xp.sqrt(1.0 - x * x))
def asin(xp: Any, x: Any) -> Any:
    """Calculate the inverse sine, in radians."""
    return xp.asin(x)


@rule(fused=True, x=lambda xp, gy, x: -gy / xp.sqrt(1.0 - x * x))
def acos(xp: Any, x: Any) -> Any:
    """Calculate the inverse cosine, in radians."""
    return xp.acos(x)


@rule(fused=True, x=lambda gy, x: gy / (x * x + 1.0))
def atan(xp: Any, x: Any) -> Any:
    """Calculate the inverse tangent, in radians."""
    return xp.atan(x)


@rule(
    elementwise=True,
    fused=True,
    x1=lambda gy, x1, x2: gy * x2 / (x1 * x1 + x2 * x2),
    x2=lambda gy, x1, x2: -gy * x1 / (x1 * x1 + x2 * x2),
)
def atan2(xp: Any, x1: Any, x2: Any) -> Any:
    """Calculate the angle of the point (x2, x1), in radians."""
    return xp.atan2(x1, x2)


@rule(fused=True, x=lambda xp, gy, x: gy * xp.cosh(x))
def sinh(xp: Any, x: Any) -> Any:
    """Calculate the hyperbolic sine."""
    return xp.sinh(x)


@rule(fused=True, x=lambda xp, gy, x: gy * xp.sinh(x))
def cosh(xp: Any, x: Any) -> Any:
    """Calculate the hyperbolic cosine."""
    return xp.cosh(x)


@rule(fused=True, x=lambda gy, y: gy - gy * (y * y))
def tanh(xp: Any, x: Any) -> Any:
    """Calculate the hyperbolic tangent."""
    return xp.tanh(x)


@rule(fused=True, x=lambda xp, gy, x: gy / xp.sqrt(x * x + 1.0))
def asinh(xp: Any, x: Any) -> Any:
    """Calculate the inverse hyperbolic sine."""
    return xp.asinh(x)


@rule(fused=True, x=lambda xp, gy, x: gy / xp.sqrt(x * x - 1.0))
def acosh(xp: Any, x: Any) -> Any:
    """Calculate the inverse hyperbolic cosine."""
    return xp.acosh(x)


@rule(fused=True, x=lambda gy, x: gy / (1.0 - x * x))
def atanh(xp: Any, x: Any) -> Any:
    """Calculate the inverse hyperbolic tangent."""
    return xp.atanh(x)


# Choices ---------------------------------------------------------------------------------------------------------


def _share(xp: Any, gy: Any, wins: Any, ties: Any) -> Any:
    return xp.where(wins, gy, xp.where(ties, gy * 0.5, 0.0))


@rule(
    elementwise=True,
    fused=True,
    x1=lambda xp, gy, x1, x2: _share(xp, gy, x1 > x2, x1 == x2),
    x2=lambda xp, gy, x1, x2: _share(xp, gy, x2 > x1, x1 == x2),
)
def maximum(xp: Any, x1: Any, x2: Any) -> Any:
    """Choose the larger of x1 and x2; where they are equal each gets half of the gradient."""
    return xp.maximum(x1, x2)


@rule(
    elementwise=True,
    fused=True,
    x1=lambda xp, gy, x1, x2: _share(xp, gy, x1 < x2, x1 == x2),
    x2=lambda xp, gy, x1, x2: _share(xp, gy, x2 < x1, x1 == x2),
)
def minimum(xp: Any, x1: Any, x2: Any) -> Any:
    """Choose the smaller of x1 and x2; where they are equal each gets half of the gradient."""
    return xp.minimum(x1, x2)


@rule(elementwise=True, x1=lambda xp, gy, x1, x2: gy * (xp.sign(x1) * xp.copysign(xp.ones_like(x1), x2)),
      x2=lambda xp, gy: xp.zeros_like(gy))  # fmt: skip
def copysign(xp: Any, x1: Any, x2: Any) -> Any:
    """Combine the magnitude of x1 with the sign of x2."""
    return xp.copysign(x1, x2)


@rule(
    elementwise=True,
    fused=True,
    x1=lambda xp, gy, condition: xp.where(condition, gy, 0.0),
    x2=lambda xp, gy, condition: xp.where(condition, 0.0, gy),
)
def _where(xp: Any, condition: Any, x1: Any, x2: Any) -> Any:
    return xp.where(condition, x1, x2)


def where(condition: Any, x1: Any, x2: Any) -> Variable:
    """Choose x1 where the boolean `condition` holds, and x2 elsewhere."""
    backend = next((x.backend for x in (condition, x1, x2) if isinstance(x, Variable)), None)
    condition = as_variable(condition, backend)
    own = condition.backend
    if own.dtype_name(condition.dtype) != "bool":
        raise TypeError(f"where: condition has dtype {condition.dtype}; it must be boolean, such as x > 0")
    if is_scalar(x1) and is_scalar(x2):
        x1 = Variable([x1, x2], backend=own).detach()[0]  # both in the dtype that holds both, on every backend alike
    return _where(condition, x1, x2)


@rule(fused=True, x=lambda xp, gy, x, low, high: xp.where((x >= low) & (x <= high), gy, 0.0))
def _clip(xp: Any, x: Any, /, low: float | None, high: float | None) -> Any:
    return xp.clip(x, low, high)


def clip(x: Any, min: Any = None, max: Any = None, *, x_min: Any = None, x_max: Any = None) -> Variable:
    """Limit x to [min, max]; either may be None, a number, or an array. Gradient passes inside, bounds included.

    `x_min` and `x_max` are DeZero's names for the bounds.
    """
    y: Variable = as_variable(x)
    min, max = min if x_min is None else x_min, max if x_max is None else x_max
    if min is None and max is None:
        return y
    if (min is None or is_scalar(min)) and (max is None or is_scalar(max)):
        if y.backend.is_floating(y.dtype):  # integers have neither infinities nor gradients
            min, max = -inf if min is None else float(min), inf if max is None else float(max)
        return _clip(y, min, max)
    if min is not None:
        y = maximum(y, min)
    return y if max is None else minimum(y, max)
