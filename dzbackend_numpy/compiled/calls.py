"""Many loops in one call, which is written down once and only filled in afterwards.

Python would need 0.6 us for each array to find out that it is like the one of the step before, and to say where it is.
So that is done here as well, by what `PyArray_NDIM`, `PyArray_DIMS` and their like read.
https://numpy.org/doc/stable/reference/c-api/types-and-structures.html#c.PyArrayObject
"""

import ctypes
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import team
from ..once import once
from .emit import fields
from .kernel import DATA
from .loops import CALL, Plan
from .native import compiler

__all__ = ["Calls", "Row"]

#: Loops one after the other, with nothing between: who finds no chunk of one goes on to the next. The list is how many
#: there are, and of each its address, how far the next one is, and its call.
ALL = """
define void @all(ptr %list) nounwind {
begin:
  %count = load i64, ptr %list
  %first = getelementptr i8, ptr %list, i64 8
  br label %loop
loop:
  %k = phi i64 [ 0, %begin ], [ %k.next, %loop ]
  %entry = phi ptr [ %first, %begin ], [ %entry.next, %loop ]
  %kernel = load ptr, ptr %entry
  %size.at = getelementptr i8, ptr %entry, i64 8
  %size = load i64, ptr %size.at
  %call = getelementptr i8, ptr %entry, i64 16
  call void %kernel(ptr %call)
  %entry.next = getelementptr i8, ptr %entry, i64 %size
  %k.next = add nuw i64 %k, 1
  %more = icmp ult i64 %k.next, %count
  br i1 %more, label %loop, label %end
end:
  ret void
}
"""

