"""Rules: a forward function on raw arrays, and one gradient formula for each of its inputs.

    @rule(x1=lambda gy, x2: gy * x2,
          x2=lambda gy, x1: gy * x1)
    def multiply(xp, x1, x2):
        return x1 * x2

The parameter names are the contract: first the namespace, then the arrays, and behind a `/` the options. A gradient
formula may name `gy` (the gradient of the result), any array or option of the forward function, its result `y`, and
the namespace `xp`. What the formulas of the inputs that need a gradient name, and nothing else, is kept until the
backward pass.

A formula stands once and runs at two speeds: on raw arrays with the backend's own `xp` when only numbers are
wanted, and on Variables with `xp` being dzcore itself when derivatives of the derivative are.

Arrays should pass through memory once. `fused=True` says that all formulas of a rule are elementwise, so that the
backend may make one loop of the forward formula, and one of all gradients; and any formula may call an elementwise part
of itself as `xp.fused(part, x, …)`.

Gradients are computed in the order in which the formulas stand: what needs most memory meanwhile had better come first.

Where gradients share their work, one formula `joint` gives those of all inputs, in a tuple. It may also name `needs`,
which of them are wanted; what it gives for the others is not looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, update_wrapper
from types import SimpleNamespace
from typing import Any

from ..backend import Backend
from ..backend.namespace import EXTENSIONS, FORMULAS
from ..errors import MixedBackendError
from .modes import recording
from .node import Fit, Node, Value, next_order
from .variable import Variable, as_variable, is_scalar, operand

__all__ = ["Plan", "extension", "fused", "namespaces", "rule"]

#: `variables` is dzcore.functions, which sets itself here; the arrows between the packages point down only.
namespaces = SimpleNamespace(variables=None)

new = object.__new__  # what the classes' own constructors would end in

Gradient = Callable[..., Any]
Apply = Callable[..., Variable]


class Plan:
    """What one rule keeps, and how it computes gradients, for one choice of the inputs that need them."""

    __slots__ = ("gradients", "keep", "links", "name", "operands", "pull")

    def __init__(self, spec: "Spec", needs: tuple[bool, ...]) -> None:
        self.name = spec.shown
        arrays = [f"x{i}" for i in range(len(needs))] if spec.variadic else spec.arrays
        needed = [i for i, need in enumerate(needs) if need]
        formulas = {"_joint": spec.joint} if spec.joint else {f"_g{i}": spec.formula(i) for i in needed}
        wants = [_parameters(formula) for formula in formulas.values()]
        saved = list(dict.fromkeys(name for names in wants for name in names if name not in ("xp", "gy", "needs")))
        #: The names of the arrays that are edges, for pictures; none where there is nothing to tell apart.
        self.operands = [arrays[i] if len(arrays) > 1 else "" for i in needed]
        edges = {arrays[i]: edge for edge, i in enumerate(needed)}
        #: Where each saved value hangs in the graph: at an edge, nowhere (None), at the node ("y"), or no array ("").
        self.links = [edges.get(n) if n in arrays else "y" if n == "y" else "" for n in saved]
        # The rest is calls of the formulas with the right arguments, written out: keep(x1, x2, y) -> saved,
        # pull(xp, gy, saved) -> gradients, and each gradient alone.
        place = {name: f"saved[{i}]" for i, name in enumerate(saved)}
        given = "lambda xp, gy, saved: "
        self.keep = eval(f"lambda {', '.join([*arrays, 'y', *spec.options])}: ({', '.join([*saved, ''])})")
        if spec.joint:
            alone = [tuple(i == k for k in range(len(needs))) for i in needed]
            calls = [
                f"_joint({', '.join(str(each) if name == 'needs' else place.get(name, name) for name in wants[0])})"
                for each in [needs, *alone]
            ]
            self.pull = eval(given + f"[gxs[i] for gxs in [{calls[0]}] for i in {needed}]", formulas)
            self.gradients = [eval(given + f"{call}[{i}]", formulas) for i, call in zip(needed, calls[1:], strict=True)]
            return
        calls = [
            f"{g}({', '.join(place.get(name, name) for name in names)})"
            for g, names in zip(formulas, wants, strict=True)
        ]
        self.gradients = [eval(given + call, formulas) for call in calls]
        # What names nothing but gy is a single step, or none; all the rest of a fused rule is one loop.
        looped = [k for k, names in enumerate(wants) if spec.fused and names != ["gy"]]
        if looped:
            operands = list(dict.fromkeys(["gy", *[n for k in looped for n in wants[k] if n != "xp"]]))
            several = len(looped) > 1
            body = ", ".join(f"_g{needed[k]}({', '.join(wants[k])})" for k in looped)
            loop = eval(f"lambda {', '.join(['xp', *operands])}: {f'({body})' if several else body}", formulas)
            loop.__qualname__ = loop.__name__ = f"{spec.name}_gradient"
            formulas["_loop"] = loop
            call = f"xp.loops[_loop]({', '.join(place.get(name, name) for name in operands)})"
            for i, k in enumerate(looped):
                calls[k] = f"found[{i}]" if several else call
            if several:
                self.pull = eval(given + f"[({', '.join(calls)}) for found in [{call}]][0]", formulas)
                return
        order = sorted(range(len(calls)), key=lambda k: spec.place(needed[k]))
        results = ", ".join([*calls, ""])
        if order != sorted(order):
            turns = " ".join(f"for gx{k} in [{calls[k]}]" for k in order)
            results = f"[({', '.join(f'gx{k}' for k in range(len(calls)))}) {turns}][0]"
        self.pull = eval(given + f"({results})", formulas)

    def variables(self, node: Node) -> tuple[Any, list[Any]]:
        """Return the namespace of Variables, and what the node saved as Variables that hang where they came from."""
        values: list[Any] = []
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
        return namespaces.variables, values


def fused(formula: Callable[..., Any], *inputs: Any) -> Any:
    """Call an elementwise formula on Variables: `xp.fused` where derivatives of the derivative are wanted."""
    return formula(namespaces.variables, *inputs)


class _Loops:
    """`xp.loops` there: by formula, what evaluates it on Variables."""

    def __getitem__(self, formula: Callable[..., Any]) -> Callable[..., Any]:
        return partial(fused, formula)


loops = _Loops()


def _parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters, without importing inspect."""
    if isinstance(function, _Positioned):
        return function.names
    code = function.__code__
    return list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


