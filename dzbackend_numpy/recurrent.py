"""Recurrent layers of NumPy arrays: the loops over the steps as native code, in which each thread has rows of its own.

That takes the compiler of formulas. Without it, and in other dtypes, the steps are taken one by one, as in the core.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from dzcore.backend.namespace import EXTENSIONS, Namespace
from dzcore.functions.recurrent import Cell

from .compiled import sequence, ufunc
from .compiled.product import panels, wide
from .compiled.sequence import Operand, Product
from .trace import trace

__all__ = ["steps_ahead", "steps_back"]

Arrays = Sequence[Any]

#: From how many steps on a loop is worth its preparation.
STEPS = 3
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def steps_ahead(xp: Namespace, cell: Cell, a: Any, b: Any, U: Any, d: Arrays, state: Arrays) -> tuple[Any, Arrays]:
    """Do as `steps_ahead` of the core."""
    loops = _loops(xp, cell, a.dtype) if _fit(len(a), a, b, U, *d, *state) else None
    if loops is None:
        return EXTENSIONS["steps_ahead"](xp, cell, a, b, U, d, state)  # type: ignore[no-any-return]
    a, b, *d = map(np.ascontiguousarray, (a, b, *d))
    (steps, n, width), hidden, parts = a.shape, len(U), cell.parts
    states = np.empty((steps + parts, n, hidden), a.dtype)
    kept = [states[: steps + 1], *[np.empty((steps + (k < parts), n, hidden), a.dtype) for k in range(1, cell.makes)]]
    for values, part in zip(kept, state, strict=False):
        values[0] = part
    matrix = panels(U)
    hU = np.empty((n, len(matrix) * wide(a.dtype)), a.dtype)
    new = [*[values[1:] for values in kept[:parts]], *kept[parts:]]
    operands = _operands(hidden, a, b, hU[:, :width], *d, *kept[:parts], *new)
    sequence.run(loops[0], operands, hidden, Product(states[:steps], matrix, hU), ahead=True)
    for k in range(1, parts):
        states[steps + k] = kept[k][-1]
    return states, tuple(kept)


def steps_back(xp: Namespace, cell: Cell, gy: Any, U: Any, kept: Arrays) -> tuple[Any, Any, Arrays]:
    """Do as `steps_back` of the core."""
    parts = cell.parts
    steps = len(gy) - parts + 1
    loops = _loops(xp, cell, gy.dtype) if _fit(steps, gy, U, *kept) else None
    if loops is None:
        return EXTENSIONS["steps_back"](xp, cell, gy, U, kept)  # type: ignore[no-any-return]
    gy = np.ascontiguousarray(gy)
    n, hidden = gy.shape[1:]
    ga = np.empty((steps, n, U.shape[1]), gy.dtype)
    ghU = np.empty_like(ga) if cell.reset else ga
    matrix = panels(U.T)
    gh = np.zeros((n, len(matrix) * wide(gy.dtype)), gy.dtype)
    gstate = [gh[:, :hidden], *[part.copy() for part in gy[steps:]]]
    made = [*[values[1:] for values in kept[:parts]], *kept[parts:]]
    gates = (ga, ghU) if cell.reset else (ga,)
    operands = _operands(hidden, *made, *kept[:parts], gy, *gstate, *gates, *gstate[parts - cell.direct :])
    sequence.run(loops[1], operands, hidden, Product(ghU, matrix, gh, add=cell.reset), ahead=False)
    return ga, ghU, tuple(gstate)


def _fit(steps: int, first: Any, *arrays: Any) -> bool:
    """Tell whether these are arrays for a loop, as what it has kept itself is."""
    return steps >= STEPS and all(
        type(x) is np.ndarray and x.dtype == first.dtype and x.dtype in FLOATS and x.size for x in (first, *arrays)
    )


@lru_cache(maxsize=64)
def _loops(xp: Namespace, cell: Cell, dtype: Any) -> tuple[int, int] | None:
    """Return the addresses of the formulas' loops; None where there is none of one."""
    k = cell.gates

    def ahead(xp: Any, *given: Any) -> Any:
        """Add the bias to the gates' columns of a, which are as they came from the product."""
        return cell.ahead(xp, *[a + b for a, b in zip(given[:k], given[k : 2 * k], strict=True)], *given[2 * k :])

    first = _loop(xp, ahead, [dtype] * (k * (4 if cell.reset else 3) + cell.parts))
    second = _loop(xp, cell.back, [dtype] * (cell.makes + 2 * cell.parts + 1))
    return None if first is None or second is None else (first, second)


def _loop(xp: Namespace, formula: Callable[..., Any], signature: list[Any]) -> int | None:
    traced = trace(xp, formula, signature)
    if traced is None or any(dtype != signature[0] for dtype in traced.dtypes):
        return None
    found = ufunc.loop(traced)
    return None if found is None else found[0]


def _operands(hidden: int, *arrays: Any) -> list[Operand]:
    """Return where the columns of each gate are: of arrays (steps, n, …), and others that are the same in each step."""
    return [
        (x.ctypes.data + k * x.itemsize, *(0, 0, *x.strides)[-3:-1])
        for x in arrays
        for k in range(0, x.shape[-1], hidden)
    ]
