"""What a training shows: a live bar on a terminal, a line an epoch elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any, NamedTuple

from .measure import Tally

__all__ = ["Epoch", "Progress", "make_progress"]


class Epoch(NamedTuple):
    """What one epoch has come to."""

    number: int
    loss: float
    accuracy: float
    test_loss: float
    test_accuracy: float
    rate: float  #: samples per second

    def __str__(self) -> str:
        return (
            f"epoch {self.number}: loss {self.loss:.4f}, accuracy {self.accuracy:.4f}, "
            f"test accuracy {self.test_accuracy:.4f}, {self.rate:,.0f} samples/s"
        )


class Progress:
    """Plain lines."""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen in order."""

    def begin(self, number: int) -> None:
        """Say that an epoch begins."""

    def step(self, tally: Tally) -> None:
        """Say that a batch is done."""

    def say(self, text: str) -> None:
        """Write a line that stays."""
        print(text, flush=True)


class LiveProgress(Progress):
    """A bar with loss, accuracy and samples/s, drawn again a few times a second, below the lines of past epochs."""

    interval = 0.1

    def __init__(self, epochs: int, samples: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = ("{task.fields[head]}", None, "{task.percentage:>3.0f}%", "{task.fields[tail]}")
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.bar = Bar(
            *(BarColumn() if text is None else TextColumn(text) for text in columns),
            console=self.console, auto_refresh=False, transient=True,
        )  # fmt: skip
        self.epochs = epochs
        self.shown = 0.0
        self.task: Any = self.bar.add_task("", total=samples, head="", tail="")

    def __enter__(self) -> "LiveProgress":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def begin(self, number: int) -> None:
        self.bar.update(self.task, completed=0, head=f"epoch {number}/{self.epochs}")

    def step(self, tally: Tally) -> None:
        now = time.perf_counter()
        if now - self.shown >= self.interval:
            self.shown = now
            loss, accuracy = tally.read()
            tail = f"loss {loss:.4f}  accuracy {accuracy:.4f}  {tally.rate:,.0f} samples/s"
            self.bar.update(self.task, completed=tally.samples, tail=tail)
            self.bar.refresh()

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)


def make_progress(epochs: int, samples: int) -> Progress:
    """Return a live bar if stdout is a terminal and rich is installed, else plain lines."""
    if sys.stdout.isatty():
        try:
            return LiveProgress(epochs, samples)
        except ImportError:
            pass
    return Progress()
