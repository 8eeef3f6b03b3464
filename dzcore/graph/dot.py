"""Pictures of the graph: as DOT, the language of graphviz, and drawn by its program `dot`.

Boxes are operations, ellipses are values. What carries no gradient (data given as plain arrays, numbers, what was
computed under `no_grad`) has no place in the graph, and none in the picture. A dashed arrow is an operand that was
broadcast or promoted on its way.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import DzcoreError, GraphError
from ..io import atomic_write
from .engine import reachable
from .function import Call
from .node import FREED, Fit, Leaf, Node, Part, Value
from .notebook import printable
from .transfer import Move
from .variable import Variable

__all__ = ["Dot", "get_dot_graph", "plot_dot_graph"]

Forms = dict[Value, tuple[tuple[int, ...], Any]]

HEAD = """\
digraph g {
node [style=filled, fontname="Helvetica", fontsize=11, height=0.3, color="#00000040"]
edge [fontname="Helvetica", fontsize=9, fontcolor="#808080", color="#606060", arrowsize=0.6]"""
GIVEN, COMPUTED, OPERATION = "#cde8b5", "#fde0b0", "#cfe0f5"  # green, orange, blue

#: A notebook draws no graph of more lines by itself: `dot` would take minutes.
DRAWN_AT_ONCE = 3000


class Dot(str):
    """A graph as DOT text, which draws itself in a notebook if graphviz is there and the graph is of moderate size."""

    __slots__ = ()

    def draw(self, kind: str) -> bytes:
        """Draw it with graphviz, as "svg", "png", "pdf" or whatever `dot -T` takes.

        Raises:
            DzcoreError: the program `dot` is missing, or does not know this kind.
        """
        import subprocess

        command = ["dot", f"-T{kind}"]
        try:
            done = subprocess.run(command, input=self.encode(), capture_output=True, check=False)
        except FileNotFoundError:
            raise DzcoreError(
                "the program 'dot' was not found; install graphviz (apt install graphviz, brew install graphviz), "
                "or take the text: to_file='graph.dot'"
            ) from None
        if done.returncode:
            raise DzcoreError(f"dot failed for the kind {kind!r}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def _repr_svg_(self) -> str | None:
        if self.count("\n") > DRAWN_AT_ONCE:
            return None
        try:
            return self.draw("svg").decode()
        except DzcoreError:
            return None


def get_dot_graph(
    output: Variable | Sequence[Variable], verbose: bool = True, *, names: Mapping[str, Variable] | None = None
) -> Dot:
    """Return the graph that ends in `output`, one Variable or several, as DOT text.

    Values show their `name`; with `verbose` shapes and dtypes as well, and operations the names of their operands.
    `names` gives others, such as `dict(model.named_params())`. The same graph gives the same text.

    Raises:
        GraphError: an output has no graph.
    """
    outputs = [output] if isinstance(output, Variable) else list(output)
    for i, y in enumerate(outputs):
        if y.node is None:
            raise GraphError(
                f"output {i} (shape {y.shape}, dtype {y.dtype}) has no graph: it was computed from no Variable with a "
                f"gradient, or under no_grad()"
            )
    values = sorted(reachable(y.node for y in outputs if y.node is not None), key=lambda value: -value.order)
    labels = {value: getattr(value, "label", None) or "" for value in values}
    labels.update((x.node, name) for name, x in (names or {}).items() if x.node is not None)
    if verbose:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of 0 · inf, in gradients that nobody will see
            forms = _forms(values, outputs)
        for value, (shape, dtype) in forms.items():
            form = f"{shape} {value.backend.dtype_name(dtype)}"  # type: ignore[attr-defined]  # calls have none, and no form
            labels[value] = f"{labels[value]}: {form}" if labels[value] else form
    ids = {value: i for i, value in enumerate(value for value in values if not isinstance(value, Fit))}
    lines = [line for value in ids for line in _lines(value, labels[value], ids, verbose)]
    return Dot("\n".join([HEAD, *lines, "}\n"]))


def plot_dot_graph(
    output: Variable | Sequence[Variable],
    verbose: bool = True,
    to_file: str | os.PathLike[str] = "graph.png",
    *,
    names: Mapping[str, Variable] | None = None,
) -> Dot:
    """Draw the graph that ends in `output` into a file, by its suffix: .svg, .png, .pdf, or the text itself as .dot.

    All but the text needs graphviz. Returns the graph, which a notebook shows.
    """
    kind = os.path.splitext(to_file)[1].lstrip(".").lower()
    if not kind:
        raise ValueError(f"to_file={os.fspath(to_file)!r} has no suffix; give .svg, .png, .pdf, or .dot for text")
    graph = get_dot_graph(output, verbose, names=names)
    content = graph.encode() if kind in ("dot", "gv") else graph.draw(kind)
    with atomic_write(to_file) as file:
        file.write(content)
    return graph


def _lines(value: Value, label: str, ids: Mapping[Value, int], verbose: bool) -> Iterator[str]:
    """Say in DOT what a value is, and what it was computed from."""
    i = ids[value]
    if not isinstance(value, Call):
        color = COMPUTED if value.edges else GIVEN
        small = "" if label else ", width=0.3"
        yield f'v{i} [label="{_escaped(label)}", fillcolor="{color}"{small}]'
    if isinstance(value, Part):
        yield from (f"f{ids[call]} -> v{i}" for call in value.edges)
    elif value.edges:
        name = f"to {value.backend}" if isinstance(value, Move) else value.name
        yield f'f{i} [label="{_escaped(name)}", shape=box, fillcolor="{OPERATION}"]'
        operands = value.plan.operands if isinstance(value, Node) and verbose else [""] * len(value.edges)
        for edge, operand in zip(value.edges, operands, strict=True):
            source = edge.edges[0] if isinstance(edge, Fit) else edge
            options = ["style=dashed"] * (source is not edge) + [f'label=" {_escaped(operand)}"'] * bool(operand)
            yield f"v{ids[source]} -> f{i}" + (f" [{', '.join(options)}]" if options else "")
        if not isinstance(value, Call):
            yield f"f{i} -> v{i}"


def _escaped(text: str) -> str:
    """Write a text between the quotes of a DOT label: backslashes begin escapes there, and ampersands entities."""
    shown = printable(text)
    for old, new in (("\\", "\\\\"), ('"', '\\"'), ("&", "&amp;"), ("\n", "\\n")):
        shown = shown.replace(old, new)
    return shown


def _forms(values: Sequence[Value], outputs: Sequence[Variable]) -> Forms:
    """Find the shapes and dtypes of values, which the graph does not keep, given in the order of their creation.

    What was saved for the backward pass tells most of them. Where it does not, a gradient does: it has the shape and
    dtype of its value, so zeros are sent one step back. The code of a user's Function is not called. A graph that
    `backward` has freed tells nothing of what is in its middle.
    """
    forms: Forms = {y.node: (y.shape, y.dtype) for y in outputs if y.node is not None}
    for value in reversed(values):  # a value comes after all that was computed from it
        if isinstance(value, Leaf):
            forms[value] = tuple(value.shape), value.dtype
        elif isinstance(value, Fit):
            forms.update((edge, (tuple(value.shape), value.dtype)) for edge in value.edges)
        elif isinstance(value, Move) and value in forms:
            shape, dtype = forms[value]
            form = shape, value.source.dtype(value.backend.dtype_name(dtype))
            forms.update((edge, form) for edge in value.edges)
        elif isinstance(value, Call) and value.results is not FREED:
            inputs = (value.function.inputs[i] for i in value.positions)
            forms.update((edge, (x.shape, x.dtype)) for edge, x in zip(value.edges, inputs, strict=False))
        elif isinstance(value, Node) and value.edges and value in forms and value.saved is not FREED:
            forms |= _operands(value, forms)
    return forms


def _operands(node: Node, forms: Forms) -> Forms:
    found = {
        node.edges[link]: (tuple(array.shape), array.dtype)
        for link, array in zip(node.plan.links, node.saved, strict=True)
        if isinstance(link, int)
    }
    missing = {edge for edge in node.edges if not (edge in forms or edge in found or isinstance(edge, (Fit, Leaf)))}
    if missing:
        shape, dtype = forms[node]
        zeros = node.backend.xp.zeros(shape, dtype=dtype, device=node.backend.device)
        pairs = zip(node.edges, node.pull(zeros, False, missing), strict=True)
        found |= {edge: (tuple(gx.shape), gx.dtype) for edge, gx in pairs if edge in missing and gx is not None}
    return found
