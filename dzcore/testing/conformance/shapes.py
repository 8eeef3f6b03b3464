"""Functions of matrices, and the same in plain Python: for arrays that are large, or not contiguous."""

from collections.abc import Callable
from itertools import accumulate, chain
from math import exp
from typing import Any

__all__ = ["FUNCTIONS", "product", "wave"]

Rows = list[list[float]]


def wave(m: int, n: int) -> Rows:
    """Return m rows of n multiples of 1/8 in [-4, 4): they add up exactly in float32; long rows are full of ties."""
    return [[((i * n + j) * 29 % 64) / 8 - 4 for j in range(n)] for i in range(m)]


def product(x: Rows, y: Rows) -> Rows:
    """Return the product of two matrices."""
    columns = _columns(y)
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in x]


def _columns(rows: Rows) -> Rows:
    return [list(column) for column in zip(*rows, strict=True)]


def _map(function: Callable[[float], float]) -> Callable[[Rows], Rows]:
    return lambda rows: [[function(v) for v in row] for row in rows]


def _order(row: list[float], descending: bool = False) -> list[int]:
    """Return the stable order: of equal elements the first stays first, either way."""
    return sorted(range(len(row)), key=lambda i: -row[i] if descending else row[i])


def _whole(xp: Any, indices: Any) -> Any:
    return xp.astype(indices, xp.int64)  # which integer dtype indices have is the library's own choice


#: name: (function of xp and an array (m, n), the same of nested lists, whether the answer is exact)
FUNCTIONS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Rows], Any], bool]] = {
    "exp": (lambda xp, x: xp.exp(x), _map(exp), False),
    "plus": (lambda xp, x: x + 0.5 * x, _map(lambda v: 1.5 * v), True),
    "times a row": (lambda xp, x: x * x[:1, :],
                    lambda r: [[a * b for a, b in zip(row, r[0], strict=True)] for row in r], True),
    "where": (lambda xp, x: xp.where(x > 1, x, -1.0), _map(lambda v: v if v > 1 else -1.0), True),
    "sum": (lambda xp, x: xp.sum(x), lambda r: sum(map(sum, r)), True),
    "sum of columns": (lambda xp, x: xp.sum(x, axis=0), lambda r: list(map(sum, _columns(r))), True),
    "sum of rows": (lambda xp, x: xp.sum(x, axis=1), lambda r: list(map(sum, r)), True),
    "max": (lambda xp, x: xp.max(x), lambda r: max(map(max, r)), True),
    "max of columns": (lambda xp, x: xp.max(x, axis=0), lambda r: list(map(max, _columns(r))), True),
    "max of rows": (lambda xp, x: xp.max(x, axis=1), lambda r: list(map(max, r)), True),
    "argmax": (lambda xp, x: _whole(xp, xp.argmax(x, axis=1)), lambda r: [row.index(max(row)) for row in r], True),
    "argmin": (lambda xp, x: _whole(xp, xp.argmin(x, axis=1)), lambda r: [row.index(min(row)) for row in r], True),
    "sort": (lambda xp, x: xp.sort(x, axis=1), lambda r: list(map(sorted, r)), True),
    "argsort": (lambda xp, x: _whole(xp, xp.argsort(x, axis=1, stable=True)), lambda r: list(map(_order, r)), True),
    "argsort downwards": (lambda xp, x: _whole(xp, xp.argsort(x, axis=1, descending=True, stable=True)),
                          lambda r: [_order(row, descending=True) for row in r], True),
    "cumulative_sum": (lambda xp, x: xp.cumulative_sum(x, axis=1), lambda r: [list(accumulate(w)) for w in r], True),
    "take": (lambda xp, x: xp.take(x, _whole(xp, xp.argmax(x, axis=1)), axis=1),
             lambda r: [[row[other.index(max(other))] for other in r] for row in r], True),
    "concat": (lambda xp, x: xp.concat((x, x[:, :1], x), axis=1), lambda r: [row + row[:1] + row for row in r], True),
    "reshape": (lambda xp, x: xp.reshape(x, (-1,)), lambda r: list(chain.from_iterable(r)), True),
    "matmul": (lambda xp, x: x @ xp.permute_dims(x, (1, 0)), lambda r: product(r, _columns(r)), True),
}  # fmt: skip
