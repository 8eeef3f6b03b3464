"""A contender in a process of its own, and the memory that it needs there."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ...errors import DzcoreError
from .table import Table
from .timing import here

__all__ = ["Memory", "Order", "Worker", "serve"]

SETTLING, WATCHED = 5, 10  #: steps before memory is watched, and while it is
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Order:
    """Which contender a process is to be."""

    folder: str
    row: str
    framework: str
    label: str
    quick: bool
    threads: int
    backend: str


class Memory(NamedTuple):
    """Megabytes that a process held at most while it took steps."""

    settled: float  #: above what it held when the numbers were there, and code and threads, from a tiny run
    whole: float


class Worker:
    """A process that is one contender; leaving the with block ends it."""

    def __init__(self, order: Order) -> None:
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        code = f"from {__name__} import serve; serve()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "DZCORE_BACKEND": order.backend}, text=True,
        )  # fmt: skip
        self.label = order.label
        try:
            self.ask(**vars(order))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):  # it has ended before
            self.process.stdin.close()  # type: ignore[union-attr]  # it ends when there is nothing more to read
        self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]

    def ask(self, **words: Any) -> Any:
        """Send one line and return what the answer says."""
        try:
            print(json.dumps(words), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()  # type: ignore[union-attr]
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise DzcoreError(f"the process of {self.label} ended; what it said is above")
        return json.loads(answer)

    def memory(self) -> Memory | None:
        """Measure memory; None where the system does not tell."""
        found = self.ask(memory=True)
        return Memory(*found) if found else None

    def block(self, warm: float, seconds: float) -> float:
        """Measure one block of steps, as `here` does."""
        return float(self.ask(block=[warm, seconds]))


def serve() -> None:
    """Be a worker: read orders from stdin, a line each, and answer on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes elsewhere

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    with TemporaryDirectory() as scratch:
        _serve(Order(**json.loads(sys.stdin.readline())), scratch, answer)


def _serve(order: Order, scratch: str, answer: Callable[[Any], None]) -> None:
    table = Table(order.folder)
    module = table.framework(order.framework, order.threads)
    row, make = table.rows[order.row], module.CONTENDERS[order.row][order.label]
    tiny = make(row.begin(True, scratch))
    for _ in range(3):  # loads code, starts threads
        tiny()
    del tiny
    numbers = row.begin(order.quick, scratch)
    before = _status("VmRSS")
    step = make(numbers)
    block = here(step)
    answer("ready")
    for line in sys.stdin:
        words = json.loads(line)
        answer(block(*words["block"]) if "block" in words else _memory(step, before))


def _memory(step: Any, before: float | None) -> Memory | None:
    for _ in range(SETTLING):
        step()
    if before is None or not _forget_peak():
        return None
    for _ in range(WATCHED):
        step()
    peak = _status("VmHWM")
    return None if peak is None else Memory(peak - before, peak)


def _forget_peak() -> bool:
    """Let the system begin anew with the peak of this process."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> float | None:
    """Return a number of /proc/self/status in megabytes."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith(f"{name}:")), None)
