"""How the team shares the work of a loop: each member begins with a part of its own, and then takes what is left.

Members that take the same part at each call find in their own cache what they have left there, which is worth a lot
where the others' is far away: on a machine whose cores do not share all caches an update takes twice the time if the
parts change hands. And who is late, or slow, loses the rest of his part to the others, so that nobody waits long.
"""

import ctypes
from typing import Any

from .. import team
from ..once import once
from .native import compiler

__all__ = ["MOST", "chunk", "claim", "take"]

MOST = 64  #: chunks of a loop, for which of them are taken is a word

#: Return the first element of a chunk that is the caller's from now on; `total` if there is none left. The word `taken`
#: has a bit for each chunk of so many elements.
CLAIM = """
define internal i64 @claim(ptr %taken, i64 %chunk, i64 %total) nounwind {
  %some = icmp ne i64 %total, 0
  br i1 %some, label %begin, label %none
begin:
  %last = sub i64 %total, 1
  %before.last = udiv i64 %last, %chunk
  %count = add i64 %before.last, 1
  %unused = sub i64 64, %count
  %all = lshr i64 -1, %unused
  %member.32 = call i32 @dzcore_member()
  %members.32 = call i32 @dzcore_members()
  %member = zext i32 %member.32 to i64
  %members = zext i32 %members.32 to i64
  %share = mul i64 %member, %count
  %first = udiv i64 %share, %members
  %mine.on = shl i64 -1, %first
  br label %look
look:
  %word = load atomic i64, ptr %taken monotonic, align 8
  %others = xor i64 %word, -1
  %free = and i64 %others, %all
  %any = icmp ne i64 %free, 0
  br i1 %any, label %try, label %none
try:
  %mine = and i64 %free, %mine.on
  %own = icmp ne i64 %mine, 0
  %choice = select i1 %own, i64 %mine, i64 %free
  %k = call i64 @llvm.cttz.i64(i64 %choice, i1 true)
  %bit = shl i64 1, %k
  %old = atomicrmw or ptr %taken, i64 %bit monotonic
  %was = and i64 %old, %bit
  %got = icmp eq i64 %was, 0
  br i1 %got, label %found, label %look
found:
  %start = mul i64 %k, %chunk
  ret i64 %start
none:
  ret i64 %total
}
declare i64 @llvm.cttz.i64(i64, i1)
"""
TEAM = """
declare i32 @dzcore_member()
declare i32 @dzcore_members()
"""
ALONE = """
define internal i32 @dzcore_member() { ret i32 0 }
define internal i32 @dzcore_members() { ret i32 1 }
"""


#: What a member does until nothing is left: from %start to below %stop, and then back to %claim.
TAKE = """claim:
  %start = call i64 @claim(ptr %call, i64 %chunk, i64 %{total})
  %more = icmp ult i64 %start, %{total}
  br i1 %more, label %take, label %exit
take:
  %beyond = add i64 %start, %chunk
  %within = icmp ult i64 %beyond, %{total}
  %stop = select i1 %within, i64 %beyond, i64 %{total}"""


def take(total: str) -> str:
    """Return the lines of a function that takes chunks: %call begins with the word, %chunk is how many, of `total`."""
    return TAKE.format(total=total)


@once
def claim() -> str:
    """Return the function @claim, which asks the runtime of the team for the number of the caller."""
    library = team.gomp()
    if library is None:
        return CLAIM + ALONE
    llvm: Any = compiler()  # nobody asks who has none
    for name, function in (("member", library.omp_get_thread_num), ("members", library.omp_get_num_threads)):
        llvm.llvm.add_symbol(f"dzcore_{name}", ctypes.cast(function, ctypes.c_void_p).value)
    return CLAIM + TEAM


def chunk(total: int, size: int) -> int:
    """Return how many of a total a member takes at a time: a quarter of his part in a team of a usual size."""
    return max(-(-total // min(4 * size, MOST)), 1) if size > 1 else max(total, 1)
