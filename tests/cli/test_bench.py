"""`dz bench`: the same training everywhere, and arithmetic on the times. No test looks at the clock."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dzcore.backend import describe_backends, get_backend, register_backend, unregister_backend, use_backend
from dzcore.cli import bench as module
from dzcore.cli.bench import Result
from tests.elsewhere import Elsewhere

from .run import Dz

SMALL = ("bench", "--dataset", "spiral", "--hidden", "10", "--dropout", "0.2", "--epochs", 2)


class Ticks:
    """A clock for `time.perf_counter`: the n-th epoch that it times takes n + 0.5 seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.number = count(2)

    def perf_counter(self) -> float:
        self.now += next(self.number) / 2  # every second look ends an epoch: of 1.5, 2.5, 3.5 … seconds
        return self.now


class Absent(Elsewhere):
    name = "absent"

    @classmethod
    def why_unavailable(cls) -> str | None:
        return "no device was found.\nLook behind the sofa"


class Slanted(Elsewhere):
    """Its losses are 1 % off."""

    name = "slanted"

    def cross_entropy(self, x: Any, t: Any) -> Any:
        from dzcore.backend.namespace import EXTENSIONS

        return EXTENSIONS["cross_entropy"](self.ops, x, t) * 1.01


@pytest.fixture
def more() -> Iterator[None]:
    for cls in (Absent, Slanted):
        register_backend(cls)
    yield
    for cls in (Absent, Slanted):
        unregister_backend(cls.name)


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    clock = Ticks()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_the_table(dz: Dz, strict: str, ticks: Ticks) -> None:
    done = dz(*SMALL, "--backends", "numpy,strict,strict:device1")
    assert (done.status, done.err) == (0, "")
    first, head, *rows = (line.split() for line in done.out.splitlines())
    assert " ".join(first) == "mlp 2-10-3 (relu) on spiral: 300 samples, batches of 32"
    assert " ".join(head) == "backend first epoch an epoch samples/s loss speed-up"
    assert [row[0] for row in rows] == ["numpy", "strict", "strict:device1"]
    # epochs of 1.5, 2.5, 3.5 seconds, then 4.5, 5.5, 6.5, then 7.5, 8.5, 9.5: the first of each warms up
    assert [row[1] for row in rows] == ["1.500", "4.500", "7.500"]
    assert [row[3] for row in rows] == ["3.000", "6.000", "9.000"]
    assert [row[5] for row in rows] == ["100", "50", "33"]
    assert [row[7] for row in rows] == ["1.00x", "0.50x", "0.33x"]
    assert len({row[6] for row in rows}) == 1
    assert 0 < float(rows[0][6]) < 1.2


def test_the_loss_is_that_of_dz_train(dz: Dz) -> None:
    done = dz("train", *SMALL[1:-2], "--epochs", 3)
    loss = done.out.splitlines()[3].split()[3].rstrip(",")
    row = dz(*SMALL, "--backends", "numpy").out.splitlines()[-1].split()
    assert f"{float(row[6]):.4f}" == loss


def test_the_clock_is_read_when_the_work_is_done(dz: Dz, monkeypatch: pytest.MonkeyPatch, ticks: Ticks) -> None:
    seen: list[str] = []
    own = get_backend("numpy")
    tick = ticks.perf_counter
    monkeypatch.setattr(own, "synchronize", lambda: seen.append("wait"))
    monkeypatch.setattr(ticks, "perf_counter", lambda: (seen.append("look"), tick())[1])
    dz(*SMALL, "--backends", "numpy")
    assert seen == ["wait", "look"] * 6


