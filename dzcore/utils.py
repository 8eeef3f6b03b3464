"""DeZero's small helpers, under its names."""

from collections.abc import Callable, Sequence
from math import isclose
from typing import Any

from . import functions as F
from .cuda import as_numpy
from .functions.shape import normalize_axes
from .functions.windows import get_conv_outsize, get_deconv_outsize
from .graph import Variable, as_variable
from .graph.dot import get_dot_graph, plot_dot_graph

__all__ = [
    "array_allclose", "array_equal", "get_conv_outsize", "get_deconv_outsize", "get_dot_graph", "get_file",
    "gradient_check", "logsumexp", "max_backward_shape", "numerical_grad", "pair", "plot_dot_graph",
    "reshape_sum_backward", "sum_to",
]  # fmt: skip


# Arrays: what is raw goes in, and comes out -----------------------------------------------------------------------


def sum_to(x: Any, shape: Sequence[int]) -> Any:
    """Sum over the axes that broadcasting would have repeated; see `functions.sum_to`."""
    return _like(x, F.sum_to(x, shape))


def logsumexp(x: Any, axis: Any = 1) -> Any:
    """Calculate log Σ eˣ over axes, which stay with length 1."""
    return _like(x, F.logsumexp(x, axis, keepdims=True))


def _like(x: Any, y: Variable) -> Any:
    return y if isinstance(x, Variable) else y.data


def reshape_sum_backward(gy: Variable, x_shape: Sequence[int], axis: Any, keepdims: bool) -> Variable:
    """Give the gradient of `sum(x, axis, keepdims)` the shape that broadcasts to x's."""
    return F.reshape(gy, _kept(x_shape, axis)) if axis is not None else gy


def max_backward_shape(x: Any, axis: Any) -> list[int]:
    """Return x's shape with the axes (None: all) at length 1."""
    return _kept(x.shape, axis)


def _kept(shape: Sequence[int], axis: Any) -> list[int]:
    axes = normalize_axes(axis, len(shape))
    return [1 if a in axes else n for a, n in enumerate(shape)]


def pair(x: Any) -> tuple[int, int]:
    """Return (x, x) for an integer, and a pair as it is."""
    a, b = (x, x) if isinstance(x, int) else x
    return a, b


# Comparisons ------------------------------------------------------------------------------------------------------


def array_equal(a: Any, b: Any) -> bool:
    """Tell whether two arrays or Variables, of any backends, have the same shape and elements."""
    from .testing import values

    a, b = as_numpy(a), as_numpy(b)
    return a.shape == b.shape and all(x == y for x, y in zip(values(a), values(b), strict=True))


def array_allclose(a: Any, b: Any, rtol: float = 1e-4, atol: float = 1e-5) -> bool:
    """Tell whether |a - b| <= atol + rtol |b| everywhere, for arrays or Variables of any backends that broadcast."""
    from .testing import values

    pairs = zip(*map(values, F.broadcast_arrays(as_numpy(a), as_numpy(b))), strict=True)
    return all(isclose(x, y, rel_tol=0.0, abs_tol=atol + rtol * abs(y)) for x, y in pairs)


def gradient_check(
    f: Callable[..., Any], x: Any, *args: Any, rtol: float = 1e-4, atol: float = 1e-5, **kwargs: Any
) -> bool:
    """Compare the gradient of f(x, *args, **kwargs) by x with differences; if it is wrong, print how and return False.

    `dzcore.testing.check_gradients` raises instead, so that nobody can forget to look, and checks second derivatives.
    """
    from .testing import check_gradients

    x = as_variable(x)
    x = x if x.backend.is_floating(x.dtype) else F.astype(x, "float32")
    try:
        check_gradients(lambda x: f(x, *args, **kwargs), x, order=1, rtol=rtol, atol=atol)
    except AssertionError as error:
        print(error)
        return False
    return True


def numerical_grad(f: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the gradient of the sum of f(x, *args, **kwargs) by x, by differences, as a raw array of x's shape."""
    from .testing.differences import numerical_gradient

    return numerical_gradient(lambda x: f(x, *args, **kwargs), x).data


# Files ------------------------------------------------------------------------------------------------------------


def get_file(url: str, file_name: str | None = None) -> str:
    """Return the path of a file in the cache, downloaded from `url` if it is not there; nothing checks its content."""
    from .io.downloads import cache_folder, download

    if not (file_name or url.rpartition("/")[2]):
        raise ValueError(f"url={url!r} ends in a slash and names no file; give file_name")
    path = cache_folder() / (file_name or url.rpartition("/")[2])
    if not path.is_file():
        download(path, [url], lambda _: None, f"put it into {str(path.parent)!r}")
    return str(path)
