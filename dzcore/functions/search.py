"""Functions without a gradient: questions, comparisons, roundings, bits."""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

from ..graph import Variable, as_variable
from ..graph.variable import is_scalar, operand

Constant = Callable[..., Any]


def _constant(name: str, says: str) -> Constant:
    """Lift a function of the array API to Variables; the results are constants."""

    def apply(*args: Any, **options: Any) -> Any:
        first = next((a for a in args if isinstance(a, Variable)), None)
        if first is None:
            i = next((i for i, a in enumerate(args) if not is_scalar(a)), 0)
            first = as_variable(args[i])
            args = (*args[:i], first, *args[i + 1 :])
        backend = first.backend
        raw = [_raw(a, backend, name) for a in args]
        if "dtype" in options and options["dtype"] is not None:
            options["dtype"] = backend.dtype(options["dtype"])
        result = getattr(backend.xp, name)(*raw, **{k: _raw(v, backend, name) for k, v in options.items()})
        if isinstance(result, tuple):
            wrapped = [Variable._of(backend.xp.asarray(r), backend, None) for r in result]
            return type(result)(*wrapped) if hasattr(result, "_fields") else tuple(wrapped)
        return Variable._of(backend.xp.asarray(result), backend, None)

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = says + " It has no gradient."
    return apply


def _raw(a: Any, backend: Any, name: str) -> Any:
    if isinstance(a, Variable):
        if a.backend is not backend:
            return as_variable(a._data, backend)._data  # raises, naming both backends
        return a._data
    return operand(a, backend, name) if isinstance(a, (float, Integral)) or hasattr(a, "dtype") else a


all = _constant("all", "Tell whether all elements along the axes are true.")
any = _constant("any", "Tell whether any element along the axes is true.")
argmax = _constant("argmax", "Find the index of the largest element along an axis.")
argmin = _constant("argmin", "Find the index of the smallest element along an axis.")
argsort = _constant("argsort", "Find the indices that sort along an axis.")
bitwise_and = _constant("bitwise_and", "Calculate x1 & x2, bit by bit.")
bitwise_invert = _constant("bitwise_invert", "Invert every bit.")
bitwise_left_shift = _constant("bitwise_left_shift", "Shift the bits of x1 to the left by x2.")
bitwise_or = _constant("bitwise_or", "Calculate x1 | x2, bit by bit.")
bitwise_right_shift = _constant("bitwise_right_shift", "Shift the bits of x1 to the right by x2.")
bitwise_xor = _constant("bitwise_xor", "Calculate x1 ^ x2, bit by bit.")
ceil = _constant("ceil", "Round up.")
count_nonzero = _constant("count_nonzero", "Count the elements that are not zero along the axes.")
equal = _constant("equal", "Tell where x1 = x2.")
floor = _constant("floor", "Round down.")
floor_divide = _constant("floor_divide", "Calculate x1 / x2, rounded down.")
greater = _constant("greater", "Tell where x1 > x2.")
greater_equal = _constant("greater_equal", "Tell where x1 ≥ x2.")
isfinite = _constant("isfinite", "Tell where x is neither infinite nor nan.")
isin = _constant("isin", "Tell where x1 is one of the elements of x2.")
isinf = _constant("isinf", "Tell where x is infinite.")
isnan = _constant("isnan", "Tell where x is nan.")
less = _constant("less", "Tell where x1 < x2.")
less_equal = _constant("less_equal", "Tell where x1 ≤ x2.")
logical_and = _constant("logical_and", "Tell where both are true.")
logical_not = _constant("logical_not", "Tell where x is false.")
logical_or = _constant("logical_or", "Tell where either is true.")
logical_xor = _constant("logical_xor", "Tell where exactly one is true.")
nextafter = _constant("nextafter", "Find the number next to x1 in the direction of x2.")
nonzero = _constant("nonzero", "Find the indices of the elements that are not zero, one array an axis.")
not_equal = _constant("not_equal", "Tell where x1 ≠ x2.")
round = _constant("round", "Round to the nearest integer, halves to the even one.")
searchsorted = _constant("searchsorted", "Find where x2 would be inserted into the sorted x1.")
sign = _constant("sign", "Calculate -1, 0 or 1, the sign of x.")
signbit = _constant("signbit", "Tell where the sign bit is set.")
trunc = _constant("trunc", "Round towards zero.")
unique_all = _constant("unique_all", "Find the distinct elements, their first indices, the inverse and the counts.")
unique_counts = _constant("unique_counts", "Find the distinct elements and their counts.")
unique_inverse = _constant("unique_inverse", "Find the distinct elements and where each element went.")
unique_values = _constant("unique_values", "Find the distinct elements.")


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Return the shape that arrays of these shapes broadcast to."""
    ndim = max((len(shape) for shape in shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for axis, n in enumerate(shape, ndim - len(shape)):
            if n != 1 and result[axis] not in (1, n):
                raise ValueError(
                    f"shapes {', '.join(str(tuple(s)) for s in shapes)} do not broadcast against each other"
                )
            if n != 1:
                result[axis] = n
    return tuple(result)


__all__ = [name for name, value in list(globals().items()) if getattr(value, "__doc__", "") and name[0].islower()
           and callable(value) and getattr(value, "__module__", "") == __name__]  # fmt: skip