class Spec:
    """What a rule says of itself: the names of its arrays and options, and its formulas."""

    def __init__(
        self,
        forward: Callable[..., Any],
        gradients: Mapping[str, Gradient],
        joint: Gradient | None = None,
        elementwise: bool = False,
    ) -> None:
        code = forward.__code__
        names = code.co_varnames
        self.name = self.shown = forward.__name__.lstrip("_")
        self.forward = forward
        self.elementwise = elementwise
        self.gradients = gradients
        self.joint = joint
        self.differentiable = bool(gradients or joint)
        self.fused = False
        self.variadic = bool(code.co_flags & 0x04)  # `*arrays`
        last = code.co_posonlyargcount or code.co_argcount
        self.arrays = list(names[1:last])
        self.options = list(names[last : code.co_argcount + code.co_kwonlyargcount])
        self.plans: dict[tuple[bool, ...], Plan] = {}

    def formula(self, i: int) -> Gradient:
        """Return the formula of input i; of a variadic rule there is one for all, which takes i first."""
        if self.variadic:
            (shared,) = self.gradients.values()
            return _Positioned(shared, i)
        return self.gradients[self.arrays[i]]

    def place(self, i: int) -> int:
        """Return where the formula of input i stands among all, which is when it is computed."""
        return 0 if self.variadic else list(self.gradients).index(self.arrays[i])

    def plan(self, *needs: bool) -> Plan:
        try:
            return self.plans[needs]
        except KeyError:
            plan = self.plans[needs] = Plan(self, needs)
            return plan


class _Positioned:
    """`shared(position, …)` as a formula without its first parameter."""

    def __init__(self, shared: Gradient, position: int) -> None:
        self.shared = shared
        self.position = position
        self.names = _parameters(shared)[1:]

    def __call__(self, *arguments: Any) -> Any:
        return self.shared(self.position, *arguments)


