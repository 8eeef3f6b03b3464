"""Loops over rows of scores for classes: cross-entropies and their gradients, a row at a time, on all threads.

A row stays in the processor's cache while its largest score is found, the exponentials are added up, and the result is
written.
"""

import ctypes
from typing import Any

from .. import team
from ..once import once
from . import mathematics
from .chunks import chunk, claim, take
from .emit import BOOL, Code, Term, fields
from .native import compiler

__all__ = ["gradients", "losses"]

#: From how many scores on the other threads are worth waking.
LARGE = 16384

#: Members of the team take `chunk` rows until none is left. The call holds which are taken, then `NUMBERS`,
#: then `ADDRESSES`. %top is the largest score of a row, %total the sum of what %e is for each: its exponential, below
#: the top. NaN is the largest. A class that is none, which nobody has looked for here, is read as the first: %known
#: says so.
FRAME = """
define void @rows(ptr %call) nounwind {{
{fields}
  br label %claim
{take}
  br label %row
row:
  %r = phi i64 [ %start, %take ], [ %r.next, %row.end ]
  %r.at = mul i64 %r, %classes
  %x.row = getelementptr {kind}, ptr %x, i64 %r.at
  %t.row = getelementptr i64, ptr %t, i64 %r
  %t.given = load i64, ptr %t.row
  %known = icmp ult i64 %t.given, %classes
  %class = select i1 %known, i64 %t.given, i64 0
  %x.class = getelementptr {kind}, ptr %x.row, i64 %class
  %score = load {kind}, ptr %x.class
  {y}
  br label %largest
largest:
  %i = phi i64 [ 0, %row ], [ %i.next, %largest ]
  %best = phi {kind} [ {lowest}, %row ], [ %top, %largest ]
  %i.x = getelementptr {kind}, ptr %x.row, i64 %i
  %i.v = load {kind}, ptr %i.x
  %top = call {kind} @llvm.maximum.{suffix}({kind} %best, {kind} %i.v)
  %i.next = add nuw i64 %i, 1
  %i.more = icmp ult i64 %i.next, %classes
  br i1 %i.more, label %largest, label %sum
sum:
  %j = phi i64 [ 0, %largest ], [ %j.next, %sum ]
  %before = phi {kind} [ 0.0, %largest ], [ %total, %sum ]
  %j.x = getelementptr {kind}, ptr %x.row, i64 %j
  %v = load {kind}, ptr %j.x{alone}
{sum}
  %total = fadd reassoc {kind} %before, {e}
  %j.next = add nuw i64 %j, 1
  %j.more = icmp ult i64 %j.next, %classes
  br i1 %j.more, label %sum, label %after, !llvm.loop !0
after:
{after}
row.end:
  %r.next = add nuw i64 %r, 1
  %r.more = icmp ult i64 %r.next, %stop
  br i1 %r.more, label %row, label %claim
exit:
  ret void
}}
declare {kind} @llvm.maximum.{suffix}({kind}, {kind})
{declarations}
!0 = distinct !{{!0, !1}}
!1 = !{{!"llvm.loop.parallel_accesses", !2}}
!2 = distinct !{{}}
"""
NUMBERS = ("chunk", "count", "classes")
ADDRESSES = ("x", "t", "y", "scale")
ALONE = ", !llvm.access.group !2"  # no other turn of the loop touches this

#: Each exponential becomes its share less one if it is that of the class, times a number.
GRADIENTS = """
  %y.class = getelementptr {kind}, ptr %y.row, i64 %class
  %e.class = load {kind}, ptr %y.class
  %factor = load {kind}, ptr %scale
  br label %share
share:
  %k = phi i64 [ 0, %after ], [ %k.next, %share ]
  %k.y = getelementptr {kind}, ptr %y.row, i64 %k
  %k.e = load {kind}, ptr %k.y{alone}
  %k.share = fdiv {kind} %k.e, %total
  %k.scaled = fmul {kind} %k.share, %factor
  store {kind} %k.scaled, ptr %k.y{alone}
  %k.next = add nuw i64 %k, 1
  %k.more = icmp ult i64 %k.next, %classes
  br i1 %k.more, label %share, label %end, !llvm.loop !0
end:
  br i1 %known, label %less, label %row.end
less:
  %c.share = fdiv {kind} %e.class, %total
  %c.less = fsub {kind} %c.share, 1.0
  %c.scaled = fmul {kind} %c.less, %factor
  store {kind} %c.scaled, ptr %y.class
  br label %row.end
"""


def losses(x: Any, t: Any, y: Any) -> None:
    """Write log Σⱼ exp(xⱼ) - x_t to y (n,), for x (n, classes), t (n,) of int64, all in C order; NaN if there is no
    class t."""
    _run("losses", x, t, y, 0)


def gradients(x: Any, t: Any, y: Any, scale: Any) -> None:
    """Write the gradient of that, times scale (), to y (n, classes); without t's share if there is no class t."""
    _run("gradients", x, t, y, scale.ctypes.data)


def _run(name: str, x: Any, t: Any, y: Any, scale: int) -> None:
    count, classes = x.shape
    size = team.size() if x.size >= LARGE else 1
    held = (0, chunk(count, size), count, classes, x.ctypes.data, t.ctypes.data, y.ctypes.data, scale)
    team.run(_loop(name, x.dtype), (ctypes.c_int64 * len(held))(*held), size)


@once
def _loop(name: str, dtype: Any) -> int:
    """Return the address of a loop."""
    turn, after = Code("s"), Code("a")
    e = mathematics.exp(Term(turn, dtype, "%v") - Term(turn, dtype, "%top"))
    total = Term(after, dtype, "%total")
    kind = total.type
    words = {"kind": kind, "suffix": f"f{8 * dtype.itemsize}", "alone": ALONE}
    if name == "losses":
        loss = mathematics.log(total) - (Term(after, dtype, "%score") - Term(after, dtype, "%top"))
        loss = Term(after, BOOL, "%known").where(loss, float("nan"))
        after.lines += [f"  store {kind} {loss.name}, ptr %y.row", "  br label %row.end"]
        lines, place = "\n".join(after.lines), f"%y.row = getelementptr {kind}, ptr %y, i64 %r"
    else:
        turn.lines += [
            f"  %j.y = getelementptr {kind}, ptr %y.row, i64 %j",
            f"  store {kind} {e.name}, ptr %j.y{ALONE}",
        ]
        lines, place = GRADIENTS.format(**words), f"%y.row = getelementptr {kind}, ptr %y, i64 %r.at"
    text = FRAME.format(
        fields="\n".join(fields(NUMBERS, ADDRESSES)),
        take=take("count"),
        y=place,
        lowest=after.constant(dtype, float("-inf")).name,
        sum="\n".join(turn.lines),
        e=e.name,
        after=lines,
        declarations="\n".join(sorted(turn.declared | after.declared)),
        **words,
    )
    llvm: Any = compiler()  # nobody asks who has none
    return int(llvm.load(claim() + text, "rows"))
