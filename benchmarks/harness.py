"""Timing several contenders against each other in one process, in turn, so that a noisy machine hits all alike."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Step = Callable[[], object]


@dataclass(frozen=True)
class Result:
    """Microseconds per unit of each contender (median over the rounds), and the ratios of ours to the others'."""

    case: str
    microseconds: dict[str, float]
    ratios: dict[str, tuple[float, float, float]]  # lower quartile, median, upper quartile over the rounds


def compete(
    case: str, steps: Mapping[str, Step], *, ours: str, units: int, rounds: int, seconds: float = 0.05
) -> Result:
    """Run every contender for about `seconds` in each round, in an order that turns, and compare round by round."""
    calls = {}
    for name, step in steps.items():
        step()
        start = time.perf_counter()
        step()
        calls[name] = max(1, int(seconds / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                step = steps[name]
                start = time.perf_counter()
                for _ in range(calls[name]):
                    step()
                times[name].append((time.perf_counter() - start) / calls[name] / units * 1e6)
    finally:
        gc.enable()
    ratios = {}
    for name in names:
        if name != ours:
            low, middle, high = statistics.quantiles(
                [a / b for a, b in zip(times[ours], times[name], strict=True)], n=4
            )
            ratios[name] = (low, middle, high)
    return Result(case, {name: statistics.median(t) for name, t in times.items()}, ratios)


def table(results: list[Result], ours: str) -> str:
    """Format results as a table in Markdown."""
    others = [name for name in results[0].microseconds if name != ours]
    head = ["case", *[f"{name}, µs" for name in (ours, *others)], *[f"{ours} / {name}" for name in others]]
    lines = ["| " + " | ".join(head) + " |", "| --- " + "| ---: " * (len(head) - 1) + "|"]
    for result in results:
        cells = [result.case]
        cells += [
            f"{result.microseconds[name]:,.2f}" if name in result.microseconds else "" for name in (ours, *others)
        ]
        for name in others:
            low, middle, high = result.ratios.get(name, (0.0, 0.0, 0.0))
            cells.append(f"**{middle:.2f}** ({low:.2f} to {high:.2f})" if middle else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def geometric_mean(values: list[float]) -> float:
    return statistics.geometric_mean(values)
