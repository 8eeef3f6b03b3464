"""Who takes which chunk of a loop."""

import ctypes
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dzbackend_numpy import team
from dzbackend_numpy.compiled.chunks import MOST, chunk, claim
from dzbackend_numpy.compiled.native import compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="the compiler is an extra")

#: Claim once, and write what that gave to the caller's place: behind the word, the chunk and the total.
ONCE = """
define void @run(ptr %call) nounwind {
  %chunk.at = getelementptr i64, ptr %call, i64 1
  %chunk = load i64, ptr %chunk.at
  %total.at = getelementptr i64, ptr %call, i64 2
  %total = load i64, ptr %total.at
  %start = call i64 @claim(ptr %call, i64 %chunk, i64 %total)
  %me = call i32 @dzcore_member()
  %me.64 = zext i32 %me to i64
  %place = add i64 %me.64, 3
  %at = getelementptr i64, ptr %call, i64 %place
  store i64 %start, ptr %at
  ret void
}
"""


def address() -> int:
    llvm: Any = compiler()
    return int(llvm.load(claim() + ONCE, "run"))


@given(total=st.integers(0, 10_000), size=st.integers(1, 100))
def test_every_element_is_taken_once(total: int, size: int) -> None:
    step = chunk(total, size)
    call = (ctypes.c_int64 * 4)(0, step, total)
    found = []
    for _ in range(MOST + 1):
        team.run(address(), call, 1)
        if call[3] >= total:
            break
        found.append(call[3])
    assert found == [*range(0, total, step)]
    assert call[3] == total


@pytest.mark.skipif(team.gomp() is None, reason="needs libgomp, whose threads the team is")
@pytest.mark.parametrize("members", [1, 2, 3, 5])
def test_each_member_begins_with_a_part_of_its_own(members: int) -> None:
    step = chunk(1000, members)
    count = -(-1000 // step)
    for _ in range(20):
        call = (ctypes.c_int64 * (3 + members))(0, step, 1000)
        team.run(address(), call, members)
        assert list(call[3:]) == [member * count // members * step for member in range(members)]


@pytest.mark.skipif(team.gomp() is None, reason="needs libgomp, whose threads the team is")
def test_what_is_left_of_the_parts_of_others_is_taken_too() -> None:
    taken = 0b1111_1100_0111
    call = (ctypes.c_int64 * 5)(taken, 10, 120)
    team.run(address(), call, 2)
    assert sorted(call[3:]) == [30, 40]  # the second one has nothing left of 60 to 119
