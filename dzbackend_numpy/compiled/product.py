"""A product of a few rows with a matrix, in LLVM's language: for loops that have one in every turn, in one thread.

A library takes the matrix apart for each product, which is worth it where the rows are many. Here it lies in panels
from the beginning: as many columns as two of the processor's registers hold, each row below the one before. A tile is
that many columns of up to four rows of the product: it stays in registers while a panel and four rows of a are read.
"""

from typing import Any

import numpy as np

from ..once import once
from .emit import Code, suffix, type_of, vector
from .native import compiler

__all__ = ["module", "panels", "wide"]

ROWS = (4, 2, 1)  #: of tiles; four rows are enough to keep the processor busy, and fit into the registers of each

#: c (rows, panels · wide) = a (rows, inner) B, added to what c holds if `add`.
FRAME = """
define internal void @product(i64 %rows, i64 %inner, i64 %panels, ptr %a, ptr %B, ptr %c, i1 %add) nounwind {{
entry:
  %size = mul i64 %inner, {wide}
  %outer = mul i64 %panels, {wide}
  br label %tiles0
tiles0:
  %p = phi i64 [ 0, %entry ], [ %p.next, %tiles.end ]
  %p.B = mul i64 %p, %size
  %B.p = getelementptr {kind}, ptr %B, i64 %p.B
  %p.c = mul i64 %p, {wide}
  %c.p = getelementptr {kind}, ptr %c, i64 %p.c
  br label %tiles{most}
{tiles}
tiles.end:
  %p.next = add nuw i64 %p, 1
  %p.more = icmp ult i64 %p.next, %panels
  br i1 %p.more, label %tiles0, label %exit
exit:
  ret void
}}
declare {vector} @llvm.fmuladd.{suffix}({vector}, {vector}, {vector})
"""

#: Tiles of n rows, as long as there are so many.
TILES = """
tiles{n}:
  %r{n} = phi i64 [ {begin}, %tiles{before} ], [ %r{n}.next, %end{n} ]
  %r{n}.next = add nuw i64 %r{n}, {n}
  %r{n}.there = icmp ule i64 %r{n}.next, %rows
  br i1 %r{n}.there, label %begin{n}, label %tiles{after}
begin{n}:
{begins}
  br label %turn{n}
turn{n}:
  %k{n} = phi i64 [ 0, %begin{n} ], [ %k{n}.next, %turn{n} ]
{turns}
  %k{n}.next = add nuw i64 %k{n}, 1
  %k{n}.more = icmp ult i64 %k{n}.next, %inner
  br i1 %k{n}.more, label %turn{n}, label %end{n}
end{n}:
{ends}
  br label %tiles{n}
"""


@once
def wide(dtype: Any) -> int:
    """Return how many columns a panel has."""
    llvm: Any = compiler()  # nobody asks who has none
    return int(2 * llvm.register // dtype.itemsize)


def panels(B: Any) -> Any:
    """Return B (inner, outer) in panels (number, inner, wide), the last one filled up with zeros."""
    inner, outer = B.shape
    columns = wide(B.dtype)
    whole = np.zeros((-(-outer // columns), inner, columns), B.dtype)
    for k in range(0, outer, columns // 2):  # a transposed B is read by whole lines of memory then
        part = B[:, k : k + columns // 2]
        whole[k // columns, :, k % columns : k % columns + part.shape[1]] = part
    return whole


def module(dtype: Any) -> str:
    """Return the function @product for arrays of a dtype."""
    kind, lanes = type_of(dtype), wide(dtype) // 2
    many, end = vector(kind, lanes), suffix(kind, lanes)
    order = (0, *ROWS, ".end")
    tiles = [
        TILES.format(
            n=n, before=order[i - 1], after=order[i + 1], begin=f"%r{order[i - 1]}" if i > 1 else "0",
            **_tile(n, kind, lanes, many, end),
        )
        for i, n in enumerate(ROWS, 1)
    ]  # fmt: skip
    return FRAME.format(
        kind=kind, wide=2 * lanes, most=ROWS[0], tiles="".join(tiles), vector=many, suffix=end
    )  # fmt: skip


def _tile(n: int, kind: str, lanes: int, vector: str, suffix: str) -> dict[str, str]:
    """Return what a tile does before, in and behind its turns."""
    begin, turn, end = Code(f"b{n}."), Code(f"t{n}."), Code(f"e{n}.")

    def place(code: Code, array: str, number: str) -> str:
        return code.line(f"getelementptr {kind}, ptr {array}, i64 {number}")

    def load(code: Code, array: str) -> str:
        return code.line(f"load {vector}, ptr {array}, align 4")

    near = place(turn, "%B.p", turn.line(f"mul i64 %k{n}, {2 * lanes}"))
    B = [load(turn, each) for each in (near, place(turn, near, str(lanes)))]
    sums = []
    for i in range(n):
        row = begin.line(f"add i64 %r{n}, {i}")
        a = place(begin, "%a", begin.line(f"mul i64 {row}, %inner"))
        c = place(begin, "%c.p", begin.line(f"mul i64 {row}, %outer"))
        one = turn.line(f"load {kind}, ptr {place(turn, a, f'%k{n}')}")
        first = turn.line(f"insertelement {vector} poison, {kind} {one}, i64 0")
        every = turn.line(f"shufflevector {vector} {first}, {vector} poison, <{lanes} x i32> zeroinitializer")
        for v, at in enumerate((c, place(begin, c, str(lanes)))):
            old = begin.line(f"select i1 %add, {vector} {load(begin, at)}, {vector} zeroinitializer")
            name = f"%s{n}.{i}.{v}"
            new = turn.line(f"call {vector} @llvm.fmuladd.{suffix}({vector} {every}, {vector} {B[v]}, {vector} {name})")
            sums.append(f"  {name} = phi {vector} [ {old}, %begin{n} ], [ {new}, %turn{n} ]")
            end.lines.append(f"  store {vector} {new}, ptr {at}, align 4")
    return {
        "begins": "\n".join(begin.lines),
        "turns": "\n".join([*sums, *turn.lines]),
        "ends": "\n".join(end.lines),
    }
