"""One row of the table: who takes part, whether all compute the same, and how long they take."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from .table import OWN, Row, Step, Table
from .timing import Block, Spread, compete, deviation, here, ratios, spread
from .worker import Memory, Order, Worker

__all__ = ["Contest", "Settings", "hold"]

CHECKED = 3  #: steps whose results are compared before any is timed


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    rounds: int
    seconds: float  #: of a block
    limit: float  #: of a row
    threads: int
    backend: str
    slack: float = 1.0  #: what targets are multiplied by
    quick: bool = False
    isolated: bool = False
    memory: bool = True


@dataclass
class Contest:
    """What has been measured for one row: for each contender the seconds of a step, round by round."""

    row: Row
    settings: Settings
    times: dict[str, list[float]]
    apart: dict[str, list[float]] = field(default_factory=dict)  #: each in a process of its own
    memory: dict[str, Memory | None] = field(default_factory=dict)
    deviations: dict[str, float] = field(default_factory=dict)

    @property
    def peers(self) -> list[str]:
        """The contenders that dzcore is compared with."""
        return [label for label in self.times if label != OWN]

    def milliseconds(self, label: str) -> float:
        """Return the median time of a step."""
        return spread(self.times[label]).median * 1e3

    def ratio(self, label: str, apart: bool = False) -> Spread:
        """Return dzcore's time divided by the other's."""
        times = self.apart if apart else self.times
        return ratios(times[OWN], times[label])

    @property
    def target(self) -> float | None:
        """The ratio to be reached against the row's reference."""
        return None if self.row.target is None else self.row.target * self.settings.slack

    def reached(self, label: str) -> bool | None:
        """Tell whether the target is reached; None for contenders that it does not speak of."""
        if label != self.row.reference or self.target is None:
            return None
        return self.ratio(label).median <= self.target

    @property
    def wrong(self) -> dict[str, float]:
        """The contenders whose results differ by more than the row allows."""
        allowed = self.row.rtol
        return {} if allowed is None else {label: d for label, d in self.deviations.items() if not d <= allowed}

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        peers = self.peers
        return {
            "row": self.row.name, "title": self.row.title, "target": self.target,
            "sizes": dict(self.row.quick if self.settings.quick else self.row.sizes),
            "reference": self.row.reference,
            "seconds": self.times, "seconds_apart": self.apart,
            "ratios": {label: self.ratio(label)._asdict() for label in peers},
            "ratios_apart": {label: self.ratio(label, apart=True)._asdict() for label in peers if self.apart},
            "reached": {label: self.reached(label) for label in peers if label == self.row.reference},
            "memory": {label: found._asdict() for label, found in self.memory.items() if found is not None},
            "deviations": self.deviations,
        }  # fmt: skip


def hold(table: Table, row: Row, frameworks: Mapping[str, ModuleType], settings: Settings) -> Contest | None:
    """Let these frameworks compete in a row; None where dzcore or everybody else has no part in it."""
    makers = {
        label: (name, make)
        for name, module in frameworks.items()
        for label, make in module.CONTENDERS.get(row.name, {}).items()
    }
    if OWN not in makers or len(makers) == 1:
        return None
    with TemporaryDirectory() as scratch:
        steps: dict[str, Step] = {
            label: make(row.begin(settings.quick, scratch)) for label, (_, make) in makers.items()
        }
        results = {label: _checked(step, frameworks[makers[label][0]]) for label, step in steps.items()}
        deviations = {label: deviation(results[OWN], result) for label, result in results.items() if label != OWN}
        blocks = {label: here(step) for label, step in steps.items()}
        contest = Contest(row, settings, _compete(blocks, settings), deviations=deviations)
        del steps, blocks, results  # their memory, before other processes need some
    if settings.isolated or settings.memory:
        _measure_apart(contest, table, {label: name for label, (name, _) in makers.items()}, settings)
    return contest


def _checked(step: Step, module: ModuleType) -> list[float]:
    """Take the steps that are compared, and return the result of the last as numbers."""
    for _ in range(CHECKED - 1):
        step()
    return [float(each) for each in module.read(step())]


def _measure_apart(contest: Contest, table: Table, labels: Mapping[str, str], settings: Settings) -> None:
    """Give every contender a process, for its memory, and for its time where nobody else has threads."""
    with ExitStack() as stack:
        workers = {}
        for label, name in labels.items():
            order = Order(
                str(table.folder), contest.row.name, name, label, settings.quick, settings.threads, settings.backend
            )
            workers[label] = worker = stack.enter_context(Worker(order))
            if settings.memory:
                contest.memory[label] = worker.memory()
            if not settings.isolated:
                worker.__exit__()
        if settings.isolated:
            blocks = {label: worker.block for label, worker in workers.items()}
            contest.apart = _compete(blocks, settings)


def _compete(blocks: Mapping[str, Block], settings: Settings) -> dict[str, list[float]]:
    return compete(blocks, settings.rounds, settings.seconds, settings.limit)
