"""Pictures of the graph: what stands in them, and how they come into files."""

import copy
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
from dzcore import Function, Parameter, Variable
from dzcore.backend import Backend
from dzcore.errors import DzcoreError, GraphError
from dzcore.graph.dot import DRAWN_AT_ONCE, Dot, get_dot_graph, plot_dot_graph
from dzcore.graph.notebook import printable
from dzcore.testing import OPS, Op

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="needs graphviz")


class Read(NamedTuple):
    """A DOT text, taken apart: labels of values and operations by id, and arrows (from, to, options)."""

    values: dict[str, str]
    operations: dict[str, str]
    arrows: list[tuple[str, str, str]]

    def value(self, label: str) -> str:
        (found,) = [key for key, own in self.values.items() if own == label]
        return found

    def into(self, key: str) -> list[str]:
        return [start for start, end, _ in self.arrows if end == key]

    def maker(self, key: str) -> str:
        (found,) = self.into(key)
        return found

    def calls(self) -> list[str]:
        return sorted(self.operations.values())


def read(text: str) -> Read:
    """Read our DOT text, every line of which must be understood."""
    found = Read({}, {}, [])
    first, *lines, last = text.splitlines()
    assert (first, last) == ("digraph g {", "}")
    for line in lines:
        if line.startswith(("node [", "edge [")):
            continue
        if match := re.fullmatch(r'(\w+) \[label="((?:[^"\\]|\\.)*)"(, .*)?\]', line):
            key, label, rest = match.groups()
            assert key not in found.values | found.operations
            assert ("shape=box" in rest) is key.startswith("f")
            (found.operations if key.startswith("f") else found.values)[key] = label
        else:
            match = re.fullmatch(r"(\w+) -> (\w+)(?: \[(.*)\])?", line)
            assert match, line
            found.arrows.append((match[1], match[2], match[3] or ""))
    assert {key for start, end, _ in found.arrows for key in (start, end)} <= set(found.values | found.operations)
    return found


def named(data: Any, name: str, backend: Backend | None = None) -> Variable:
    return Variable(data, name, backend=backend)


# What stands in them ----------------------------------------------------------------------------------------------


def test_the_whole_text() -> None:
    x = named([[1.0, 2.0]], "x")
    y = F.tanh(x)
    y.name = "y"
    lines = get_dot_graph(y).splitlines()
    assert [line.partition(", fillcolor")[0] for line in lines if not line.startswith(("node", "edge"))] == [
        "digraph g {", 'v0 [label="x: (1, 2) float32"', 'v1 [label="y: (1, 2) float32"', 'f1 [label="tanh", shape=box',
        "v0 -> f1", "f1 -> v1", "}",
    ]  # fmt: skip


def test_names_alone_where_that_is_wanted() -> None:
    x = named([1.0], "x")
    graph = read(get_dot_graph(F.tanh(x * 2.0), verbose=False))
    assert list(graph.values.values()) == ["x", "", ""]
    assert {options for *_, options in graph.arrows} == {""}


def test_the_names_of_values_given_before_and_after_they_are_used() -> None:
    x = Variable([1.0])
    y = x * x
    z = F.exp(y)
    x.name, y.name, z.name = "x", "y", "z"
    graph = read(get_dot_graph(z, verbose=False))
    assert sorted(graph.values.values()) == ["x", "y", "z"]
    times = graph.maker(graph.value("y"))
    assert graph.operations[times] == "multiply"
    assert graph.into(times) == [graph.value("x")] * 2
    x.name = None
    assert "x" not in read(get_dot_graph(z, verbose=False)).values.values()


def test_a_name_stays_with_what_it_was_given_to() -> None:
    x = named([1.0], "x")
    y = F.exp(x)
    y.name = "y"
    other = y.alias()
    assert other.name == "y"
    other.name = "other"
    assert (y.name, y.alias().name) == ("y", "y")
    y.name = "y"
    y.unchain()
    assert read(get_dot_graph(y, verbose=False)).values == {"v0": "y"}
    twin = copy.deepcopy(named([1.0], "twin"))
    assert twin.name == "twin"
    assert '"twin"' in get_dot_graph(twin, verbose=False)
    assert Parameter(None, name="W").name == "W"
    assert dzcore.asarray([1]).name is None


