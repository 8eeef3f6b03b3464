"""Gradient checks by random projection, at first and second order."""

from collections.abc import Callable, Sequence
from typing import Any

from .. import functions as F
from ..backend import Backend
from ..errors import GraphError
from ..graph import Variable, grad
from .compare import assert_close
from .draw import Source

__all__ = ["check_gradients"]


def check_gradients(
    f: Callable[..., Any],
    *inputs: Any,
    order: int = 2,
    seed: int = 0,
    directions: int = 2,
    step: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Compare the gradients of f at `inputs` with differences of values, along random directions, in float64.

    A backend without float64 computes in float32, with a wide step and wide tolerances.

    Order 1: with u random weights of the results and v a random direction, <∇<f, u>, v> must be
    (<f(x + hv), u> - <f(x - hv), u>) / 2h. Order 2: the same for <∇<f, u>, w> as a function of x and of u, which
    differentiates the backward pass itself. Besides, the gradients computed from raw arrays must be those that are
    computed with a graph.

    Args:
        f: A function of Variables that returns a Variable or a sequence of them.
        inputs: Variables, arrays or nested lists. Floating-point ones are checked, as float64; others are constants.
        order: 1, or 2 for second derivatives as well.
        seed: The stream of the random numbers.
        directions: How many directions to try.
        step: h, 1e-5 by default (float32: 5e-3). Keep kinks, ties and poles further away than this.
        rtol: Tolerance relative to the larger of both, 1e-5 by default (float32: 2e-2).
        atol: Tolerance added to it, 1e-7 by default (float32: 5e-3).

    Raises:
        AssertionError: with the analytic and the numeric value, the seed and the inputs.
        GraphError: the results have no gradient.
    """
    if order not in (1, 2):
        raise ValueError(f"order={order} must be 1 or 2")
    check = _Check(f, inputs, Source(seed), step)
    rtol = check.double(1e-5, 2e-2) if rtol is None else rtol
    atol = check.double(1e-7, 5e-3) if atol is None else atol
    name = getattr(f, "__name__", type(f).__name__)

    def compare(which: int, analytic: float, numeric: float) -> None:
        if not abs(analytic - numeric) <= atol + rtol * max(abs(analytic), abs(numeric)):  # nan fails
            at = "\n  ".join(f"input {i}: {x!r}" for i, x in enumerate(check.constants))
            raise AssertionError(
                f"derivative {which} of {name} is wrong: analytic {analytic!r}, numeric {numeric!r}, seed={seed}\n"
                f"  {at}"
            )

    for _ in range(directions):
        u = check.draw(check.outputs)
        v = check.draw(check.leaves)
        compare(1, *check.first(u, v))
        if order == 2:
            check.speeds(u)
            w = check.draw(check.leaves)
            compare(2, *check.second(u, w, [*v, *check.draw(check.outputs)]))


Values = Sequence[Variable]


class _Check:
    """f at one point, with the random numbers that project it."""

    def __init__(self, f: Callable[..., Any], inputs: Sequence[Any], source: Source, step: float | None) -> None:
        self.f = f
        self.source = source
        self.constants = [_widest(x) for x in inputs]
        self.step = self.double(1e-5, 5e-3) if step is None else step
        self.places = [i for i, x in enumerate(self.constants) if x.backend.is_floating(x.dtype)]
        self.leaves = [_leaf(self.constants[i]) for i in self.places]
        self.outputs = self.value(self.leaves)
        if not any(y.requires_grad for y in self.outputs):
            raise GraphError("the results have no gradient: they were computed from no floating-point input")

    def double(self, yes: float, no: float) -> float:
        """Return the one of two numbers that suits the precision."""
        return yes if all("float64" in x.backend.dtypes for x in self.constants) else no

    def value(self, xs: Values) -> list[Variable]:
        """Return the floating-point results of f at `xs`."""
        arguments = list(self.constants)
        for i, x in zip(self.places, xs, strict=True):
            arguments[i] = x
        ys = self.f(*arguments)
        ys = list(ys) if isinstance(ys, (tuple, list)) else [ys]
        return [y for y in ys if y.backend.is_floating(y.dtype)]

    def draw(self, like: Values) -> list[Variable]:
        """Draw a random direction."""
        return [self.source.like(x) for x in like]

    def first(self, u: Values, v: Values) -> tuple[float, float]:
        """Return <∇<f, u>, v>, analytic and numeric."""
        ys = self.value(self.leaves)
        numeric = self.difference(self.value, self.leaves, v, u)
        return _dot(_gradients(ys, self.leaves, u), v), numeric

    def second(self, u: Values, w: Values, directions: Values) -> tuple[float, float]:
        """Return the derivative of <∇<f, u>, w> in x and u along `directions`, analytic and numeric."""
        xs, us = self.leaves, [_leaf(each) for each in u]
        ys = self.value(xs)
        gxs = _gradients(ys, xs, us, create_graph=True)
        numeric = self.difference(
            lambda point: _gradients(self.value(point[: len(xs)]), point[: len(xs)], point[len(xs) :]),
            [*xs, *us], directions, w,
        )  # fmt: skip
        return _dot(_gradients(gxs, [*xs, *us], w), directions), numeric

    def speeds(self, u: Values) -> None:
        """Compare the gradients from raw arrays with those from a graph."""
        ys = self.value(self.leaves)
        for x, quick, slow in zip(
            self.leaves, _gradients(ys, self.leaves, u), _gradients(ys, self.leaves, u, create_graph=True), strict=True
        ):
            for g in (quick, slow):
                if g.shape != x.shape or g.dtype != x.dtype:
                    raise AssertionError(f"a gradient has shape {g.shape}, dtype {g.dtype} for input {x!r}")
            assert_close(quick, slow.detach(), rtol=self.double(1e-9, 1e-4), atol=self.double(1e-12, 1e-6))

    def difference(self, function: Callable[[Values], Values], at: Values, direction: Values, weights: Values) -> float:
        """Return the central difference of <function, weights> along a direction."""
        there = function([_leaf(x.detach() + v * self.step) for x, v in zip(at, direction, strict=True)])
        back = function([_leaf(x.detach() - v * self.step) for x, v in zip(at, direction, strict=True)])
        return _dot([a.detach() - b.detach() for a, b in zip(there, back, strict=True)], weights) / (2 * self.step)


def _gradients(ys: Values, xs: Values, weights: Values, create_graph: bool = False) -> list[Variable]:
    """Return the gradients, zeros where there is no way from x to the results."""
    found = grad(ys, xs, list(weights), create_graph=create_graph, allow_unused=True)
    return [F.zeros_like(x) if g is None else g for x, g in zip(xs, found, strict=True)]


def _dot(xs: Values, ys: Values) -> float:
    return sum(float(F.sum(x.detach() * y.detach())) for x, y in zip(xs, ys, strict=True))


def _widest(x: Any) -> Variable:
    constant = (x if isinstance(x, Variable) else Variable(x)).detach()
    widest = "float64" if "float64" in constant.backend.dtypes else "float32"
    return F.astype(constant, widest) if constant.backend.is_floating(constant.dtype) else constant


def _leaf(x: Variable) -> Variable:
    backend: Backend = x.backend
    return Variable(x.data, backend=backend)
