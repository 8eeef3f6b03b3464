"""Optimizer: the loop over parameters that every update rule shares."""

from collections.abc import Callable
from typing import Any

from ..graph import Parameter
from ..graph.node import Value
from ..graph.variable import transfer

__all__ = ["Optimizer"]

Hook = Callable[[list[Parameter]], None]


class Optimizer:
    """Changes the parameters of a `target` by their gradients.

    A rule says how many arrays of state a parameter has (`states`, each starting as zeros), which numbers it needs
    at this step (`numbers`), and in `formula(xp, param, *state, grad, *numbers)` what becomes of the parameter and
    the state: an elementwise formula, which the backend turns into one pass over memory, in place where it can.
    The state belongs to its parameter and follows it to other backends.

    An update in place changes what a graph may have kept: differentiate first, update then.
    """

    states = 0

    def __init__(self) -> None:
        self.target: Any = None
        self.hooks: list[Hook] = []
        self.t = 0
        self._state: dict[Value, tuple[Any, tuple[Any, ...]]] = {}  # by the parameter's identity in the graph

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
        if len(self._state) > len(everything):  # some parameters were replaced
            nodes = {param.node for param in everything}
            self._state = {node: state for node, state in self._state.items() if node in nodes}
        pairs = [(param, grad) for param in everything if (grad := param.grad) is not None]
        params = [param for param, _ in pairs]
        self.t += 1
        try:
            if self.hooks:
                for param, grad in pairs:  # handles of their own, for the hooks to assign to
                    param.grad = grad.detach()
            for hook in self.hooks:
                hook(params)
            for param in params:
                if param.grad is not None:
                    self.update_one(param)
        finally:
            if self.hooks:
                for param, grad in pairs:
                    param.grad = grad

    def update_one(self, param: Parameter) -> None:
        """Apply the rule to one parameter."""
        backend, data = param.backend, param._data
        home, state = self._state.get(param.node, (None, ()))  # type: ignore[arg-type]  # a parameter has one
        if home is not backend:
            state = tuple(
                backend.xp.zeros_like(data) if home is None else transfer(array, home, backend)
                for array in state or range(self.states)
            )
        if state and state[0].shape != data.shape:
            raise ValueError(
                f"the parameter {param.name!r} has shape {data.shape} now, and its state {state[0].shape}; "
                f"a new Parameter, or a new optimizer, begins anew"
            )
        grad = param.grad._data  # type: ignore[union-attr]  # update skips parameters without
        # NumPy's float64 is no Python number: it would make float64 of everything.
        numbers = [n if type(n) is int else float(n) for n in self.numbers()]
        new, *rest = backend.update(self.formula, (data, *state), grad, *numbers)
        if new.dtype != data.dtype:  # some libraries make float32 of bfloat16 and a number
            raise TypeError(
                f"the update of {param.name!r}, which is {data.dtype} on {backend}, came out as {new.dtype}; "
                f"keep this parameter in float32, and cast what it meets"
            )
        asarray = backend.xp.asarray  # for libraries that make scalars of 0-d arrays
        if self.states:
            self._state[param.node] = (backend, tuple(map(asarray, rest)))  # type: ignore[index]
        if new is not data:
            param._set(asarray(new), backend)

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
