"""The backward pass: one sweep over the graph in reverse order of creation."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any

from ..backend import Backend, backend_of
from ..errors import GraphError
from .modes import recording, using_config
from .node import FREED, Leaf, Node, Value, refuse
from .variable import Variable, as_variable, is_scalar

__all__ = ["backward", "grad", "reachable"]


def sweep(
    seeds: Iterable[tuple[Value, Any]],
    create_graph: bool,
    needed: set[Value] | None = None,
    watch: Collection[Value] | None = (),
    free: bool = False,
) -> Iterator[tuple[Value, Any]]:
    """Yield every leaf that the seeds were computed from, and what is in `watch` (None: all), once, with its gradient.

    Gradients are raw arrays, or Variables with `create_graph`. Only values in `needed` are visited, if given. With
    `free` each lets go of what it kept when it has been visited.
    The table of pending gradients is keyed by creation number, which counts down; the smallest is always complete,
    since whoever used a value was created after it.
    """
    table: dict[int, list[Any]] = {}  # the value, its gradient, and whether that was added up here, for nobody else
    heap: list[int] = []
    simple = Node if watch is not None and not create_graph else None  # the class of nearly all
    seeds = list(seeds)
    edges: Sequence[Value] = [value for value, _ in seeds]
    gxs: Sequence[Any] = [g for _, g in seeds]
    while True:
        if len(edges) == 1 and (not heap or edges[0].order < heap[0]) and gxs[0] is not None:
            value, gy = edges[0], gxs[0]  # in a chain the next one is known, and complete
        else:
            i = 0
            for g in gxs:
                value = edges[i]
                i += 1
                if g is None:
                    continue
                key = value.order
                pending = table.get(key)
                if pending is None:
                    table[key] = [value, g, False]
                    heappush(heap, key)
                    continue
                old = pending[1]
                if old.shape != g.shape or old.dtype != g.dtype:
                    raise _disagreement(value, old, g)
                if pending[2]:
                    old += g  # a new one where it is immutable, as Variables are
                    pending[1] = old
                else:
                    pending[1] = old + g
                    pending[2] = True
            gxs = g = old = None  # type: ignore[assignment]  # what was added up need not live on
            if not heap:
                break
            value, gy, _ = table.pop(heappop(heap))
        edges = value.edges
        whole = needed is None or needed.issuperset(edges)  # whether the gradients of all edges are wanted
        if value.__class__ is simple and edges and whole and value not in watch:  # type: ignore[operator]  # not None
            if value.saved is FREED:
                refuse()
            gxs = value.plan.pull(value.backend.ops, gy, value.saved)
            if free:
                value.saved = FREED
            continue
        if not edges or watch is None or value in watch:
            yield value, gy
        gxs = value.pull(gy, create_graph, None if whole else needed) if edges else ()
        if free:
            value.free()
        if needed is not None and not whole:
            gxs = [g if edge in needed else None for edge, g in zip(edges, gxs, strict=True)]


def _disagreement(value: Value, old: Any, new: Any) -> GraphError:
    """Broadcasting in the addition of two gradients would hide a wrong rule."""
    return GraphError(
        f"two gradients of one {value.name} disagree: shape {old.shape}, dtype {old.dtype}, "
        f"and shape {new.shape}, dtype {new.dtype}"
    )


def _check_backend(g: Any, backend: Backend) -> None:
    """Raise if a gradient came out elsewhere than on the backend of its value, which has moved since."""
    own = g.backend if isinstance(g, Variable) else backend if backend.owns(g) else backend_of(g)
    if own is not backend:
        raise GraphError(f"a gradient on {own} came out for a value that is on {backend}; compute the loss anew")


def backward(y: Variable, retain_grad: bool = False, create_graph: bool = False, *, retain_graph: bool = False) -> None:
    """Add the gradient of `y` to `grad` of every leaf that it was computed from; also a method, `y.backward()`.

    The seed is `y.grad`, or ones. `retain_grad` leaves gradients on the intermediate values as well. With
    `create_graph` the gradients can be differentiated again; they then hold on to the graph until `cleargrad`
    (`dzcore.grad` returns them instead of storing them).

    The arrays that the graph kept are freed on the way, so that it can be differentiated once; `retain_graph` keeps
    them, and so does `create_graph`.

    Raises:
        GraphError: there is no graph, it was freed, or a gradient does not fit its value.
    """
    if create_graph and not recording.get():
        with using_config("enable_backprop", True):
            backward(y, retain_grad=retain_grad, create_graph=True)
        return
    if y.node is None:
        if not y.backend.is_floating(y.dtype):
            raise GraphError(f"nothing to differentiate: {y.dtype} carries no gradient; make it of 1.0 instead of 1")
        raise GraphError(
            f"nothing to differentiate: this value (shape {y.shape}, dtype {y.dtype}) was computed from no "
            f"Variable with a gradient (integers carry none; write 1.0 instead of 1), or under no_grad()"
        )
    seed = Variable._of(_ones(y), y.backend, None) if y.node.grad is None else y.node.grad
    y.node.grad = None
    seeds = [(y.node, seed if create_graph else seed._data)]
    free = not (create_graph or retain_graph)
    for value, gy in sweep(seeds, create_graph, watch=None if retain_grad else (), free=free):
        if isinstance(value, Leaf):
            _deliver(value, gy, create_graph)
        elif retain_grad and hasattr(value, "backend"):  # not the call of a Function, whose parts have them
            value.grad = gy if create_graph else Variable._of(value.backend.xp.asarray(gy), value.backend, None)


def _deliver(leaf: Leaf, gy: Any, create_graph: bool) -> None:
    """Add a gradient to that of a leaf: in place where that is a sum that was made here, and nobody has seen it."""
    _check_backend(gy, leaf.backend)
    if gy.shape != leaf.shape or gy.dtype != leaf.dtype:
        raise GraphError(
            f"a gradient of shape {gy.shape}, dtype {gy.dtype} came out for a leaf of shape {leaf.shape}, "
            f"dtype {leaf.dtype}; if its data was replaced meanwhile, compute the loss anew"
        )
    old = leaf.grad
    if old is not None and (old.shape != gy.shape or old.dtype != gy.dtype):
        raise GraphError(
            f"a gradient of shape {gy.shape}, dtype {gy.dtype} would be added to one of shape "
            f"{old.shape}, dtype {old.dtype} from before the data was replaced; cleargrad() first"
        )
    if old is not None and leaf.owned and not create_graph:
        old._data += gy
        return
    new = gy if create_graph else Variable._of(leaf.backend.xp.asarray(gy), leaf.backend, None)
    leaf.grad = new if old is None else old + new
    leaf.owned = old is not None


Variable.backward = backward  # type: ignore[assignment]


def grad(
    outputs: Variable | Sequence[Variable],
    inputs: Variable | Sequence[Variable],
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> list[Variable | None]:
    """Return the gradients of the sum of `outputs` with respect to each of `inputs`, and store nothing.

    `grad_outputs` weighs the outputs (default: ones). Only what lies between outputs and inputs is computed.
    With `create_graph` the results can be differentiated again. An input that the outputs do not depend on is an
    error, or None with `allow_unused`.
    """
    if create_graph and not recording.get():
        with using_config("enable_backprop", True):
            return grad(outputs, inputs, grad_outputs, create_graph=True, allow_unused=allow_unused)
    ys = [outputs] if isinstance(outputs, Variable) else list(outputs)
    xs = [inputs] if isinstance(inputs, Variable) else list(inputs)
    if grad_outputs is None:
        seeds = [Variable._of(_ones(y), y.backend, None) for y in ys]
    else:
        given = list(grad_outputs) if isinstance(grad_outputs, (list, tuple)) else [grad_outputs]
        if len(given) != len(ys):
            raise ValueError(f"grad_outputs has {len(given)} entries for {len(ys)} outputs")
        seeds = [
            Variable._of(y.backend.xp.full_like(y._data, g), y.backend, None)
            if is_scalar(g)
            else as_variable(g, y.backend)
            for g, y in zip(given, ys, strict=True)
        ]
        for g, y in zip(seeds, ys, strict=True):
            if g.shape != y.shape or g.dtype != y.dtype:
                raise ValueError(
                    f"grad_outputs has shape {g.shape}, dtype {g.dtype} for an output "
                    f"of shape {y.shape}, dtype {y.dtype}"
                )
    targets = {x.node for x in xs if x.node is not None}
    needed: set[Value] = set(targets)
    for value in sorted(reachable(y.node for y in ys if y.node is not None), key=attrgetter("order"), reverse=True):
        if not needed.isdisjoint(value.edges):
            needed.add(value)
    starts = [
        (y.node, g if create_graph else g._data)
        for y, g in zip(ys, seeds, strict=True)
        if y.node is not None and y.node in needed
    ]
    found = dict(sweep(starts, create_graph, needed, targets))
    results: list[Variable | None] = []
    for i, x in enumerate(xs):
        gx = found.get(x.node) if x.node is not None else None
        if gx is not None:
            _check_backend(gx, x.backend)
        if gx is None:
            if not allow_unused:
                raise GraphError(
                    f"input {i} (shape {x.shape}) is not part of the graph of the outputs; "
                    f"allow_unused=True returns None for it"
                )
            results.append(None)
        elif gx.shape != x.shape or gx.dtype != x.dtype:
            raise GraphError(
                f"a gradient of shape {gx.shape}, dtype {gx.dtype} came out for input {i} "
                f"of shape {x.shape}, dtype {x.dtype}"
            )
        else:
            results.append(gx if isinstance(gx, Variable) else Variable._of(x.backend.xp.asarray(gx), x.backend, None))
    return results


def reachable(roots: Iterable[Value]) -> list[Value]:
    """Return every value that the roots were computed from, the roots included."""
    stack = list(roots)
    seen = set(stack)
    for value in stack:  # the list grows under the loop
        for edge in value.edges:
            if edge not in seen:
                seen.add(edge)
                stack.append(edge)
    return stack


def _ones(y: Variable) -> Any:
    return y.backend.xp.ones_like(y._data)
