"""`dz bench --against`: turns, ratios, memory, reports, on a table of our own and with a clock of our own."""

import gc
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from dzcore.cli.against import Row, report, timing, worker
from dzcore.cli.against.command import confined
from dzcore.cli.against.contest import Contest, Settings
from dzcore.cli.against.table import Table
from dzcore.cli.parser import UsageError
from dzcore.errors import DzcoreError

from .run import COMMAND, Dz

SETTINGS = Settings(rounds=3, seconds=1.0, limit=60.0, threads=1, backend="numpy")

ROWS = """
from types import SimpleNamespace
from dzcore.cli.against import Row

def numbers(size):
    return SimpleNamespace(size=size)

ROWS = [
    Row("sum", "sums", numbers, {"size": 4}, {"size": 2}, "other", target=0.5),
    Row("own", "what only dzcore does", numbers, {"size": 4}, {"size": 2}, "other", groups=("more",)),
    Row("chance", "what chance decides", numbers, {"size": 4}, {"size": 2}, "other quick", target=2.0, rtol=None),
]
"""

FRAMEWORK = """
def start(threads):
    assert threads >= 1

def about():
    return {{"{name}": "1.0"}}

def read(result):
    return [float(each) for each in result]

def step(factor):
    def make(numbers):
        held = []
        def step():
            held.append(bytearray({held}))
            sum(range({cost}))
            return [factor * numbers.size, 1.0]
        return step
    return make

CONTENDERS = {contenders}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three frameworks: one has two ways, one is not installed, one is wrong."""
    there = tmp_path / "table"
    there.mkdir()
    (there / "rows.py").write_text(ROWS)
    parts = {
        "dzcore": (10, '{name: {"dzcore": step(1.0)} for name in ("sum", "own", "chance")}'),
        "other": (20, '{"sum": {"other": step(1.0), "other quick": step(1.0)}, "chance": {"other quick": step(3.0)}}'),
        "wrong": (10, '{"sum": {"wrong": step(1.01)}}'),
    }
    for name, (cost, contenders) in parts.items():
        (there / f"in_{name}.py").write_text(FRAMEWORK.format(name=name, cost=cost, contenders=contenders, held=1000))
    (there / "in_absent.py").write_text("import a_library_that_is_not_there\n")
    return there


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still unless `pass_` is called."""
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now

    def step(seconds: float, calls: list[float]) -> object:
        def take() -> None:
            calls.append(seconds)
            clock.now += seconds

        return take

    clock.step = step
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_a_block_warms_up_and_counts_whole_calls(clock: SimpleNamespace) -> None:
    calls: list[float] = []
    block = timing.here(clock.step(0.4, calls))
    assert block(0.5, 1.0) == pytest.approx(0.4)
    assert len(calls) == 2 + 3  # until 0.5 s have passed, and then until 1 s has
    calls.clear()
    assert timing.here(clock.step(7.0, calls))(0.5, 1.0) == pytest.approx(7.0)
    assert len(calls) == 2  # one call at least of each


def test_nothing_is_collected_while_the_clock_runs() -> None:
    seen: list[bool] = []
    timing.compete({"a": timing.here(lambda: seen.append(gc.isenabled()))}, rounds=1, seconds=0.001)
    assert seen[0]  # not counted yet
    assert not seen[-1]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_turns_and_ratios(clock: SimpleNamespace) -> None:
    order: list[str] = []
    costs = {"a": iter([1.0, 2.0, 3.0, 4.0]), "b": iter([2.0, 8.0, 6.0, 16.0]), "c": iter([1.0] * 4)}

    def block(name: str) -> timing.Block:
        def run(warm: float, seconds: float) -> float:
            assert (warm, seconds) == (0.25, 1.0)
            order.append(name)
            return next(costs[name])

        return run

    times = timing.compete({name: block(name) for name in costs}, rounds=4, seconds=1.0)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert times == {"a": [1, 2, 3, 4], "b": [2, 8, 6, 16], "c": [1] * 4}
    assert timing.ratios(times["a"], times["b"]) == pytest.approx((0.25, 0.375, 0.5))  # of 0.5, 0.25, 0.5, 0.25
    assert timing.ratios([3.0], [2.0]) == (1.5, 1.5, 1.5)


@pytest.mark.parametrize(("limit", "rounds"), [(100.0, 10), (8.0, 4), (0.0, 3)])
def test_the_limit_of_a_row(clock: SimpleNamespace, limit: float, rounds: int) -> None:
    def block(warm: float, seconds: float) -> float:
        clock.now += 2.0
        return 2.0

    assert len(timing.compete({"a": block}, 10, 1.0, limit)["a"]) == rounds + (limit == 8.0)


def test_the_deviation_of_results() -> None:
    assert timing.deviation([1.0, 2.0], [1.0, 2.0]) == 0
    assert timing.deviation([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
    assert timing.deviation([0.0], [0.0]) == 0
    assert timing.deviation([], []) == 0
    for wrong in ([1.0], [1.0, float("nan")], [float("inf"), 2.0]):
        assert timing.deviation([1.0, 2.0], wrong) == float("inf")


def _contest(
    target: float | None, deviations: dict[str, float] | None = None, slack: float = 1.0, name: str = "sum"
) -> Contest:
    row = Row(name, "sums", dict, {}, {}, "other", target)
    times = {"dzcore": [0.1, 0.2, 0.3], "other": [0.2, 0.4, 0.6], "other quick": [0.1, 0.1, 0.1]}
    return Contest(row, Settings(3, 1.0, 60.0, 1, "numpy", slack), times, deviations=deviations or {})


def test_what_counts_as_reached() -> None:
    assert _contest(0.5).reached("other") is True
    assert _contest(0.49).reached("other") is False
    assert _contest(0.49, slack=1.3).reached("other") is True
    assert _contest(0.5).reached("other quick") is None
    assert _contest(None).reached("other") is None
    wide = _contest(0.5)
    wide.times["other"] = [1.0, 0.3, 0.3]  # ratios of 0.1, 0.67, 1: the median counts
    assert wide.reached("other") is False
    assert report.verdict([_contest(0.5, name="a"), _contest(0.49)]) == "1 of 2 targets reached; missed: sum"
    assert report.verdict([_contest(None)]) == "0 of 0 targets reached"


def test_the_lines() -> None:
    first, second = report.lines(_contest(0.5))
    assert first == "| sums | other | 200 | 400 | **0.50** (0.50 to 0.50) | 0.50 reached |  |  |"
    assert second == "|  | other quick | 200 | 100 | **2.00** (1.50 to 2.50) |  |  |  |"
    assert report.lines(_contest(0.4))[0].split("|")[6] == " 0.40 **missed** "
    held = _contest(0.5, {"other": 0.1})
    held.memory = {"dzcore": worker.Memory(10.2, 1000.0), "other": worker.Memory(20.0, 2345.0), "other quick": None}
    first, second = report.lines(held)
    assert first.endswith("| **0.50** (0.50 to 0.50) | differs | 10 / 20 | 1,000 / 2,345 |")
    assert second.endswith("| **2.00** (1.50 to 2.50) |  |  |  |")
    assert first.count("|") == report.HEAD.count("|") == report.RULE.count("|")


def test_the_command(dz: Dz, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib: pip install 'dzcore[cli]'")
    (tmp_path / "old.md").write_text(f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n")
    words = ["--against", "other,absent", "--table", folder, "--rounds", 2, "--seconds", "0.001", "--no-memory"]
    done = dz(
        "bench", *words, "--backends", "numpy", "--json", "all.json", "--markdown", "old.md", "--plot", "bars.png"
    )
    assert (done.status, done.err) == (0, "")
    assert "absent: left out, No module named 'a_library_that_is_not_there'" in done.out
    lines = [line for line in done.out.splitlines() if line.startswith("|")][2:]
    assert [line.split(" | ")[1] for line in lines] == ["other", "other quick", "other quick"]
    content = json.loads((tmp_path / "all.json").read_text())
    assert content["about"]["other"] == "1.0"
    assert content["settings"]["rounds"] == 2
    sums, chance = content["rows"]
    assert (sums["row"], sums["sizes"], sums["target"]) == ("sum", {"size": 4}, 0.5)
    assert all(len(times) == 2 and min(times) > 0 for times in sums["seconds"].values())
    for label in ("other", "other quick"):
        pairs = zip(sums["seconds"]["dzcore"], sums["seconds"][label], strict=True)
        assert sums["ratios"][label]["median"] == pytest.approx(sum(a / b for a, b in pairs) / 2)
    assert sums["reached"] == {"other": sums["ratios"]["other"]["median"] <= 0.5}
    assert chance["deviations"] == {"other quick": pytest.approx(8 / 12)}  # and nobody minds
    text = (tmp_path / "old.md").read_text()
    assert text.startswith(f"above\n{report.BEGIN}\n")
    assert text.endswith(f"{report.END}\nbelow\n")
    assert "old\n" not in text
    assert all(line in text for line in lines)
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


def test_the_bars_and_their_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="the picture needs matplotlib").Figure
    from dzcore.cli.against.picture import draw

    drawn: list[object] = []
    monkeypatch.setattr(figure, "savefig", lambda self, *_, **__: drawn.append(self))
    draw([_contest(0.4)], "x.png")
    (axes,) = drawn[0].axes  # type: ignore[attr-defined]
    assert [bar.get_x() for bar in axes.patches] == [1, 1]  # faster to the left of it, slower to the right
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == pytest.approx([0.5, 2.0])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["sum: other", "sum: other quick"]
    assert axes.get_xscale() == "log"
    (mark,) = [line for line in axes.lines if line.get_marker() == "|"]
    assert list(mark.get_xdata()) == [0.4]


def test_a_wrong_result_is_told(dz: Dz, folder: Path) -> None:
    words = ["--table", folder, "--rows", "sum", "--quick", "--no-memory"]
    done = dz("bench", "--against", "wrong", *words)
    assert done.status == 1
    assert done.err == (
        "dz bench: warning: sum: wrong differs from dzcore by 9.9e-03 of the largest number; "
        "one of them computes something else\n"
    )
    (line,) = [line for line in done.out.splitlines() if line.startswith("| sums | wrong |")]
    assert "| differs |" in line
    assert "|  | other | " in done.out  # unasked, for the target is against it


def test_it_is_the_third_step_whose_result_counts(dz: Dz, folder: Path) -> None:
    file = folder / "in_wrong.py"
    file.write_text(file.read_text().replace("factor * numbers", "(factor if len(held) == 3 else 1.0) * numbers"))
    assert dz("bench", "--against", "wrong", "--table", folder, "--rows", "sum", "--quick", "--no-memory").status == 1


def test_everybody_has_a_folder(folder: Path, tmp_path: Path) -> None:
    row = Table(str(folder)).rows["sum"]
    first, second = (row.begin(quick, str(tmp_path)) for quick in (True, False))
    assert (first.size, second.size) == (2, 4)
    assert first.folder != second.folder
    assert first.folder.parent == second.folder.parent == tmp_path
    assert not list(first.folder.iterdir())


def test_processes_of_their_own(dz: Dz, folder: Path, tmp_path: Path) -> None:
    """The other one keeps 1 MB more at every step, which its memory has to show."""
    file = folder / "in_other.py"
    file.write_text(
        file.read_text()
        .replace("bytearray(1000)", 'bytearray(b"x") * 1_000_000')
        .replace("def about", "print('hello')\ndef about")
    )
    words = ["--against", "other", "--table", folder, "--rows", "sum", "--quick", "--json", "all.json"]
    done = dz("bench", *words)
    assert done.status == 0, done
    (row,) = json.loads((tmp_path / "all.json").read_text())["rows"]
    assert row["sizes"] == {"size": 2}
    assert {label: len(times) for label, times in row["seconds"].items()} == dict.fromkeys(row["seconds"], 3)
    assert row["ratios"].keys() == {"other", "other quick"}
    if Path("/proc/self/clear_refs").exists():
        memory = row["memory"]
        assert 14 <= memory["other"]["settled"] < 40  # fifteen steps, and not those of the tiny run before
        assert memory["dzcore"]["settled"] < 5
        assert memory["other"]["whole"] > memory["other"]["settled"]


def test_a_process_that_dies(folder: Path) -> None:
    file = folder / "in_other.py"
    file.write_text(file.read_text() + "\nraise SystemExit(3)\n")
    order = worker.Order(str(folder), "sum", "other", "other", True, 1, "numpy")
    with pytest.raises(DzcoreError, match="the process of other ended"):
        worker.Worker(order)


def test_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[int] = []
    monkeypatch.setattr(worker, "STATUS", tmp_path / "status")
    monkeypatch.setattr(worker, "CLEAR", tmp_path / "none" / "clear_refs")
    assert worker._status("VmRSS") is None
    assert worker._memory(lambda: calls.append(1), None) is None
    assert worker._memory(lambda: calls.append(1), 1.0) is None
    assert len(calls) == 2 * worker.SETTLING
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t  5000 kB\nVmRSS:\t  3000 kB\n")
    assert worker._status("VmRSS") == 3.0
    monkeypatch.setattr(worker, "CLEAR", tmp_path / "clear_refs")
    assert worker._memory(lambda: calls.append(1), 3.0) == (2.0, 5.0)
    assert (tmp_path / "clear_refs").read_text() == "5"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux confines a process to processors")
def test_threads_are_processors() -> None:
    before = os.sched_getaffinity(0)
    with confined(1) as threads:
        assert threads == len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    with confined(None) as threads:
        assert threads == len(before)
    with (
        pytest.raises(UsageError, match=f"--threads: 10000 is more than the {len(before)} processors"),
        confined(10000),
    ):
        pass


def test_rows_and_groups(folder: Path) -> None:
    table = Table(str(folder))
    assert [row.name for row in table.choose(None)] == ["sum", "chance"]
    assert [row.name for row in table.choose(["more", "sum"])] == ["sum", "own"]
    with pytest.raises(UsageError, match="--rows: 'sums' is none of table, sum, more, own, chance"):
        table.choose(["sums"])
    with pytest.raises(UsageError, match="'mine' has no file in_mine.py; there are absent, dzcore, other, wrong"):
        table.framework("mine", 1)
    assert "dz_table_rows" in sys.modules
    assert str(folder) not in sys.path


def test_a_row_with_nobody_to_compare_with(dz: Dz, folder: Path) -> None:
    done = dz("bench", "--against", "wrong", "--table", folder, "--rows", "own", "--quick", "--no-memory")
    assert (done.status, done.err) == (0, "own: nobody to compare with\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--against other --epochs 3", "argument --epochs: it is for a training; leave it out, or leave out --against"),
        ("--against other --hidden 3", "argument --hidden: it is for a training"),
        ("--rounds 3", "argument --rounds: it belongs to --against; give that too"),
        ("--quick", "argument --quick: it belongs to --against"),
        ("--markdown x.md", "argument --markdown: it belongs to --against"),
        ("--against other,", "argument --against: 'other,' is not a list of frameworks"),
        ("--against ../x", "argument --against: '../x' is not a list of frameworks"),
        ("--against other --rounds 0", "argument --rounds: '0' is not a whole number"),
        ("--against other --backends numpy,numpy", "argument --backends: with --against it is one"),
        ("--against other --markdown none/x.md", "argument --markdown: the folder"),
        ("--against other --json none/x.json", "argument --json: the folder"),
        ("--against other --table none", "argument --table: 'none' has no rows.py; name the folder benchmarks/table"),
    ],
)
def test_wrong_words(dz: Dz, words: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dz.fails("bench", *words.split())
    assert found.startswith("dz bench: ")
    assert message in found


REAL = """
import sys
from dzcore import backend
from dzcore.cli.against.contest import deviations
from dzcore.cli.against.table import Table

