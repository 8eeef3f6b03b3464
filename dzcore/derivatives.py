"""Derivatives of functions, exact and of any order.

All have one call shape: the function, the place, and the direction if there is one. `f` takes Variables and returns
one. The place `x` is a Variable, an array, a number or a nested list of numbers; for a function of several arguments it
is a tuple of them, f is called as `f(*x)`, and directions and results are tuples too. A result is a Variable. Nothing
is written to `grad`, and only the arguments vary: whatever else `f` uses is a constant, were it one of them.

They nest, and their results can be differentiated like any others; under `no_grad()` these are constants, which takes
less time and memory. Where f does not depend on an argument, the derivative is zero.

>>> import dzcore
>>> def f(x):
...     return dzcore.sum(x**3)
>>> dzcore.value_and_grad(f, [1.0, 2.0])
(variable(9.0), variable([ 3. 12.]))
>>> dzcore.hessian(f, [1.0, 2.0])
variable([[ 6.  0.]
          [ 0. 12.]])
"""

from collections.abc import Callable, Sequence
from typing import Any

from .functions import reshape, stack, zeros_like
from .graph import Parameter, Variable, as_variable, grad, using_config
from .graph.modes import recording

__all__ = ["hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

Differentiable = Callable[..., Variable]


def value_and_grad(f: Differentiable, x: Any) -> tuple[Variable, Any]:
    """Return f(x), one number, and its gradient ∂f/∂x, of x's shape."""
    xs = _arguments(x)
    y = _call(f, xs)
    gxs = _pull(_scalar(y), xs)
    return y if recording.get() else y.detach(), _like(x, gxs)


def vjp(f: Differentiable, x: Any, v: Any) -> Any:
    """Return vᵀ ∂f/∂x, of x's shape, for weights v of f(x)'s shape: one backward pass."""
    xs = _arguments(x)
    y = _call(f, xs)
    return _like(x, _pull(y, xs, _direction(v, y, "f(x)")))


def jvp(f: Differentiable, x: Any, v: Any) -> Any:
    """Return (∂f/∂x) v, the derivative of f along v, of f(x)'s shape, for v of x's shape.

    uᵀ ∂f/∂x is linear in u, and its derivative by u along v is what is asked for: two backward passes (Townsend, "A
    new trick for calculating Jacobian vector products", 2017).
    """
    xs = _arguments(x)
    y = _call(f, xs)
    u = Variable(zeros_like(y))
    with using_config("enable_backprop", True):
        gxs = _pull(y, xs, u)
    vs = _directions(v, x, xs)
    (derivative,) = grad(gxs, u, vs, create_graph=recording.get(), allow_unused=True)
    return zeros_like(y) if derivative is None else derivative


def jacobian(f: Differentiable, x: Any) -> Any:
    """Return ∂f/∂x, of f(x)'s shape followed by x's: a backward pass for every element of f(x)."""
    xs = _arguments(x)
    y = _call(f, xs)
    xp = y.backend.xp
    ones = xp.eye(y.size, dtype=y.dtype, device=y.backend.device)
    seeds = [Variable._of(xp.reshape(ones[i, ...], y.shape), y.backend, None) for i in range(y.size)]
    rows = [_pull(y, xs, seed) for seed in seeds] or [[zeros_like(y)] * len(xs)]
    columns = zip(*rows, strict=True)
    return _like(x, [reshape(stack(c), (*y.shape, *each.shape)) for each, c in zip(xs, columns, strict=True)])


def hessian(f: Differentiable, x: Any) -> Any:
    """Return ∂²f/∂x², of x's shape twice; f(x) is one number.

    For several arguments it is a tuple of rows: `hessian(f, x)[i][j]` is ∂²f/∂xᵢ∂xⱼ, of xᵢ's shape followed by xⱼ's.
    """
    if not isinstance(x, tuple):
        return jacobian(lambda x: value_and_grad(f, x)[1], x)
    return tuple(jacobian(lambda *xs, i=i: value_and_grad(f, xs)[1][i], x) for i in range(len(x)))


def hvp(f: Differentiable, x: Any, v: Any) -> Any:
    """Return (∂²f/∂x²) v, of x's shape, for v of x's shape: a backward pass through the gradient.

    It takes as much time as a few gradients, and no matrix is made (Pearlmutter, Neural Computation 6, 1994).
    """
    xs = _arguments(x)
    with using_config("enable_backprop", True):
        gxs = _pull(_scalar(_call(f, xs)), xs)
    vs = _directions(v, x, xs)
    return _like(x, _pull(gxs, xs, vs))


# What they are made of -------------------------------------------------------------------------------------------


def _arguments(x: Any) -> list[Variable]:
    """Return the place as values of their own, which f's results are differentiated by."""
    return [_argument(each, f"x[{i}]" if isinstance(x, tuple) else "x") for i, each in enumerate(_each(x))]


def _each(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def _like(x: Any, results: Sequence[Any]) -> Any:
    return tuple(results) if isinstance(x, tuple) else results[0]


def _argument(x: Any, name: str) -> Variable:
    if isinstance(x, list) and any(isinstance(each, Variable) for each in x):
        raise TypeError(f"{name} is a list of Variables; several arguments are a tuple: tuple({name})")
    if isinstance(x, Parameter) and x.data is None:
        raise ValueError(f"{name}: the parameter {x.name!r} has no data yet; call its layer once, or give it its size")
    x = as_variable(x)
    if not x.backend.is_floating(x.dtype):
        raise TypeError(f"{name} has dtype {x.dtype}, which carries no gradient; make it of 1.0 instead of 1")
    if x.requires_grad and recording.get():
        return reshape(x, x.shape, copy=True)  # a new value, by which its own derivatives go on to x
    return Variable(x.data, backend=x.backend)


def _call(f: Differentiable, xs: Sequence[Variable]) -> Variable:
    with using_config("enable_backprop", True):
        y = f(*xs)
    if not isinstance(y, Variable):
        raise TypeError(f"f returned a {type(y).__name__}; it must return one Variable (dzcore.concat joins several)")
    if not y.backend.is_floating(y.dtype):
        raise TypeError(f"f returned {y.dtype}, which carries no gradient")
    return y


def _scalar(y: Variable) -> Variable:
    if y.size != 1:
        raise ValueError(f"f returned shape {y.shape}; a gradient is that of one number, jacobian takes any shape")
    return y


def _directions(v: Any, x: Any, xs: Sequence[Variable]) -> list[Variable]:
    vs = _each(v)
    if isinstance(v, tuple) != isinstance(x, tuple) or len(vs) != len(xs):
        raise ValueError(f"v is {_kind(v)} and x is {_kind(x)}; there is one direction for each argument")
    return [_direction(each, own, "its argument") for each, own in zip(vs, xs, strict=True)]


def _kind(x: Any) -> str:
    return f"a tuple of {len(x)}" if isinstance(x, tuple) else "a single one"


def _direction(v: Any, like: Variable, what: str) -> Variable:
    """Return a direction as a Variable; numbers take the dtype and the backend of what it is a direction of."""
    if isinstance(v, (bool, int, float, list)):
        v = Variable(v, dtype=like.dtype, backend=like.backend).detach()
    given: Variable = as_variable(v, like.backend)
    if given.shape != like.shape or given.dtype != like.dtype:
        raise ValueError(f"v has shape {given.shape}, dtype {given.dtype}, and {what} has {like.shape}, {like.dtype}")
    return given


def _pull(y: Any, xs: Sequence[Variable], weights: Any = None) -> list[Variable]:
    """Return the gradients, as constants unless recording; zeros where there is no way from x to y."""
    found = grad(y, list(xs), weights, create_graph=recording.get(), allow_unused=True)
    return [zeros_like(x) if gx is None else gx for x, gx in zip(xs, found, strict=True)]
