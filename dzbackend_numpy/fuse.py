"""Elementwise formulas in one pass over memory.

NumPy evaluates `p - lr * m / (sqrt(v) + eps)` as five passes over arrays that do not fit into the cache. Here a formula
is traced once per signature into a list of steps. They become a compiled loop where llvmlite is installed (`compiled/`,
any arrays that broadcast), else calls of NumPy's own functions block by block (`blocks.py`, large arrays of one shape).
What is no straight line of elementwise steps is evaluated as it is written.
"""

import ctypes
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from .blocks import BLOCK, Blocks
from .compiled.loops import Loops, Plan
from .extras import allowed
from .trace import trace

__all__ = ["WORTHWHILE", "Fused"]

#: Smaller arrays are not worth the call of a loop even where a formula has many steps.
SMALL = 512
#: From here on a loop gains whatever the formula is, but for plain arithmetic.
WORTHWHILE = 2048 if allowed() and find_spec("llvmlite") else BLOCK + 1
#: How many layouts of arrays a formula remembers.
MOST = 256

Formula = Callable[..., Any]
ndarray = np.ndarray


class Fused:
    """An elementwise `formula(xp, *inputs)`, fast on large arrays, plain on everything else."""

    def __init__(self, xp: Any, formula: Formula, block: int = BLOCK, small: int = SMALL) -> None:
        self.xp, self.formula, self.block, self.small = xp, formula, block, small
        self._traces: dict[tuple[Any, ...], Loops | None] = {}
        self._plans: dict[tuple[Any, ...], Plan | Blocks | None] = {}

    def __call__(self, *inputs: Any) -> Any:
        """Evaluate the formula into new arrays."""
        for x in inputs:
            if type(x) is ndarray and x.size >= self.small:
                break
        else:
            return self.formula(self.xp, *inputs)
        plan = self._plan(inputs)
        if plan is None or (results := plan.run(inputs, plan.nothing)) is None:
            return self.formula(self.xp, *inputs)
        return tuple(results) if plan.many else results[0]

    def into(self, out: Sequence[Any], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Evaluate the formula into the arrays in `out`, where that is possible, and into new ones where it has None.

        The arrays in `out` can be written to and share memory with nothing else.
        """
        plan = self._plan(inputs, out)
        results = None if plan is None else plan.run(inputs, out)
        return tuple(self(*inputs) if results is None else results)

    def update(self, targets: tuple[Any, ...], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Replace the targets by the formula's results, in place where that is possible."""
        everything = (*targets, *inputs)
        if type(targets[0]) is ndarray and targets[0].size >= self.small:
            plan = self._plan(everything, targets)
            safe = plan is not None and _apart(targets, everything) and all(t.flags.writeable for t in targets)
            if plan is not None and safe and plan.run(everything, targets) is not None:
                return targets
        return _assign(targets, everything, tuple(self.formula(self.xp, *everything)))

    def _plan(self, inputs: tuple[Any, ...], out: Sequence[Any] = ()) -> "Plan | Blocks | None":
        """Return what to do with arrays that lie in memory like these, None where the plain evaluation has to do."""
        key: list[Any] = []
        for x in inputs:
            kind = type(x)
            if kind is ndarray:
                key += x.dtype, x.shape, x.strides
            elif kind is float or kind is int:
                key.append(kind)
            else:
                return None
        for x in out:
            key += (None,) if x is None else (x.dtype, x.shape, x.strides)
        layout = tuple(key)
        try:
            return self._plans[layout]
        except KeyError:
            if len(self._plans) >= MOST:
                self._plans.clear()
            plan = self._plans[layout] = self._new_plan(inputs, out)
            return plan

    def _new_plan(self, inputs: tuple[Any, ...], out: Sequence[Any]) -> "Plan | Blocks | None":
        signature = tuple([x.dtype if type(x) is ndarray else type(x) for x in inputs])
        if signature not in self._traces:
            made = trace(self.xp, self.formula, signature)
            self._traces[signature] = None if made is None else Loops(made)
        loops = self._traces[signature]
        if loops is None:
            return None
        dtypes = loops.trace.dtypes
        out = out or [None] * len(dtypes)
        if [dtypes[k] if x is None else x.dtype for k, x in enumerate(out)] != dtypes:
            return None
        return loops.plan(inputs, out) or Blocks.of(loops.trace, inputs, out, self.block)


def _apart(targets: Sequence[Any], everything: Sequence[Any]) -> bool:
    """Tell whether no target can share memory with another array."""
    spans = []
    for x in everything:
        if type(x) is ndarray:
            if not x.flags.c_contiguous:
                return _apart_with_gaps(targets, everything)
            start = _address(id(x) + DATA).value or 0
            spans.append((start, start + x.nbytes))
    count = len(targets)
    return not any(
        target[0] < other[1] and other[0] < target[1]
        for i, target in enumerate(spans[:count])
        for other in spans[i + 1 :]
    )


def _apart_with_gaps(targets: Sequence[Any], everything: Sequence[Any]) -> bool:
    return not any(
        np.may_share_memory(target, other)
        for i, target in enumerate(targets)
        for other in everything[i + 1 :]
        if type(other) is ndarray
    )


_address = ctypes.c_size_t.from_address
#: Where an array has the address of its elements, as PyArray_DATA reads it; `ndarray.ctypes.data` takes 1 us.
DATA = object.__basicsize__


def _assign(targets: tuple[Any, ...], inputs: tuple[Any, ...], results: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copy results that were computed the plain way into the targets; return them where a target cannot take them."""
    taken = []
    for target, result in zip(targets, results, strict=True):
        if not (type(target) is type(result) is np.ndarray and target.flags.writeable):
            return results
        if target.shape != result.shape or target.dtype != result.dtype:
            return results
        # A formula may hand back an input, or a view of one: what may lie in a target is copied before any is written.
        lent = result.base is not None or any(result is x for x in inputs)
        taken.append(result.copy() if lent else result)
    for target, result in zip(targets, taken, strict=True):
        np.copyto(target, result)
    return targets