#: Tell whether arrays are what a list was made for, and fill it in.
#:
#: `given` begins with an array for each row, which has to be like that of `arrays`, an array and how far from its
#: address its memory begins and ends. It must not share memory with anything that is written to: that is between
#: `starts` and `ends`, in order. All arrays `watched` have to be writable. Then `made` becomes the `pattern`, with
#: words of `given` in their places.
READY = """
define i64 @ready(ptr %call, ptr %given, ptr %made) nounwind {{
begin:
{fields}
  br label %row
row:
  %r = phi i64 [ 0, %begin ], [ %r.next, %row.next ]
  %r.more = icmp ult i64 %r, %rows
  br i1 %r.more, label %like, label %watch
like:
  %x.at = getelementptr ptr, ptr %given, i64 %r
  %x = load ptr, ptr %x.at
  %own.place = mul i64 %r, 3
  %own.at = getelementptr ptr, ptr %arrays, i64 %own.place
  %own = load ptr, ptr %own.at
  %alike = call i1 @alike(ptr %x, ptr %own)
  br i1 %alike, label %bounds, label %no
bounds:
  %low.at = getelementptr i64, ptr %own.at, i64 1
  %high.at = getelementptr i64, ptr %own.at, i64 2
  %low = load i64, ptr %low.at
  %high = load i64, ptr %high.at
  %data.at = getelementptr i8, ptr %x, i64 {data}
  %data = load i64, ptr %data.at
  %x.low = add i64 %data, %low
  %x.high = add i64 %data, %high
  br label %search
search:
  %from = phi i64 [ 0, %bounds ], [ %from.next, %halve ]
  %to = phi i64 [ %written, %bounds ], [ %to.next, %halve ]
  %wide = icmp ult i64 %from, %to
  br i1 %wide, label %halve, label %found
halve:
  %sum = add i64 %from, %to
  %middle = lshr i64 %sum, 1
  %start.at = getelementptr i64, ptr %starts, i64 %middle
  %start = load i64, ptr %start.at
  %before = icmp ult i64 %start, %x.high
  %beyond = add i64 %middle, 1
  %from.next = select i1 %before, i64 %beyond, i64 %from
  %to.next = select i1 %before, i64 %to, i64 %middle
  br label %search
found:
  %none = icmp eq i64 %from, 0
  br i1 %none, label %row.next, label %last
last:
  %last.place = sub i64 %from, 1
  %end.at = getelementptr i64, ptr %ends, i64 %last.place
  %end = load i64, ptr %end.at
  %shared = icmp ugt i64 %end, %x.low
  br i1 %shared, label %no, label %row.next
row.next:
  %r.next = add i64 %r, 1
  br label %row
watch:
  %w = phi i64 [ 0, %row ], [ %w.next, %watch.next ]
  %w.more = icmp ult i64 %w, %watching
  br i1 %w.more, label %watch.next, label %fill
watch.next:
  %w.at = getelementptr ptr, ptr %watched, i64 %w
  %w.array = load ptr, ptr %w.at
  %flags.at = getelementptr i8, ptr %w.array, i64 {flags}
  %flags = load i32, ptr %flags.at
  %can = and i32 %flags, {writeable}
  %writable = icmp ne i32 %can, 0
  %w.next = add i64 %w, 1
  br i1 %writable, label %watch, label %no
fill:
  call void @llvm.memcpy.p0.p0.i64(ptr %made, ptr %pattern, i64 %size, i1 false)
  br label %move
move:
  %m = phi i64 [ 0, %fill ], [ %m.next, %move.next ]
  %m.more = icmp ult i64 %m, %moves
  br i1 %m.more, label %move.next, label %yes
move.next:
  %to.at = getelementptr i64, ptr %places, i64 %m
  %source.at = getelementptr i64, ptr %sources, i64 %m
  %place = load i64, ptr %to.at
  %source = load i64, ptr %source.at
  %word.at = getelementptr i64, ptr %given, i64 %source
  %made.at = getelementptr i64, ptr %made, i64 %place
  %word = load i64, ptr %word.at
  store i64 %word, ptr %made.at
  %m.next = add i64 %m, 1
  br label %move
yes:
  ret i64 1
no:
  ret i64 0
}}

; Whether both are arrays of one dtype and shape that lie in memory in one way.
define internal i1 @alike(ptr %x, ptr %y) {{
  %type = call i1 @same(ptr %x, ptr %y, i64 {type}, i64 8)
  br i1 %type, label %array, label %no
array:
  %ndim = call i1 @same(ptr %x, ptr %y, i64 {ndim}, i64 4)
  br i1 %ndim, label %form, label %no
form:
  %n.at = getelementptr i8, ptr %x, i64 {ndim}
  %n = load i32, ptr %n.at
  %n.wide = zext i32 %n to i64
  %bytes = mul i64 %n.wide, 8
  %dims = call i1 @same.behind(ptr %x, ptr %y, i64 {dims}, i64 0, i64 %bytes)
  %strides = call i1 @same.behind(ptr %x, ptr %y, i64 {strides}, i64 0, i64 %bytes)
  %dtype = call i1 @same.behind(ptr %x, ptr %y, i64 {dtype}, i64 {kind}, i64 8)
  %both = and i1 %dims, %strides
  %all = and i1 %both, %dtype
  ret i1 %all
no:
  ret i1 false
}}

; Whether some bytes of two objects are the same.
define internal i1 @same(ptr %x, ptr %y, i64 %place, i64 %bytes) {{
  %x.at = getelementptr i8, ptr %x, i64 %place
  %y.at = getelementptr i8, ptr %y, i64 %place
  %differ = call i32 @memcmp(ptr %x.at, ptr %y.at, i64 %bytes)
  %same = icmp eq i32 %differ, 0
  ret i1 %same
}}

; Whether those are that their addresses at a place lead to.
define internal i1 @same.behind(ptr %x, ptr %y, i64 %place, i64 %further, i64 %bytes) {{
  %x.at = getelementptr i8, ptr %x, i64 %place
  %y.at = getelementptr i8, ptr %y, i64 %place
  %x.to = load ptr, ptr %x.at
  %y.to = load ptr, ptr %y.at
  %same = call i1 @same(ptr %x.to, ptr %y.to, i64 %further, i64 %bytes)
  ret i1 %same
}}
declare i32 @memcmp(ptr, ptr, i64)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""
NUMBERS = ("rows", "written", "watching", "size", "moves")
ADDRESSES = ("arrays", "starts", "ends", "watched", "pattern", "sources", "places")
#: Of an object the type; of an array the elements, how many axes, the lengths, the strides, the dtype, the flags.
PLACES = {
    "type": DATA - 8, "data": DATA, "ndim": DATA + 8, "dims": DATA + 16, "strides": DATA + 24, "dtype": DATA + 40,
    "flags": DATA + 48,
}  # fmt: skip
KIND = DATA + 8  #: of a dtype: 8 bytes of what it is, its order of bytes and its number among them
WRITEABLE = 0x400  #: NPY_ARRAY_WRITEABLE

_READY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)


@once
def _functions() -> tuple[int, Any, Any]:
    llvm: Any = compiler()  # who has plans has it
    address = llvm.load(ALL, "all")
    text = READY.format(fields="\n".join(fields(NUMBERS, ADDRESSES)), kind=KIND, writeable=WRITEABLE, **PLACES)
    return address, CALL(address), _READY(llvm.load(text, "ready"))


class Row(NamedTuple):
    """A loop that replaces arrays of one form by what it makes of them, another one like them, and numbers."""

    plan: Plan
    own: tuple[Any, ...]  #: views of the arrays: nobody changes their form

    @property
    def bounds(self) -> tuple[int, int]:
        """How far from the address of an array of this form its memory begins and ends."""
        x = self.own[0]
        steps = [(n - 1) * s for n, s in zip(x.shape, x.strides, strict=True)]
        return sum(min(step, 0) for step in steps), x.itemsize + sum(max(step, 0) for step in steps)

    @property
    def written(self) -> list[tuple[int, int]]:
        """From where to where there is what it writes to."""
        low, high = self.bounds
        return [(x.ctypes.data + low, x.ctypes.data + high) for x in self.own]


class Calls:
    """One call for rows that write to different memory, made but for an array of each and the numbers.

    Arrays `watched` have to be writable each time.
    """

    def __init__(self, rows: Sequence[Row], watched: Sequence[Any], numbers: tuple[Any, ...]) -> None:
        self.rows, self.watched = rows, watched  # which stay, for the call has their addresses
        self.kinds = [*map(type, numbers)]
        self.effort = sum(row.plan.effort for row in rows)
        self.unread = (None,) * (len(rows[0].own) + 1)  #: in the place of the arrays, for what is about numbers
        pattern: list[int] = [len(rows)]
        moves: list[tuple[int, int]] = []  # from where to where
        self.plans: dict[int, Plan] = {}  # one of each kernel, for its numbers
        behind = {}  # where those are
        given = len(rows)
        for r, (plan, own) in enumerate(rows):
            kernel = id(plan.kernel)
            if kernel not in self.plans:
                self.plans[kernel], behind[kernel] = plan, given
                given += len(plan.scalars)
            ids = [*map(id, own)]
            pattern += plan.head
            moves.append((r, len(pattern) + len(ids)))
            pattern += *ids, 0, *ids
            moves += [(behind[kernel] + k, len(pattern) + k) for k in range(len(plan.scalars))]
            pattern += [0] * len(plan.scalars)
        arrays = [word for row in rows for word in (id(row.own[0]), *row.bounds)]
        starts, ends = zip(*sorted(span for row in rows for span in row.written), strict=True)
        sources, places = zip(*moves, strict=True)
        self.size = 8 * len(pattern)
        self.words = [
            np.array(x, np.int64) for x in (arrays, starts, ends, [*map(id, watched)], pattern, sources, places)
        ]
        about = len(rows), len(starts), len(watched), self.size, len(moves), *[x.ctypes.data for x in self.words]
        self.call = (ctypes.c_int64 * (1 + len(about)))(0, *about)
        self.place = ctypes.addressof(self.call)
        self.pack = struct.Struct(f"@{len(rows)}P").pack

    def run(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> bool:
        """Run the loops, and tell whether that was done: inputs and numbers may not be like those expected."""
        if [*map(type, numbers)] != self.kinds:
            return False
        given = self.pack(*map(id, inputs))
        try:
            for plan in self.plans.values():
                given += plan.numbers((*self.unread, *numbers))
        except (ArithmeticError, TypeError, struct.error):
            return False
        address, alone, ready = _functions()
        made = bytes(self.size)  # nobody else has it yet, so it can be written to
        if not ready(self.place, given, made):
            return False
        if self.effort > 1 and (size := team.size()) > 1:
            team.parallel()(address, made, size, 0)
        else:
            alone(made)
        return True
