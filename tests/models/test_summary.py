"""Model.summary, Model.plot and what a notebook shows of layers: right numbers, and nothing of the model changed."""

import shutil
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Model, Parameter, Variable, random
from dzcore.backend import Backend
from dzcore.models import MLP, Sequential
from dzcore.models.summary import Row
from dzcore.testing import values


class Net(Model):
    """Lists, a layer under two names, a shared parameter, a parameter of its own, and a layer that is never called."""

    def __init__(self) -> None:
        self.blocks = [L.Linear(5), L.Linear(5, in_size=5)]
        self.again = self.blocks[1]
        self.idle = L.Linear(2, in_size=3)
        self.last = L.Linear(5, in_size=5)
        self.last.W = self.blocks[1].W
        self.scale = Parameter([2.0])
        self.drop = L.Dropout(0.5)
        self.calls = 0

    def forward(self, x: Any) -> Variable:
        self.calls += 1
        for layer in (*self.blocks, self.again, self.drop, self.last):
            x = F.relu(layer(x))
        return x * self.scale


def state(model: Model) -> list[Any]:
    return [(path, None if p._data is None else values(p)) for path, p in model.named_state()]


# The summary ------------------------------------------------------------------------------------------------------


def test_the_rows() -> None:
    rows = Net().summary((2, 3)).rows
    assert rows == [
        Row("blocks/0", "Linear", ((2, 5),), 20, 80, 40),
        Row("blocks/1", "Linear", ((2, 5),), 30, 120, 40),
        Row("drop", "Dropout", ((2, 5),), 0, 0, 40),
        Row("last", "Linear", ((2, 5),), 5, 20, 40),  # its matrix is that of blocks/1
        Row("", "Net", ((2, 5),), 1, 4, 40),
        Row("idle", "Linear", None, 8, 32, 0),
    ]


def test_the_totals() -> None:
    summary = Net().summary((2, 3))
    model = Net()
    model(np.zeros((2, 3), np.float32))
    assert summary.total.parameters == sum(p.size for p in model.params()) == 64
    assert summary.total == Row("total", "", (), 64, 256, 200)


def test_the_table() -> None:
    model = MLP((1000, 10), in_size=784)
    lines = str(model.summary((100, 784))).splitlines()
    assert lines[0] == "MLP on (100, 784) float32"
    assert [line.split() for line in lines[1:]] == [
        ["layer", "class", "output", "parameters", "memory", "output", "memory"],
        ["-" * len(lines[1])],
        ["l0", "Linear", "(100,", "1000)", "785,000", "3.1", "MB", "400.0", "kB"],
        ["l1", "Linear", "(100,", "10)", "10,010", "40.0", "kB", "4.0", "kB"],
        ["-" * len(lines[1])],
        ["total", "795,010", "3.2", "MB", "404.0", "kB"],
    ]
    assert len({len(line) for line in lines[1:]}) == 1
    assert repr(model.summary((100, 784))) == "\n".join(lines)


def test_the_units_of_memory() -> None:
    sizes = {n: str(MLP((1,), in_size=n).summary((1, n))).splitlines()[-1].split()[2:4] for n in (1, 248, 249, 249_999)}
    assert sizes == {1: ["8", "B"], 248: ["996", "B"], 249: ["1.0", "kB"], 249_999: ["1.0", "MB"]}
    assert Row("", "", (), 0, 10**9, 0).cells()[4] == "1.0 GB"


@pytest.mark.parametrize(
    ("dtype", "expected"), [("bool", 2), ("int64", 16), ("uint8", 2), ("float16", 4), ("float32", 8), ("float64", 16)]
)
def test_the_bytes_of_dtypes(dtype: str, expected: int) -> None:
    x = np.zeros((2,), dtype)
    (row,) = Sequential(lambda x: dzcore.asarray(x)).summary(x).rows
    assert row.output_bytes == expected
    assert Sequential(lambda x: x).summary(x).title == f"Sequential on (2,) {dtype}"


def test_layers_in_order_of_execution() -> None:
    class Backwards(Model):
        def __init__(self) -> None:
            self.a, self.b = L.Linear(2), L.Linear(3)

        def forward(self, x: Any) -> Any:
            return self.a(self.b(x))

    assert [row.path for row in Backwards().summary((1, 4)).rows] == ["b", "a"]


def test_the_first_call_counts() -> None:
    class Twice(Model):
        def __init__(self) -> None:
            self.drop = L.Dropout()

        def forward(self, x: Any) -> Any:
            return self.drop(F.sum(self.drop(x)))

    assert [row.outputs for row in Twice().summary((2, 3)).rows] == [((2, 3),)]


