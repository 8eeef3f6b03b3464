"""Cost grows in proportion to work: the calls that Python makes, which no clock disturbs, are a straight line.

`benchmarks/growth.py` measures the times.
"""

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dzcore.functions as F
from dzcore import Parameter, Variable, grad, optimizers

Step = Callable[[], Any]


def calls(step: Step) -> int:
    """Return how many functions, Python's and C's, are called in a step that nothing runs in for the first time."""
    step()
    count = 0

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()
    sys.setprofile(profile)
    try:
        step()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def chain(n: int) -> Step:
    x = Variable(np.full((8, 8), 0.5, np.float32))

    def step() -> None:
        y = x
        for _ in range(n):
            y = F.tanh(y) * 0.5
        y.backward()
        x.cleargrad()

    return step


def second_derivative(n: int) -> Step:
    x = Variable(np.full((2, 2), 0.5))

    def step() -> None:
        y = x
        for _ in range(n // 10):
            y = F.sin(y)
        (gx,) = grad(y, x, create_graph=True)
        grad(gx, x)

    return step


def fan(n: int) -> Step:
    x = Variable(np.full((8, 8), 0.5, np.float32))

    def step() -> None:
        h = x * 1.0
        F.concat([F.tanh(h) for _ in range(n)]).backward()
        x.cleargrad()

    return step


def update(n: int) -> Step:
    params = [Parameter(np.ones(3, np.float32)) for _ in range(n)]
    for param in params:
        param.grad = np.ones(3, np.float32)
    return optimizers.Adam().setup(params).update


@pytest.mark.parametrize("work", [chain, second_derivative, fan, update], ids=lambda work: work.__name__)
def test_calls_are_a_straight_line(work: Callable[[int], Step]) -> None:
    small, middle, large = (calls(work(n)) for n in (100, 1000, 10_000))
    assert small > (10 if work is update else 100)  # that may be one call of a loop, and then the line is level
    assert (large - middle) / 9000 == pytest.approx((middle - small) / 900, rel=0.01, abs=0.01)
    assert (large - middle) / 9000 < 100


def test_blocks_of_memory_are_a_straight_line() -> None:
    """The graph of a chain takes the same room for each operation, and none when it is gone."""
    x = Variable(np.ones(3, np.float32))

    def blocks(n: int) -> tuple[int, int]:
        gc.collect()
        before = sys.getallocatedblocks()
        y = x
        for _ in range(n):
            y = F.tanh(y)
        taken = sys.getallocatedblocks() - before
        y.backward()
        del y
        x.cleargrad()
        return taken, sys.getallocatedblocks() - before

    blocks(10_000)
    (small, _), (large, left) = blocks(1000), blocks(10_000)
    assert left < 4100  # Python keeps up to 2000 tuples of one length for later
    assert large / 10_000 == pytest.approx(small / 1000, rel=0.05)
    assert large / 10_000 < 12
