"""A loop over the steps of a sequence: a product of matrices in each, and an elementwise formula, for rows of a batch.

The rows have nothing to do with each other, so a member of the team takes some of them through all steps, and waits for
nobody. The formula is the loop of a universal function, called for one row at a time.
"""

import ctypes
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from .. import team
from ..once import once
from .chunks import MOST, claim, take
from .emit import fields
from .native import compiler
from .product import module

__all__ = ["Operand", "Product", "run"]

#: Where an operand of the formula has its first row: the address, the bytes to the next step, and to the next row.
Operand = tuple[int, int, int]

#: From how many rows on another thread has its share: waking it takes as long as fewer.
ROWS = 8

#: Members of the team take `chunk` rows until none is left. The call holds which are taken, then `FIELDS`,
#: then three numbers for each operand. In step t, first + turn · s, a (rows, inner) is multiplied by B, before the
#: formula or behind it.
FRAME = """
define void @run(ptr %call) nounwind {{
entry:
{fields}
  %operands = getelementptr i64, ptr %call, i64 {operands}
  %ahead = icmp ne i64 %before, 0
  %sum = icmp ne i64 %add, 0
  %a.row = mul i64 %inner, {itemsize}
  %near = alloca i64, i64 %count
  %args = alloca ptr, i64 %count
  br label %width
width:
  %w = phi i64 [ 0, %entry ], [ %w.next, %width ]
  %w.at = getelementptr i64, ptr %near, i64 %w
  store i64 {itemsize}, ptr %w.at
  %w.next = add nuw i64 %w, 1
  %w.more = icmp ult i64 %w.next, %count
  br i1 %w.more, label %width, label %claim
{take}
  %taken = sub i64 %stop, %start
  %a.start = mul i64 %start, %a.row
  %c.start = mul i64 %start, %c.row
  %c.mine = getelementptr i8, ptr %c, i64 %c.start
  br label %step
step:
  %s = phi i64 [ 0, %take ], [ %s.next, %end ]
  %s.turn = mul i64 %s, %turn
  %t = add i64 %first, %s.turn
  br i1 %ahead, label %product, label %formula
product:
  %a.t = mul i64 %t, %a.step
  %a.from = add i64 %a.t, %a.start
  %a.mine = getelementptr i8, ptr %a, i64 %a.from
  call void @product(i64 %taken, i64 %inner, i64 %panels, ptr %a.mine, ptr %B, ptr %c.mine, i1 %sum)
  br i1 %ahead, label %formula, label %end
formula:
  br label %row
row:
  %r = phi i64 [ %start, %formula ], [ %r.next, %row.end ]
  br label %operand
operand:
  %k = phi i64 [ 0, %row ], [ %k.next, %operand ]
  %k.first = mul i64 %k, 3
  %k.base = getelementptr i64, ptr %operands, i64 %k.first
  %k.step = getelementptr i64, ptr %k.base, i64 1
  %k.row = getelementptr i64, ptr %k.base, i64 2
  %base = load ptr, ptr %k.base
  %by.step = load i64, ptr %k.step
  %by.row = load i64, ptr %k.row
  %to.step = mul i64 %by.step, %t
  %to.row = mul i64 %by.row, %r
  %to = add i64 %to.step, %to.row
  %place = getelementptr i8, ptr %base, i64 %to
  %k.at = getelementptr ptr, ptr %args, i64 %k
  store ptr %place, ptr %k.at
  %k.next = add nuw i64 %k, 1
  %k.more = icmp ult i64 %k.next, %count
  br i1 %k.more, label %operand, label %row.end
row.end:
  call void %loop(ptr %args, ptr %length.field, ptr %near, ptr null)
  %r.next = add nuw i64 %r, 1
  %r.more = icmp ult i64 %r.next, %stop
  br i1 %r.more, label %row, label %formula.end
formula.end:
  br i1 %ahead, label %end, label %product
end:
  %s.next = add nuw i64 %s, 1
  %s.more = icmp ult i64 %s.next, %steps
  br i1 %s.more, label %step, label %claim
exit:
  ret void
}}
"""
NUMBERS = (
    "chunk", "rows", "steps", "first", "turn", "length", "count", "inner", "panels", "a.step", "c.row", "add", "before"
)  # fmt: skip
ADDRESSES = ("a", "B", "c", "loop")
FIELDS = (*NUMBERS, *ADDRESSES)


class Product(NamedTuple):
    """A product in each step, all in C order: of a (steps, rows, inner) and B in panels, into c (rows, wide)."""

    a: Any
    B: Any
    c: Any  #: as wide as the panels together
    add: bool = False  #: whether it is added to what c holds


def run(loop: int, operands: Sequence[Operand], length: int, product: Product, ahead: bool) -> None:
    """Take all steps: from the first to the last, the product before the formula, or the other way round.

    `loop` is the formula's, `operands` its inputs and results, each with rows of `length` elements side by side.
    """
    a, B, c, add = product
    steps, rows, inner = a.shape
    size = min(team.size(), MOST, -(-rows // ROWS))
    call = (ctypes.c_int64 * (1 + len(FIELDS) + 3 * len(operands)))(
        0, -(-rows // size), rows, steps, *((0, 1) if ahead else (steps - 1, -1)), length, len(operands), inner, len(B),
        a.strides[0], c.strides[0], add, ahead, a.ctypes.data, B.ctypes.data, c.ctypes.data, loop,
        *chain.from_iterable(operands),
    )  # fmt: skip
    team.run(_driver(a.dtype), call, size)


@once
def _driver(dtype: Any) -> int:
    """Return the address of the loop over steps."""
    text = FRAME.format(
        fields="\n".join(fields(NUMBERS, ADDRESSES)), take=take("rows"), operands=1 + len(FIELDS),
        itemsize=dtype.itemsize,
    )  # fmt: skip
    llvm: Any = compiler()  # who has a formula's loop has one
    return int(llvm.load(claim() + text + module(dtype), "run"))
