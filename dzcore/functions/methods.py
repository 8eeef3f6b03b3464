"""Operators and methods of Variable, as functions of this package."""

from collections.abc import Callable
from typing import Any

from ..graph import Variable
from ..graph.transfer import to
from . import linalg, math, reduce, search, shape
from .index import get_item


def _swapped(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda x, other: function(other, x)


def _reshape(x: Variable, *lengths: Any) -> Variable:
    return shape.reshape(x, lengths[0] if len(lengths) == 1 and isinstance(lengths[0], (tuple, list)) else lengths)


def _transpose(x: Variable, *axes: Any) -> Variable:
    order = axes[0] if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))) else axes or None
    return shape.transpose(x, order)


_METHODS: dict[str, Any] = {
    "__add__": math.add,
    "__radd__": _swapped(math.add),
    "__sub__": math.subtract,
    "__rsub__": _swapped(math.subtract),
    "__mul__": math.multiply,
    "__rmul__": _swapped(math.multiply),
    "__truediv__": math.divide,
    "__rtruediv__": _swapped(math.divide),
    "__mod__": math.remainder,
    "__rmod__": _swapped(math.remainder),
    "__floordiv__": search.floor_divide,
    "__rfloordiv__": _swapped(search.floor_divide),
    "__pow__": math.pow,
    "__rpow__": _swapped(math.pow),
    "__matmul__": linalg.matmul,
    "__rmatmul__": _swapped(linalg.matmul),
    "__neg__": math.negative,
    "__pos__": math.positive,
    "__abs__": math.abs,
    "__invert__": search.bitwise_invert,
    "__and__": search.bitwise_and,
    "__or__": search.bitwise_or,
    "__xor__": search.bitwise_xor,
    "__lt__": search.less,
    "__le__": search.less_equal,
    "__gt__": search.greater,
    "__ge__": search.greater_equal,
    "__eq__": search.equal,
    "__ne__": search.not_equal,
    "__hash__": object.__hash__,
    "__getitem__": get_item,
    "reshape": _reshape,
    "transpose": _transpose,
    "sum": reduce.sum,
    "mean": reduce.mean,
    "max": reduce.max,
    "min": reduce.min,
    "matmul": linalg.matmul,
    "dot": linalg.matmul,
    "astype": shape.astype,
    "to": to,
    "T": property(shape.transpose),
    "mT": property(shape.matrix_transpose),
}

for _name, _method in _METHODS.items():
    setattr(Variable, _name, _method)
