"""Rules: a forward function on raw arrays, and one gradient formula for each of its inputs.

    @rule(x1=lambda gy, x2: gy * x2,
          x2=lambda gy, x1: gy * x1)
    def multiply(xp, x1, x2):
        return x1 * x2

The parameter names are the contract. A gradient formula may name `gy` (the gradient of the result), any array or
option of the forward function, its result `y`, and the namespace `xp`. What the formulas of the inputs that need
a gradient name, and nothing else, is kept until the backward pass.

A formula stands once and runs at two speeds: on raw arrays with the backend's own `xp` when only numbers are
wanted, and on Variables with `xp` being dzcore itself when derivatives of the derivative are.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, update_wrapper
from operator import itemgetter
from types import SimpleNamespace
from typing import Any

from ..backend.namespace import EXTENSIONS
from ..errors import MixedBackendError
from .modes import recording
from .node import Fit, Node, Value, next_order
from .variable import Variable, as_variable, is_scalar, operand

__all__ = ["Plan", "namespaces", "rule"]

#: `variables` is dzcore.functions, which sets itself here; the arrows between the packages point down only.
namespaces = SimpleNamespace(variables=None)

Gradient = Callable[..., Any]
Pick = Callable[[tuple[Any, ...]], tuple[Any, ...]]


def _picker(indices: Sequence[int]) -> Pick:
    """Return a function that picks these items of a tuple, as a tuple (itemgetter alone unwraps a single one)."""
    if len(indices) > 1:
        return itemgetter(*indices)
    return itemgetter(slice(indices[0], indices[0] + 1) if indices else slice(0))


class Plan:
    """What one rule keeps, and how it computes gradients, for one choice of the inputs that need them."""

    __slots__ = ("keep", "links", "name", "pulls")

    def __init__(self, spec: "Spec", needs: tuple[bool, ...]) -> None:
        self.name = spec.name
        arrays = spec.arrays if spec.arrays[:1] != ["*"] else [f"*{i}" for i in range(len(needs))]
        known = [*arrays, "y", *spec.options]  # in the order of the tuple that `keep` picks from
        formulas: list[tuple[Gradient, list[str]]] = []
        for position, (array, needed) in enumerate(zip(arrays, needs, strict=True)):
            if needed:
                gradient = spec.gradients[array if array[0] != "*" else "*"]
                wants = _parameters(gradient)
                if wants[0] == "position":
                    wants = wants[1:]
                    gradient = partial(gradient, position)
                formulas.append((gradient, wants))
        saved = list(dict.fromkeys(want for _, wants in formulas for want in wants if want not in ("xp", "gy")))
        self.keep: Pick = _picker([known.index(name) for name in saved])
        env = ["xp", "gy", *saved]
        self.pulls = [(gradient, _picker([env.index(want) for want in wants])) for gradient, wants in formulas]
        edge = iter(range(len(formulas)))
        edges = {array: next(edge) if needed else None for array, needed in zip(arrays, needs, strict=True)}
        #: Where each saved value hangs in the graph: at an edge, nowhere (None), at the node ("y"), or no array ("").
        self.links = [edges[name] if name in edges else "y" if name == "y" else "" for name in saved]

    def variables(self, node: Node, gy: Any) -> tuple[Any, ...]:
        """Return what the formulas name as Variables that hang in the graph where their values came from."""
        values: list[Any] = [namespaces.variables, gy]
        for link, value in zip(self.links, node.saved, strict=True):
            if link == "" or is_scalar(value):
                values.append(value)
                continue
            source: Value | None = None
            if link == "y":
                source = node
            elif link is not None:
                source = node.edges[link]  # type: ignore[index]  # an int, since neither "" nor "y"
                if isinstance(source, Fit):
                    source = source.edges[0]
            values.append(Variable._of(value, node.backend, source))
        return tuple(values)


def _parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters, without importing inspect."""
    code = function.__code__
    return list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