def test_which_operand_is_which() -> None:
    a, b = named([1.0], "a"), named([2.0], "b")
    for y, expected in (
        (a / b, {"a": "x1", "b": "x2"}), (b / a, {"b": "x1", "a": "x2"}), (1 - a, {"a": "x2"}), (F.tanh(a), {"a": ""}),
    ):  # fmt: skip
        graph = read(get_dot_graph(y))
        found = {}
        for start, end, options in graph.arrows:
            if end.startswith("f"):
                label = re.search(r'label=" (\w+)"', options)
                found[graph.values[start][0]] = label[1] if label else ""
        assert found == expected


def test_what_was_broadcast_or_promoted_comes_by_a_dashed_arrow() -> None:
    row, column, same = Variable([[1.0, 2.0]]), Variable([[1.0], [2.0]]), Variable([[1.0, 2.0], [3.0, 4.0]])
    double = Variable([[1.0, 2.0]], dtype="float64")
    for y, dashed in ((row + column, 2), (row + same, 1), (same + same, 0), (row + double, 1), (row + 1.0, 0)):
        graph = read(get_dot_graph(y))
        assert sum("style=dashed" in options for *_, options in graph.arrows) == dashed
        assert graph.calls() == ["add"]


def test_constants_are_not_in_it() -> None:
    x = named([1.0], "x")
    with dzcore.no_grad():
        w = x * 2
    graph = read(get_dot_graph(x * dzcore.asarray([2.0]) + w + 3.0, verbose=False))
    assert sorted(graph.values.values()) == ["", "", "", "x"]
    assert graph.calls() == ["add", "add", "multiply"]


@pytest.mark.parametrize("data", [[1], [True]])
def test_what_has_no_graph_is_refused(data: list[Any]) -> None:
    with pytest.raises(GraphError, match=r"output 1 \(shape \(1,\), dtype .*\) has no graph"):
        get_dot_graph([Variable([1.0]), Variable(data)])


def test_several_outputs() -> None:
    x = named([1.0], "x")
    graph = read(get_dot_graph((F.sin(x), F.cos(x)), verbose=False))
    assert graph.calls() == ["cos", "sin"]
    assert len(graph.values) == 3


def test_other_names() -> None:
    w = Parameter([1.0], name="W")
    assert read(get_dot_graph(w * 2.0, names={"l1/W": w}, verbose=False)).values["v0"] == "l1/W"
    assert w.name == "W"
    get_dot_graph(w * 2.0, names={"t": dzcore.asarray([1])})  # what is not in the graph does no harm


class Halves(Function):
    calls = 0

    def forward(self, x: Any, n: Any) -> Any:
        return x[:1], x[1:], n

    def backward(self, *gys: Any) -> Any:
        type(self).calls += 1
        raise AssertionError("drawing does not call it")


def test_a_function_of_ones_own(backend: Backend) -> None:
    x = named([1.0, 2.0, 3.0], "x")
    h = -x
    h.name = "h"
    a, b, n = Halves()(h, Variable([1, 2]))
    a.name, b.name = "a", "b"
    graph = read(get_dot_graph(F.sum(b)))
    assert n.node is None
    assert graph.calls() == ["Halves", "negative", "sum"]
    call = graph.maker(graph.value("b: (2,) float32"))
    assert graph.operations[call] == "Halves"
    assert graph.into(call) == [graph.value("h: (3,) float32")]
    both = read(get_dot_graph([a, b]))
    assert both.maker(both.value("a: (1,) float32")) == both.maker(both.value("b: (2,) float32"))


