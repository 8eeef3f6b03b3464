"""Products of matrices and tensors, with their gradients."""

from collections.abc import Sequence
from math import prod
from typing import Any

from ..graph import Variable, as_variable, rule
from .math import multiply
from .reduce import sum
from .shape import astype, normalize_axes, normalize_axis, permute_dims, reshape

__all__ = ["linear", "matmul", "tensordot", "vecdot"]

# Gradients of a product of stacks are summed over the axes along which a stack was repeated.


@rule(
    x1=lambda xp, gy, x2, shape1: xp.sum_to(xp.matmul(gy, x2.mT), shape=shape1),
    x2=lambda xp, gy, x1, shape2: xp.sum_to(xp.matmul(x1.mT, gy), shape=shape2),
)
def _matmul_stacks(xp: Any, x1: Any, x2: Any, /, shape1: tuple[int, ...], shape2: tuple[int, ...]) -> Any:
    return xp.matmul(x1, x2)


# Products of two matrices, either of them transposed: the gradients of each are among them, so that no matrix is
# transposed on its own, and none comes out transposed in memory.


@rule(x1=lambda xp, gy, x2: xp.times_transposed(gy, x2), x2=lambda xp, gy, x1: xp.transposed_times(x1, gy))
def _matmul(xp: Any, x1: Any, x2: Any) -> Any:
    return xp.matmul(x1, x2)


@rule(
    extends=True,
    shown="matmul",
    x1=lambda xp, gy, x2: xp.matmul(gy, x2),
    x2=lambda xp, gy, x1: xp.transposed_times(gy, x1),
)
def _times_transposed(xp: Any, x1: Any, x2: Any) -> Any:
    """Multiply x1 (n, k) by the transpose of x2 (m, k)."""
    return xp.matmul(x1, x2.T)


@rule(
    extends=True,
    shown="matmul",
    x1=lambda xp, gy, x2: xp.times_transposed(x2, gy),
    x2=lambda xp, gy, x1: xp.matmul(x1, gy),
)
def _transposed_times(xp: Any, x1: Any, x2: Any) -> Any:
    """Multiply the transpose of x1 (k, n) by x2 (k, m)."""
    return xp.matmul(x1.T, x2)


def matmul(x1: Any, x2: Any) -> Variable:
    """Multiply matrices: (…, n, k) and (…, k, m) to (…, n, m); vectors (k,) on either side; stacks broadcast."""
    if not (isinstance(x1, Variable) and isinstance(x2, Variable) and x1.backend is x2.backend):
        x1 = as_variable(x1, x2.backend if isinstance(x2, Variable) else None)
        x2 = as_variable(x2, x1.backend)
    if x1._data.dtype != x2._data.dtype:
        common = x1.backend.xp.result_type(x1.dtype, x2.dtype)
        x1, x2 = astype(x1, common), astype(x2, common)
    left, right = x1._data.shape, x2._data.shape
    if len(left) == len(right) == 2:
        if left[1] != right[0]:
            raise ValueError(f"matmul: shapes {left} and {right} do not fit; {left[1]} and {right[0]} must be equal")
        return _matmul(x1, x2)
    if not left or not right or left[-1] != right[-2 if len(right) > 1 else -1]:
        raise ValueError(f"matmul: shapes {left} and {right} do not fit")
    if len(left) == 1:
        x1 = reshape(x1, (1, *left))
    if len(right) == 1:
        x2 = reshape(x2, (*right, 1))
    y = _matmul_stacks(x1, x2, x1.shape, x2.shape)
    if len(left) == 1 or len(right) == 1:
        shape = list(y.shape)
        if len(right) == 1:
            del shape[-1]
        if len(left) == 1:
            del shape[-1 if len(right) == 1 else -2]
        y = reshape(y, shape)
    return y


def _plus(y: Any, b: Any) -> Any:
    y += b  # in place where the library can: y is new
    return y


@rule(
    extends=True,
    x=lambda xp, gy, W: xp.times_transposed(gy, W),
    W=lambda xp, gy, x: xp.transposed_times(x, gy),
    b=lambda xp, gy: xp.sum(gy, axis=0),
)
def _linear(xp: Any, x: Any, W: Any, b: Any) -> Any:
    """Return x W + b for x (n, i), W (i, o), b (o,)."""
    return _plus(xp.matmul(x, W), b)


def linear(x: Any, W: Any, b: Any = None) -> Variable:
    """Apply an affine map to the last axis: x W + b, for x (…, i), W (i, o), b (o,)."""
    x = as_variable(x, W.backend if isinstance(W, Variable) else None)
    W = as_variable(W, x.backend)
    if len(W.shape) != 2 or not x.shape or x.shape[-1] != W.shape[0]:
        raise ValueError(f"linear: x has shape {x.shape} and W {W.shape}; the last axis of x must be the first of W")
    if b is None:
        return matmul(x, W)
    b = as_variable(b, x.backend)
    if x.dtype != W.dtype or b.dtype != W.dtype or b.shape != W.shape[1:]:
        y: Variable = matmul(x, W) + b
        return y
    if len(x.shape) != 2:
        rows = reshape(x, (-1, W.shape[0])) if x.size else reshape(x, (0, W.shape[0]))
        return reshape(linear(rows, W, b), (*x.shape[:-1], W.shape[1]))
    return _linear(x, W, b)


def vecdot(x1: Any, x2: Any, *, axis: int = -1) -> Variable:
    """Calculate dot products of the vectors along an axis."""
    return sum(multiply(x1, x2), axis)


def tensordot(x1: Any, x2: Any, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Variable:
    """Contract the last `axes` axes of x1 with the first of x2, or the pairs of axes given as two sequences."""
    x1 = as_variable(x1, x2.backend if isinstance(x2, Variable) else None)
    x2 = as_variable(x2, x1.backend)
    if isinstance(axes, int):
        left, right = tuple(range(x1.ndim - axes, x1.ndim)), tuple(range(axes))
    else:
        left, right = normalize_axes(axes[0], x1.ndim), tuple(normalize_axis(a, x2.ndim) for a in axes[1])
    if [x1.shape[a] for a in left] != [x2.shape[a] for a in right]:
        raise ValueError(f"axes={axes}: shapes {x1.shape} and {x2.shape} differ along the axes to contract")
    rows = tuple(a for a in range(x1.ndim) if a not in left)
    columns = tuple(a for a in range(x2.ndim) if a not in right)
    inner = prod([x1.shape[a] for a in left])
    outer1, outer2 = [x1.shape[a] for a in rows], [x2.shape[a] for a in columns]
    size1, size2 = prod(outer1), prod(outer2)
    y = matmul(
        reshape(permute_dims(x1, rows + left), (size1, inner)),
        reshape(permute_dims(x2, right + columns), (inner, size2)),
    )
    return reshape(y, (*outer1, *outer2))