class Spec:
    """What a rule says of itself: names of its arrays (`["*"]` for any number) and options, its formulas."""

    def __init__(self, forward: Callable[..., Any], gradients: Mapping[str, Gradient], elementwise: bool) -> None:
        code = forward.__code__
        self.name = forward.__name__.lstrip("_")
        self.forward = forward
        self.elementwise = elementwise
        self.gradients = dict(gradients)
        variadic = bool(code.co_flags & 0x04)  # CO_VARARGS
        self.arrays = ["*"] if variadic else list(code.co_varnames[1 : code.co_argcount])
        self.options = list(code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
        if variadic:
            self.gradients = {"*": gradient for gradient in gradients.values()}
        self.plans: dict[tuple[bool, ...], Plan] = {}

    def plan(self, needs: tuple[bool, ...]) -> Plan:
        plan = self.plans[needs] = Plan(self, needs)
        return plan


def rule(*, extends: bool = False, elementwise: bool = False, **gradients: Gradient) -> Callable[[Callable[..., Any]], Any]:
    """Turn `forward(xp, *arrays, **options)` into a differentiable function of Variables.

    `elementwise` lets the arrays broadcast and promote against each other. With `extends`, other rules may call
    the forward function as `xp.name(...)`. Every array that can carry a gradient needs a formula in `gradients`.
    """

    def decorate(forward: Callable[..., Any]) -> Any:
        spec = Spec(forward, gradients, elementwise)
        if extends:
            EXTENSIONS[spec.name] = forward
        kind = {1: _unary, 2: _binary}.get(len(spec.arrays)) if spec.arrays != ["*"] and not spec.options else None
        apply = (kind or _general)(spec)
        update_wrapper(apply, forward)
        apply.spec = spec
        return apply

    return decorate


# Application: three forms of one thing. The first two carry nearly every call, and are written out for speed.


def _unary(spec: Spec) -> Any:
    forward = spec.forward
    plan = spec.plan((True,)) if spec.gradients else None

    def apply(x: Any) -> Variable:
        if not isinstance(x, Variable):
            x = as_variable(x)
        backend = x.backend
        data = x._data
        y = forward(backend.ops, data)
        if type(y) is not type(data):
            y = backend.xp.asarray(y)
        result = Variable.__new__(Variable)
        result._data = y
        result.backend = backend
        result.node = result.name = None
        edge = x.node
        if edge is not None and plan is not None and recording.get():
            result.node = node = Node()
            node.plan = plan
            node.edges = (edge,)
            node.saved = plan.keep((data, y))
            node.backend = backend
            node.grad = None
            node.order = next_order()
        return result

    return apply


def _binary(spec: Spec) -> Any:
    forward = spec.forward
    plans = spec.plans
    elementwise = spec.elementwise

    def apply(x1: Any, x2: Any) -> Variable:
        if isinstance(x1, Variable):
            backend = x1.backend
            data1 = x1._data
            edge1 = x1.node
            if isinstance(x2, Variable):
                if x2.backend is not backend:
                    raise _mixed(spec, (x1, x2))
                data2 = x2._data
                edge2 = x2.node
            else:
                data2 = operand(x2, backend, spec.name)
                edge2 = None
        else:
            if not isinstance(x2, Variable):
                x2 = as_variable(x2) if is_scalar(x1) or not is_scalar(x2) else x2
                x1 = as_variable(x1)
                return apply(x1, x2)  # type: ignore[no-any-return]
            backend = x2.backend
            data1 = operand(x1, backend, spec.name)
            edge1 = None
            data2 = x2._data
            edge2 = x2.node
        y = forward(backend.ops, data1, data2)
        if type(y) is not type(data1) and type(y) is not type(data2):
            y = backend.xp.asarray(y)
        result = Variable.__new__(Variable)
        result._data = y
        result.backend = backend
        result.node = result.name = None
        if (edge1 is not None or edge2 is not None) and recording.get():
            needs = (edge1 is not None, edge2 is not None)
            plan = plans.get(needs) or spec.plan(needs)
            if elementwise:
                if edge1 is not None and (data1.shape != y.shape or data1.dtype != y.dtype):
                    edge1 = Fit(backend, edge1, data1.shape, data1.dtype)
                if edge2 is not None and (data2.shape != y.shape or data2.dtype != y.dtype):
                    edge2 = Fit(backend, edge2, data2.shape, data2.dtype)
            result.node = node = Node()
            node.plan = plan
            node.edges = (edge2,) if edge1 is None else (edge1,) if edge2 is None else (edge1, edge2)
            node.saved = plan.keep((data1, data2, y))
            node.backend = backend
            node.grad = None
            node.order = next_order()
        return result

    return apply


def _general(spec: Spec) -> Any:
    forward = spec.forward
    plans = spec.plans
    names = spec.options

    def apply(*inputs: Any, **options: Any) -> Variable:
        variables = [x for x in inputs if isinstance(x, Variable)]
        if not variables:
            first = next((i for i, x in enumerate(inputs) if not is_scalar(x)), 0)
            inputs = (*inputs[:first], as_variable(inputs[first]), *inputs[first + 1 :])
            variables = [inputs[first]]
        backend = variables[0].backend
        if any(x.backend is not backend for x in variables):
            raise _mixed(spec, inputs)
        arrays = [x._data if isinstance(x, Variable) else operand(x, backend, spec.name) for x in inputs]
        y = forward(backend.ops, *arrays, **options)
        if type(y) is not type(variables[0]._data):
            y = backend.xp.asarray(y)
        result = Variable._of(y, backend, None)
        if spec.gradients and any(x.node is not None for x in variables) and recording.get():
            edges = [x.node if isinstance(x, Variable) else None for x in inputs]
            needs = tuple(edge is not None for edge in edges)
            result.node = node = Node()
            node.plan = plan = plans.get(needs) or spec.plan(needs)
            node.edges = tuple(
                Fit(backend, edge, data.shape, data.dtype)
                if spec.elementwise and (data.shape != y.shape or data.dtype != y.dtype)
                else edge
                for edge, data in zip(edges, arrays, strict=True)
                if edge is not None
            )
            node.saved = plan.keep((*arrays, y, *[options[name] for name in names]))
            node.backend = backend
            node.grad = None
            node.order = next_order()
        return result

    return apply


def _mixed(spec: Spec, inputs: Sequence[Any]) -> MixedBackendError:
    found = [f"operand {i + 1} is on {x.backend}" for i, x in enumerate(inputs) if isinstance(x, Variable)]
    return MixedBackendError(f"{spec.name}: {', '.join(found)}; move one of them with x.to({str(inputs[0].backend)!r})")
