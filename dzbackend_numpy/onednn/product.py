"""Products of matrices, and stacks, of float32 by the kernel library, whose threads are those of the team."""

from collections.abc import Sequence
from ctypes import c_char, c_float, c_int64, c_void_p
from functools import partial
from typing import Any

import numpy as np

from .. import extras, team
from ..once import once
from .library import OneDNNError, available, engine, library, make
from .plan import BIAS, DST, SRC, WEIGHTS, Operand, Plan, attributes, form, run

__all__ = ["LARGE", "linear", "matmul", "stacked"]

#: From how many multiplications on the library is asked: OpenBLAS computes up to so many in the calling thread.
LARGE = 2**18
#: The same for stacks of matrices, which are always for a primitive; and how many axes they may have.
MANY, AXES = 2**20, 5
#: From how many numbers in each sum on a transposed second matrix is for a primitive, which takes 10 us to start, and
#: then, as of 128×512 by 512×512, 0.32 ms instead of 0.51 (two cores with AVX-512).
LONG = 256


def matmul(x1: Any, x2: Any) -> Any:
    """Return the product of two matrices, which are large."""
    a, b = _laid(x1), _laid(x2)
    if a is None or b is None or x1.shape[1] != x2.shape[0] or not (extras.allowed() and available()):
        return x1.dot(x2)
    (m, k), n = x1.shape, x2.shape[1]
    if b[0] == b"T" and k >= LONG:
        return _primitive(x1, x2)
    y = np.empty((m, n), np.float32)
    team.size()  # which tells the library
    status = _sgemm()(a[0], b[0], m, n, k, 1.0, x1.ctypes.data, a[1], x2.ctypes.data, b[1], 0.0, y.ctypes.data, n)
    if status:
        raise OneDNNError(f"oneDNN: sgemm of {x1.shape} by {x2.shape}: status {status}")
    return y


def stacked(x1: Any, x2: Any) -> Any:
    """Return the products of the matrices in two stacks (…, n, k) and (…, k, m) of as many axes."""
    if (
        x1.size * x2.shape[-1] >= MANY
        and x1.ndim <= AXES
        and x1.shape[:-2] == x2.shape[:-2]
        and x1.shape[-1] == x2.shape[-2]
        and _laid_each(x1)
        and _laid_each(x2)
        and extras.allowed()
        and available()
    ):
        return _primitive(x1, x2)
    return np.matmul(x1, x2)


def linear(x: Any, W: Any, b: Any) -> Any:
    """Return x W + b, in one pass over the result where the library computes it."""
    if x.size * W.shape[1] >= LARGE and extras.allowed() and available():
        bias = np.ascontiguousarray(b).reshape(1, -1)
        if _laid(x) and _laid(W) and _laid(bias):
            return _primitive(x, W, bias)
    y = x.dot(W)
    y += b
    return y


def _primitive(x1: Any, x2: Any, *bias: Any) -> Any:
    """Compute the product, plus a bias (1, n) perhaps, by a primitive."""
    y = np.empty((*x1.shape[:-1], x2.shape[-1]), np.float32)
    arrays = [x1, x2, *bias, y]
    places = (SRC, WEIGHTS, BIAS, DST) if bias else (SRC, WEIGHTS, DST)
    strides = [tuple([s // 4 for s in x.strides]) for x in arrays]
    operands = tuple([Operand(n, x.shape, s) for n, x, s in zip(places, arrays, strides, strict=True)])
    run(("product", operands), partial(_plan, operands), arrays)
    return y


def _laid(x: Any) -> tuple[bytes, int] | None:
    """Return whether a matrix is transposed, and how many elements its rows are apart; None if it has other gaps, or
    is anything else."""
    *_, down, across = x.strides
    if x.dtype != np.float32 or type(x) is not np.ndarray:
        return None
    if across == 4 and down >= 4 * x.shape[-1] and not down % 4:
        return b"N", down // 4
    if down == 4 and across >= 4 * x.shape[-2] and not across % 4:
        return b"T", across // 4
    return None


def _laid_each(x: Any) -> bool:
    """Tell whether the matrices of a stack lie so, some elements apart."""
    return _laid(x) is not None and all(s > 0 and not s % 4 for s in x.strides[:-2])


@once
def _sgemm() -> Any:
    function = library().dnnl_sgemm
    matrix = (c_void_p, c_int64)
    function.argtypes = (c_char, c_char, c_int64, c_int64, c_int64, c_float, *matrix, *matrix, c_float, *matrix)
    return function


def _plan(operands: Sequence[Operand]) -> Plan:
    """Compile a product."""
    x1, x2, *bias, y = (form(each.shape, each.strides) for each in operands)
    create = "matmul_primitive_desc_create"
    made = make("primitive_desc", create, engine(), x1, x2, bias[0] if bias else None, y, attributes())
    return Plan(made, operands)
