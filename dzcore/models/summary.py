"""What a model is made of, layer by layer, in the order in which its layers run."""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .. import random
from ..backend import current_backend
from ..graph import Parameter, Variable, as_variable, no_grad, test_mode
from ..graph.variable import DEFAULT_FLOAT
from ..layers import Layer
from ..layers.tree import named_layers, owner

__all__ = ["Row", "Summary", "as_input", "stand_in", "summarize", "variables"]

Form = tuple[tuple[int, ...], int]  # a shape, and bytes

HEAD = ("layer", "class", "output", "parameters", "memory", "output memory")


class Row(NamedTuple):
    """A layer: what came out of it at its first call, and the parameters that are its own and no earlier row's."""

    path: str
    kind: str  #: its class
    outputs: tuple[tuple[int, ...], ...] | None  #: shapes; None where the layer was not called
    parameters: int
    parameter_bytes: int
    output_bytes: int

    def cells(self) -> tuple[str, ...]:
        """Return the row as a table shows it."""
        shapes = "not called" if self.outputs is None else ", ".join(map(str, self.outputs))
        memory = _memory(self.parameter_bytes), _memory(self.output_bytes)
        return self.path or "(itself)", self.kind, shapes, f"{self.parameters:,}", *memory


class Summary:
    """The table of `Model.summary`: as data, `rows` and `total`; as text; and in a notebook as HTML."""

    def __init__(self, title: str, rows: list[Row]) -> None:
        self.title = title
        self.rows = rows
        self.total = Row(
            "total",
            "",
            (),
            sum(row.parameters for row in rows),
            sum(row.parameter_bytes for row in rows),
            sum(row.output_bytes for row in rows),
        )

    def cells(self) -> list[tuple[str, ...]]:
        """Return the lines of the table, the total last."""
        return [row.cells() for row in (*self.rows, self.total)]

    def __str__(self) -> str:
        lines = [HEAD, *self.cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = []
        for line in lines:
            cells = zip(line, widths, strict=True)
            texts.append("  ".join(f"{c:{w}}" if i < 3 else f"{c:>{w}}" for i, (c, w) in enumerate(cells)))
        rule = "-" * len(texts[0])
        return "\n".join([self.title, texts[0], rule, *texts[1:-1], rule, texts[-1]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from ..graph import notebook

        return notebook.table(self.title, HEAD, self.cells())


def summarize(model: Layer, *inputs: Any) -> Summary:
    """Run a copy of the model in test mode, and note what comes out of its layers: see `Model.summary`."""
    with stand_in(model) as twin, no_grad(), test_mode():
        layers = named_layers(twin)
        xs = [as_input(x, twin) for x in inputs]
        notes: dict[str, list[Form]] = {}  # in the order of the first calls
        for path, layer in layers.items():
            layer.forward = _noting(path, layer.forward, notes)  # type: ignore[method-assign]  # the copy's, not ours
        twin(*xs)
    own: dict[str, list[Parameter]] = {path: [] for path in layers}
    for path, param in twin.named_params():
        own[owner(path, layers)].append(param)
    parents = {parent for path in layers for parent in _parents(path)}
    shown = [path for path in notes if own[path] or path not in parents]
    shown += [path for path in layers if own[path] and path not in notes]
    rows = [_row(path, layers[path], notes.get(path), own[path]) for path in shown]
    about = ", ".join(f"{x.shape} {x.backend.dtype_name(x.dtype)}" for x in xs)
    return Summary(f"{type(model).__name__} on {about}", rows)


@contextmanager
def stand_in(model: Layer) -> Iterator[Layer]:
    """Lend a copy of a model to run, so that nothing changes: neither its state nor the default generator.

    The copy shares the parameters that have data. In it, layers without a size find theirs, and their weights are
    zeros, for normal numbers take time.
    """
    with random.blank(), random.use_generator(random.Generator(0)), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of values nobody will see
        yield copy.deepcopy(model, {id(param): param for param in model.params() if param._data is not None})


def as_input(x: Any, model: Layer) -> Variable:
    """Make an input of an array, or zeros of a shape, in the dtype and on the backend of the first parameter."""
    if not (isinstance(x, tuple) and all(isinstance(n, int) for n in x)):
        return as_variable(x)
    backend, dtype = current_backend(), DEFAULT_FLOAT
    for param in model.params():
        if param._data is not None:
            backend, dtype = param.backend, param.backend.dtype_name(param.dtype)
        elif param.lazy_dtype is not None:
            dtype = param.lazy_dtype
        break
    return Variable._of(backend.xp.zeros(x, dtype=backend.dtype(dtype), device=backend.device), backend, None)


def _noting(path: str, forward: Callable[..., Any], notes: dict[str, list[Form]]) -> Callable[..., Any]:
    """Return `forward`, which notes the shapes and sizes of what it returns the first time."""

    def noted(*inputs: Any, **options: Any) -> Any:
        y = forward(*inputs, **options)
        notes.setdefault(path, [(v.shape, _bytes(v)) for v in variables(y)])
        return y

    return noted


def _row(path: str, layer: Layer, outputs: list[Form] | None, params: list[Parameter]) -> Row:
    known = [param for param in params if param._data is not None]
    return Row(
        path,
        type(layer).__name__,
        None if outputs is None else tuple(shape for shape, _ in outputs),
        sum(param.size for param in known),
        sum(map(_bytes, known)),
        sum(size for _, size in outputs or ()),
    )


def _parents(path: str) -> list[str]:
    """Return the paths of everything that what is at `path` is a part of."""
    names = path.split("/") if path else []
    return ["/".join(names[:i]) for i in range(len(names))]


def variables(y: Any) -> Iterator[Variable]:
    """Yield the Variables in what a layer returned, in lists, tuples and dicts perhaps."""
    if isinstance(y, Variable):
        yield y
    elif isinstance(y, (list, tuple, dict)):
        for item in y.values() if isinstance(y, dict) else y:
            yield from variables(item)


def _bytes(x: Variable) -> int:
    bits = x.backend.dtype_name(x.dtype).lstrip("abcdefghijklmnopqrstuvwxyz")
    return x.size * (int(bits) // 8 if bits else 1)  # a bool takes one byte


def _memory(size: int) -> str:
    for unit, amount in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= amount:
            return f"{size / amount:.1f} {unit}"
    return f"{size} B"