def extension(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Let formulas call `forward(xp, …)`, a composition of functions, as `xp.name(…)`, and backends have a faster one.

    What it returns is called without the namespace, on Variables.
    """
    _extend(forward.__name__.lstrip("_"), forward)

    def apply(*inputs: Any) -> Any:
        return forward(namespaces.variables, *inputs)

    update_wrapper(apply, forward)
    return apply


def _extend(name: str, forward: Callable[..., Any], fused: bool = False) -> None:
    if fused:
        FORMULAS.add(name)
    if hasattr(Backend, name):
        raise ValueError(f"{name!r} is a member of Backend and cannot be the name of a function that extends xp")
    EXTENSIONS[name] = forward


def rule(
    *,
    extends: bool = False,
    elementwise: bool = False,
    fused: bool = False,
    shown: str | None = None,
    joint: Gradient | None = None,
    **gradients: Gradient,
) -> Callable[[Callable[..., Any]], Apply]:
    """Turn `forward(xp, *arrays, **options)` into a differentiable function of Variables.

    `elementwise` lets the arrays broadcast and promote against each other. With `fused`, arrays are computed by what
    `Backend.fuse` makes of the formulas, all of which are elementwise and depend on their arguments only; options are
    given by position then. With `extends`, other rules may call the forward function as `xp.name(...)`. `shown` is
    what pictures of the graph call it. Every array that can carry a gradient needs a formula in `gradients`, unless
    there is `joint`, one for all.
    """

    def decorate(forward: Callable[..., Any]) -> Apply:
        spec = Spec(forward, gradients, joint, elementwise)
        spec.shown, spec.fused = shown or spec.name, fused
        form = _general
        if not spec.variadic:
            plain = {1: _unary, 2: _binary}
            form = ({1: _unary_with_options} if spec.options else plain).get(len(spec.arrays), _general)
        if extends:
            _extend(spec.name, forward, fused)
            name = spec.name  # called by its name, for the backend may have its own
            spec.forward = lambda xp, *inputs, **named: getattr(xp, name)(*inputs, **named)
            if form is _unary:
                spec.forward = lambda xp, x: getattr(xp, name)(x)
        elif fused:
            spec.forward = lambda xp, *inputs: xp.loops[forward](*inputs)
            if form is _unary:
                spec.forward = lambda xp, x: xp.loops[forward](x)
            elif form is _binary:
                spec.forward = lambda xp, x1, x2: xp.loops[forward](x1, x2)
        apply = form(spec)
        update_wrapper(apply, forward)
        del apply.__wrapped__  # type: ignore[attr-defined]  # its signature begins with xp, which callers do not give
        apply.spec = spec  # type: ignore[attr-defined]
        return apply

    return decorate


# Application: one thing in four forms. The first three carry nearly every call, and are written out for speed.


def _unary(spec: Spec) -> Apply:
    forward = spec.forward
    differentiable = spec.differentiable
    plan: Plan | None = None  # compiled at the first use, to keep `import dzcore` quick

    def apply(x: Any) -> Variable:
        nonlocal plan
        if not isinstance(x, Variable):
            x = as_variable(x)
        backend = x.backend
        data = x._data
        y = forward(backend.ops, data)
        if type(y) is not type(data):
            y = backend.xp.asarray(y)
        result = new(Variable)
        result._data = y
        result.backend = backend
        result._name = None
        edge = x.node
        if edge is None or not differentiable or not recording.get():
            result.node = None
            return result
        if plan is None:
            plan = spec.plan(True)
        result.node = node = Node()
        node.plan = plan
        node.edges = (edge,)
        node.saved = plan.keep(data, y)
        node.backend = backend
        node.grad = None
        node.order = next_order()
        return result

    return apply


def _unary_with_options(spec: Spec) -> Apply:
    forward = spec.forward
    differentiable = spec.differentiable
    plan: Plan | None = None

    def apply(x: Any, *options: Any) -> Variable:
        nonlocal plan
        if not isinstance(x, Variable):
            x = as_variable(x)
        backend = x.backend
        data = x._data
        y = forward(backend.ops, data, *options)
        if type(y) is not type(data):
            y = backend.xp.asarray(y)
        result = Variable._of(y, backend, None)
        edge = x.node
        if edge is not None and differentiable and recording.get():
            if plan is None:
                plan = spec.plan(True)
            result.node = _node(plan, (edge,), plan.keep(data, y, *options), backend)
        return result

    return apply


def _node(plan: Plan, edges: tuple[Value, ...], saved: tuple[Any, ...], backend: Any) -> Node:
    node = Node()
    node.plan = plan
    node.edges = edges
    node.saved = saved
    node.backend = backend
    node.grad = None
    node.order = next_order()
    return node


def _binary(spec: Spec) -> Apply:
    forward = spec.forward
    elementwise = spec.elementwise
    looped = spec.fused  # a loop takes numbers as they are
    both: Plan | None = None
    first: Plan | None = None
    second: Plan | None = None

    def apply(x1: Any, x2: Any) -> Variable:
        nonlocal both, first, second
        if isinstance(x1, Variable):
            backend = x1.backend
            data1 = x1._data
            edge1 = x1.node
            if isinstance(x2, Variable):
                if x2.backend is not backend:
                    raise _mixed(spec, (x1, x2))
                data2 = x2._data
                edge2 = x2.node
                alone = False
            elif type(x2) is float:
                data2, edge2, alone = x2 if looped else backend.number(x2, data1.dtype), None, True
            else:
                data2 = operand(x2, backend, spec.name)
                edge2, alone = None, is_scalar(data2)
        else:
            if not isinstance(x2, Variable):  # two raw arrays, or one and a number, which takes its dtype
                return apply(x1, as_variable(x2)) if is_scalar(x1) and not is_scalar(x2) else apply(as_variable(x1), x2)
            backend = x2.backend
            data2 = x2._data
            edge2 = x2.node
            data1 = operand(x1, backend, spec.name)
            edge1, alone = None, is_scalar(data1)
            if type(data1) is float and not looped:
                data1 = backend.number(data1, data2.dtype)
        y = forward(backend.ops, data1, data2)
        if type(y) is not type(data1) and type(y) is not type(data2):
            y = backend.xp.asarray(y)
        result = new(Variable)
        result._data = y
        result.backend = backend
        result._name = None
        if (edge1 is None and edge2 is None) or not recording.get():
            result.node = None
            return result
        if edge1 is None:
            plan = second = second or spec.plan(False, True)
        elif edge2 is None:
            plan = first = first or spec.plan(True, False)
        else:
            plan = both = both or spec.plan(True, True)
        if elementwise and not alone and (data1.shape != data2.shape or data1.dtype != data2.dtype):
            edge1 = edge1 and _fitted(edge1, data1, y, backend)
            edge2 = edge2 and _fitted(edge2, data2, y, backend)
        result.node = node = Node()
        node.plan = plan
        node.edges = (edge1, edge2) if edge1 and edge2 else (edge1 or edge2,)  # type: ignore[assignment]  # one is there
        node.saved = plan.keep(data1, data2, y)
        node.backend = backend
        node.grad = None
        node.order = next_order()
        return result

    return apply


def _general(spec: Spec) -> Apply:
    forward = spec.forward
    count = len(spec.arrays)
    elementwise = spec.elementwise

    def apply(*given: Any, **named: Any) -> Variable:
        inputs, options = (given, ()) if spec.variadic else (given[:count], given[count:])
        variables = [x for x in inputs if isinstance(x, Variable)]
        if not variables:
            first = next((i for i, x in enumerate(inputs) if not is_scalar(x)), 0)
            inputs = (*inputs[:first], as_variable(inputs[first]), *inputs[first + 1 :])
            variables = [inputs[first]]
        backend = variables[0].backend
        if any(x.backend is not backend for x in variables):
            raise _mixed(spec, inputs)
        arrays = [x._data if isinstance(x, Variable) else operand(x, backend, spec.name) for x in inputs]
        y = forward(backend.ops, *arrays, *options, **named)
        if type(y) is not type(variables[0]._data):
            y = backend.xp.asarray(y)
        result = Variable._of(y, backend, None)
        if spec.differentiable and any(x.node is not None for x in variables) and recording.get():
            edges = [x.node if isinstance(x, Variable) else None for x in inputs]
            plan = spec.plan(*[edge is not None for edge in edges])
            fitted = [
                _fitted(edge, data, y, backend) if elementwise else edge
                for edge, data in zip(edges, arrays, strict=True)
                if edge is not None
            ]
            result.node = _node(plan, tuple(fitted), plan.keep(*arrays, y, *options, **named), backend)
        return result

    return apply


def _fitted(edge: Value, data: Any, y: Any, backend: Any) -> Value:
    """Return the edge, by way of a `Fit` where the operand was broadcast or promoted."""
    same = data.shape == y.shape and data.dtype == y.dtype
    return edge if same else Fit(backend, edge, data.shape, data.dtype)


def _mixed(spec: Spec, inputs: Sequence[Any]) -> MixedBackendError:
    found = [f"operand {i + 1} is on {x.backend}" for i, x in enumerate(inputs) if isinstance(x, Variable)]
    return MixedBackendError(f"{spec.name}: {', '.join(found)}; move one of them with x.to({str(inputs[0].backend)!r})")