def test_a_move_to_another_backend(strict: str) -> None:
    x = named([1.0, 2.0], "x", backend="numpy")
    y = F.exp(-((-x).to(strict)))
    graph = read(get_dot_graph(y))
    assert graph.calls() == ["exp", "negative", "negative", "to strict"]
    assert set(graph.values.values()) == {"x: (2,) float32", "(2,) float32"}


@pytest.mark.parametrize("order", range(1, 9))
def test_the_derivatives_of_tanh(order: int) -> None:
    x = named(1.0, "x")
    y = F.tanh(x)
    y.name = "y"
    gx = y
    for _ in range(order):
        (gx,) = dzcore.grad(gx, x, create_graph=True)
    gx.name = f"gx{order}"
    graph = read(get_dot_graph(gx, verbose=False))
    assert [label for label in graph.values.values() if label] == ["x", "y", f"gx{order}"]
    assert graph.operations[graph.maker(graph.value("y"))] == "tanh"
    assert set(graph.calls()) <= {"tanh", "multiply", "add", "subtract", "negative"}
    assert [key for key in graph.values if not graph.into(key)] == [graph.value("x")]
    verbose = read(get_dot_graph(gx))
    assert all(label.endswith("() float32") for label in verbose.values.values())


def test_a_graph_that_was_cut() -> None:
    x = named([1.0], "x")
    y = x * x
    z = F.sin(y) * 2.0
    y.unchain_backward()
    graph = read(get_dot_graph(z))
    assert graph.calls() == ["multiply", "sin"]
    z.unchain_backward()
    assert read(get_dot_graph(z)) == Read({"v0": "(1,) float32"}, {}, [])


def test_the_same_graph_gives_the_same_text() -> None:
    def build() -> Dot:
        x, y = named([1.0, 2.0], "x"), named([3.0, 4.0], "y")
        (gx,) = dzcore.grad(F.sum(x * F.exp(y) / x), x, create_graph=True)
        return get_dot_graph(gx * y)

    first = build()
    assert build() == first


@pytest.mark.parametrize("op", [op for op in OPS if op.order], ids=str)
def test_shapes_and_dtypes_of_every_operation(op: Op, numpy_backend: Backend) -> None:
    """A negation keeps nothing, so what is known of its result the next operation must tell; gradients likewise."""
    xs = op.draw(numpy_backend, "float32")
    expected, inputs = {}, []
    for i, x in enumerate(xs):
        if x.requires_grad:
            x = F.negative(-x)
            x.name = f"h{i}"
            expected[x.name] = f"{x.shape} float32"
        inputs.append(x)
    ys = op.call(dzcore, *inputs)
    ys = [y for y in (ys if isinstance(ys, tuple | list) else [ys]) if y.requires_grad]
    grads = dzcore.grad(ys, [x for x in xs if x.requires_grad], create_graph=True, allow_unused=True)
    roots = [*ys, *(g for g in grads if g is not None and g.requires_grad)]
    for labels in (read(get_dot_graph(ys)).values.values(), read(get_dot_graph(roots)).values.values()):
        assert all(re.search(r"(^|: )\([\d, ]*\) float\d\d$", label) for label in labels)
        found = dict(label.split(": ") for label in labels if ": " in label)
        assert found == {name: form for name, form in expected.items() if name in found}
    assert found


def test_shapes_and_dtypes_on_every_backend(backend: Backend) -> None:
    x = named([[1.0, 2.0]], "x")
    h = F.sum(-x, axis=0)
    h.name = "h"
    y = h.astype("float64") + Variable([[1.0], [2.0], [3.0]])
    (gx,) = dzcore.grad(y * y, x, create_graph=True, grad_outputs=[1.0])
    labels = read(get_dot_graph(gx)).values.values()
    assert {"x: (1, 2) float32", "h: (2,) float32", "(3, 2) float64"} <= set(labels)
    assert all("float" in label for label in labels)


