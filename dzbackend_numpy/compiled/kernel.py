"""A traced formula as a loop in LLVM's intermediate language."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..trace import Trace
from .emit import BOOL, CannotEmitError, Code, Term, type_of
from .operations import apply

__all__ = ["Kernel", "write"]

#: Where an array has the address of its elements: behind what every Python object has, as PyArray_DATA reads it.
DATA = object.__basicsize__

#: The loop over rows. Members of the team take chunks of the elements until none is left, so that it does not matter
#: how many members there are. `call` is where the next chunk begins, where the layout is, the arrays, the numbers;
#: `layout` is how many elements, how many in a chunk, the two inner lengths, and two strides for each array.
#:
#: Four vectors take turns, where the compiler left to itself takes one. So no step has to wait for the one before, and
#: what is written is far from what is read next: where arrays lie some 64 bytes apart within their pages, the processor
#: mistakes one for the other and waits, as long as the update of Adam takes otherwise.
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
claim:
  %start = atomicrmw add ptr %call, i64 %chunk monotonic
  %more = icmp ult i64 %start, %total
  br i1 %more, label %take, label %exit
take:
  %beyond = add i64 %start, %chunk
  %within = icmp ult i64 %beyond, %total
  %stop = select i1 %within, i64 %beyond, i64 %total
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
  br label %turn
turn:
  %i = phi i64 [ 0, %row ], [ %i.next, %turn ]
{turn}
  %i.next = add nuw i64 %i, 1
  %again = icmp ult i64 %i.next, %count
  br i1 %again, label %turn, label %end, !llvm.loop !0
end:
  %next = add i64 %place, %count
  %unfinished = icmp ult i64 %next, %stop
  br i1 %unfinished, label %row, label %claim
exit:
  ret void
}}
{declarations}
!0 = distinct !{{!0, !1, !9}}
!1 = !{{!"llvm.loop.parallel_accesses", !2}}
!2 = distinct !{{}}
!9 = !{{!"llvm.loop.interleave.count", i32 4}}
"""


class Kernel(NamedTuple):
    """A loop, and what it has to be called with."""

    text: str
    arrays: list[int]  #: numbers of the values that are arrays among the inputs
    scalars: list[int]  #: numbers of the values that are Python scalars
    codes: str  #: of the scalars, for the module struct: each takes 8 bytes


class Writer:
    """Writes the parts of a kernel."""

    def __init__(self, trace: Trace, inner: Sequence[bool]) -> None:
        self.trace, self.inner = trace, inner
        self.prologue, self.row, self.turn = Code("p"), Code("r"), Code("t")
        self.arrays = [i for i in range(trace.inputs) if isinstance(trace.samples[i], np.ndarray)]
        self.terms: dict[int, Term] = {}
        self.scalars: dict[tuple[int, Any], tuple[int, str, Term]] = {}

    def write(self) -> Kernel:
        """Return the kernel."""
        trace, turn = self.trace, self.turn
        count = len(self.arrays)
        operands = [*[(i, trace.samples[i].dtype) for i in self.arrays], *zip(trace.results, trace.dtypes, strict=True)]
        self.first_scalar = 8 * (2 + len(operands))
        places = [self._row(k, dtype) for k, (_, dtype) in enumerate(operands)]
        for k, (number, dtype) in enumerate(operands[:count]):
            self.terms[number] = self._load(places[k], dtype, moves=self.inner[k])
        for step in trace.steps:
            self.terms[step[2]] = apply(step, trace.samples, trace.constants, self._term)
        for k, (number, dtype) in enumerate(operands[count:], count):
            self._store(places[k], self._term(number, dtype))
        declared = sorted(self.prologue.declared | self.row.declared | turn.declared)
        text = FRAME.format(
            prologue="\n".join(self.prologue.lines),
            row="\n".join(self.row.lines),
            turn="\n".join(turn.lines),
            declarations="\n".join(declared),
        )
        numbers = [(number, code) for number, code, _ in self.scalars.values()]
        return Kernel(text, self.arrays, [n for n, _ in numbers], "".join(c for _, c in numbers))

    def _term(self, number: int, dtype: Any) -> Term:
        """Return a value in a dtype: computed before, a constant, or a scalar that the call gives."""
        if number in self.terms:
            return self.terms[number].astype(dtype)
        sample = self.trace.samples[number]
        if number in self.trace.constants:
            if not isinstance(sample, bool | int | float | np.bool | np.integer | np.floating):
                raise CannotEmitError(f"a constant of {type(sample)}")
            return self.turn.constant(dtype, sample)
        if type(sample) not in (int, float):
            raise CannotEmitError(f"a scalar of {type(sample)}")
        key = number, dtype
        if key not in self.scalars:
            self.scalars[key] = self._scalar(number, sample, dtype)
        return self.scalars[key][2]

    def _scalar(self, number: int, sample: Any, dtype: Any) -> tuple[int, str, Term]:
        """Load a Python scalar, once: as float64, or as an integer of the dtype, whose range struct looks after."""
        if (type(sample) is float and dtype.kind != "f") or dtype == BOOL:
            raise CannotEmitError("a float where no float is")
        wide = np.dtype(np.float64) if dtype.kind == "f" else dtype
        place = self.prologue.line(f"getelementptr i8, ptr %call, i64 {self.first_scalar + 8 * len(self.scalars)}")
        term = self.prologue.term(wide, f"load {type_of(wide)}, ptr {place}").astype(dtype)
        code = "d" if dtype.kind == "f" else np.dtype(wide).char
        padding = 8 - wide.itemsize
        return number, code + (f"{padding}x" if padding else ""), Term(self.turn, dtype, term.name)

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
        return row.line(f"getelementptr {_stored(dtype)}, ptr {base}, i64 %column") if self.inner[k] else base

    def _load(self, base: str, dtype: Any, moves: bool) -> Term:
        """Load an element; once in a row if all of this row are the same."""
        code, kind = (self.turn, _stored(dtype)) if moves else (self.row, _stored(dtype))
        if moves:
            base = code.line(f"getelementptr {kind}, ptr {base}, i64 %i")
        mark = ", !llvm.access.group !2" if moves else ""
        name = code.line(f"load {kind}, ptr {base}, align 1{mark}")
        if dtype == BOOL:
            name = code.line(f"icmp ne i8 {name}, 0")
        return Term(self.turn, dtype, name)

    def _store(self, base: str, value: Term) -> None:
        code, kind, name = self.turn, _stored(value.dtype), value.name
        if value.dtype == BOOL:
            name = code.line(f"zext i1 {name} to i8")
        place = code.line(f"getelementptr {kind}, ptr {base}, i64 %i")
        code.lines.append(f"  store {kind} {name}, ptr {place}, align 1, !llvm.access.group !2")


def _stored(dtype: Any) -> str:
    """Return the type of a value in memory."""
    return "i8" if dtype == BOOL else type_of(dtype)


def write(trace: Trace, inner: Sequence[bool]) -> Kernel:
    """Write the loop for a trace; of each array, and each result, `inner` says whether it moves along the last axis.

    Raises:
        CannotEmitError: for what has no loop.
    """
    return Writer(trace, inner).write()
