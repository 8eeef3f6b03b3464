"""Function: the way to add an operation of one's own."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..errors import GraphError, MixedBackendError
from .modes import recording, using_config
from .node import FREED, Part, Value, next_order
from .variable import Variable, as_variable

__all__ = ["Function"]


class Function:
    """An operation with `forward(self, *xs)` on raw arrays and `backward(self, *gys)` on Variables.

    `forward` returns an array or a tuple of arrays. `backward` takes one Variable an output and returns one an
    input (None where there is no gradient); it may use `self.inputs`, `self.outputs` and whatever `forward` left on
    `self`. Written with dzcore's functions it can itself be differentiated, to any order.

    Inputs and outputs are kept until the graph is freed, and what `forward` leaves on `self` as long as the graph
    lives. Every call has a graph of its own: an instance that is called again works on a copy of itself.
    """

    inputs: tuple[Variable, ...] = ()
    #: Inside `backward`, the results, each as a function that returns it: `y = self.outputs[0]()`.
    outputs: tuple[Callable[[], Variable], ...] = ()

    def __call__(self, *inputs: Any) -> Any:
        call = copy.copy(self) if self.inputs else self
        backend = next((x.backend for x in inputs if isinstance(x, Variable)), None)
        return call._apply(tuple(x if isinstance(x, Variable) else as_variable(x, backend) for x in inputs))

    def _apply(self, inputs: tuple[Variable, ...]) -> Any:
        if not inputs:
            raise TypeError(f"{type(self).__name__} was called without inputs; it takes at least one")
        backend = inputs[0].backend
        if any(x.backend is not backend for x in inputs):
            raise MixedBackendError(
                f"{type(self).__name__}: the inputs are on {', '.join(str(x.backend) for x in inputs)}; "
                f"move them to one backend with x.to(…)"
            )
        self.inputs = tuple(x.alias() for x in inputs)  # what they are now, whatever becomes of the Variables
        results = self.forward(*[x._data for x in inputs])
        results = tuple(results) if isinstance(results, (tuple, list)) else (results,)
        if any(y is None for y in results):
            raise TypeError(f"{type(self).__name__}.forward returned None; it must return an array, or several")
        outputs = tuple(Variable._of(backend.asarray(y), backend, None) for y in results)
        if recording.get() and any(x.node is not None for x in inputs):
            call = Call(self, inputs, outputs)
            for index, y in enumerate(outputs):
                y.node = call.part(index)
        else:
            self.inputs = ()  # there will be no backward to ask for them
        return outputs if len(outputs) > 1 else outputs[0]

    @property
    def input(self) -> Variable:
        """The first input."""
        return self.inputs[0]

    def forward(self, *xs: Any) -> Any:
        """Compute the results from raw arrays."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, *xs)")

    def backward(self, *gys: Variable) -> Any:
        """Compute the gradients of the inputs from those of the outputs."""
        raise NotImplementedError(f"{type(self).__name__} needs a method backward(self, *gys) to be differentiated")


class Call(Value):
    """One call of a user's Function in the graph."""

    __slots__ = ("function", "orders", "positions", "results")

    def __init__(self, function: Function, inputs: Sequence[Variable], outputs: Sequence[Variable]) -> None:
        self.function = function
        self.positions = [i for i, x in enumerate(inputs) if x.node is not None]
        self.edges = tuple(x.node for x in inputs if x.node is not None)
        self.results = tuple((y._data, y.backend) for y in outputs)
        self.grad = None
        self.order = next_order()
        self.orders = [next_order() for _ in outputs]

    def free(self) -> None:
        self.results = self.function.inputs = FREED

    @property
    def name(self) -> str:
        return type(self.function).__name__

    def part(self, index: int) -> Part | None:
        """Return the identity of an output; None if it cannot carry a gradient."""
        data, backend = self.results[index]
        return Part(self, index, self.orders[index], backend) if backend.is_floating(data.dtype) else None

    def pull(self, gy: Any, create_graph: bool, needed: "set[Value] | None") -> Sequence[Any]:
        """Call the user's backward. `gy` maps the index of each used output to its gradient."""
        function, backend = self.function, self.results[0][1]
        gys = []
        for index, (data, _) in enumerate(self.results):
            g = gy.get(index)
            if g is None:
                g = backend.xp.zeros_like(data)
            gys.append(g if isinstance(g, Variable) else Variable._of(backend.xp.asarray(g), backend, None))
        ys = [
            Variable._of(data, backend, self.part(i) if create_graph else None)
            for i, (data, _) in enumerate(self.results)
        ]
        function.outputs = tuple(partial(as_variable, y) for y in ys)
        try:
            with using_config("enable_backprop", create_graph):
                gxs = function.backward(*gys)
        finally:
            del function.outputs
        gxs = gxs if isinstance(gxs, (tuple, list)) else (gxs,)
        if len(gxs) != len(function.inputs):
            raise GraphError(f"{self.name}.backward returned {len(gxs)} gradients for {len(function.inputs)} inputs")
        return [self._checked(gxs[i], i, create_graph) for i in self.positions]

    def _checked(self, gx: Any, position: int, create_graph: bool) -> Any:
        if gx is None:
            return None
        x = self.function.inputs[position]
        gx = as_variable(gx)
        if gx.backend is not x.backend or gx.shape != x.shape or gx.dtype != x.dtype:
            raise GraphError(
                f"{self.name}.backward returned for input {position} a gradient of shape {gx.shape}, dtype "
                f"{gx.dtype} on {gx.backend}; the input has {x.shape}, {x.dtype} on {x.backend}"
            )
        return gx if create_graph else gx._data
