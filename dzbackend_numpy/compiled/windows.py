"""Loops over windows: pooling, and the gradients of it, each element touched once, on all threads."""

import ctypes
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

from .. import team
from .chunks import chunk, claim, take
from .emit import fields
from .native import compiler

if TYPE_CHECKING:
    from dzcore.functions.windows import Geometry

__all__ = ["loop", "run"]

#: From how many windows on the other threads are worth waking.
LARGE = 8192

#: Windows of one plane after the other. Members of the team take `chunk` planes until none is left. The call holds
#: which are taken, then `NUMBERS`, then addresses of `ARRAYS`. In a turn, %x.k is the address of a window's
#: first element, %z.k and %w.k those of what belongs to the window, %first.k that of its first place outside the
#: padding, and %o0, %o1 … say how far the places of a window are from its first. Four lanes, for rows are short.
FRAME = """
define void @loop(ptr %call) nounwind {{
{fields}
  br label %claim
{take}
  br label %plane
plane:
  %p = phi i64 [ %start, %take ], [ %p.next, %plane.end ]
  %p.at = mul i64 %p, %size
  %p.done = mul i64 %p, %count
  br label %sheet
sheet:
  %i = phi i64 [ 0, %plane ], [ %i.next, %sheet.end ]
  %i.at = mul i64 %i, %across0
  %i.x = add i64 %p.at, %i.at
  %i.line = mul i64 %i, %out1
  br label %row
row:
  %j = phi i64 [ 0, %sheet ], [ %j.next, %row.end ]
  %j.at = mul i64 %j, %across1
  %j.x = add i64 %i.x, %j.at
  %line = add i64 %i.line, %j
  %line.done = mul i64 %line, %out2
  %done = add i64 %p.done, %line.done
  %x.row = getelementptr {kind}, ptr %x, i64 %j.x
  %z.row = getelementptr {kind}, ptr %z, i64 %done
  %w.row = getelementptr i8, ptr %w, i64 %done
  %first.row = getelementptr i8, ptr %first, i64 %line.done
  br label %turn
turn:
  %k = phi i64 [ 0, %row ], [ %k.next, %turn ]
  %k.at = mul i64 %k, {step}
  %x.k = getelementptr {kind}, ptr %x.row, i64 %k.at
  %z.k = getelementptr {kind}, ptr %z.row, i64 %k
  %w.k = getelementptr i8, ptr %w.row, i64 %k
  %first.k = getelementptr i8, ptr %first.row, i64 %k
{turn}
  %k.next = add nuw i64 %k, 1
  %again = icmp ult i64 %k.next, %out2
  br i1 %again, label %turn, label %row.end, !llvm.loop !0
row.end:
  %j.next = add nuw i64 %j, 1
  %more.rows = icmp ult i64 %j.next, %out1
  br i1 %more.rows, label %row, label %sheet.end
sheet.end:
  %i.next = add nuw i64 %i, 1
  %more.sheets = icmp ult i64 %i.next, %out0
  br i1 %more.sheets, label %sheet, label %plane.end
plane.end:
  %p.next = add nuw i64 %p, 1
  %more.planes = icmp ult i64 %p.next, %stop
  br i1 %more.planes, label %plane, label %claim
exit:
  ret void
}}
!0 = distinct !{{!0, !1, !3, !4}}
!1 = !{{!"llvm.loop.parallel_accesses", !2}}
!2 = distinct !{{}}
!3 = !{{!"llvm.loop.vectorize.width", i32 4}}
!4 = !{{!"llvm.loop.interleave.count", i32 1}}
"""
NUMBERS = ("total", "chunk", "size", "count", "out0", "out1", "out2", "across0", "across1", "deep0", "deep1")
ARRAYS = ("x", "z", "w", "first")
ALONE = ", !llvm.access.group !2"  # no other turn of the loop touches this


def run(address: int, g: "Geometry", x: Any, z: Any, winner: Any, first: Any) -> None:
    """Run a loop on x (n, c, *padded), z and maybe winner (n, c, *out), and first (*out), all in C order."""
    padded, out, stride = ((*[1] * (3 - len(g.size)), *each) for each in (g.padded, g.out, g.stride))
    total, size = prod(z.shape[:2]), team.size() if z.size >= LARGE else 1
    deep0, deep1 = padded[1] * padded[2], padded[2]
    across = stride[0] * deep0, stride[1] * deep1
    numbers = (total, chunk(total, size), prod(padded), prod(out), *out, *across, deep0, deep1)
    places = [0 if each is None else each.ctypes.data for each in (x, z, winner, first)]
    call = (ctypes.c_int64 * (1 + len(NUMBERS) + len(ARRAYS)))(0, *numbers, *places)
    team.run(address, call, size)


