"""`dz bench`: the same training on several backends, side by side."""

import json
import math
import sys
import time
from argparse import Namespace
from typing import NamedTuple

from ..backend import Backend, current_backend, describe_backends, get_backend, use_backend
from ..errors import BackendError, DzcoreError
from ..io import atomic_write
from .measure import Tally, open_backend
from .parser import complete, separate
from .recipe import Recipe
from .train import check_writable
from .training import make_optimizer, prepare, steps

__all__ = ["bench"]

#: Losses of equal trainings differ by rounding, which some thousand float32 steps may bring up to here.
RTOL, ATOL = 1e-3, 1e-5


class Result(NamedTuple):
    """What a backend has come to: seconds and losses, of the first epoch and of those after it."""

    backend: str
    samples: int  #: of an epoch
    seconds: list[float]
    losses: list[float]

    @property
    def mean(self) -> float:
        """Seconds an epoch, without the first."""
        return sum(self.seconds[1:]) / len(self.seconds[1:])

    def row(self, base: "Result") -> str:
        """Say it, with the speed-up against `base`."""
        first, mean = f"{self.seconds[0]:.3f} s", f"{self.mean:.3f} s"
        rate, speedup = f"{self.samples / self.mean:,.0f}", f"{base.mean / self.mean:.2f}x"
        return f"{first:>11}  {mean:>10}  {rate:>11}  {self.losses[-1]:>9.6f}  {speedup:>8}"


HEAD = f"{'first epoch':>11}  {'an epoch':>10}  {'samples/s':>11}  {'loss':>9}  {'speed-up':>8}"


def bench(arguments: Namespace) -> int:
    """Train on one backend after the other, and print a line for each as it is done; or compare with frameworks."""
    separate(arguments)
    if arguments.against is not None:
        from .against import against

        return against(arguments)
    complete(arguments)
    backends, unusable = _choose(arguments.backends)
    _check(arguments)
    width = max(len("backend"), *(len(str(each)) for each in (*backends, *unusable)))
    results: list[Result] = []
    for backend in backends:
        recipe, result = _measure(backend, arguments)
        if not results:
            print(f"{recipe} on {arguments.dataset}: {result.samples:,} samples, batches of {arguments.batch_size}")
            print(f"{'backend':{width}}  {HEAD}")
        results.append(result)
        print(f"{result.backend:{width}}  {result.row(results[0])}", flush=True)
    for name, reason in unusable.items():
        print(f"{name:{width}}  {reason}")
    for result in results:
        _compare(result, results[0])
    if arguments.json is not None:
        content = {"network": str(recipe), "results": [result._asdict() for result in results], "unusable": unusable}
        with atomic_write(arguments.json) as file:
            file.write(json.dumps(content, indent=1).encode() + b"\n")
    if arguments.plot is not None:
        _draw(results, arguments.plot)
        print(f"Picture in {arguments.plot}")
    return 0


def _choose(specs: list[str] | None) -> tuple[list[Backend], dict[str, str]]:
    """Open the backends asked for; or all, the current one first, with the reasons why others cannot be used."""
    if specs is not None:
        return [open_backend(spec, "--backends") for spec in specs], {}
    found = {current_backend(): None}
    unusable: dict[str, str] = {}
    for info in describe_backends():
        try:
            found[get_backend(info.name)] = None
        except BackendError as error:
            unusable[info.name] = " ".join(str(error).split())
    return list(found), unusable


def _check(arguments: Namespace) -> None:
    """Find out what is wrong with the arguments before the work is done."""
    make_optimizer(arguments.optimizer, arguments.lr)
    if arguments.json is not None:
        check_writable(arguments.json, "--json")
    if arguments.plot is not None:
        from .plot import check_plot

        check_plot(arguments.plot)


def _measure(backend: Backend, arguments: Namespace) -> tuple[Recipe, Result]:
    """Train from the seed, for one epoch more than is timed: what is compiled, is compiled in the first."""
    seconds: list[float] = []
    losses: list[float] = []
    with use_backend(backend):
        optimizer = make_optimizer(arguments.optimizer, arguments.lr)
        recipe, model, loader = prepare(arguments, optimizer)
        for _ in range(1 + arguments.epochs):
            tally = Tally(backend)
            backend.synchronize()
            begin = time.perf_counter()
            for _ in steps(model, optimizer, loader, tally):
                pass
            backend.synchronize()
            seconds.append(time.perf_counter() - begin)
            losses.append(tally.read()[0])
    return recipe, Result(str(backend), loader.data_size, seconds, losses)


def _compare(result: Result, base: Result) -> None:
    """Warn of a loss that is not the first backend's; an error if that one is no number."""
    loss, expected = result.losses[-1], base.losses[-1]
    if not math.isfinite(expected):
        raise DzcoreError(f"the loss became {expected} on {base.backend}; give a smaller --lr")
    if not math.isclose(loss, expected, rel_tol=RTOL, abs_tol=ATOL):
        print(
            f"dz bench: warning: the loss is {loss:.6f} on {result.backend} and {expected:.6f} on {base.backend}; "
            f"the same seed gives the same numbers, to rounding ({RTOL:.1%}). One of them computes something else",
            file=sys.stderr,
        )


def _draw(results: list[Result], path: str) -> None:
    """Draw the time of every epoch, and the mean of all but the first."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    lines, bars = figure.subplots(1, 2)
    for result in results:
        lines.plot(range(1, len(result.seconds) + 1), result.seconds, marker=".", label=result.backend)
    lines.set(xlabel="epoch", ylabel="seconds", yscale="log")
    lines.xaxis.get_major_locator().set_params(integer=True)
    lines.grid(alpha=0.3)
    lines.legend()
    places = range(len(results))
    drawn = bars.bar(places, [result.mean for result in results], color=[f"C{i % 10}" for i in places])
    bars.set_xticks(places, [result.backend for result in results])
    bars.bar_label(drawn, [f"{results[0].mean / result.mean:.2f}x" for result in results])
    bars.set(ylabel="seconds an epoch, without the first")
    bars.margins(y=0.1)  # room for the labels
    figure.savefig(path, dpi=120)
