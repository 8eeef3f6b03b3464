"""Calls of compiled loops: how arrays lie in memory becomes a plan once, and a call of it afterwards."""

import ctypes
import struct
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import team
from ..trace import Trace
from .emit import CannotEmitError
from .kernel import Kernel, write
from .native import compiler

__all__ = ["CALL", "Loops", "Plan"]

#: Nanoseconds of one thread's work that are worth waking the others for; those of a step, and of a function.
WORTH, STEP, FUNCTION = 20_000.0, 0.1, 0.4


class Layout(NamedTuple):
    """Arrays in the order of memory, along three axes at most."""

    shape: tuple[int, ...]  #: of all of them, broadcast
    order: list[int]  #: its axes, the one with the largest steps first
    lengths: list[int]  #: of the three axes
    strides: list[list[int]]  #: of each array, in bytes
    inner: tuple[bool, ...]  #: whether an array moves along the last axis


def lay_out(arrays: Sequence[Any]) -> Layout | None:
    """Return how loops go through arrays; None where they do not broadcast, more than three axes are needed, or an
    array has gaps along the last of them."""
    try:
        shape = np.broadcast_shapes(*[x.shape for x in arrays])
    except ValueError:  # for NumPy to say
        return None
    steps = []
    for x in arrays:
        own = [s if n > 1 else 0 for n, s in zip(x.shape, x.strides, strict=True)]
        steps.append([0] * (len(shape) - x.ndim) + own)
    order = sorted(range(len(shape)), key=lambda axis: -max(abs(s[axis]) for s in steps))
    axes: list[tuple[int, list[int]]] = []  # lengths, and strides of each array
    for axis in order:
        length, strides = shape[axis], [s[axis] for s in steps]
        if length == 1:
            continue
        if axes and all(above == below * length for above, below in zip(axes[-1][1], strides, strict=True)):
            axes[-1] = (axes[-1][0] * length, strides)
        else:
            axes.append((length, strides))
    if len(axes) > 3:
        return None
    axes = [(1, [0] * len(arrays))] * (3 - len(axes)) + axes
    last = axes[-1][1]
    if any(stride not in (0, x.itemsize) for stride, x in zip(last, arrays, strict=True)):
        return None
    strides = [[axes[0][1][k], axes[1][1][k]] for k in range(len(arrays))]
    return Layout(shape, order, [length for length, _ in axes], strides, tuple(s != 0 for s in last))