@lru_cache(maxsize=256)
def loop(name: str, kind: str, size: tuple[int, ...], step: int) -> int | None:
    """Return the address of a loop of `LOOPS` for elements of a kind ("float" or "double"), and windows of a size that
    are `step` apart along the last axis; None where there is no compiler."""
    llvm = compiler()
    if llvm is None:
        return None
    lines = fields(NUMBERS, ARRAYS)
    size = (*[1] * (3 - len(size)), *size)
    for place in range(prod(size)):
        lines += _offset(f"o{place}", place // (size[1] * size[2]), place // size[2] % size[1], place % size[2])
    text = FRAME.format(
        kind=kind, step=step, fields="\n".join(lines), take=take("total"), turn="\n".join(LOOPS[name](kind, size))
    )
    return llvm.load(claim() + text, "loop")


def _offset(name: str, i: Any, j: Any, k: Any) -> list[str]:
    """Compute how far the place (i, j, k) of a window is from its first element."""
    return [
        f"  %{name}.i = mul i64 %deep0, {i}",
        f"  %{name}.j = mul i64 %deep1, {j}",
        f"  %{name}.ij = add i64 %{name}.i, %{name}.j",
        f"  %{name} = add i64 %{name}.ij, {k}",
    ]


def _largest(kind: str, size: tuple[int, ...]) -> list[str]:
    """Put the largest element of the window into z, and its place into w."""
    lines = [f"  %n0 = load i8, ptr %first.k{ALONE}", *_element(kind, 0, "b")]
    for place in range(1, prod(size)):
        lines += [
            *_element(kind, place),
            f"  %larger{place} = fcmp ogt {kind} %v{place}, %b{place - 1}",
            f"  %nan{place} = fcmp uno {kind} %v{place}, %v{place}",
            f"  %better{place} = or i1 %larger{place}, %nan{place}",
            f"  %n{place} = select i1 %larger{place}, i8 {place}, i8 %n{place - 1}",
            f"  %b{place} = select i1 %better{place}, {kind} %v{place}, {kind} %b{place - 1}",
        ]
    last = prod(size) - 1
    return [*lines, f"  store {kind} %b{last}, ptr %z.k{ALONE}", f"  store i8 %n{last}, ptr %w.k{ALONE}"]


def _sum(kind: str, size: tuple[int, ...]) -> list[str]:
    """Put the sum of the window into z."""
    lines = _element(kind, 0, "s")
    for place in range(1, prod(size)):
        lines += [*_element(kind, place), f"  %s{place} = fadd {kind} %s{place - 1}, %v{place}"]
    return [*lines, f"  store {kind} %s{prod(size) - 1}, ptr %z.k{ALONE}"]


def _put(kind: str, size: tuple[int, ...]) -> list[str]:
    """Put z into the place w of the window, and zeros into the others."""
    lines = [*_number(kind), f"  %n = load i8, ptr %w.k{ALONE}"]
    for place in range(prod(size)):
        lines += [
            f"  %here{place} = icmp eq i8 %n, {place}",
            f"  %v{place} = select i1 %here{place}, {kind} %v, {kind} 0.0",
            f"  %a{place} = getelementptr {kind}, ptr %x.k, i64 %o{place}",
            f"  store {kind} %v{place}, ptr %a{place}{ALONE}",
        ]
    return lines


def _add(kind: str, size: tuple[int, ...]) -> list[str]:
    """Add z to the place w of the window, which may be in others."""
    sheet, row = size[1] * size[2], size[2]
    return [
        f"  %v = load {kind}, ptr %z.k",
        "  %n8 = load i8, ptr %w.k",
        "  %n = zext i8 %n8 to i64",
        f"  %n.i = udiv i64 %n, {sheet}",
        f"  %n.jk = urem i64 %n, {sheet}",
        f"  %n.j = udiv i64 %n.jk, {row}",
        f"  %n.k = urem i64 %n.jk, {row}",
        *_offset("n.at", "%n.i", "%n.j", "%n.k"),
        f"  %a = getelementptr {kind}, ptr %x.k, i64 %n.at",
        f"  %old = load {kind}, ptr %a",
        f"  %new = fadd {kind} %old, %v",
        f"  store {kind} %new, ptr %a",
    ]


def _spread(kind: str, size: tuple[int, ...]) -> list[str]:
    """Put z into all places of the window."""
    lines = _number(kind)
    for place in range(prod(size)):
        lines += [
            f"  %a{place} = getelementptr {kind}, ptr %x.k, i64 %o{place}",
            f"  store {kind} %v, ptr %a{place}{ALONE}",
        ]
    return lines


def _number(kind: str) -> list[str]:
    """Load z, and add it to zero, as if there were others to add: -0.0 becomes 0.0."""
    return [f"  %z.v = load {kind}, ptr %z.k{ALONE}", f"  %v = fadd {kind} %z.v, 0.0"]


def _element(kind: str, place: int, name: str = "v") -> list[str]:
    """Load an element of the window."""
    return [
        f"  %a{place} = getelementptr {kind}, ptr %x.k, i64 %o{place}",
        f"  %{name}{place} = load {kind}, ptr %a{place}{ALONE}",
    ]


LOOPS = {"largest": _largest, "sum": _sum, "put": _put, "add": _add, "spread": _spread}
