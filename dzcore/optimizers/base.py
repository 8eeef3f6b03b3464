"""Optimizer: the loop over parameters that every update rule shares."""

from collections.abc import Callable, Iterable
from numbers import Integral, Real
from operator import is_
from typing import Any, NamedTuple

from ..backend import current_backend
from ..errors import StateError
from ..graph import Parameter, Variable
from ..graph.node import Value
from ..graph.variable import transfer
from ..state import Stateful, checked, form, placed

__all__ = ["Optimizer"]

PLAIN = (bool, int, float, str, type(None))
Hook = Callable[[list[Parameter]], None]


class _Prepared(NamedTuple):
    """The updates of some parameters, as long as they hold these arrays."""

    params: list[Parameter]
    data: list[Any]
    #: Of each backend the places of its parameters, their arrays, and what updates them.
    groups: list[tuple[list[int], list[tuple[Any, ...]], Callable[..., Any]]]


def _same(ones: list[Any], others: list[Any]) -> bool:
    return len(ones) == len(others) and all(map(is_, ones, others))


class Optimizer(Stateful):
    """Changes the parameters of a `target` by their gradients.

    A rule says how many arrays of state a parameter has (`states`, each starting as zeros), which numbers it needs
    at this step (`numbers`), and in `formula(xp, param, *state, grad, *numbers)` what becomes of the parameter and
    the state: an elementwise formula, which the backend turns into one pass over memory, in place where it can.
    The state belongs to its parameter and follows it to other backends.

    An update in place changes what a graph may have kept: differentiate first, update then.

    `state_dict()` has the number of steps, the arrays of the rule by the paths of their parameters, and the attributes
    that are numbers, strings or None (`lr`, …), those of a subclass too. Hooks and functions are not in it, nor are the
    gradients. A subclass that keeps anything else itself extends `_state` and `_stage` (see `Stateful`).
    """

    states = 0

    def __init__(self) -> None:
        self.target: Any = None
        self.hooks: list[Hook] = []
        self.t = 0
        self._arrays: dict[Value, tuple[Any, tuple[Any, ...]]] = {}  # by the parameter's identity in the graph
        self._prepared: _Prepared | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep numbers of array libraries as Python's own: they compute alike before a checkpoint and after it."""
        if type(value) is not int and isinstance(value, Real) and not isinstance(value, bool):
            value = int(value) if isinstance(value, Integral) else float(value)
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is prepared for these very arrays: a copy has others."""
        return {**vars(self), "_prepared": None}

    def setup(self, target: Any) -> Any:
        """Take the parameters of `target`, a Layer or an iterable of Parameters, and return self."""
        if hasattr(self.formula, "__self__"):
            raise TypeError(
                f"{type(self).__name__}.formula must be a staticmethod: what it depends on are its arguments"
            )
        if isinstance(target, type) or not (hasattr(target, "params") or hasattr(target, "__iter__")):
            raise TypeError(f"target={target!r} is neither a Layer nor an iterable of Parameters")
        if not hasattr(target, "params"):
            target = list(target)
            for i, param in enumerate(target):
                if not isinstance(param, Parameter):
                    raise TypeError(
                        f"target[{i}] is a {type(param).__name__}; an optimizer takes a Layer or Parameters"
                    )
            target = list(dict.fromkeys(target))  # each once
        self.target = target
        return self

    def add_hook(self, hook: Hook) -> Any:
        """Call `hook(params)` before every update, and return self. What it does to gradients lasts for that update."""
        if not callable(hook):
            raise TypeError(f"hook={hook!r} cannot be called; a hook is a function of a list of Parameters")
        self.hooks.append(hook)
        return self

    def update(self) -> None:
        """Update every parameter that has a gradient."""
        if self.target is None:
            raise RuntimeError(f"{type(self).__name__} has no target; call setup(model) first")
        everything: list[Parameter] = list(self.target.params() if hasattr(self.target, "params") else self.target)
        if len(self._arrays) > len(everything):  # some parameters were replaced
            nodes = {param.node for param in everything}
            self._arrays = {node: state for node, state in self._arrays.items() if node in nodes}
        # Of the node itself, for we do not keep them as somebody might who asks for `param.grad`.
        pairs = [
            (param, grad)
            for param in everything
            if (grad := param.node.grad) is not None  # type: ignore[union-attr]  # a parameter has a node
        ]
        params, grads = [param for param, _ in pairs], [grad for _, grad in pairs]
        self.t += 1
        try:
            if self.hooks:
                for param, grad in pairs:  # handles of their own, for the hooks to assign to
                    param.grad = grad.detach()
                for hook in self.hooks:
                    hook(params)
                params = [param for param in params if param.grad is not None]
                grads = [param.grad for param in params]
            if type(self).update_one is Optimizer.update_one:
                self._apply(params, grads)
            else:  # a subclass may have other numbers for some
                for param in params:
                    self.update_one(param)
        finally:
            if self.hooks:
                for param, grad in pairs:
                    param.grad = grad

    def update_one(self, param: Parameter) -> None:
        """Apply the rule to one parameter."""
        own = self._targets(param)
        grad = param.grad._data  # type: ignore[union-attr]  # update() passes over those without
        self._take(param, own, param.backend.update(self.formula, own, grad, *self._numbers()))

    def _numbers(self) -> tuple[float, ...]:
        """Return Python's own numbers: NumPy's float64 would make float64 of everything."""
        return tuple([n if type(n) is int else float(n) for n in self.numbers()])

    def _apply(self, params: list[Parameter], grads: list[Variable]) -> None:
        """Apply the rule, with the same numbers, to parameters and gradients: to all of a backend at once."""
        numbers = self._numbers()
        data = [param._data for param in params]
        prepared = self._prepared
        if prepared is None or not (_same(prepared.params, params) and _same(prepared.data, data)):
            self._prepared = prepared = self._prepare(params, data)
        for places, targets, updates in prepared.groups:
            results = updates([grads[i]._data for i in places], numbers)
            if results is not targets:
                for i, before, after in zip(places, targets, results, strict=True):
                    self._take(params[i], before, after)

    def _prepare(self, params: list[Parameter], data: list[Any]) -> "_Prepared":
        groups: dict[Any, list[int]] = {}
        for i, param in enumerate(params):
            groups.setdefault(param.backend, []).append(i)
        prepared = _Prepared(params, data, [])
        for backend, places in groups.items():
            targets = [self._targets(params[i]) for i in places]
            prepared.groups.append((places, targets, backend.updater(self.formula, targets)))
        return prepared

    def _targets(self, param: Parameter) -> tuple[Any, ...]:
        """Return the array of a parameter and those of its state, on the parameter's backend."""
        backend, data = param.backend, param._data
        home, state = self._arrays.get(param.node, (None, ()))  # type: ignore[arg-type]  # a parameter has one
        if home is not backend:
            state = tuple(
                backend.xp.zeros_like(data) if home is None else transfer(array, home, backend)
                for array in state or range(self.states)
            )
            if self.states:
                self._arrays[param.node] = backend, state  # type: ignore[index]
        if state and state[0].shape != data.shape:
            raise ValueError(
                f"the parameter {param.name!r} has shape {data.shape} now, and its state {state[0].shape}; "
                f"a new Parameter, or a new optimizer, begins anew"
            )
        return (data, *state)

    def _take(self, param: Parameter, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
        """Keep the new arrays of a parameter and its state, where the old ones could not be written to."""
        if after is before:
            return
        self._prepared = None
        new, *state = map(param.backend.xp.asarray, after)
        if new.dtype != before[0].dtype:  # some libraries make float32 of bfloat16 and a number
            raise TypeError(
                f"the update of {param.name!r}, which is {before[0].dtype} on {param.backend}, came out as "
                f"{new.dtype}; keep this parameter in float32, and cast what it meets"
            )
        if state:
            self._arrays[param.node] = param.backend, tuple(state)  # type: ignore[index]  # a parameter has a node
        if new is not before[0]:
            param._set(new, param.backend)

    # The state ---------------------------------------------------------------------------------------------------

    def _named(self) -> dict[str, Parameter]:
        """Return the parameters by their paths, or by their places in a list."""
        target = self.target
        if target is None:
            raise StateError(f"{type(self).__name__} has no target; its state needs paths: call setup(model) first")
        params: Iterable[tuple[Any, Parameter]] = (
            target.named_params()
            if hasattr(target, "named_params")
            else enumerate(target.params() if hasattr(target, "params") else target)
        )
        named: dict[str, Parameter] = {}
        for path, param in params:
            if named.setdefault(str(path), param) is not param:
                raise StateError(f"two parameters have the path {path!r}; rename one")
        return named

    def _options(self) -> dict[str, Any]:
        """Return the attributes that are plain values; a subclass that keeps others says itself what its state is."""
        options = {}
        for name, value in vars(self).items():
            if name in ("target", "hooks", "t", "_arrays", "_prepared") or callable(value):
                continue
            if isinstance(value, PLAIN):
                options[name] = value
            elif type(self)._state is Optimizer._state:
                raise StateError(
                    f"{type(self).__name__}.{name} is a {type(value).__name__}, which its state would lack; "
                    f"extend _state and _stage by it"
                )
        return options

    def _state(self) -> dict[str, Any]:
        found = {path: self._arrays[p.node] for path, p in self._named().items() if p.node in self._arrays}
        arrays = {path: [Variable._of(a, home, None) for a in arrays] for path, (home, arrays) in found.items()}
        return {"rule": type(self).__name__, "t": self.t, "options": self._options(), "state": arrays}

    def _stage(self, state: dict[str, Any]) -> Callable[[], None]:
        named, mine = self._named(), self._options()
        rule, t, options, found = checked(self, state, rule=str, t=int, options=dict, state=dict).values()
        problems = [] if rule == type(self).__name__ else [f"it is one of {rule}"]
        problems += [f"the option {name} is missing" for name in mine if name not in options]
        problems += [f"the option {name}={options[name]!r} is unknown" for name in options if name not in mine]
        wrong = {name: type(value) for name, value in options.items() if not isinstance(value, PLAIN)}
        problems += [f"the option {name} is a {kind.__name__}" for name, kind in wrong.items()]
        for path, arrays in found.items():
            if path not in named:
                problems.append(f"there is no parameter {path!r}")
            elif problem := self._misfit(named[path], arrays):
                problems.append(f"{path}: {problem}")
        if problems:
            raise StateError(f"the state does not fit this {type(self).__name__}: {'; '.join(problems)}")
        new: dict[Value, tuple[Any, tuple[Any, ...]]] = {}
        for path, arrays in found.items():
            param = named[path]
            home = current_backend() if param._data is None else param.backend
            new[param.node] = home, tuple(placed(array, home) for array in arrays)  # type: ignore[index]

        def commit() -> None:
            vars(self).update(options)
            self.t, self._arrays, self._prepared = t, new, None

        return commit

    def _misfit(self, param: Parameter, arrays: Any) -> str | None:
        """Say how the saved arrays of a parameter differ from what the rule needs."""
        if not isinstance(arrays, (list, tuple)) or len(arrays) != self.states:
            found = len(arrays) if isinstance(arrays, (list, tuple)) else type(arrays).__name__
            return f"the rule keeps {self.states} arrays of each parameter, the state has {found}"
        if param._data is not None:
            wanted = form(param)
            for array in arrays:
                if form(array) != wanted:
                    return f"the parameter has {wanted}, the state {form(array)}"
        return None

    def numbers(self) -> tuple[float, ...]:
        """Return the numbers of the formula at step `t`, which counts from 1."""
        return ()

    @staticmethod
    def formula(xp: Any, param: Any, *rest: Any) -> tuple[Any, ...]:
        """Return the new parameter and state."""
        raise NotImplementedError("an optimizer needs a formula")


def positive(**numbers: float) -> None:
    """Raise ValueError for a number that is not positive."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name}={number} must be positive")


def not_negative(**numbers: float) -> None:
    """Raise ValueError for a number below zero."""
    for name, number in numbers.items():
        if not number >= 0:
            raise ValueError(f"{name}={number} must not be negative")


def fraction(**numbers: float) -> None:
    """Raise ValueError for a number outside [0, 1)."""
    for name, number in numbers.items():
        if not 0 <= number < 1:
            raise ValueError(f"{name}={number} must be at least 0 and less than 1")
