"""Elementwise formulas in one pass over memory.

NumPy evaluates `p - lr * m / (sqrt(v) + eps)` as five passes over arrays that do not fit into the cache. Here a formula
is traced once per signature into a list of steps. Where llvmlite is installed they become compiled loops (`compiled/`):
a universal function of NumPy's own kind for arrays that one thread is enough for, and a loop of the team for larger
ones. Else they are calls of NumPy's own functions, block by block (`blocks.py`, large arrays of one shape). What is no
straight line of elementwise steps is evaluated as it is written.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from types import FunctionType
from typing import Any

import numpy as np

from .blocks import BLOCK, LEAST, Blocks
from .compiled.loops import Loops, Plan
from .compiled.native import compiler
from .compiled.ufunc import ufunc
from .straight import straight
from .trace import trace

__all__ = ["Fused", "apart"]

#: Smaller arrays are not worth the call of a loop even where a formula has many steps.
SMALL = 512
#: How many layouts of arrays a formula remembers.
MOST = 256
#: Flags of a code object: `*inputs`, or `**inputs`.
VARIADIC = 0x04 | 0x08
#: What computes nothing.
NONE: tuple[Callable[..., Any], float] = (lambda *inputs: None), -1

Formula = Callable[..., Any]
ndarray = np.ndarray


class Fused:
    """An elementwise `formula(xp, *inputs)`, fast wherever that is possible, plain elsewhere."""

    def __init__(self, xp: Any, formula: Formula, block: int = BLOCK, small: int | None = None) -> None:
        self.xp, self.formula, self.block, self.small = xp, formula, block, small
        self._traces: dict[tuple[Any, ...], Loops | None] = {}
        #: By dtypes, what computes arrays of fewer elements than a number; the universal function that it is, and the
        #: dtypes of its results.
        self._small: dict[Any, tuple[Callable[..., Any], float, Any, Sequence[Any]]] = {}
        self._partial: set[Any] = set()  #: where a universal function would repeat a result that is smaller than others
        self._plans: dict[tuple[Any, ...], Plan | Blocks | None] = {}
        #: By the dtype of all of one or two arrays, what computes those of fewer elements than a number.
        self._direct: dict[Any, tuple[Callable[..., Any], float]] = {}

    @property
    def call(self) -> Callable[..., Any]:
        """The quickest way to `self(*inputs)` for as many inputs as the formula has; a method of this object."""
        ways: dict[int, Callable[..., Any]] = {2: self._one, 3: self._two}
        formula = self.formula
        if type(formula) is not FunctionType or formula.__defaults__ or formula.__code__.co_flags & VARIADIC:
            return self.__call__
        return ways.get(formula.__code__.co_argcount, self.__call__)  # the namespace included

    def _one(self, x: Any) -> Any:
        if type(x) is ndarray:
            small, limit = self._direct.get(x.dtype, NONE)
            if x.size < limit:
                return small(x)
        return self(x)

    def _two(self, x: Any, y: Any) -> Any:
        if type(x) is type(y) is ndarray and (dtype := x.dtype) is y.dtype:
            small, limit = self._direct.get(dtype, NONE)
            if x.size < limit > y.size:
                return small(x, y)
        return self(x, y)

    def __call__(self, *inputs: Any) -> Any:
        """Evaluate the formula into new arrays."""
        key, size = _kinds(inputs)
        small, limit, function, _ = self._small.get(key) or self._found(key, inputs)
        if size < limit and (function is None or key not in self._partial or _alike(inputs)):
            return small(*inputs)
        plan = self.plan(inputs)
        if plan is None or (results := plan.run(inputs, plan.nothing)) is None:
            return self.formula(self.xp, *inputs)
        return tuple(results) if plan.many else results[0]

    def update(self, targets: tuple[Any, ...], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Replace the targets by the formula's results, in place where that is possible."""
        everything = (*targets, *inputs)
        if all(type(t) is ndarray and t.flags.writeable for t in targets):
            if self._written(targets, everything) is not None:  # which copies what lies where it writes
                return targets
            plan = self.plan(everything, targets)
            if plan is not None and apart(targets, everything) and plan.run(everything, targets) is not None:
                return targets
        return _assign(targets, everything, tuple(self.formula(self.xp, *everything)))

    def _written(self, out: tuple[Any, ...], inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Let a universal function write to `out`; None where there is none, or it does not fit."""
        key, size = _kinds(inputs)
        _, limit, function, dtypes = self._small.get(key) or self._found(key, inputs)
        if size >= limit or function is None or len(out) != function.nout:
            return None
        if key in self._partial and not _alike(inputs):
            return None
        for place, dtype in zip(out, dtypes, strict=True):
            if place.dtype != dtype:
                return None
        try:
            results = function(*inputs, out=out)
        except ValueError:  # what is written to is smaller than what is read: the plain evaluation will say so
            return None
        return results if function.nout > 1 else (results,)

    def _found(self, key: Any, inputs: tuple[Any, ...]) -> tuple[Callable[..., Any], float, Any, Sequence[Any]]:
        """Find out what computes small arrays of these dtypes, and up to which size."""
        small: Callable[..., Any] = partial(self.formula, self.xp)
        dtypes: Sequence[Any] = ()
        limit, function = inf, None
        if key is not None and (loops := self._loops(_signature(inputs))) is not None:
            dtypes = loops.trace.dtypes
            if loops.trace.partial:
                self._partial.add(key)
            name = getattr(self.formula, "__name__", "formula")
            function = ufunc(loops.trace, name)
            limit = SMALL if compiler() else min(self.block, LEAST) + 1
            if function is None:
                small = straight(loops.trace, name) or small
            else:
                small = partial(_in_a_tuple, function) if loops.trace.many and function.nout == 1 else function
                limit = max(SMALL, loops.alone)
            limit = limit if self.small is None else self.small
            if key not in self._partial and {*_signature(inputs)} == {(dtype := getattr(inputs[0], "dtype", None))}:
                self._direct[dtype] = small, limit
        found = self._small[key] = small, limit, function, dtypes
        return found

    def _loops(self, signature: tuple[Any, ...]) -> Loops | None:
        if signature not in self._traces:
            made = trace(self.xp, self.formula, signature)
            self._traces[signature] = None if made is None else Loops(made)
        return self._traces[signature]

    def plan(self, inputs: tuple[Any, ...], out: Sequence[Any] = ()) -> "Plan | Blocks | None":
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
        loops = self._loops(_signature(inputs))
        if loops is None:
            return None
        dtypes = loops.trace.dtypes
        out = out or [None] * len(dtypes)
        if [dtypes[k] if x is None else x.dtype for k, x in enumerate(out)] != dtypes:
            return None
        return loops.plan(inputs, out) or Blocks.of(loops.trace, inputs, out, self.block)


def _kinds(inputs: tuple[Any, ...]) -> tuple[Any, int]:
    """Return the dtypes of arrays and the types of numbers, None if there is anything else; and the largest size."""
    key, size = [], 0
    for x in inputs:
        kind = type(x)
        if kind is ndarray:
            key.append(x.dtype)
            if x.size > size:
                size = x.size
        elif kind is float or kind is int:
            key.append(kind)
        else:
            return None, 0
    return (key[0] if len(key) == 1 else tuple(key)), size


def _signature(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([x.dtype if type(x) is ndarray else type(x) for x in inputs])


def _alike(inputs: tuple[Any, ...]) -> bool:
    """Tell whether all arrays have one shape."""
    return len({x.shape for x in inputs if type(x) is ndarray}) == 1


def _in_a_tuple(function: Callable[..., Any], *inputs: Any) -> tuple[Any, ...]:
    return (function(*inputs),)


def apart(targets: Sequence[Any], everything: Sequence[Any]) -> bool:
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