def test_without_names_it_is_all_of_them(dz: Dz, strict: str, more: None, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [info for info in describe_backends() if info.name in ("absent", "numpy", "strict")]
    monkeypatch.setattr(module, "describe_backends", lambda: known)  # whatever else is installed here
    with use_backend("strict"):
        done = dz(*SMALL, "--epochs", 1)
    rows = [line.split(None, 1) for line in done.out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["strict", "numpy", "absent"]  # the current one first, the unusable ones last
    assert rows[2][1] == "Backend 'absent' is registered but unusable: no device was found. Look behind the sofa."
    assert (done.status, done.err) == (0, "")


def test_a_loss_that_differs_is_told(dz: Dz, more: None) -> None:
    done = dz(*SMALL, "--backends", "numpy,slanted")
    assert done.status == 0
    a, b = (line.split()[6] for line in done.out.splitlines()[2:])
    assert done.err == (
        f"dz bench: warning: the loss is {b} on slanted and {a} on numpy; the same seed gives the same numbers, "
        f"to rounding (0.1%). One of them computes something else\n"
    )
    assert float(b) == pytest.approx(float(a) * 1.01, rel=1e-5)


@pytest.mark.parametrize(("loss", "warns"), [(0.5004, False), (0.5006, True), (float("nan"), True)])
def test_what_counts_as_rounding(loss: float, warns: bool, capsys: pytest.CaptureFixture[str]) -> None:
    module._compare(Result("b", 1, [1.0, 1.0], [9.0, loss]), Result("a", 1, [1.0, 1.0], [1.0, 0.5]))
    assert bool(capsys.readouterr().err) == warns


def test_files(dz: Dz, strict: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib: pip install 'dzcore[cli]'")
    done = dz(*SMALL, "--backends", "numpy,strict", "--plot", "times.png", "--json", "times.json")
    assert done.out.endswith("Picture in times.png\n")
    assert (tmp_path / "times.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((tmp_path / "times.json").read_text())
    assert content["network"] == "mlp 2-10-3 (relu)"
    assert [each["backend"] for each in content["results"]] == ["numpy", "strict"]
    for each in content["results"]:
        assert len(each["seconds"]) == len(each["losses"]) == 3
        assert each["samples"] == 300
        assert min(each["seconds"]) > 0
        assert each["losses"] == sorted(each["losses"], reverse=True)


def test_the_picture_shows_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="the picture needs matplotlib").Figure
    drawn: list[Any] = []
    monkeypatch.setattr(figure, "savefig", lambda self, *_, **__: drawn.append(self))
    module._draw([Result("a", 9, [4.0, 2.0, 4.0], []), Result("b", 9, [8.0, 1.0, 1.0], [])], "x.png")
    lines, bars = drawn[0].axes
    assert [list(line.get_ydata()) for line in lines.lines] == [[4, 2, 4], [8, 1, 1]]
    assert [text.get_text() for text in lines.get_legend().get_texts()] == ["a", "b"]
    assert [bar.get_height() for bar in bars.patches] == [3, 1]
    assert [text.get_text() for text in bars.texts] == ["1.00x", "3.00x"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--backends cuppy", "argument --backends: No backend 'cuppy'"),
        ("--backends numpy,absent", "argument --backends: Backend 'absent' is registered but unusable: no device"),
        ("--backends numpy,", "argument --backends: 'numpy,' is not a list of backends"),
        ("--backends numpy:1", "argument --backends: Backend 'numpy:1' cannot be opened"),
        ("--epochs 0", "argument --epochs: '0' is not a whole number of at least 1"),
        ("--optimizer adadelta --lr 1", "argument --lr: adadelta has no learning rate"),
        ("--data .", "argument --data: digits needs no folder"),
        ("--plot none/bench.png", "argument --plot: the folder"),
        ("--plot bench.txt", "argument --plot: 'bench.txt' ends in none of"),
        ("--json none/bench.json", "argument --json: the folder"),
    ],
)
def test_wrong_arguments(dz: Dz, more: None, words: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it has begun to train")

    monkeypatch.setattr(module, "steps", never)
    found = dz.fails("bench", *words.split())
    assert found.startswith("dz bench: ")
    assert message in found


def test_a_loss_that_is_no_number(dz: Dz) -> None:
    found = dz.fails(*SMALL, "--backends", "numpy", "--optimizer", "sgd", "--lr", "1e30", status=1)
    assert found == "dz bench: the loss became nan on numpy; give a smaller --lr\n"
