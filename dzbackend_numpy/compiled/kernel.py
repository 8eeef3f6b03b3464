"""A traced formula as a loop in LLVM's intermediate language."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..trace import Trace
from .chunks import claim, take
from .emit import BOOL, CannotEmitError, Code, Term, stored, type_of
from .lanes import Ahead, Along, Lane
from .native import compiler
from .operations import apply

__all__ = ["Kernel", "write"]

#: Where an array has the address of its elements: behind what every Python object has, as PyArray_DATA reads it.
DATA = object.__basicsize__

#: The loop over rows. Members of the team take chunks of the elements until none is left, so that it does not matter
#: how many members there are. `call` is which are taken, where the layout is, the arrays, the numbers; `layout` is how
#: many elements, how many in a chunk, the two inner lengths, and two strides for each array.
FRAME = """
define void @kernel(ptr %call) nounwind {{
  %layout.at = getelementptr i8, ptr %call, i64 8
  %layout = load ptr, ptr %layout.at
  %total = load i64, ptr %layout
  %chunk.at = getelementptr i8, ptr %layout, i64 8
  %chunk = load i64, ptr %chunk.at
  %rows.at = getelementptr i8, ptr %layout, i64 16
  %rows = load i64, ptr %rows.at
  %columns.at = getelementptr i8, ptr %layout, i64 24
  %columns = load i64, ptr %columns.at
{prologue}
  br label %claim
{take}
  br label %row
row:
  %place = phi i64 [ %start, %take ], [ %next, %end ]
  %which = udiv i64 %place, %columns
  %column = urem i64 %place, %columns
  %outer = udiv i64 %which, %rows
  %middle = urem i64 %which, %rows
  %left = sub i64 %columns, %column
  %wanted = sub i64 %stop, %place
  %short = icmp ult i64 %left, %wanted
  %count = select i1 %short, i64 %left, i64 %wanted
{row}
{body}
end:
  %next = add i64 %place, %count
  %unfinished = icmp ult i64 %next, %stop
  br i1 %unfinished, label %row, label %claim
exit:
  ret void
}}
{declarations}
"""


class Kernel(NamedTuple):
    """A loop, and what it has to be called with."""

    text: str
    arrays: list[int]  #: numbers of the values that are arrays among the inputs
    scalars: list[int]  #: numbers of the values that are Python scalars
    codes: str  #: of the scalars, for the module struct: each takes 8 bytes


class Writer:
    """Writes the parts of a kernel."""

    def __init__(self, trace: Trace, inner: Sequence[bool], large: bool) -> None:
        self.trace, self.inner = trace, inner
        self.prologue, self.row = Code("p"), Code("r")
        self.way = _way(trace, large)
        self.arrays = [i for i in range(trace.inputs) if isinstance(trace.samples[i], np.ndarray)]
        self.scalars: dict[tuple[int, Any], tuple[int, str, Term]] = {}

    def write(self) -> Kernel:
        """Return the kernel."""
        trace, lanes = self.trace, self.way.lanes
        inputs = [(i, trace.samples[i].dtype) for i in self.arrays]
        operands = [*inputs, *zip(trace.results, trace.dtypes, strict=True)]
        self.first_scalar = 8 * (2 + len(operands))
        rows = [self._row(k, dtype) for k, (_, dtype) in enumerate(operands)]
        for k, (number, dtype) in enumerate(inputs):
            one = None if self.inner[k] else self._same(rows[k], dtype)
            for lane in lanes:
                lane.terms[number] = lane.load(rows[k], dtype) if one is None else one.spread(lane.code)
        for step in trace.steps:
            for lane in lanes:
                lane.terms[step[2]] = apply(step, trace.samples, trace.constants, partial(self._term, lane))
        for row, (number, dtype) in zip(rows[len(inputs) :], operands[len(inputs) :], strict=True):
            for lane in lanes:
                lane.store(row, self._term(lane, number, dtype))
        declared = set[str]().union(*[lane.code.declared for lane in lanes])
        text = FRAME.format(
            prologue="\n".join(self.prologue.lines), take=take("total"), row="\n".join(self.row.lines),
            body=self.way.body(), declarations="\n".join(sorted(declared)),
        )  # fmt: skip
        numbers = [(number, code) for number, code, _ in self.scalars.values()]
        text = claim() + text + self.way.hints
        return Kernel(text, self.arrays, [n for n, _ in numbers], "".join(c for _, c in numbers))

    def _term(self, lane: Lane, number: int, dtype: Any) -> Term:
        """Return a value in a dtype: computed before, a constant, or a scalar that the call gives."""
        if number in lane.terms:
            return lane.terms[number].astype(dtype)
        sample = self.trace.samples[number]
        if number in self.trace.constants:
            if not isinstance(sample, bool | int | float | np.bool | np.integer | np.floating):
                raise CannotEmitError(f"a constant of {type(sample)}")
            return lane.code.constant(dtype, sample)
        if type(sample) not in (int, float):
            raise CannotEmitError(f"a scalar of {type(sample)}")
        key = number, dtype
        if key not in self.scalars:
            self.scalars[key] = self._scalar(number, sample, dtype)
        return self.scalars[key][2].spread(lane.code)

    def _scalar(self, number: int, sample: Any, dtype: Any) -> tuple[int, str, Term]:
        """Load a Python scalar, once: as float64, or as an integer of the dtype, whose range struct looks after."""
        if (type(sample) is float and dtype.kind != "f") or dtype == BOOL:
            raise CannotEmitError("a float where no float is")
        wide = np.dtype(np.float64) if dtype.kind == "f" else dtype
        place = self.prologue.line(f"getelementptr i8, ptr %call, i64 {self.first_scalar + 8 * len(self.scalars)}")
        term = self.prologue.term(wide, f"load {type_of(wide)}, ptr {place}").astype(dtype)
        code = "d" if dtype.kind == "f" else np.dtype(wide).char
        padding = 8 - wide.itemsize
        return number, code + (f"{padding}x" if padding else ""), term

    def _row(self, k: int, dtype: Any) -> str:
        """Find the k-th array's element at the beginning of a row; return the name of its address."""
        before, row = self.prologue, self.row
        place = before.line(f"getelementptr i8, ptr %call, i64 {8 * (2 + k)}")
        held = before.line(f"getelementptr i8, ptr {before.line(f'load ptr, ptr {place}')}, i64 {DATA}")
        base = before.line(f"load ptr, ptr {held}")
        for axis, index in enumerate(("outer", "middle")):
            place = before.line(f"getelementptr i8, ptr %layout, i64 {8 * (4 + 2 * k + axis)}")
            offset = row.line(f"mul i64 {before.line(f'load i64, ptr {place}')}, %{index}")
            base = row.line(f"getelementptr i8, ptr {base}, i64 {offset}")
        return row.line(f"getelementptr {stored(dtype)}, ptr {base}, i64 %column") if self.inner[k] else base

    def _same(self, row: str, dtype: Any) -> Term:
        """Load the element that an array has for all of a row."""
        return self.row.read(dtype, self.row.line(f"load {stored(dtype)}, ptr {row}, align 1"))


def _way(trace: Trace, large: bool) -> Along | Ahead:
    """Choose how the kernel goes along a row, see `lanes`."""
    llvm: Any = compiler()  # nobody asks who has none
    if not large or trace.mathematics or not llvm.masks:
        return Along()
    widest = max(x.dtype.itemsize for x in trace.samples if isinstance(x, np.ndarray))
    return Ahead(llvm.register // widest)


def write(trace: Trace, inner: Sequence[bool], large: bool) -> Kernel:
    """Write the loop for a trace; of each array, and each result, `inner` says whether it moves along the last axis.

    What is not `large` has the same bits as the universal function gives, which serves such arrays elsewhere.

    Raises:
        CannotEmitError: for what has no loop.
    """
    return Writer(trace, inner, large).write()
