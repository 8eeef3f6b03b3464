"""What NumPy's elementwise functions are in a loop."""

from collections.abc import Callable
from math import isnan
from typing import Any

import numpy as np

from ..trace import Step, name_of
from . import mathematics
from .emit import BOOL, CannotEmitError, Term

__all__ = ["apply"]

COMPARISONS = frozenset({"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"})
UFUNCS: dict[str, Callable[..., Term]] = {
    "add": lambda x, y: x | y if x.dtype == BOOL else x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x & y if x.dtype == BOOL else x * y,
    "divide": lambda x, y: x / y,
    "negative": lambda x: -x,
    "positive": lambda x: x,
    "absolute": lambda x: abs(x) if x.dtype.kind == "f" else _whole_absolute(x),
    "reciprocal": lambda x: 1.0 / _floating(x),
    "square": lambda x: x * x,
    "rint": lambda x: x.call("rint"),
    "floor": lambda x: _rounded(x, "floor"),
    "ceil": lambda x: _rounded(x, "ceil"),
    "trunc": lambda x: _rounded(x, "trunc"),
    "equal": lambda x, y: x.compare("eq", y),
    "not_equal": lambda x, y: x.compare("ne", y),
    "less": lambda x, y: x.compare("lt", y),
    "less_equal": lambda x, y: x.compare("le", y),
    "greater": lambda x, y: x.compare("gt", y),
    "greater_equal": lambda x, y: x.compare("ge", y),
    "bitwise_and": lambda x, y: x & y,
    "bitwise_or": lambda x, y: x | y,
    "bitwise_xor": lambda x, y: x ^ y,
    "invert": lambda x: ~x,
    "logical_and": lambda x, y: x.astype(BOOL) & y.astype(BOOL),
    "logical_or": lambda x, y: x.astype(BOOL) | y.astype(BOOL),
    "logical_xor": lambda x, y: x.astype(BOOL) ^ y.astype(BOOL),
    "logical_not": lambda x: ~x.astype(BOOL),
    "isnan": lambda x: _floating(x).is_nan(),
    "isinf": lambda x: abs(_floating(x)).compare("eq", float("inf")),
    "isfinite": lambda x: abs(_floating(x)) < float("inf"),
    "signbit": lambda x: _floating(x).bits_as(f"i{x.dtype.itemsize}") < 0,
    **{
        name: getattr(mathematics, name)
        for name in (
            "copysign", "exp", "expm1", "log", "log1p", "logaddexp", "maximum", "minimum", "sign", "sqrt", "tanh",
        )
    },
}  # fmt: skip


def _bounds(dtype: Any, bound: Any) -> bool:
    """Tell whether a constant is a number in this dtype that is not 0, where there is the question of the sign."""
    if dtype.kind != "f" or type(bound) not in (int, float):
        return False
    value = float(dtype.type(bound))
    return value != 0.0 and not isnan(value)


def _floating(x: Term) -> Term:
    if x.dtype.kind != "f":
        raise CannotEmitError(f"this function of {x.dtype}")
    return x


def _rounded(x: Term, name: str) -> Term:
    return x.call(name) if x.dtype.kind == "f" else x


def _whole_absolute(x: Term) -> Term:
    return (x < 0).where(-x, x) if x.dtype.kind == "i" else x


def apply(step: Step, samples: list[Any], constants: dict[int, Any], term: Callable[[int, Any], Term]) -> Term:
    """Return the result of a step of a trace; `term(number, dtype)` gives an operand in that dtype.

    Raises:
        CannotEmitError: for what has no place in a loop.
    """
    function, operands, number = step
    result = samples[number].dtype
    name = name_of(function)
    if name == "where":
        return term(operands[0], BOOL).where(term(operands[1], result), term(operands[2], result))
    if name in ("astype", "copy"):
        return term(operands[0], result)
    if name in ("zeros_like", "ones_like"):
        return term(operands[0], samples[operands[0]].dtype).code.constant(result, name == "ones_like")
    if name == "full_like":
        return term(operands[1], result)
    if name in ("maximum", "minimum") and _bounds(result, constants.get(operands[1])):
        x, bound = term(operands[0], result), term(operands[1], result)  # one instruction
        return (x.compare("lt" if name == "maximum" else "gt", bound)).where(bound, x)
    if name in ("clip", "ceil", "floor", "trunc", "round"):
        return _of_the_namespace(name, result, constants, operands, term)
    if name == "power":
        if operands[1] not in constants or result.kind != "f":
            raise CannotEmitError("a power that is not known")
        return mathematics.power(term(operands[0], result), float(constants[operands[1]]))
    if name not in UFUNCS:
        raise CannotEmitError(f"{name} has no loop")
    if isinstance(function, np.ufunc):
        *dtypes, result = function.resolve_dtypes((*[_kind(samples[i]) for i in operands], None))
    else:
        dtypes = [result] * len(operands)
    if name in COMPARISONS and len(set(dtypes)) > 1:
        raise CannotEmitError("NumPy compares integers with and without a sign by their numbers")
    found = UFUNCS[name](*[term(i, dtype) for i, dtype in zip(operands, dtypes, strict=True)])
    return found.astype(result)


def _of_the_namespace(
    name: str, dtype: Any, constants: dict[int, Any], operands: list[int], term: Callable[[int, Any], Term]
) -> Term:
    """Round, or clip between bounds of which None is no bound."""
    x = term(operands[0], dtype)
    if name != "clip":
        return _rounded(x, {"round": "rint"}.get(name, name))
    low, high = (i for i in operands[1:])
    if not (low in constants and constants[low] is None):
        x = mathematics.maximum(x, term(low, dtype))
    if not (high in constants and constants[high] is None):
        x = mathematics.minimum(x, term(high, dtype))
    return x


def _kind(sample: Any) -> Any:
    """Return a sample as `resolve_dtypes` wants it: Python's numbers are weak there."""
    if type(sample) in (int, float):
        return type(sample)
    return np.dtype(bool) if type(sample) is bool else sample.dtype
