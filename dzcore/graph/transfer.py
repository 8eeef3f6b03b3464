"""Moving values between backends, with their gradients."""

from collections.abc import Sequence
from typing import Any

from ..backend import Backend, get_backend
from .modes import recording
from .node import Value, next_order
from .variable import Variable, transfer

__all__ = ["to"]


def to(x: Variable, backend: str | Backend) -> Variable:
    """Return `x` on another backend; the gradient comes back the same way."""
    target = get_backend(backend)
    if x.backend is target:
        return x
    y = Variable._of(transfer(x._data, x.backend, target), target, None)
    if x.node is not None and recording.get():
        y.node = Move(x.node, x.backend, target)
    return y


class Move(Value):
    """A value that was copied from one backend, `source`, to another."""

    __slots__ = ("backend", "source")

    def __init__(self, edge: Value, source: Backend, target: Backend) -> None:
        self.edges = (edge,)
        self.grad = None
        self.order = next_order()
        self.source = source
        self.backend = target

    def pull(self, gy: Any, create_graph: bool, needed: "set[Value] | None") -> Sequence[Any]:
        return (to(gy, self.source) if create_graph else transfer(gy, self.backend, self.source),)
