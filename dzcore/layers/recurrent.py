"""Recurrent layers, which keep a state from call to call.

    rnn = L.LSTM(100)
    y = rnn(x)              # one step: x (n, in_size) to y (n, 100)
    ys = rnn.sequence(xs)   # as many steps as there are: xs (steps, n, in_size) to ys (steps, n, 100)
    rnn.reset_state()       # before another sequence

Truncated back-propagation through time (Williams and Peng, Neural Computation 2, 1990) is `loss.unchain_backward()`
after `loss.backward()`: the state stays, and what it was computed from is forgotten.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from .. import functions as F
from ..graph import Variable, as_variable
from .base import Layer
from .linear import Linear, _positive

__all__ = ["GRU", "LSTM", "RNN", "Bidirectional", "Stacked"]


class Recurrent(Layer):
    """A layer that makes a new state of its old one and of the input.

    The state is no parameter and not among the weights; it follows them to another backend. A checkpoint has it, and
    not the graph that it was computed by: a run goes on exactly from where there is none, after `unchain_backward` or
    `reset_state`. All gates of a step come
    from two products: `x2h/W` (in_size, gates · hidden_size) and `h2h/W` (hidden_size, gates · hidden_size) hold the
    matrices of the gates side by side. They start as those of `Linear` do, at the first call if without `in_size`.
    """

    gates: ClassVar[int]
    one_bias: ClassVar[bool] = True  #: whether `x2h` has the only one
    carried: ClassVar[tuple[str, ...]] = (
        "h",
    )  #: the parts of the state: attributes, None at the beginning; the output is first
    h: Variable | None
    #: From xs (steps, n, in_size) and the state to every h, and the other parts of the last state.
    steps: Callable[..., tuple[Variable, ...]]

    def __init__(self, hidden_size: int, in_size: int | None = None, dtype: Any = "float32") -> None:
        self.hidden_size = _positive("hidden_size", hidden_size)
        width = self.gates * self.hidden_size
        self.x2h = Linear(width, in_size=in_size, dtype=dtype)
        self.h2h = Linear(width, self.one_bias, in_size=None if in_size is None else self.hidden_size, dtype=dtype)
        self.h2h.W.lazy_shape = (self.hidden_size, width)
        self.reset_state()

    def reset_state(self) -> None:
        """Forget the state; the next call starts from zeros."""
        for part in self.carried:
            setattr(self, part, None)

    def forward(self, x: Any) -> Variable:
        """Take one step: x (n, in_size) to h (n, hidden_size)."""
        x = as_variable(x)
        if x.ndim != 2:
            raise ValueError(f"x has shape {x.shape}; a step takes (n, in_size), and sequence() takes whole sequences")
        self._advance(F.expand_dims(x, 0))
        assert self.h is not None
        return self.h

    def sequence(self, xs: Any) -> Variable:
        """Take all steps of xs (steps, n, in_size), and return every h: (steps, n, hidden_size).

        It begins at the present state and leaves the last one, as single calls would.
        """
        xs = as_variable(xs)
        if xs.ndim != 3 or not xs.shape[0]:
            raise ValueError(f"xs has shape {xs.shape}; it must be (steps, n, in_size) with one step at least")
        return self._advance(xs)

    def _advance(self, xs: Variable) -> Variable:
        if any(p._data is None for p in self.params()):
            if not xs.shape[2]:
                raise ValueError(f"xs has shape {xs.shape}; a layer without in_size takes its size from the last axis")
            self.x2h._start(xs.shape[2], xs.backend)
            self.h2h._start(self.hidden_size, xs.backend)
        hs, *others = self.steps(xs, *[self._present(part, xs) for part in self.carried])
        for part, value in zip(self.carried, (hs[-1], *others), strict=True):
            setattr(self, part, value)
        return hs

    def _present(self, part: str, xs: Variable) -> Variable:
        """Return a part of the state, for the steps of xs."""
        value = getattr(self, part)
        shape = (xs.shape[1], self.hidden_size)
        if value is None:
            zeros = xs.backend.xp.zeros(shape, dtype=self.h2h.W.dtype, device=xs.backend.device)
            return Variable._of(zeros, xs.backend, None)
        value = as_variable(value)
        if value.shape != shape:
            raise ValueError(
                f"the state {part} has shape {value.shape} and this step needs {shape}; call reset_state() before a "
                f"batch of another size"
            )
        return value.to(xs.backend)


class RNN(Recurrent):
    """h' = tanh(x W + b + h U): the recurrent network of Elman (Cognitive Science 14, 1990).

    W and b are `x2h/W` and `x2h/b`, U is `h2h/W`, as in DeZero's files.
    """

    gates = 1

    def steps(self, xs: Variable, h: Variable) -> tuple[Variable, ...]:
        """Return every h'."""
        return (F.rnn(xs, self.x2h.W, self.x2h.b, self.h2h.W, h),)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, Neural Computation 9, 1997; forget gate: Gers et al., 2000).

        f, i, o = σ(…), σ(…), σ(…) and u = tanh(…), each of its own columns of x W + b + h U
        c' = f c + i u
        h' = o tanh(c')

    The columns of `x2h/W`, `x2h/b` and `h2h/W` are those of f, i, o, u, in this order: what DeZero keeps apart, such
    as `x2f/W`, `x2i/W`, `x2o/W`, `x2u/W`, is joined along the last axis. PyTorch has i, f, u, o.
    """

    gates = 4
    carried = ("h", "c")
    c: Variable | None

    def steps(self, xs: Variable, h: Variable, c: Variable) -> tuple[Variable, ...]:
        """Return every h' and the last c'."""
        return F.lstm(xs, self.x2h.W, self.x2h.b, self.h2h.W, h, c)


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al., arXiv:1406.1078, 2014), in the form that resets behind the product.

        r, z = σ(…), σ(…), each of its own columns of x W + b + h U + d
        n = tanh(x W + b + r (h U + d)), of the last columns
        h' = (1 - z) n + z h

    The columns of `x2h/W`, `x2h/b`, `h2h/W` and `h2h/b` (d) are those of r, z, n, in this order. It is what PyTorch
    and cuDNN compute.
    """

    gates = 3
    one_bias = False

    def steps(self, xs: Variable, h: Variable) -> tuple[Variable, ...]:
        """Return every h'."""
        return (F.gru(xs, self.x2h.W, self.x2h.b, self.h2h.W, self.h2h.b, h),)


