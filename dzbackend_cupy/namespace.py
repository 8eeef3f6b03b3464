"""array_api_compat's namespace, with the functions that small operations spend their time in called directly."""

from collections.abc import Callable, Sequence
from functools import wraps
from types import ModuleType
from typing import Any

import array_api_compat.cupy
import cupy

from dzcore.errors import BackendError

__all__ = ["namespace"]

compat: Any = array_api_compat.cupy


def _asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    if copy is None and device is None:
        return cupy.asarray(obj, dtype)
    return compat.asarray(obj, dtype=dtype, device=device, copy=copy)


def _reshape(x: Any, /, shape: Sequence[int], *, copy: bool | None = None) -> Any:
    return x.reshape(shape) if copy is None else compat.reshape(x, shape, copy=copy)


def _permute_dims(x: Any, /, axes: Sequence[int]) -> Any:
    return x.transpose(axes)


def _clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    if x.dtype.kind != "f" or not all(bound is None or type(bound) is float for bound in (min, max)):
        return compat.clip(x, min, max)
    if min is not None:
        x = cupy.maximum(x, min)
    return x if max is None else cupy.minimum(x, max)


def _ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    return cupy.ones(x.shape, x.dtype if dtype is None else dtype)


def _zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    return cupy.zeros(x.shape, x.dtype if dtype is None else dtype)


#: compat's sign is three kernels on CuPy, two of them for the sake of nan.
_real_sign = cupy.ElementwiseKernel("T x", "T y", "y = x != x ? x : T(int(x > T(0)) - int(x < T(0)))", "dz_sign")


def _sign(x: Any, /) -> Any:
    return _real_sign(x) if x.dtype.kind == "f" else compat.sign(x)


def without_bfloat16(product: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse bfloat16, where CuPy's own refusal would end the process."""

    @wraps(product)
    def checked(x1: Any, x2: Any, /, **options: Any) -> Any:
        for i, x in enumerate((x1, x2), 1):
            if str(x.dtype) == "bfloat16":
                raise BackendError(
                    f"{product.__name__}: x{i} has dtype bfloat16, which CuPy for ROCm cannot multiply as matrices; "
                    "use float16 or float32 for them, as of astype"
                )
        return product(x1, x2, **options)

    return checked


namespace = ModuleType("dzbackend_cupy.xp", "The array API on CuPy.")
# What compat lacks it takes from CuPy, and so do we.
vars(namespace).update((name, getattr(compat, name)) for name in {*dir(cupy), *dir(compat)} if hasattr(compat, name))
vars(namespace).update(
    __name__="dzbackend_cupy.xp",
    asarray=_asarray,
    clip=_clip,
    ones_like=_ones_like,
    permute_dims=_permute_dims,
    reshape=_reshape,
    sign=_sign,
    zeros_like=_zeros_like,
)
if cupy.cuda.runtime.is_hip:
    vars(namespace).update(
        (name, without_bfloat16(getattr(compat, name))) for name in ("matmul", "tensordot", "vecdot")
    )
