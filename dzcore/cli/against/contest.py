"""One row of the table: who takes part, whether all compute the same, and how long they take."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from .table import OWN, Row, Step, Table
from .timing import Spread, compete, deviation, ratios, spread
from .worker import Memory, Order, Worker

__all__ = ["Contest", "Settings", "deviations", "hold"]

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
    memory: bool = True


@dataclass
class Contest:
    """What has been measured for one row: for each contender the seconds of a step, round by round."""

    row: Row
    settings: Settings
    times: dict[str, list[float]]
    memory: dict[str, Memory | None] = field(default_factory=dict)
    deviations: dict[str, float] = field(default_factory=dict)

    @property
    def peers(self) -> list[str]:
        """The contenders that dzcore is compared with."""
        return [label for label in self.times if label != OWN]

    def milliseconds(self, label: str) -> float:
        """Return the median time of a step."""
        return spread(self.times[label]).median * 1e3

    def ratio(self, label: str) -> Spread:
        """Return dzcore's time divided by the other's."""
        return ratios(self.times[OWN], self.times[label])

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
            "seconds": self.times,
            "ratios": {label: self.ratio(label)._asdict() for label in peers},
            "reached": {label: self.reached(label) for label in peers if label == self.row.reference},
            "memory": {label: found._asdict() for label, found in self.memory.items() if found is not None},
            "deviations": self.deviations,
        }  # fmt: skip


def hold(table: Table, row: Row, frameworks: Mapping[str, ModuleType], settings: Settings) -> Contest | None:
    """Let these frameworks compete in a row; None where dzcore or everybody else has no part in it."""
    names = {label: name for name, module in frameworks.items() for label in module.CONTENDERS.get(row.name, ())}
    if OWN not in names or len(names) == 1:
        return None
    contest = Contest(row, settings, {}, deviations=deviations(row, frameworks, settings.quick))
    _measure(contest, table, names, settings)
    return contest


def deviations(row: Row, frameworks: Mapping[str, ModuleType], quick: bool) -> dict[str, float]:
    """Return by how much the results of all others differ from dzcore's, after some steps from the same numbers."""
    results = {}
    with TemporaryDirectory() as scratch:
        for module in frameworks.values():
            for label, make in module.CONTENDERS.get(row.name, {}).items():
                results[label] = _checked(make(row.begin(quick, scratch)), module)
    return {label: deviation(results[OWN], result) for label, result in results.items() if label != OWN}


def _checked(step: Step, module: ModuleType) -> list[float]:
    """Take the steps that are compared, and return the result of the last as numbers."""
    for _ in range(CHECKED - 1):
        step()
    return [float(each) for each in module.read(step())]


def _measure(contest: Contest, table: Table, labels: Mapping[str, str], settings: Settings) -> None:
    """Give every contender a process, where nobody else has threads or sets how memory is kept, and turns in it."""
    with ExitStack() as stack:
        workers = {}
        for label, name in labels.items():
            order = Order(
                str(table.folder), contest.row.name, name, label, settings.quick, settings.threads, settings.backend
            )
            workers[label] = worker = stack.enter_context(Worker(order))
            if settings.memory:
                contest.memory[label] = worker.memory()
        blocks = {label: worker.block for label, worker in workers.items()}
        contest.times.update(compete(blocks, settings.rounds, settings.seconds, settings.limit))
