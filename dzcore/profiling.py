"""Where the time of a program goes: a table of operations, and a trace for a browser.

    with dzcore.profile() as p:
        for x, t in loader:
            ...
    print(p)                  # forward and backward formulas of each rule, the data loader, the optimizer, the rest
    p.write("trace.json")     # for ui.perfetto.dev or chrome://tracing

Nothing of it stands in the way while it is off. When it begins, it puts a clock around the functions that are there
already: what each rule's application calls, what its plans pull, a few methods. When it ends, it takes them away.
"""

import gc
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import CellType, FunctionType
from typing import Any, NamedTuple

from .backend.namespace import Namespace
from .dataloaders import DataLoader
from .graph import Function, Variable, rule
from .graph.node import Node, Part, Value
from .graph.rule import Plan
from .io import atomic_write
from .layers import Layer
from .optimizers import Optimizer

__all__ = ["Event", "Profile", "Row", "profile"]

#: What the table tells apart. Layers and backward passes are seen in the trace; what they take for themselves is the
#: framework's own part, and belongs to the rest.
PHASES = ("forward", "backward", "optimizer", "data", "span")


class Event(NamedTuple):
    """One call, with its begin and its length in seconds."""

    name: str
    phase: str
    thread: int
    begin: float
    seconds: float
    own: float  #: without the events within
    shape: tuple[int, ...] | None  #: of the result, or of the gradient that came


class Row(NamedTuple):
    """All calls of one operation in one phase."""

    name: str
    phase: str
    calls: int
    seconds: float
    share: float  #: of the time that was profiled

    @property
    def mean(self) -> float:
        """Seconds a call."""
        return self.seconds / self.calls if self.calls else 0.0


