"""How cost grows with work: depth, width, batch, parameters, and how many parameters an optimizer has.

    python benchmarks/growth.py --rounds 5 --plot benchmarks/growth.png

Each case is timed at sizes a factor apart, in turn, and the fastest of the rounds counts. The slope is that of the line
through log(seconds) over log(size) by least squares: 1 means that twice the work costs twice the time. It is also given
for the upper half of the sizes, where fixed costs no longer flatten it.
"""

import argparse
import gc
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

import dzcore
import dzcore.functions as F
from dzcore import Parameter, Variable, optimizers
from dzcore.models import MLP

Step = Callable[[], object]


class Case(NamedTuple):
    """What grows, its sizes, and what makes of a size the step that is timed."""

    name: str
    sizes: Sequence[int]
    make: Callable[[int], Step]


def depth(n: int) -> Step:
    """Make a chain of n operations on 8×8 numbers, and its gradient."""
    x = Variable(np.full((8, 8), 0.5, np.float32))

    def step() -> None:
        y = x
        for _ in range(n):
            y = F.tanh(y)
        x.cleargrad()
        y.backward()

    return step


def width(n: int) -> Step:
    """Use one value n times, and add up."""
    x = Variable(np.full((8, 8), 0.5, np.float32))

    def step() -> None:
        h = x * 1.0
        y = F.concat([F.tanh(h) for _ in range(n)])
        x.cleargrad()
        y.backward()

    return step


def batch(n: int) -> Step:
    """Take a step of training with a batch of n."""
    return _training(256, n)


def parameters(n: int) -> Step:
    """Take a step of training of a network with about n parameters, in two square layers."""
    return _training(math.isqrt(n // 2), 256)


def _training(size: int, count: int) -> Step:
    rng = np.random.default_rng(0)
    x, t = rng.random((count, size), np.float32), rng.random((count, size), np.float32)
    model = MLP((size, size), activation=F.relu)
    optimizer = optimizers.SGD(1e-3).setup(model)

    def step() -> None:
        loss = F.mean_squared_error(model(x), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()

    return step


def updates(n: int) -> Step:
    """Let Adam update n parameters of 8×8 numbers."""
    params = [Parameter(np.ones((8, 8), np.float32)) for _ in range(n)]
    for param in params:
        param.grad = np.ones((8, 8), np.float32)
    return optimizers.Adam().setup(params).update


def powers(first: int, last: int, factor: float) -> list[int]:
    """Return sizes a factor apart."""
    return [round(first * factor**k) for k in range(round(math.log(last / first, factor)) + 1)]


CASES = [
    Case("depth (operations in a chain)", powers(10, 100_000, 10**0.5), depth),
    Case("width (uses of one value)", powers(10, 10_000, 10**0.5), width),
    Case("batch (256-256-256)", powers(64, 16_384, 2), batch),
    Case("parameters (batch 256)", powers(2**15, 2**23, 2), parameters),
    Case("parameters of an optimizer", powers(10, 10_000, 10**0.5), updates),
]


def measure(case: Case, rounds: int) -> list[float]:
    """Return the seconds of a step at each size."""
    best = [math.inf] * len(case.sizes)
    for _ in range(rounds):
        for i, size in enumerate(case.sizes):
            step = case.make(size)
            step()  # sizes of layers, state, and what is compiled
            calls = max(1, min(100, 10_000 // size))
            gc.collect()
            gc.disable()
            try:
                start = time.perf_counter()
                for _ in range(calls):
                    step()
                best[i] = min(best[i], (time.perf_counter() - start) / calls)
            finally:
                gc.enable()
    return best


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the exponent of growth: the slope of the least-squares line in log-log."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def report(results: Sequence[tuple[Case, list[float]]]) -> str:
    """Format the slopes and the ends as a table in Markdown."""
    lines = ["| what grows | from | to | µs each, first | µs each, last | slope | upper half |"]
    lines.append("| --- " + "| ---: " * 6 + "|")
    for case, seconds in results:
        half = len(case.sizes) // 2
        each = [f"{s / n * 1e6:.3g}" for n, s in zip(case.sizes, seconds, strict=True)]
        slopes = slope(case.sizes, seconds), slope(case.sizes[half:], seconds[half:])
        ends = [f"{case.sizes[0]:,}", f"{case.sizes[-1]:,}", each[0], each[-1]]
        lines.append(f"| {' | '.join([case.name, *ends, *[f'{s:.2f}' for s in slopes]])} |")
    return "\n".join(lines)


def plot(results: Sequence[tuple[Case, list[float]]], file: str) -> None:
    """Draw cost over size, both in multiples of the largest, with the line of slope 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), dpi=80, layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="size / largest", ylabel="time / that of the largest")
    for case, seconds in results:
        sizes = np.asarray(case.sizes) / case.sizes[-1]
        label = f"{case.name}: {slope(case.sizes, seconds):.2f}"
        axes.plot(sizes, np.asarray(seconds) / seconds[-1], "o-", markersize=3, linewidth=1, label=label)
    axes.plot([1e-4, 1], [1e-4, 1], "k:", linewidth=1, label="slope 1")
    axes.legend(fontsize=8)
    figure.savefig(file)


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, help="how often each size is timed; the fastest counts")
    parser.add_argument("--plot", help="where to draw the curves, such as growth.png")
    options = parser.parse_args()
    dzcore.set_default_backend("numpy")
    results = [(case, measure(case, options.rounds)) for case in CASES]
    print(report(results))
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
