"""Normalization, with its gradients."""

from math import prod
from typing import Any

from ..graph import Variable, as_variable, rule
from ..graph.modes import training
from .math import sqrt
from .shape import astype, reshape

__all__ = ["batch_norm", "group_norm", "layer_norm"]

Axes = tuple[int, ...]


# Write d for the deviations from the mean over some axes, s = √(mean d² + eps). Both are computed once, in `_moments`;
# the rules below hand out what is known and say what its gradient is. As s is a function of x to them, derivatives are
# right at every order, and no order computes anything twice.


def _standardized_gradient(xp: Any, gy: Any, x: Any, y: Any, known: Any, s: Any, axes: Axes) -> Any:
    s = xp.deviation(x, known, s, axes)
    mean, along = xp.mean(gy, axis=axes, keepdims=True), xp.mean(gy * y, axis=axes, keepdims=True)
    return xp.fused(_projected, gy, mean, along, y, s)


def _projected(xp: Any, gy: Any, mean: Any, along: Any, y: Any, s: Any) -> Any:
    return (gy - mean - y * along) / s


@rule(extends=True, x=_standardized_gradient)
def _standardized(xp: Any, x: Any, /, known: Any, s: Any, axes: Axes) -> Any:
    """Return d / s over `axes` of x, which is `known` already."""
    return known


def _deviation_gradient(xp: Any, gy: Any, x: Any, known: Any, s: Any, axes: Axes) -> Any:
    return xp.standardized(x, known, s, axes) * (gy / float(_count(x, axes)))


@rule(extends=True, x=_deviation_gradient)
def _deviation(xp: Any, x: Any, /, known: Any, s: Any, axes: Axes) -> Any:
    """Return s over `axes` of x, which is known already, as is the standardized x in `known`."""
    return s


def _count(x: Any, axes: Axes) -> int:
    return prod([x.shape[a] for a in axes])


def _moments(xp: Any, x: Any, axes: Axes) -> tuple[Any, Any, Any]:
    """Return the mean, the deviations from it, and the mean of their squares.

    But for rounding, the mean of the deviations would be 0. Data far from 0 come out right when it is taken away too.
    """
    mean = xp.mean(x, axis=axes, keepdims=True)
    d = x - mean
    rest = xp.mean(d, axis=axes, keepdims=True)
    d, squares = xp.fused(_centered, d, rest)
    return mean + rest, d, xp.mean(squares, axis=axes, keepdims=True)


def _centered(xp: Any, d: Any, rest: Any) -> tuple[Any, Any]:
    d = d - rest
    return d, d * d


def _standardize(x: Variable, axes: Axes, eps: float, name: str) -> tuple[Variable, Any, Any]:
    """Return d / s over `axes` of x, and as raw arrays the mean and the variance; all of float32 for narrower types."""
    if _count(x, axes) < 2:
        raise ValueError(
            f"{name}: x has shape {x.shape}, and one value has no deviation from its own mean; a mean over axes {axes} "
            f"takes two values or more"
        )
    if x.backend.dtype_name(x.dtype) not in ("float32", "float64"):
        x = astype(x, "float32")
    xp = x.backend.ops
    mean, d, var = _moments(xp, x._data, axes)
    s = xp.sqrt(var + eps)
    return _standardized(x, d / s, s, axes), mean, var


@rule(
    elementwise=True,
    fused=True,
    x=lambda gy, gamma: gy * gamma,
    gamma=lambda gy, x: gy * x,
    beta=lambda gy: gy,
)
def _scale_and_shift(xp: Any, x: Any, gamma: Any, beta: Any) -> Any:
    return x * gamma + beta


def _scaled(y: Variable, gamma: Variable, beta: Variable, dtype: Any) -> Variable:
    return _scale_and_shift(y if y.dtype == dtype else astype(y, dtype), gamma, beta)


