"""Wrong functions of the namespace, and wrong dtypes."""

from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy as npc
import array_api_strict
import numpy as np

from dzbackend_numpy import NumpyBackend
from tests.strict_backend import StrictBackend

from .base import Over, caught_by


@caught_by("Namespace")
class LeaksNumpyArrays(StrictBackend):
    """`flip` forgets to wrap its result."""

    xp = Over(array_api_strict, flip=lambda x, axis=None: np.flip(np.asarray(x._array), axis))


@caught_by("Namespace")
class DropsKeepdims(NumpyBackend):
    xp = Over(npc, max=lambda x, axis=None, keepdims=False: npc.max(x, axis=axis))


@caught_by("Namespace")
class LosesTheSignOfZero(NumpyBackend):
    xp = Over(npc, sqrt=lambda x: npc.sqrt(x) + 0.0)


@caught_by("Namespace")
class LosesNan(NumpyBackend):
    xp = Over(npc, maximum=np.fmax)


@caught_by("Namespace")
class LacksFunctions(StrictBackend):
    xp = SimpleNamespace(**{n: getattr(array_api_strict, n) for n in dir(array_api_strict) if n != "searchsorted"})


@caught_by("Dtypes")
class Float64BesideNumbers(NumpyBackend):
    """A Python number is taken for a float64 array."""

    xp = Over(npc, maximum=lambda x, y: npc.maximum(x, np.asarray(y)))


@caught_by("Dtypes")
class Float64Means(NumpyBackend):
    xp = Over(npc, mean=lambda x, axis=None, keepdims=False: np.mean(x, axis=axis, keepdims=keepdims, dtype="f8"))


@caught_by("Dtypes")
class WholeNumbersAreInt32(NumpyBackend):
    def asarray(self, obj: Any, dtype: Any = None) -> Any:
        return super().asarray(obj, "int32" if dtype == "int64" else dtype)


@caught_by("Namespace")
class WrongBeyond4096(NumpyBackend):
    """Right for as many elements as a first launch has."""

    xp = Over(npc, exp=lambda x: np.where(np.arange(x.size).reshape(x.shape) < 4096, np.exp(x), x.dtype.type(0)))


@caught_by("Namespace")
class SumLosesTheTail(NumpyBackend):
    """What is left over after the last full block is not added."""

    xp = Over(npc, sum=lambda x, axis=None, **k: npc.sum(x, axis=axis, **k) if axis is not None or x.size < 1000
              else npc.sum(x.ravel()[: x.size // 32 * 32], **k))  # fmt: skip


@caught_by("Namespace")
class OneTileOfAProduct(NumpyBackend):
    """Of a sum of more than 32 products the rest is forgotten."""

    xp = Over(npc, matmul=lambda a, b: np.matmul(a[..., :32], b[..., :32, :]) if min(a.ndim, b.ndim) > 1
              else np.matmul(a, b))  # fmt: skip


@caught_by("Namespace")
class IgnoresStrides(NumpyBackend):
    """An array is read in the order of memory."""

    xp = Over(npc, exp=lambda x: np.exp(x.ravel("K").reshape(x.shape)))


@caught_by("Namespace")
class UnstableArgsort(NumpyBackend):
    """Right as long as there are 16 elements, which are sorted by insertion."""

    xp = Over(npc, argsort=lambda x, axis=-1, descending=False, stable=True:
              np.argsort(-x if descending else x, axis=axis, kind="quicksort"))  # fmt: skip


@caught_by("Namespace")
class LastOfEqualMaxima(NumpyBackend):
    xp = Over(npc, argmax=lambda x, axis=None, keepdims=False: np.argmax(x, keepdims=keepdims) if axis is None
              else x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis, keepdims=keepdims))  # fmt: skip


@caught_by("Namespace")
class WholeSumsIn32Bits(NumpyBackend):
    xp = Over(npc, sum=lambda x, axis=None, **k: npc.sum(x.astype("i4"), axis=axis, **{**k, "dtype": np.int32})
              .astype("i8") if x.dtype == np.int64 else npc.sum(x, axis=axis, **k))  # fmt: skip


@caught_by("Namespace")
class TanIsWrongInFloat32(NumpyBackend):
    xp = Over(npc, tan=lambda x: npc.tan(x) * x.dtype.type(1.001 if x.dtype == np.float32 else 1))
