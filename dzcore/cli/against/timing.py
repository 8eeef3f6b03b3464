"""Contenders in turn, in blocks, compared round by round: what disturbs the machine disturbs all alike."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .table import Step

__all__ = ["Block", "Spread", "compete", "deviation", "here", "ratios", "spread"]

#: Run for so many seconds uncounted, then for so many counted ones; return the seconds of one call.
Block = Callable[[float, float], float]


class Spread(NamedTuple):
    """The quartiles of some numbers."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Return the quartiles; of a single number, itself."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Compare two contenders round by round."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def here(step: Step) -> Block:
    """Measure in this process.

    The uncounted calls give the threads of the contender before time to fall asleep, and caches to fill.
    """

    def block(warm: float, seconds: float) -> float:
        _run(step, warm)
        gc.collect()
        gc.disable()  # its pauses would hit whoever runs just then
        try:
            return _run(step, seconds)
        finally:
            gc.enable()

    return block


def _run(step: Step, seconds: float) -> float:
    clock = time.perf_counter
    begin, calls = clock(), 0
    while True:
        step()
        calls += 1
        passed = clock() - begin
        if passed >= seconds:
            return passed / calls


def compete(
    blocks: Mapping[str, Block], rounds: int, seconds: float, limit: float = math.inf
) -> dict[str, list[float]]:
    """Return for each contender the seconds of a call in each round; who begins changes from round to round.

    After `limit` seconds no new round is begun, but there are three at least.
    """
    times: dict[str, list[float]] = {label: [] for label in blocks}
    labels, begin = list(blocks), time.perf_counter()
    gc.collect()
    gc.freeze()  # the libraries' own objects, which every collection would visit
    try:
        for turn in range(rounds):
            if turn >= 3 and time.perf_counter() - begin > limit:
                break
            first = turn % len(labels)
            for label in labels[first:] + labels[:first]:
                times[label].append(blocks[label](seconds / 4, seconds))
    finally:
        gc.unfreeze()
    return times


def deviation(ours: Any, theirs: Any) -> float:
    """Return the largest difference of two results, lists of numbers, as a share of the largest number."""
    if len(ours) != len(theirs):
        return math.inf
    pairs = [(float(a), float(b)) for a, b in zip(ours, theirs, strict=True)]
    if not all(math.isfinite(a) and math.isfinite(b) for a, b in pairs):
        return math.inf
    largest = max((abs(b) for _, b in pairs), default=0.0)
    return max((abs(a - b) for a, b in pairs), default=0.0) / (largest or 1.0)