# Together ------------------------------------------------------------------------------------------------------------


class Stacked(Layer):
    """A chain of layers and functions, recurrent ones among them: each reads what the one before has made.

    Whole sequences pass through the `sequence` of those that have one, and through the others as they are; dropout,
    `Linear` and `EmbedID` take any number of axes.
    """

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for i, layer in enumerate(layers):
            if not callable(layer):
                raise TypeError(f"layers[{i}]={layer!r} cannot be called; give a Layer or a function")
        self.layers = list(layers)

    def reset_state(self) -> None:
        """Forget the states of all layers."""
        for layer in self.layers:
            if hasattr(layer, "reset_state"):
                layer.reset_state()

    def forward(self, x: Any) -> Any:
        """Take one step through all layers."""
        for layer in self.layers:
            x = layer(x)
        return x

    def sequence(self, xs: Any) -> Any:
        """Take all steps of xs (steps, n, in_size) through one layer after the other."""
        for layer in self.layers:
            xs = getattr(layer, "sequence", layer)(xs)
        return xs


class Bidirectional(Layer):
    """Two recurrent layers, of which `back` reads the sequence from its end (Schuster and Paliwal, 1997).

    Every call takes whole sequences, from zeros: there is no state to go on from, and no single step.
    """

    def __init__(self, ahead: Any, back: Any) -> None:
        if ahead is back:
            raise ValueError("ahead and back are one layer; give two")
        self.ahead = ahead
        self.back = back

    def reset_state(self) -> None:
        """Forget the states of both layers."""
        self.ahead.reset_state()
        self.back.reset_state()

    def forward(self, x: Any) -> Variable:
        """Refuse: a single step knows nothing of those after it."""
        raise TypeError("Bidirectional reads sequences from both ends; call sequence(xs) with all steps")

    def sequence(self, xs: Any) -> Variable:
        """Return the outputs of both side by side: xs (steps, n, in_size) to (steps, n, 2 · hidden_size)."""
        self.reset_state()
        backwards = self.back.sequence(F.flip(xs, axis=0))
        return F.concat([self.ahead.sequence(xs), F.flip(backwards, axis=0)], axis=-1)