def batch_norm(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, decay: float = 0.9, eps: float = 2e-5) -> Variable:
    """Normalize each channel of x (n, c, …) over all other axes: gamma (x - mean) / √(var + eps) + beta.

    While training, mean and variance are those of x, and the running ones, which test mode takes, come closer to them:
    mean ← decay mean + (1 - decay) mean(x), and var in the same way to the unbiased variance of x, which divides by one
    less (Ioffe and Szegedy, ICML 2015).

    Args:
        x: Floating-point, at least two values a channel while training.
        gamma: (c,), as are all the others.
        beta: (c,)
        mean: The running mean. A Variable (a Buffer, say) gets a new array; an array is written to.
        var: The running variance, likewise.
        decay: How much of them stays.
        eps: What keeps the division from being one by zero.
    """
    x = _floating(x, "batch_norm")
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x has shape {x.shape}; it must be (n, c) or (n, c, …)")
    shape = x.shape[1:2]
    gamma, beta = _like(gamma, x, "gamma", shape), _like(beta, x, "beta", shape)
    old_mean, old_var = _like(mean, x, "mean", shape), _like(var, x, "var", shape)
    for name, each in (("mean", old_mean), ("var", old_var)):
        _floating(each, f"batch_norm: {name}")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay={decay!r} must be between 0 and 1")
    wide = (*shape, *[1] * (x.ndim - 2))
    gamma, beta = reshape(gamma, wide), reshape(beta, wide)
    if not training.get():
        scale = gamma / sqrt(reshape(old_var, wide) + eps)
        return _scale_and_shift(x - reshape(old_mean, wide), scale, beta)
    axes = (0, *range(2, x.ndim))
    y, new_mean, new_var = _standardize(x, axes, eps, "batch_norm")
    count = _count(x, axes)
    _approach("mean", mean, old_mean, new_mean, decay)
    _approach("var", var, old_var, new_var * (count / (count - 1)), decay)
    return _scaled(y, gamma, beta, x.dtype)


def _floating(x: Any, name: str) -> Variable:
    y: Variable = as_variable(x)
    if not y.backend.is_floating(y.dtype):
        raise TypeError(f"{name}: x has dtype {y.dtype}; it must be floating-point, as of x.astype('float32')")
    return y


def _like(array: Any, x: Variable, name: str, shape: tuple[int, ...]) -> Variable:
    variable: Variable = as_variable(array, x.backend)
    if variable.shape != shape:
        raise ValueError(f"{name} has shape {variable.shape}; for x of shape {x.shape} it must be {shape}")
    return variable


def _mixed(xp: Any, old: Any, new: Any, decay: float) -> Any:
    return xp.astype(xp.astype(old, new.dtype) * decay + new * (1.0 - decay), old.dtype)


def _approach(name: str, given: Any, old: Variable, new: Any, decay: float) -> None:
    backend = old.backend
    mixed = backend.ops.fused(_mixed, old._data, backend.xp.reshape(new, old.shape), decay)
    if isinstance(given, Variable):
        given._set(mixed, backend)
        return
    try:
        given[...] = mixed
    except (TypeError, ValueError) as error:  # TypeError: immutable arrays, ValueError: read-only ones
        raise TypeError(f"{name} is an array that cannot be written to; give a dzcore.layers.Buffer of it") from error


def layer_norm(x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> Variable:
    """Normalize x (…, *shape) over the axes of gamma and beta (*shape), the last ones: gamma d / √(var + eps) + beta.

    (Ba et al., arXiv:1607.06450, 2016)
    """
    x = _floating(x, "layer_norm")
    gamma = as_variable(gamma, x.backend)
    first = max(x.ndim - gamma.ndim, 0)
    gamma, beta = _like(gamma, x, "gamma", x.shape[first:]), _like(beta, x, "beta", x.shape[first:])
    y, _, _ = _standardize(x, tuple(range(first, x.ndim)), eps, "layer_norm")
    return _scaled(y, gamma, beta, x.dtype)


def group_norm(x: Any, groups: int, gamma: Any, beta: Any, eps: float = 1e-5) -> Variable:
    """Normalize x (n, c, …) over each of `groups` groups of channels: gamma d / √(var + eps) + beta.

    gamma and beta are (c,), and groups divides c (Wu and He, ECCV 2018).
    """
    x = _floating(x, "group_norm")
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise ValueError(f"groups={groups} does not divide the channels of x, which has shape {x.shape}: (n, c, …)")
    shape, wide = x.shape[1:2], (-1, *[1] * (x.ndim - 2))
    gamma, beta = _like(gamma, x, "gamma", shape), _like(beta, x, "beta", shape)
    gamma, beta = reshape(gamma, wide), reshape(beta, wide)
    y, _, _ = _standardize(reshape(x, (x.shape[0], groups, prod(x.shape[1:]) // groups)), (2,), eps, "group_norm")
    return _scaled(reshape(y, x.shape), gamma, beta, x.dtype)
