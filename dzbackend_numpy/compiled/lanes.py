"""How a kernel goes along a row: one element at a time, which the compiler makes vectors of, or in vectors of ours.

The compiler's are as good where the mathematics takes the time, or arrays are small. For arithmetic on AVX-512, which
has registers enough, ours read what the next turn needs before they write. For a processor may mistake what it has
just written for what it reads some 4 KiB further on, and wait: arrays of round sizes, made one after the other, lie
like that.
"""

from abc import ABC, abstractmethod
from typing import Any

from .emit import Code, Term, stored, suffix, vector

__all__ = ["Ahead", "Along", "Lane"]

VECTORS = 2  #: of a turn: so no step has to wait for the one before

#: An element in each turn; four vectors of the compiler's take turns.
ALONG = """
  br label %turn
turn:
  %i = phi i64 [ 0, %row ], [ %i.next, %turn ]
{turn}
  %i.next = add nuw i64 %i, 1
  %again = icmp ult i64 %i.next, %count
  br i1 %again, label %turn, label %end, !llvm.loop !0
"""
ALONG_HINTS = """
!0 = distinct !{!0, !1, !9}
!1 = !{!"llvm.loop.parallel_accesses", !2}
!2 = distinct !{}
!9 = !{!"llvm.loop.interleave.count", i32 4}
"""

#: Some vectors in each turn, and at the end of a row what is left of one at a time.
AHEAD = """
  %rest = urem i64 %count, {block}
  %whole = sub i64 %count, %rest
  %any = icmp ne i64 %whole, 0
  br i1 %any, label %first, label %parts
first:
{first}
  br label %turn
turn:
  %i = phi i64 [ 0, %first ], [ %i.next, %turn ]
{read}
  %i.next = add nuw i64 %i, {block}
  %again = icmp ult i64 %i.next, %whole
  %ahead = select i1 %again, i64 %i.next, i64 %i
{turn}
  br i1 %again, label %turn, label %parts, !llvm.loop !0
parts:
  %j = phi i64 [ 0, %row ], [ %whole, %turn ], [ %j.next, %part ]
  %unread = sub i64 %count, %j
  %some = icmp ne i64 %unread, 0
  br i1 %some, label %part, label %end
part:
  %full = icmp ugt i64 %unread, {width}
  %taken = select i1 %full, i64 {width}, i64 %unread
  %j.next = add nuw i64 %j, %taken
  %taken.32 = trunc i64 %taken to i32
  %taken.one = insertelement <{width} x i32> poison, i32 %taken.32, i64 0
  %taken.all = shufflevector <{width} x i32> %taken.one, <{width} x i32> poison, <{width} x i32> zeroinitializer
  %mask = icmp ult <{width} x i32> <{lanes}>, %taken.all
{part}
  br label %parts, !llvm.loop !2
"""
AHEAD_HINTS = """
!0 = distinct !{!0, !1}
!1 = !{!"llvm.loop.unroll.disable"}
!2 = distinct !{!2, !1}
"""


class Lane(ABC):
    """One of the values, or vectors, that a turn computes, and how it comes from memory and goes there.

    A row of an array is given by the address where it begins.
    """

    def __init__(self, code: Code) -> None:
        self.code = code
        self.terms: dict[int, Term] = {}  #: by the numbers of values

    @abstractmethod
    def load(self, row: str, dtype: Any) -> Term:
        """Return what there is in the row of an array."""

    @abstractmethod
    def store(self, row: str, value: Term) -> None:
        """Write a result."""

    def place(self, code: Code, row: str, dtype: Any, index: str, vectors: int = 0) -> str:
        """Return the address of an element of a row, or of that some vectors further on."""
        place = code.line(f"getelementptr {stored(dtype)}, ptr {row}, i64 {index}")
        return code.line(f"getelementptr {code.stored(dtype)}, ptr {place}, i64 {vectors}") if vectors else place


class Along:
    """An element in each turn."""

    hints = ALONG_HINTS

    def __init__(self) -> None:
        self.lanes: list[Lane] = [_One(Code("t"))]

    def body(self) -> str:
        """Return what is done with a row."""
        return ALONG.format(turn="\n".join(self.lanes[0].code.lines))


class _One(Lane):
    def load(self, row: str, dtype: Any) -> Term:
        place = self.place(self.code, row, dtype, "%i")
        name = self.code.line(f"load {stored(dtype)}, ptr {place}, align 1, !llvm.access.group !2")
        return self.code.read(dtype, name)

    def store(self, row: str, value: Term) -> None:
        place = self.place(self.code, row, value.dtype, "%i")
        kind = stored(value.dtype)
        self.code.lines.append(f"  store {kind} {value.stored()}, ptr {place}, align 1, !llvm.access.group !2")


class Ahead:
    """Vectors of so many values, which are read a turn ahead."""

    hints = AHEAD_HINTS

    def __init__(self, width: int) -> None:
        self.first, self.turn, self.part, self.read = Code("f", width), Code("t", width), Code("e", width), Code("x")
        self.lanes: list[Lane] = [*[_Whole(self, v) for v in range(VECTORS)], _Part(self.part)]

    def body(self) -> str:
        """Return what is done with a row."""
        width = self.turn.width
        parts = {"first": self.first, "turn": self.turn, "part": self.part, "read": self.read}
        return AHEAD.format(
            **{name: "\n".join(code.lines) for name, code in parts.items()}, width=width, block=VECTORS * width,
            lanes=", ".join(f"i32 {lane}" for lane in range(width)),
        )  # fmt: skip


class _Whole(Lane):
    def __init__(self, way: Ahead, v: int) -> None:
        super().__init__(way.turn)
        self.way, self.v = way, v

    def load(self, row: str, dtype: Any) -> Term:
        read, kind = [], self.code.stored(dtype)
        for code, index in ((self.way.first, "0"), (self.code, "%ahead")):
            read.append(code.line(f"load {kind}, ptr {self.place(code, row, dtype, index, self.v)}, align 1"))
        return self.code.read(dtype, self.way.read.line(f"phi {kind} [ {read[0]}, %first ], [ {read[1]}, %turn ]"))

    def store(self, row: str, value: Term) -> None:
        place = self.place(self.code, row, value.dtype, "%i", self.v)
        self.code.lines.append(f"  store {self.code.stored(value.dtype)} {value.stored()}, ptr {place}, align 1")


class _Part(Lane):
    def load(self, row: str, dtype: Any) -> Term:
        kind = self.code.stored(dtype)
        name = self.code.line(self._masked("load", dtype, kind, row, [], [(kind, "zeroinitializer")]))
        return self.code.read(dtype, name)

    def store(self, row: str, value: Term) -> None:
        given = [(self.code.stored(value.dtype), value.stored())]
        self.code.lines.append(f"  {self._masked('store', value.dtype, 'void', row, given, [])}")

    def _masked(self, verb: str, dtype: Any, result: str, row: str, before: list[Any], behind: list[Any]) -> str:
        width = self.code.width
        operands = [("ptr", self.place(self.code, row, dtype, "%j")), ("i32", "1"), (vector("i1", width), "%mask")]
        name = f"masked.{verb}.{suffix(stored(dtype), width)}.p0"
        return self.code.call(name, result, [*before, *operands, *behind])