def test_drawing_changes_nothing_and_warns_of_nothing() -> None:
    x = Variable([0.0, 1.0])
    with pytest.warns(RuntimeWarning):
        y = 1.0 / x
    z = 1.0 / F.sum(y / -x)
    before = [node.grad for node in (x.node, y.node)]
    graph = get_dot_graph(z)
    assert [node.grad for node in (x.node, y.node)] == before == [None, None]
    assert get_dot_graph(z) == graph


def test_a_graph_of_100_000_operations() -> None:
    y = x = Variable([1.0])
    for _ in range(50_000):
        y = -(y + x)
    graph = get_dot_graph(y)
    assert graph.count("shape=box") == 100_000
    assert graph._repr_svg_() is None  # would take dot for ever


# Names of all kinds -----------------------------------------------------------------------------------------------

NASTY = [
    'a"b',
    "back\\slash",
    "\\",
    "\\n",
    "two\nlines",
    "æ漢🙂",
    "&amp; &",
    "<b>",
    "a -> b; c [x=1]",
    "nul\0",
    "\ud800",
    "]",
]


@given(st.text(min_size=1))
def test_any_name_can_be_taken_back_from_the_text(name: str) -> None:
    (label,) = read(get_dot_graph(named([1.0], name), verbose=False)).values.values()
    unescaped = re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], label)
    assert unescaped.replace("&amp;", "&") == printable(name)


@needs_dot
def test_names_survive_graphviz() -> None:
    svg = get_dot_graph([named([1.0], name) for name in NASTY], verbose=False)._repr_svg_()
    assert svg is not None
    texts = [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    expected = [line for name in NASTY for line in printable(name).split("\n")]
    assert sorted((text or "").replace("\xa0", " ") for text in texts) == sorted(expected)


# Files ------------------------------------------------------------------------------------------------------------


def test_the_graph_is_a_string() -> None:
    graph = get_dot_graph(Variable([1.0]))
    assert isinstance(graph, str)
    assert graph == str(graph)
    assert graph.startswith("digraph g {\n")
    assert graph.endswith("}\n")


@pytest.mark.parametrize("suffix", ["dot", "gv"])
def test_the_text_needs_no_program(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    graph = plot_dot_graph(named([1.0], "é"), to_file=tmp_path / f"graph.{suffix}")
    assert (tmp_path / f"graph.{suffix}").read_text("utf-8") == graph
    assert graph._repr_svg_() is None


def test_a_missing_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DzcoreError, match=r"'dot' was not found; install graphviz .* to_file='graph.dot'"):
        plot_dot_graph(Variable([1.0]), to_file=tmp_path / "graph.png")
    assert not list(tmp_path.iterdir())


@needs_dot
@pytest.mark.parametrize(
    ("suffix", "begin"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")]
)
def test_pictures(suffix: str, begin: bytes, tmp_path: Path) -> None:
    file = tmp_path / f"a; $(b) 'c'.{suffix}"
    graph = plot_dot_graph(F.tanh(Variable([1.0])), to_file=str(file))
    assert file.read_bytes().startswith(begin)
    assert graph == get_dot_graph(F.tanh(Variable([1.0])))
    assert list(tmp_path.iterdir()) == [file]


@needs_dot
def test_it_draws_itself_in_a_notebook() -> None:
    svg = get_dot_graph(F.tanh(named([1.0], "x")))._repr_svg_()
    assert svg is not None
    texts = [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"x: (1,) float32", "tanh"} <= set(texts)
    assert Dot("digraph g {\n" + "\n" * DRAWN_AT_ONCE + "}")._repr_svg_() is None


@needs_dot
def test_an_unknown_kind_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "graph.xyz"
    file.write_text("old")
    with pytest.raises(DzcoreError, match="dot failed for the kind 'xyz': Format"):
        plot_dot_graph(Variable([1.0]), to_file=file)
    assert file.read_text() == "old"


def test_a_file_without_a_suffix() -> None:
    with pytest.raises(ValueError, match=r"to_file='graph' has no suffix; give .svg"):
        plot_dot_graph(Variable([1.0]), to_file="graph")
