"""Values and the operations that made them, as the backward pass sees them.

The identity of a value is a node: a `Leaf` for what nobody computed, a `Node` for the result of a rule, a `Part`
for one of the results of a user's Function. Nodes point at the nodes they were computed from and never back, and
hold only the arrays that their gradients need, so a graph has no cycles and dies with its last reference.
"""

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import GraphError

if TYPE_CHECKING:
    from ..backend import Backend
    from .rule import Plan
    from .variable import Variable

__all__ = ["FREED", "Fit", "Leaf", "Node", "Part", "Value", "next_order", "refuse"]

#: Numbers the values downwards in the order of their creation: what a value was computed from has larger numbers.
next_order = count(-1, -1).__next__


class _Freed:
    """Stands for what a node kept until `backward` went by; who asks for it is told the remedy."""

    def __iter__(self) -> NoReturn:
        refuse()

    def __getitem__(self, index: int) -> NoReturn:
        refuse()


def refuse() -> NoReturn:
    """Say what to do about a graph that has been freed."""
    raise GraphError(
        "this graph has been differentiated, which freed what it kept; call backward(retain_graph=True) the first "
        "time, or dzcore.grad, which frees nothing"
    )


FREED: Any = _Freed()


class Value:
    """What the gradient of a value is delivered to. `order` is unique, and smaller than that of every edge."""

    __slots__ = ("edges", "grad", "label", "order")
    edges: "tuple[Value, ...]"
    grad: "Variable | None"
    label: str | None  #: the name that a Variable gave it, for pictures; unset until then
    order: int

    def pull(self, gy: Any, create_graph: bool, needed: "set[Value] | None") -> Sequence[Any]:
        """Return the gradients with respect to the edges, in their order, None for those that are not needed."""
        raise NotImplementedError  # every subclass with edges has its own

    def free(self) -> None:
        """Let go of the arrays that `pull` needs."""

    @property
    def name(self) -> str:
        """The name of the operation that made this value."""
        return type(self).__name__.lower()

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Leaf(Value):
    """A value that was given, not computed: a parameter or an input whose gradient is wanted.

    It knows what its gradient must look like: that of the array that its variable holds now.
    """

    __slots__ = ("backend", "dtype", "owned", "shape")
    owned: bool  #: whether `grad` is a sum that the engine made and nobody has seen, so that it may add to it in place

    def __init__(self) -> None:
        self.edges = ()
        self.grad = None
        self.owned = False
        self.order = next_order()

    def describe(self, data: Any, backend: "Backend") -> None:
        """Take note of the array that this value is."""
        self.backend = backend
        self.shape = data.shape
        self.dtype = data.dtype


class Node(Value):
    """The result of a rule, with what the rule's gradients asked to keep."""

    __slots__ = ("backend", "plan", "saved")
    backend: "Backend"
    plan: "Plan"
    saved: tuple[Any, ...]

    def pull(self, gy: Any, create_graph: bool, needed: "set[Value] | None") -> Sequence[Any]:
        plan = self.plan
        xp, saved = plan.variables(self) if create_graph else (self.backend.ops, self.saved)
        if saved is FREED:
            refuse()
        if needed is None or needed.issuperset(self.edges):
            return plan.pull(xp, gy, saved)  # type: ignore[no-any-return]
        return [
            gradient(xp, gy, saved) if edge in needed else None
            for edge, gradient in zip(self.edges, plan.gradients, strict=True)
        ]

    def free(self) -> None:
        self.saved = FREED

    @property
    def name(self) -> str:
        return self.plan.name


class Fit(Value):
    """An operand that was broadcast, or promoted to another dtype, on its way into an elementwise operation.

    Its gradient is summed over the axes that were repeated and cast back. Elementwise rules need not know.
    """

    __slots__ = ("backend", "dtype", "shape")

    def __init__(self, backend: "Backend", source: Value, shape: tuple[int, ...], dtype: Any) -> None:
        self.edges = (source,)
        self.grad = None
        self.order = next_order()
        self.backend = backend
        self.shape = shape
        self.dtype = dtype

    def pull(self, gy: Any, create_graph: bool, needed: "set[Value] | None") -> Sequence[Any]:
        from .rule import namespaces  # the two modules are one idea, split for reading

        xp = namespaces.variables if create_graph else self.backend.ops
        if gy.shape != self.shape:
            gy = xp.sum_to(gy, shape=self.shape)
        return (gy if gy.dtype == self.dtype else xp.astype(gy, self.dtype),)


class Part(Value):
    """Output `index` of a user's Function; the engine collects the parts' gradients for its call.

    Parts are made anew for the Function's backward, and are the same value if call and index are: `order`, which
    the call reserves for each of its outputs, tells.
    """

    __slots__ = ("backend", "index")

    def __init__(self, call: Value, index: int, order: int, backend: "Backend") -> None:
        self.edges = (call,)
        self.backend = backend
        self.grad = None
        self.order = order
        self.index = index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and other.order == self.order

    def __hash__(self) -> int:
        return hash(self.order)

    def pull(self, gy: Any, create_graph: bool, needed: "set[Value] | None") -> Sequence[Any]:
        return (Gathered({self.index: gy}),)

    @property
    def name(self) -> str:
        return self.edges[0].name if self.edges else "part"


class Gathered(dict[int, Any]):
    """The gradients of a Function's outputs so far, by index; the engine adds them up like any gradient."""

    shape = dtype = None

    def __add__(self, other: "Gathered") -> "Gathered":
        both = Gathered(self)
        for index, g in other.items():
            both[index] = both[index] + g if index in both else g
        return both
