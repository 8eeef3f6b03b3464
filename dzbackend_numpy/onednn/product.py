"""Products of matrices of float32 by the kernel library, which shares them among the team better than OpenBLAS does."""

from ctypes import c_char, c_float, c_int64, c_void_p
from functools import cache
from typing import Any

import numpy as np

from .. import extras, team
from .library import OneDNNError, available, library

__all__ = ["LARGE", "matmul"]

#: From how many multiplications on the library is asked: loading it takes 50 ms.
LARGE = 2**20

# Where it is ahead, measured on two cores with AVX-512: 100×784 by 784×1000 takes 0.72 ms instead of 0.84 to 0.98,
# 256×100 by 100×256 0.07 instead of 0.10. With few rows or columns OpenBLAS is even or better, as it is where the
# second matrix is a transpose and has to be read across many rows.
ROWS, COLUMNS, ACROSS = 32, 256, 256


def matmul(x1: Any, x2: Any) -> Any:
    """Return the product of two matrices of `LARGE` multiplications or more."""
    (m, k), n = x1.shape, x2.shape[1]
    if n < COLUMNS or m < ROWS or not x1.dtype == x2.dtype == np.float32 or k != x2.shape[0]:
        return x1.dot(x2)
    a, b = _laid(x1), _laid(x2)
    if a is None or b is None or (b[0] == b"T" and k > ACROSS) or not (extras.allowed() and available()):
        return x1.dot(x2)
    team.size()  # the library takes the number of threads from there
    y = np.empty((m, n), np.float32)
    status = _sgemm()(a[0], b[0], m, n, k, 1.0, x1.ctypes.data, a[1], x2.ctypes.data, b[1], 0.0, y.ctypes.data, n)
    if status:
        raise OneDNNError(f"oneDNN: sgemm of {x1.shape} by {x2.shape}: status {status}")
    return y


def _laid(x: Any) -> tuple[bytes, int] | None:
    """Return whether a matrix is transposed, and how many elements its rows are apart; None if it has other gaps."""
    down, across = x.strides
    if across == 4 and down >= 4 * x.shape[1] and not down % 4:
        return b"N", down // 4
    if down == 4 and across >= 4 * x.shape[0] and not across % 4:
        return b"T", across // 4
    return None


@cache
def _sgemm() -> Any:
    function = library().dnnl_sgemm
    matrix = (c_void_p, c_int64)
    function.argtypes = (c_char, c_char, c_int64, c_int64, c_int64, c_float, *matrix, *matrix, c_float, *matrix)
    return function