class Plan:
    """A loop over arrays that lie in memory in one way."""

    def __init__(self, loops: "Loops", layout: Layout, out: Sequence[Any], kernel: Kernel, address: int) -> None:
        trace = loops.trace
        self.trace, self.arrays, self.scalars = trace, kernel.arrays, kernel.scalars
        self.many, self.nothing = trace.many, (None,) * len(trace.dtypes)
        self.plain = len(kernel.arrays) == trace.inputs and not kernel.scalars
        total = prod(layout.shape)
        self.parallel = total > loops.alone
        count = len(layout.strides)
        numbers = [
            total,
            self._chunk(total, loops.alone),
            *layout.lengths[1:],
            *[s for pair in layout.strides for s in pair],
        ]
        self.layout = (ctypes.c_int64 * len(numbers))(*numbers)
        self.place = ctypes.addressof(self.layout)
        self.kernel, self.address = kernel, address
        self.pack = struct.Struct(f"@qP{count}P{kernel.codes}").pack
        self.pack_numbers = struct.Struct(f"@{kernel.codes}").pack
        self.head = address, 8 * (4 + count + len(kernel.scalars)), 0, self.place  #: of its entry in a list of loops
        self.effort = total / loops.alone  #: 1 is what is worth a second thread
        self.alone = CALL(address)
        self.new = [(k, dtype) for k, dtype in enumerate(trace.dtypes) if out[k] is None]
        self.shape, self.back = layout.shape, None
        if layout.order != sorted(layout.order):
            self.shape = tuple(layout.shape[axis] for axis in layout.order)
            self.back = [layout.order.index(axis) for axis in range(len(layout.order))]

    def _chunk(self, total: int, alone: float) -> int:
        """Return how many elements a thread takes at a time: several times each, in multiples of 64 of them."""
        return -(-max(total // 16, int(alone) // 8, 1) // 64) * 64 if self.parallel else max(total, 1)

    def run(self, inputs: Sequence[Any], out: Sequence[Any]) -> Sequence[Any] | None:
        """Return the results: the arrays in `out`, and new ones, which lie in memory as the inputs do.

        Arrays in `out` share no memory with inputs, or are the same. None is the answer where a number does not fit, so
        that the plain evaluation has to say what becomes of it; nothing has been written then.
        """
        results = [*out]
        for k, dtype in self.new:
            new = np.empty(self.shape, dtype)
            results[k] = new if self.back is None else new.transpose(self.back)
        try:
            if self.plain:
                call = self.pack(0, self.place, *map(id, inputs), *map(id, results))
            else:
                values = self.trace.values(inputs) if self.trace.prelude else inputs
                arrays = [id(inputs[i]) for i in self.arrays]
                call = self.pack(0, self.place, *arrays, *map(id, results), *[values[i] for i in self.scalars])
        except (ArithmeticError, TypeError, struct.error):
            return None
        if self.parallel and (size := team.size()) > 1:
            team.parallel()(self.address, call, size, 0)
        else:
            self.alone(call)
        return results

    def numbers(self, inputs: Sequence[Any]) -> bytes:
        """Return the numbers among the inputs as the loop reads them.

        Raises:
            ArithmeticError, TypeError, struct.error: one does not fit.
        """
        values = self.trace.values(inputs) if self.trace.prelude else inputs
        return self.pack_numbers(*[values[i] for i in self.scalars])


CALL = ctypes.CFUNCTYPE(None, ctypes.c_char_p)


class Loops:
    """The loops of one trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.cost = STEP * len(trace.steps) + FUNCTION * trace.mathematics
        self.alone = WORTH / max(self.cost, STEP)  #: how many elements one thread is enough for
        self._kernels: dict[tuple[tuple[bool, ...], bool], tuple[Kernel, int] | None] = {}

    def plan(self, inputs: Sequence[Any], out: Sequence[Any]) -> Plan | None:
        """Return the plan for inputs like these, and results written to `out`, where None stands for a new array.

        None is the answer where there is no loop for them.
        """
        arrays = [x for x in inputs if type(x) is np.ndarray]
        given = [x for x in out if x is not None]
        layout = lay_out([*arrays, *given])
        if layout is None or not self._whole(inputs, out, layout.shape):
            return None
        count, (_, rows, columns) = len(arrays), layout.lengths
        strides, inner, more = layout.strides[:count], layout.inner[:count], iter(layout.strides[count:])
        if not all(layout.inner[count:]):
            return None
        for dtype, x in zip(self.trace.dtypes, out, strict=True):
            new = [rows * columns * dtype.itemsize, columns * dtype.itemsize]
            strides.append(new if x is None else next(more))
            inner = (*inner, True)
        made = self._kernel(inner, prod(layout.shape) > self.alone)
        return made and Plan(self, layout._replace(strides=strides, inner=inner), out, *made)

    def _kernel(self, *kind: Any) -> tuple[Kernel, int] | None:
        if kind not in self._kernels:  # several threads may make the same
            self._kernels[kind] = self._made(*kind)
        return self._kernels[kind]

    def _made(self, inner: tuple[bool, ...], large: bool) -> tuple[Kernel, int] | None:
        llvm = compiler()
        if llvm is None:
            return None
        try:
            kernel = write(self.trace, inner, large)
        except (CannotEmitError, OverflowError):  # also of a constant that is beyond its dtype
            return None
        return kernel, llvm.load(kernel.text, "kernel")

    def _whole(self, inputs: Sequence[Any], out: Sequence[Any], shape: tuple[int, ...]) -> bool:
        """Tell whether every result has the shape of all inputs together, and its place takes it."""
        if any(x is not None and (x.shape != shape or 0 in x.strides) for x in out):
            return False
        if all(x.shape == shape for x in inputs if type(x) is np.ndarray):
            return True
        shapes: list[tuple[int, ...]] = [x.shape if type(x) is np.ndarray else () for x in inputs]
        shapes += [()] * (len(self.trace.samples) - len(shapes))
        for _, operands, result in self.trace.steps:
            shapes[result] = np.broadcast_shapes(*[shapes[i] for i in operands])
        return all(shapes[result] == shape for result in self.trace.results)
