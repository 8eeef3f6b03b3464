"""Elementwise formulas as one kernel, through CuPy's own fusion.

A formula is traced once for each combination of dtypes and kinds of numbers, see `trace.py`. It becomes a kernel where
every step has the dtype that it has in the plain evaluation; what cannot be a kernel is evaluated the plain way, a
kernel a step.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import cupy
import numpy as np

from .trace import CannotFuseError, Program

__all__ = ["Fused"]

#: What says nothing about a formula.
_DEVICE_ERRORS = (
    cupy.cuda.compiler.CompileException, cupy.cuda.driver.CUDADriverError, cupy.cuda.memory.OutOfMemoryError,
    cupy.cuda.runtime.CUDARuntimeError,
)  # fmt: skip

Formula = Callable[..., Any]
Key = tuple[Any, ...]


class Fused:
    """An elementwise `formula(xp, *inputs)` in one launch, where that gives what the plain evaluation gives."""

    def __init__(self, xp: Any, formula: Formula) -> None:
        self.xp, self.formula = xp, formula
        name = getattr(formula, "__qualname__", "formula")
        self.name = "dz_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in name)  # an identifier of C
        self._kernels: dict[Key, tuple[Program, Callable[..., Any]] | None] = {}

    def __call__(self, *inputs: Any) -> Any:
        """Evaluate the formula into new arrays."""
        done, result = self._launch(inputs, 0)
        return result if done else self.formula(self.xp, *inputs)

    def update(self, targets: tuple[Any, ...], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Replace the targets by the formula's results, in place where that is possible."""
        everything = (*targets, *inputs)
        if _in_one_pass(targets, inputs) and self._launch(everything, len(targets))[0]:
            return targets
        return _assign(targets, everything, tuple(self.formula(self.xp, *everything)))

    def _launch(self, inputs: Sequence[Any], targets: int) -> tuple[bool, Any]:
        """Run the kernel, and return whether there is one, and its results."""
        key = (targets, *[(x.dtype, x.ndim) if type(x) is cupy.ndarray else type(x) for x in inputs])
        try:
            known = self._kernels[key]
        except KeyError:
            return self._launch_first(key, inputs, targets)
        if known is None:
            return False, None
        program, kernel = known
        everything = program.complete(inputs)
        if everything is None or not _within_range(everything):
            return False, None
        return True, kernel(*everything)

    def _launch_first(self, key: Key, inputs: Sequence[Any], targets: int) -> tuple[bool, Any]:
        """Make the kernel. That there can be none is found out while the formula is traced, before a target is written;
        an error of the compiler or of the device is no reason to do without a kernel from now on, and comes through."""
        try:
            program = self._program(inputs, targets)
            everything = program.complete(inputs)
            if everything is None or not _within_range(everything):
                return False, None
            single = not targets and len(program.dtypes) == len(program.results) == 1  # which is a kernel already
            fused = cupy.fuse(kernel_name=self.name)
            kernel = partial(self._plain, len(inputs)) if single else fused(_traced(program, targets))
            result = kernel(*everything)
        except CannotFuseError:
            self._kernels[key] = None
            return False, None
        self._kernels[key] = program, kernel
        return True, result

    def _plain(self, count: int, *everything: Any) -> Any:
        return self.formula(self.xp, *everything[:count])

    def _program(self, inputs: Sequence[Any], targets: int) -> Program:
        if not {type(x) for x in inputs} <= {float, int, bool, cupy.ndarray}:
            raise CannotFuseError("an input is neither an array nor a number")
        try:
            program = Program(self.xp, self.formula, inputs)
        except _DEVICE_ERRORS:
            raise
        except Exception as error:  # by the formula: the plain evaluation will do better, or raise it where it belongs
            raise CannotFuseError(f"the formula raises {type(error).__name__} for stand-ins") from error
        # A fused cast from complex numbers to real ones does not compile.
        if any(dtype.kind == "c" for dtype in (*(x.dtype for x in inputs if hasattr(x, "dtype")), *program.dtypes)):
            raise CannotFuseError("complex numbers")
        if targets and program.results != [x.dtype for x in inputs[:targets]]:
            raise CannotFuseError("a result does not fit into its target")
        return program


def _traced(program: Program, targets: int) -> Callable[..., Any]:
    """Return the formula as CuPy calls it, once, with stand-ins for the inputs."""
    calls = iter(range(1))

    def traced(*inputs: Any) -> Any:
        if next(calls, None) is None:  # CuPy has another kind of fusion for what this one refuses; nothing elementwise
            raise CannotFuseError("the formula is not elementwise")
        # An input handed back is copied, so that no target is overwritten that another one still needs.
        found = [x.copy() if any(x is given for given in inputs) else x for x in program.run(list(inputs))]
        if not targets:
            return tuple(found) if program.many else found[0]
        for target, result in zip(inputs, found, strict=False):
            target[...] = result
        return None

    return traced


def _within_range(inputs: Sequence[Any]) -> bool:
    """Tell whether every Python int has a place in every integer dtype: a kernel would cut it off, CuPy raises."""
    whole = [x for x in inputs if type(x) is int]
    if not whole:
        return True
    limits = [np.iinfo(x.dtype) for x in inputs if type(x) is cupy.ndarray and x.dtype.kind in "iu"]
    low = max([-(2**63), *[int(limit.min) for limit in limits]])
    high = min([2**63 - 1, *[int(limit.max) for limit in limits]])
    return low <= min(whole) and max(whole) <= high


def _in_one_pass(targets: tuple[Any, ...], inputs: tuple[Any, ...]) -> bool:
    """Tell whether a kernel may write the targets while it reads: arrays of one shape (or of none), each target apart
    from the others and from every input that is not just the same."""
    others = [x for x in inputs if type(x) is cupy.ndarray]
    arrays = [*targets, *others]
    shape = targets[0].shape
    if any(x.shape != shape for x in arrays) and not (
        all(t.shape == shape for t in targets) and all(x.shape in (shape, ()) for x in others)
    ):
        return False
    if _apart(arrays):
        return True
    for i, target in enumerate(targets):
        if any(cupy.may_share_memory(target, other) for other in targets[i + 1 :]):
            return False
        if any(cupy.may_share_memory(target, x) and not _same(target, x) for x in others):
            return False
    return True


def _apart(arrays: Sequence[Any]) -> bool:
    """Tell whether the arrays are contiguous and no two have memory in common; quickly, for it is asked every time."""
    spans = []
    for x in arrays:
        if not x.flags.c_contiguous:
            return False
        start = x.data.ptr
        spans.append((start, start + x.nbytes))
    spans.sort()
    return all(end <= start for (_, end), (start, _) in pairwise(spans))


def _same(x: Any, y: Any) -> bool:
    """Tell whether each element of x is the element of y in the same place."""
    return bool(x.data.ptr == y.data.ptr and x.shape == y.shape and x.strides == y.strides and x.dtype == y.dtype)


def _assign(targets: tuple[Any, ...], inputs: tuple[Any, ...], results: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copy results that were computed the plain way into the targets; return them where a target cannot take them."""
    for target, result in zip(targets, results, strict=True):
        if type(target) is not cupy.ndarray or type(result) is not cupy.ndarray:
            return results
        if target.shape != result.shape or target.dtype != result.dtype:
            return results
    # A formula may hand back an input, or a view of one: what may lie in a target is copied before any is written.
    taken = [r.copy() if r.base is not None or any(r is x for x in inputs) else r for r in results]
    for target, result in zip(targets, taken, strict=True):
        target[...] = result
    return targets