table = Table(sys.argv[1])
with backend.use_backend("numpy"):
    frameworks = {name: table.framework(name, 1) for name in ["dzcore", *sys.argv[2:]]}
    for row in table.choose(["table", "operations"]):
        for label, share in deviations(row, frameworks, quick=True).items():
            print(label.split()[0], "ok" if row.rtol is None or share <= row.rtol else f"{row.name} {share}")
"""


@pytest.mark.slow
def test_the_real_table_computes_the_same_everywhere() -> None:
    """Every row at tiny sizes, with those frameworks that are here.

    In a process of its own, which others' settings of threads, and what DeZero needs of NumPy, do not leave.
    """
    there = [name for name in ("torch", "dezero", "jax", "numpy", "safetensors") if find_spec(name) is not None]
    if "torch" not in there:
        pytest.skip("the table is against PyTorch, which is not installed")
    table = Path(__file__).parents[2] / "benchmarks" / "table"
    done = subprocess.run([sys.executable, "-c", REAL, str(table), *there], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.endswith(" ok")] == []
    for name in ("torch", "dezero", "jax"):
        assert name not in there or lines.count(f"{name} ok") >= 9


@pytest.mark.slow
def test_a_row_of_the_real_table() -> None:
    if find_spec("torch") is None:
        pytest.skip("the table is against PyTorch, which is not installed")
    words = ["--against", "torch", "--quick", "--rows", "overhead", "--threads", "1", "--backends", "numpy"]
    done = subprocess.run([*COMMAND, "bench", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("| 1,000 operations")]
    assert " | torch | " in line