def test_weights_are_not_copied() -> None:
    seen = []

    class Looks(Model):
        def __init__(self) -> None:
            self.W = Parameter([1.0])

        def forward(self, x: Any) -> Any:
            seen.append(self.W)
            return x * self.W

    model = Looks()
    model.summary((1,))
    assert seen[0] is model.W
    assert len(seen) == 1


def test_a_model_of_functions_alone() -> None:
    summary = Sequential(F.relu).summary((2, 3))
    assert summary.rows == [Row("", "Sequential", ((2, 3),), 0, 0, 24)]
    assert "(itself)  Sequential" in str(summary)
    assert Sequential(Sequential()).summary((2,)).rows == [Row("l0", "Sequential", ((2,),), 0, 0, 8)]


def test_several_inputs_and_outputs() -> None:
    class Two(L.Layer):
        def forward(self, x: Any, y: Any) -> Any:
            return {"a": x + y, "b": [x, (y, None)]}

    class Both(Model):
        def __init__(self) -> None:
            self.two = Two()

        def forward(self, x: Any, y: Any) -> Any:
            return self.two(x, y)

    (row,) = Both().summary((2, 1), np.zeros((1, 3))).rows
    assert row.outputs == ((2, 3), (2, 1), (1, 3))
    assert row.cells()[2] == "(2, 3), (2, 1), (1, 3)"
    assert Both().summary((2, 1), np.zeros((1, 3))).title == "Both on (2, 1) float32, (1, 3) float64"


def test_inputs_of_the_models_dtype_and_backend(backend: Backend) -> None:
    for in_size in (4, None):
        model = Sequential(L.Linear(3, dtype="float64", in_size=in_size))
        assert model.summary((2, 4)).title == "Sequential on (2, 4) float64"
    model = MLP((3,), in_size=4).to("numpy")
    assert isinstance(model, MLP)
    assert model.summary((2, 4)).rows[0].outputs == ((2, 3),)
    assert MLP((3,)).summary(dzcore.asarray([[1.0, 2.0]], backend="numpy")).total.parameters == 9


# Nothing changes --------------------------------------------------------------------------------------------------


def summarize(model: Model, folder: Path) -> None:
    model.summary((2, 3))


def plot(model: Model, folder: Path) -> None:
    model.plot((2, 3), to_file=folder / "model.dot")


@pytest.mark.parametrize("see", [summarize, plot])
def test_nothing_changes(see: Callable[[Model, Path], None], tmp_path: Path, backend: Backend) -> None:
    model = Sequential(L.Linear(4), L.BatchNorm(), L.Dropout(0.5), L.RNN(4), Net())
    for lazy in (True, False):
        before, stream = state(model), random.get_state()
        attributes = [vars(layer).copy() for layer in (model, *model.layers)]  # type: ignore[arg-type]
        see(model, tmp_path)
        assert state(model) == before
        assert random.get_state() == stream
        assert [vars(layer) for layer in (model, *model.layers)] == attributes  # type: ignore[arg-type]
        assert all(p.grad is None for p in model.params())
        if lazy:
            assert model.l0.W._data is None  # type: ignore[attr-defined]
            model(dzcore.ones((2, 3)))


def test_the_mode_of_the_run(tmp_path: Path) -> None:
    seen: list[tuple[bool, bool]] = []

    class Spy(Model):
        def forward(self, x: Any) -> Any:
            seen.append((dzcore.Config.train, dzcore.Config.enable_backprop))
            return F.exp(Variable(x))

    Spy().summary((1,))
    with dzcore.test_mode(), dzcore.no_grad():
        Spy().plot((1,), to_file=tmp_path / "model.dot")
    Spy().plot((1,), to_file=tmp_path / "model.dot")
    assert seen == [(False, False), (False, True), (True, True)]


def test_weights_are_not_drawn(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(backend), "random_bits", lambda *_: pytest.fail("it takes long for large layers"))
    assert MLP((3, 2)).summary((1, 4)).total.parameters == 23


def test_another_thread_draws_on_in_the_meantime() -> None:
    """No number is given out twice."""
    drawn = []

    class Spy(Model):
        def forward(self, x: Any) -> Any:
            thread = threading.Thread(target=lambda: drawn.append(int(random.bits(1)[0])))
            thread.start()
            thread.join()
            return F.exp(Variable(x))

    Spy().summary((1,))
    assert drawn != [int(random.bits(1)[0])]


def test_values_of_no_importance_cause_no_warnings(tmp_path: Path) -> None:
    def log(x: Any) -> Variable:
        """Call NumPy's own, which warns with and without compiled loops."""
        np.log(x.data)
        return F.log(x)

    model = Sequential(log, F.reciprocal)
    assert model.summary((3,)).rows[0].outputs == ((3,),)
    assert "reciprocal" in model.plot((3,), to_file=tmp_path / "model.dot")
    with pytest.warns(RuntimeWarning, match="log"):
        model(Variable(np.zeros(3)))