class Profile:
    """The events between begin and end of a `with dzcore.profile()` block."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.thread = threading.get_ident()
        self.begin = self.end = time.perf_counter()
        self._within = threading.local()  #: for each call under way, the seconds of the events within

    @property
    def seconds(self) -> float:
        """The time that was profiled."""
        return self.end - self.begin

    def rows(self) -> list[Row]:
        """Return what the operations of the profiled thread took, the longest first, and the rest of the time last.

        The rest is Python: the framework between its operations, and the program around it.
        """
        found: dict[tuple[str, str], list[float]] = {}
        for event in self.events:
            if event.thread == self.thread and event.phase in PHASES:
                found.setdefault((event.name, event.phase), []).append(event.own)
        whole = self.seconds or 1.0
        rows = [Row(*key, len(own), sum(own), sum(own) / whole) for key, own in found.items()]
        rest = max(self.seconds - sum(row.seconds for row in rows), 0.0)
        return [*sorted(rows, key=lambda row: -row.seconds), Row("the rest", "", 0, rest, rest / whole)]

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len("operation"), *(len(row.name) for row in rows))
        lines = [f"{'operation':{width}}  {'phase':9}  {'calls':>7}  {'total':>11}  {'mean':>11}  {'share':>6}"]
        for row in rows:
            calls, mean = (f"{row.calls:,}", f"{row.mean * 1e6:,.1f} µs") if row.calls else ("", "")
            total = f"{row.seconds * 1e3:,.2f} ms"
            lines.append(f"{row.name:{width}}  {row.phase:9}  {calls:>7}  {total:>11}  {mean:>11}  {row.share:6.1%}")
        return "\n".join([*lines, f"{self.seconds:.3f} s"])

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the events of all threads in the Trace Event Format, which browsers' trace viewers open."""
        threads = {self.thread: 0}
        events: list[dict[str, Any]] = []
        for event in sorted(self.events, key=lambda event: event.begin):
            number = threads.setdefault(event.thread, len(threads))
            shown = {
                "name": event.name, "cat": event.phase, "ph": "X", "pid": 0, "tid": number,
                "ts": (event.begin - self.begin) * 1e6, "dur": event.seconds * 1e6,
            }  # fmt: skip
            events.append(shown if event.shape is None else {**shown, "args": {"shape": list(event.shape)}})
        names = [
            {"name": "thread_name", "ph": "M", "pid": 0, "tid": number, "args": {"name": f"thread {number}"}}
            for number in threads.values()
        ]
        with atomic_write(path) as file:
            file.write(json.dumps({"traceEvents": names + events, "displayTimeUnit": "ms"}).encode())

    @contextmanager
    def span(self, name: str, phase: str = "span") -> Iterator[None]:
        """Note a part of the program that you name."""
        begin = self._open()
        try:
            yield
        finally:
            self._close(name, phase, begin, None)

    # What is put around functions. A call that fails is noted like any other.

    def _open(self) -> float:
        try:
            self._within.stack.append(0.0)
        except AttributeError:  # the first call in this thread
            self._within.stack = [0.0]
        return time.perf_counter()

    def _close(self, name: str, phase: str, begin: float, shape: Any) -> None:
        seconds = time.perf_counter() - begin
        stack = self._within.stack
        own = seconds - stack.pop()
        if stack:
            stack[-1] += seconds
        shape = None if shape is None else tuple(shape)
        self.events.append(Event(name, phase, threading.get_ident(), begin, seconds, own, shape))

    def formula(self, name: str, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """Return a rule's formula with a clock around it; a device is waited for."""

        def timed(xp: Any, *inputs: Any, **named: Any) -> Any:
            begin, result = self._open(), None
            try:
                result = function(xp, *inputs, **named)
                if isinstance(xp, Namespace):
                    xp.backend.synchronize()
                return result
            finally:
                of = result if phase == "forward" else inputs[0]
                self._close(name, phase, begin, getattr(of, "shape", None))

        return timed

    def method(self, function: Callable[..., Any], phase: str, named: Callable[[Any], str]) -> Callable[..., Any]:
        """Return a method with a clock around it."""

        def timed(this: Any, *inputs: Any, **options: Any) -> Any:
            begin = self._open()
            try:
                return function(this, *inputs, **options)
            finally:
                self._close(named(this), phase, begin, None)

        return timed


@contextmanager
def profile() -> Iterator[Profile]:
    """Take the time of everything in the with block, in all threads; yield the `Profile`, which is whole at its end.

    An operation takes about 3 µs longer meanwhile. What another profile that is on already notes includes that.
    """
    found = Profile()
    with ExitStack() as stack:
        for name, cell in _formulas():
            _put(stack, cell, "cell_contents", found.formula(name, cell.cell_contents, "forward"))
        for plan in _plans():
            _watch(stack, found, plan)
        _put(stack, Plan, "__init__", _new_plan(stack, found, Plan.__init__))
        for cls in _subclasses(Value):
            if "pull" in vars(cls) and cls not in (Node, Part):  # a Node's is that of its plan
                _put(stack, cls, "pull", found.method(cls.pull, "backward", lambda value: value.name))
        kind = _kind
        for owner, name, phase in (
            (Function, "__call__", "forward"), (Layer, "__call__", "layer"), (Optimizer, "update", "optimizer"),
            (DataLoader, "__next__", "data"),
        ):  # fmt: skip
            _put(stack, owner, name, found.method(getattr(owner, name), phase, kind))
        _put(stack, Variable, "backward", found.method(Variable.backward, "engine", lambda _: "backward"))
        found.begin = time.perf_counter()
        try:
            yield found
        finally:
            found.end = time.perf_counter()


def _kind(this: object) -> str:
    return type(this).__name__


def _put(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Replace an attribute until the profile ends."""
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _watch(stack: ExitStack, found: Profile, plan: Plan) -> None:
    _put(stack, plan, "pull", found.formula(plan.name, plan.pull, "backward"))
    _put(stack, plan, "gradients", [found.formula(plan.name, each, "backward") for each in plan.gradients])


def _new_plan(stack: ExitStack, found: Profile, init: Callable[..., None]) -> Callable[..., None]:
    def made(plan: Plan, *arguments: Any) -> None:
        init(plan, *arguments)
        _watch(stack, found, plan)

    return made


def _applications() -> Iterator[dict[str, CellType]]:
    """Yield, for the application of every rule there is, its variables by name: `spec`, `forward` …"""
    file = rule.__code__.co_filename
    for each in gc.get_objects():
        if type(each) is FunctionType and each.__code__.co_filename == file:
            names = each.__code__.co_freevars
            if "spec" in names and "forward" in names:
                yield dict(zip(names, each.__closure__ or (), strict=True))


def _formulas() -> list[tuple[str, CellType]]:
    return [(cells["spec"].cell_contents.shown, cells["forward"]) for cells in _applications()]


def _plans() -> list[Plan]:
    return [plan for cells in _applications() for plan in cells["spec"].cell_contents.plans.values()]


def _subclasses(cls: type[Any]) -> list[type[Any]]:
    found: list[type[Any]] = cls.__subclasses__()
    for each in found:  # the list grows under the loop
        found += each.__subclasses__()
    return found
