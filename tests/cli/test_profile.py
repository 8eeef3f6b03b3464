"""The profile: what it notes, that it leaves no trace, and `dz profile`."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
from dzcore import Variable, optimizers, profiling
from dzcore.backend import Backend
from dzcore.cli import training
from dzcore.graph import rule
from dzcore.graph.node import Fit
from dzcore.graph.rule import Plan
from dzcore.models import MLP
from dzcore.profiling import Event, Profile, profile

from .run import Dz


def _counts(found: Profile) -> dict[tuple[str, str], int]:
    return {(row.name, row.phase): row.calls for row in found.rows()[:-1]}


def test_calls_forward_and_backward(backend: Backend) -> None:
    x = Variable(np.ones((2, 3), np.float32), backend=backend)
    b = Variable(np.ones(3, np.float32), backend=backend)
    with profile() as found:
        y = F.sum(F.tanh(x * 2.0 + b))
        y.backward()
    assert _counts(found) == {
        ("multiply", "forward"): 1, ("add", "forward"): 1, ("tanh", "forward"): 1, ("sum", "forward"): 1,
        ("sum", "backward"): 1, ("tanh", "backward"): 1, ("add", "backward"): 1, ("multiply", "backward"): 1,
        ("fit", "backward"): 1,
    }  # fmt: skip
    shapes = {(event.name, event.phase): event.shape for event in found.events}
    assert shapes["tanh", "forward"] == shapes["tanh", "backward"] == (2, 3)
    assert shapes["sum", "backward"] == ()
    assert float(F.sum(x.grad)) == pytest.approx(12 * (1 - np.tanh(3.0) ** 2), rel=1e-4)


def test_rules_that_were_never_used_before_and_second_derivatives() -> None:
    @rule(x=lambda gy, x: gy * x * 2.0)
    def squared(xp: Any, x: Any) -> Any:
        return x * x

    x = Variable(np.float64(3.0))
    with profile() as found:  # its plan is made in here
        (gx,) = dzcore.grad(squared(x), x, create_graph=True)
        (ggx,) = dzcore.grad(gx, x)
    assert float(ggx) == 2.0
    counts = _counts(found)
    assert counts["squared", "forward"] == counts["squared", "backward"] == 1
    assert counts["multiply", "forward"] == 2  # of the gradient, on Variables
    inside = next(event for event in found.events if event.name == "multiply")
    around = next(event for event in found.events if (event.name, event.phase) == ("squared", "backward"))
    assert around.begin <= inside.begin
    assert around.own <= around.seconds - inside.seconds


def test_layers_loaders_optimizers_functions() -> None:
    class Twice(dzcore.Function):
        def forward(self, x: Any) -> Any:
            return x * 2.0

        def backward(self, gy: Any) -> Any:
            return gy * 2.0

    data = dzcore.datasets.ArrayDataset(np.ones((6, 4), np.float32), np.zeros(6, np.int64))
    model = MLP((5, 3), in_size=4)
    optimizer = optimizers.SGD().setup(model)
    with profile() as found:
        for x, t in dzcore.DataLoader(data, 3):
            loss = F.softmax_cross_entropy(Twice()(model(x)), t)
            model.cleargrads()
            loss.backward()
            optimizer.update()
        with found.span("looking"):
            float(loss)
    counts = _counts(found)
    assert counts["DataLoader", "data"] == 3  # the last one says that there is no more
    assert counts["SGD", "optimizer"] == 2
    assert counts["Twice", "forward"] == counts["Twice", "backward"] == 2
    assert counts["linear", "forward"] == counts["linear", "backward"] == 4
    assert counts["looking", "span"] == 1
    kinds = [(event.name, event.phase) for event in found.events]
    assert kinds.count(("Linear", "layer")) == 4
    assert kinds.count(("backward", "engine")) == 2
    assert ("Linear", "layer") not in counts


def test_devices_are_waited_for(numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(numpy_backend, "synchronize", lambda: waits.append(1))
    with profile():
        F.exp(Variable(1.0, backend=numpy_backend)).backward()
    assert len(waits) == 2


def test_large_arrays_of_fused_rules() -> None:
    x = Variable(np.linspace(-3, 3, 300_000, dtype=np.float32))
    with profile() as found:
        F.gelu(x).backward()
    counts = _counts(found)
    assert counts["gelu", "forward"] == counts["gelu", "backward"] == 1


def _state() -> list[object]:
    cells = [cells["forward"].cell_contents for cells in profiling._applications()]
    plans = [each for plan in profiling._plans() for each in (plan.pull, tuple(plan.gradients))]
    return [*cells, *plans, Plan.__init__, Fit.pull, dzcore.Layer.__call__, optimizers.Optimizer.update,
            dzcore.DataLoader.__next__, Variable.backward, dzcore.Function.__call__]  # fmt: skip


def test_nothing_is_left_when_it_is_over() -> None:
    x = Variable(np.ones(3))
    F.sum(F.exp(x)).backward()
    before = _state()
    assert len(before) > 100
    with profile() as found:
        F.exp(x)
        within = _state()
        assert [each for each in before if each in within] == []  # all of it has a clock around it
    assert _state() == before
    assert found.seconds > 0
    with pytest.raises(ZeroDivisionError), profile():
        1 / 0  # noqa: B018
    assert _state() == before
    count = len(found.events)
    F.exp(x)
    assert len(found.events) == count
    with profile() as outer, profile() as inner:
        F.exp(x)
    assert _counts(outer) == _counts(inner) == {("exp", "forward"): 1}
    assert _state() == before


def test_a_plan_that_was_made_meanwhile_is_as_any_other() -> None:
    @rule(x=lambda gy: gy)
    def same(xp: Any, x: Any) -> Any:
        return x

    with profile() as found:
        same(Variable(1.0)).backward()
    count = len(found.events)
    same(Variable(1.0)).backward()
    assert len(found.events) == count
    assert _counts(found)["same", "backward"] == 1


def test_what_fails_is_noted_too() -> None:
    @rule()
    def broken(xp: Any, x: Any) -> Any:
        return xp.exp(x) / (1 // 0)

    with profile() as found:
        with pytest.raises(ZeroDivisionError):
            broken(Variable(1.0))
        F.exp(Variable(1.0))
    assert _counts(found) == {("broken", "forward"): 1, ("exp", "forward"): 1}
    assert all(event.own == event.seconds for event in found.events)


def test_the_time_of_what_is_within_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    found = Profile()
    with found.span("outer"):
        now = 1.0
        for _ in range(2):
            with found.span("inner"):
                now += 2.0
        now += 0.5
    found.end = 10.0
    assert [(row.name, row.calls, row.seconds, row.share) for row in found.rows()] == [
        ("inner", 2, 4.0, 0.4), ("outer", 1, 1.5, 0.15), ("the rest", 0, 4.5, 0.45),
    ]  # fmt: skip
    assert str(found).splitlines() == [
        "operation  phase        calls        total         mean   share",
        "inner      span             2  4,000.00 ms  2,000,000.0 µs   40.0%",
        "outer      span             1  1,500.00 ms  1,500,000.0 µs   15.0%",
        "the rest                       4,500.00 ms                45.0%",
        "10.000 s",
    ]


def test_other_threads_are_in_the_trace_and_not_in_the_table(tmp_path: Path) -> None:
    with profile() as found:
        thread = threading.Thread(target=lambda: F.sinh(Variable(1.0)))
        thread.start()
        thread.join()
        F.cosh(Variable(1.0))
    assert _counts(found) == {("cosh", "forward"): 1}
    found.write(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {event["name"]: event["tid"] for event in events if event["ph"] == "X"} == {"cosh": 0, "sinh": 1}
    assert [event["args"]["name"] for event in events if event["ph"] == "M"] == ["thread 0", "thread 1"]


def test_the_trace(tmp_path: Path) -> None:
    found = Profile()
    found.begin = 5.0
    found.events = [
        Event("inner", "forward", found.thread, 5.25, 0.5, 0.5, (2, 3)),
        Event("outer", "layer", found.thread, 5.0, 1.0, 0.5, None),
    ]
    found.write(tmp_path / "trace.json")
    content = json.loads((tmp_path / "trace.json").read_text())
    assert content["displayTimeUnit"] == "ms"
    assert content["traceEvents"][1:] == [
        {"name": "outer", "cat": "layer", "ph": "X", "pid": 0, "tid": 0, "ts": 0.0, "dur": 1e6},
        {"name": "inner", "cat": "forward", "ph": "X", "pid": 0, "tid": 0, "ts": 250_000.0, "dur": 500_000.0,
         "args": {"shape": [2, 3]}},
    ]  # fmt: skip


# The command ---------------------------------------------------------------------------------------------------------


def test_dz_profile(dz: Dz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def steps(*arguments: Any) -> Iterator[None]:
        for _ in training.steps(*arguments):
            taken.append(1)
            yield

    monkeypatch.setattr("dzcore.cli.profile.steps", steps)
    words = ["--dataset", "spiral", "--hidden", "10", "--steps", 12, "--warm-up", 3, "--trace", "trace.json"]
    done = dz("profile", *words, "--backend", "numpy")
    assert (done.status, done.err) == (0, "")
    first, head, *rows, seconds, trace = done.out.splitlines()
    assert first == "mlp 2-10-3 (relu) on spiral: 12 steps of 32, backend numpy"
    assert head.split() == ["operation", "phase", "calls", "total", "mean", "share"]
    cells = {tuple(row.split()[:2]): row.split() for row in rows}
    assert cells["linear", "forward"][2] == "24"
    assert cells["Adam", "optimizer"][2] == "12"
    assert cells["DataLoader", "data"][2] == "13"  # an epoch has ten batches, and ends once
    shares = [float(row.split()[-1].rstrip("%")) for row in rows]
    assert sum(shares) == pytest.approx(100, abs=1)
    assert float(seconds.split()[0]) > 0
    assert trace.startswith("Trace in trace.json")
    names = [event["name"] for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]]
    assert names.count("Adam") == 12
    assert len(taken) == 3 + 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--steps 0", "argument --steps: '0' is not a whole number of at least 1"),
        ("--epochs 3", "unrecognized arguments: --epochs 3"),
        ("--trace none/trace.json", "argument --trace: the folder"),
        ("--backend cuppy", "argument --backend: No backend 'cuppy'"),
    ],
)
def test_wrong_words(dz: Dz, words: str, message: str) -> None:
    assert message in dz.fails("profile", *words.split())