def test_after_an_error_all_is_as_before() -> None:
    model = MLP((3,), in_size=3)
    stream = random.get_state()
    with pytest.raises(ValueError, match="matmul|shape|size"):
        model.summary((2, 4))
    assert random.get_state() == stream
    assert "forward" not in vars(model)
    assert np.any(np.asarray(random.normal((9,)))), "drawing is back"


# The plot ---------------------------------------------------------------------------------------------------------


def test_plot_names_parameters_by_their_paths(tmp_path: Path) -> None:
    graph = MLP((4, 2)).plot(np.zeros((1, 3), np.float32), to_file=tmp_path / "model.dot")
    for label in ("x: (1, 3) float32", "l0/W: (3, 4) float32", "l0/b: (4,) float32", "l1/W: (4, 2) float32"):
        assert f'label="{label}"' in graph
    assert (tmp_path / "model.dot").read_text() == graph


def test_plot_in_the_present_mode(tmp_path: Path) -> None:
    model = Sequential(L.Linear(2), L.Dropout(0.5))
    assert 'label="dropout"' in model.plot((1, 3), to_file=tmp_path / "model.dot")
    with dzcore.test_mode(), dzcore.no_grad():
        graph = model.plot((1, 3), to_file=tmp_path / "model.dot")
    assert "dropout" not in graph
    assert "l0/W" in graph


def test_plot_of_several_inputs_and_outputs(tmp_path: Path) -> None:
    class Two(Model):
        def forward(self, x: Any, y: Any, z: Any, n: Any) -> Any:
            return F.sin(x), [F.cos(y * z)], n

    named = Variable([1.0], name="mine")
    graph = Two().plot((1,), (1,), named, [1], verbose=False, to_file=tmp_path / "model.dot")
    for label in ("x", "x1", "mine", "sin", "cos"):
        assert f'label="{label}"' in graph


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs graphviz")
def test_plot_draws_model_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    MLP((4, 2)).plot((1, 3))
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")


# In a notebook ----------------------------------------------------------------------------------------------------


def cells(html: str) -> tuple[str, list[list[str]]]:
    table = ET.fromstring(html)
    return table.findtext("caption") or "", [[cell.text or "" for cell in row] for row in table.iter("tr")]


def test_a_layer(backend: Backend) -> None:
    model = Net()
    assert ["blocks/0/W", "parameter of Linear", "not known yet", "float32", ""] in cells(model._repr_html_())[1]
    model(dzcore.ones((1, 3)))
    caption, rows = cells(model._repr_html_())
    assert caption == "Net"
    assert rows == [
        ["path", "kind", "shape", "dtype", "numbers"],
        ["blocks/0/W", "parameter of Linear", "(3, 5)", "float32", "15"],
        ["blocks/0/b", "parameter of Linear", "(5,)", "float32", "5"],
        ["blocks/1/W", "parameter of Linear", "(5, 5)", "float32", "25"],
        ["blocks/1/b", "parameter of Linear", "(5,)", "float32", "5"],
        ["idle/W", "parameter of Linear", "(3, 2)", "float32", "6"],
        ["idle/b", "parameter of Linear", "(2,)", "float32", "2"],
        ["last/b", "parameter of Linear", "(5,)", "float32", "5"],
        ["scale", "parameter of Net", "(1,)", "float32", "1"],
        ["parameters", "", "", "", "64"],
    ]


def test_buffers_are_no_parameters() -> None:
    _, rows = cells(L.BatchNorm(3)._repr_html_())
    assert ["avg_mean", "buffer of BatchNorm", "(3,)", "float32", "3"] in rows
    assert rows[-1][-1] == "6"


def test_parameters_in_lists_of_lists() -> None:
    model = Sequential()
    model.deep = [[Parameter([1.0])]]  # type: ignore[attr-defined]
    assert ["deep/0/0", "parameter of Sequential", "(1,)", "float32", "1"] in cells(model._repr_html_())[1]


def test_names_of_layers_are_escaped() -> None:
    model = Sequential()
    model.blocks = {"<b>&": L.Linear(1, in_size=1)}  # type: ignore[attr-defined]
    assert "blocks/<b>&/W" in [row[0] for row in cells(model._repr_html_())[1]]


def test_a_summary() -> None:
    caption, rows = cells(MLP((2,)).summary((1, 3))._repr_html_())
    assert caption == "MLP on (1, 3) float32"
    assert rows[1:] == [["l0", "Linear", "(1, 2)", "8", "32 B", "8 B"], ["total", "", "", "8", "32 B", "8 B"]]
