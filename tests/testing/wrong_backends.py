"""Backends that are wrong on purpose: each is a few lines over a right one, and names the group that must catch it.

python -m tests.testing.wrong_backends        # runs that group on each, and prints what caught it, as JSON
"""

import ctypes
import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy as npc
import array_api_strict
import numpy as np

from dzbackend_numpy import NumpyBackend
from dzcore import random
from dzcore.backend import Backend, HostArray, portable, register_backend
from dzcore.graph import Config
from tests.strict_backend import StrictBackend

#: name: (class, the group that must catch it)
WRONG: dict[str, tuple[type[Backend], str]] = {}


def caught_by(group: str) -> Callable[[type[Backend]], type[Backend]]:
    """Enter a class, under a name of its own."""

    def enter(cls: type[Backend]) -> type[Backend]:
        cls.name = "wrong_" + "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).strip("_")
        cls.priority = -1
        WRONG[cls.name] = cls, group
        return cls

    return enter


class Over:
    """A namespace with some functions replaced."""

    def __init__(self, xp: Any, **functions: Any) -> None:
        vars(self).update(functions)
        self._xp = xp

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)


# Namespace and dtypes ------------------------------------------------------------------------------------------------


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


# Transfer ------------------------------------------------------------------------------------------------------------


@caught_by("Transfer")
class LosesADtype(NumpyBackend):
    def from_host(self, host: HostArray) -> Any:
        x = super().from_host(host)
        return x.astype("float32") if host.dtype == "float16" else x


@caught_by("Transfer")
class KeepsTheBuffer(NumpyBackend):
    """What comes in is a view of the caller's buffer."""

    def from_host(self, host: HostArray) -> Any:
        return np.ndarray(host.shape, dtype=self.dtype(host.dtype), buffer=host.buffer)


@caught_by("Transfer")
class GivesItsMemoryAway(NumpyBackend):
    """What goes out is a view of the array."""

    def to_host(self, array: Any) -> HostArray:
        if not array.flags.c_contiguous or not array.size:
            return super().to_host(array)
        return HostArray(self.dtype_name(array.dtype), array.shape, array.reshape(-1).view(np.uint8).data)


@caught_by("Transfer")
class WrongOrderOut(NumpyBackend):
    """An array that is not contiguous goes out in the order of memory."""

    def to_host(self, array: Any) -> HostArray:
        return HostArray(self.dtype_name(array.dtype), array.shape, array.tobytes("A"))


@caught_by("Transfer")
class WrongOrderIn(NumpyBackend):
    """The buffer is read in Fortran's order."""

    def from_host(self, host: HostArray) -> Any:
        return np.ndarray(host.shape, dtype=self.dtype(host.dtype), buffer=host.buffer, order="F").copy()


@caught_by("Transfer")
class LosesPayloads(NumpyBackend):
    """Every nan becomes the usual one."""

    def to_host(self, array: Any) -> HostArray:
        return super().to_host(np.where(np.isnan(array), np.asarray(np.nan, array.dtype), array)
                               if array.dtype.kind == "f" else array)  # fmt: skip


@caught_by("Transfer")
class ScalarsGetAnAxis(NumpyBackend):
    def to_host(self, array: Any) -> HostArray:
        return super().to_host(np.atleast_1d(array))


@caught_by("Transfer")
class IgnoresTheDevice(StrictBackend):
    """Everything is made on the default device."""

    def from_host(self, host: HostArray) -> Any:
        own = np.ndarray(host.shape, dtype=host.dtype, buffer=host.buffer).copy()
        return array_api_strict.asarray(own, device=array_api_strict.Device("CPU_DEVICE"))


@caught_by("Transfer")
class OwnsEverything(NumpyBackend):
    def owns(self, obj: object) -> bool:
        return True


@caught_by("Transfer")
class OwnsOtherDevices(StrictBackend):
    def owns(self, obj: object) -> bool:
        return isinstance(obj, array_api_strict._array_object.Array)


@caught_by("Transfer")
class OwnsNoScalars(NumpyBackend):
    def owns(self, obj: object) -> bool:
        return isinstance(obj, np.ndarray)


# Primitives ----------------------------------------------------------------------------------------------------------


@caught_by("Primitives")
class DropsDuplicates(NumpyBackend):
    def index_add(self, size: int, index: Any, values: Any) -> Any:
        out = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
        out[index] += values
        return out


@caught_by("Primitives")
class InfLeaks(NumpyBackend):
    """Rows are added by a product with a matrix of zeros and ones."""

    def index_add(self, size: int, index: Any, values: Any) -> Any:
        ones = (np.arange(size)[:, None] == index).astype(values.dtype)
        return np.tensordot(ones, values, axes=1).astype(values.dtype)


@caught_by("Primitives")
class WindowsAreOffByOne(NumpyBackend):
    """A dilation moves the last place of a window one too far."""

    def windows(self, x: Any, size: Any, stride: Any, dilation: Any) -> Any:
        y = portable.windows(self.xp, x, size, stride, dilation).copy()
        if dilation[-1] > 1 and y.size:
            y[...] = np.roll(y, 1, axis=-1)
        return y


@caught_by("Primitives")
class AdjointAssigns(NumpyBackend):
    """Windows that overlap overwrite each other."""

    def windows_adjoint(self, columns: Any, spatial: Any, size: Any, stride: Any, dilation: Any) -> Any:
        lead = columns.shape[: columns.ndim - 2 * len(size)]
        places = self.windows(np.arange(np.prod(spatial)).reshape(spatial), size, stride, dilation)
        x = np.zeros((*lead, int(np.prod(spatial))), dtype=columns.dtype)
        x[..., places.reshape(-1)] = columns.reshape(*lead, places.size)
        return x.reshape(*lead, *spatial)


@caught_by("Primitives")
class FuseRounds(NumpyBackend):
    """It computes in half precision."""

    def fuse(self, formula: Any) -> Any:
        def fused(*inputs: Any) -> Any:
            half = [x.astype("f2") if getattr(x, "dtype", None) == "f4" else x for x in inputs]
            y = formula(self.xp, *half)
            parts = tuple(p.astype("f4") if p.dtype == "f2" else p for p in (y if isinstance(y, tuple) else (y,)))
            return parts if isinstance(y, tuple) else parts[0]

        return fused


@caught_by("Primitives")
class FuseLosesNan(NumpyBackend):
    """Fast mathematics: there are no nans."""

    def fuse(self, formula: Any) -> Any:
        plain = super().fuse(formula)

        def fused(*inputs: Any) -> Any:
            y = plain(*inputs)
            return y if isinstance(y, tuple) or y.dtype.kind != "f" else np.nan_to_num(y, nan=0.0, posinf=np.inf)

        return fused


@caught_by("Primitives")
class FuseKeepsNumbers(NumpyBackend):
    """The numbers of the first call are compiled in."""

    def fuse(self, formula: Any) -> Any:
        first: list[Any] = []

        def fused(*inputs: Any) -> Any:
            first[:] = first or [inputs]
            mixed = [x if hasattr(x, "dtype") else old for x, old in zip(inputs, first[0], strict=True)]
            return formula(self.xp, *mixed)

        return fused


@caught_by("Primitives")
class UpdateReturnsTheOld(NumpyBackend):
    def update(self, formula: Any, targets: Any, *inputs: Any) -> Any:
        old = tuple(x.copy() for x in targets)
        super().update(formula, targets, *inputs)
        return old


@caught_by("Primitives")
class UpdatesTheFirstOnly(NumpyBackend):
    def update(self, formula: Any, targets: Any, *inputs: Any) -> Any:
        new = formula(self.xp, *targets, *inputs)
        targets[0][...] = new[0]
        return targets


@caught_by("Primitives")
class UpdatesOneByOne(NumpyBackend):
    """The second target is computed from the new first one."""

    def update(self, formula: Any, targets: Any, *inputs: Any) -> Any:
        for i, target in enumerate(targets):
            target[...] = formula(self.xp, *targets, *inputs)[i]
        return targets


@caught_by("Primitives")
class UpdateSharesMemory(NumpyBackend):
    """A result that is an input becomes the target itself."""

    def update(self, formula: Any, targets: Any, *inputs: Any) -> Any:
        new = formula(self.xp, *targets, *inputs)
        if any(x is y for x in new for y in (*targets, *inputs)):
            return tuple(new)
        for target, value in zip(targets, new, strict=True):
            target[...] = value
        return targets


@caught_by("Primitives")
class CrossEntropyWithoutTheMean(NumpyBackend):
    def cross_entropy(self, x: Any, t: Any) -> Any:
        x = x - x.max(axis=1, keepdims=True)
        return (np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(t)), t]).sum()


@caught_by("Primitives")
class CrossEntropyOverflows(NumpyBackend):
    def cross_entropy(self, x: Any, t: Any) -> Any:
        return (np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(t)), t]).mean()


# The stream and dropout ----------------------------------------------------------------------------------------------


@caught_by("RandomStream")
class OneWrongBit(NumpyBackend):
    """A bit of the word 4097 of each stretch."""

    def random_bits(self, seed: int, position: int, count: int) -> Any:
        words = super().random_bits(seed, position, count).copy()
        words[4096:4097] ^= 1 << 5
        return words


@caught_by("RandomStream")
class IgnoresThePosition(NumpyBackend):
    def random_bits(self, seed: int, position: int, count: int) -> Any:
        return super().random_bits(seed, 0, count)


@caught_by("RandomStream")
class CountsIn32Bits(NumpyBackend):
    """The counter of blocks wraps at 2**32."""

    def random_bits(self, seed: int, position: int, count: int) -> Any:
        return super().random_bits(seed, position % (8 * 2**32), count)


@caught_by("RandomStream")
class SignedWords(NumpyBackend):
    def random_bits(self, seed: int, position: int, count: int) -> Any:
        return super().random_bits(seed, position, count).view(np.int32).astype(np.int64)


@caught_by("Dropout")
class DropoutWithoutScale(NumpyBackend):
    """What stays is not divided by 1 - p: the mistake that DeZero's own tests let pass."""

    def dropped(self, x: Any, bits: Any, threshold: Any, scale: Any) -> Any:
        return np.where(bits < threshold, x * 1.0, 0.0).astype(x.dtype)


@caught_by("Dropout")
class FusedDropoutWithoutScale(NumpyBackend):
    """The same in the forward pass, which is one fused formula."""

    def fuse(self, formula: Any) -> Any:
        plain = super().fuse(formula)
        return (lambda *inputs: plain(*inputs[:-1], 1.0)) if formula.__name__ == "_masked" else plain


@caught_by("Dropout")
class DropoutKeepsTheOthers(NumpyBackend):
    def dropped(self, x: Any, bits: Any, threshold: Any, scale: Any) -> Any:
        return np.where(bits < threshold, 0.0, x * scale).astype(x.dtype)


@caught_by("Dropout")
class DropoutDropsNothing(NumpyBackend):
    """The expected value is right, the mask is not."""

    def dropped(self, x: Any, bits: Any, threshold: Any, scale: Any) -> Any:
        return x * 1.0


# Operations, layers, weights, state ----------------------------------------------------------------------------------


@caught_by("Operations")
class CosineOfDegrees(NumpyBackend):
    xp = Over(npc, cos=lambda x: npc.cos(x * (np.pi / 180)))


@caught_by("Operations")
class GradientWithoutTheMean(NumpyBackend):
    def cross_entropy_gradient(self, gy: Any, x: Any, t: Any) -> Any:
        p = np.exp(x - x.max(axis=1, keepdims=True))
        return (p / p.sum(axis=1, keepdims=True) - (np.arange(x.shape[1]) == t[:, None])) * gy


@caught_by("Operations")
class SlopeOfSigmoid(NumpyBackend):
    """A fast sigmoid that is not quite one."""

    def sigmoid(self, x: Any) -> Any:
        return (0.5 + 0.25 * x - x**3 / 48).astype(x.dtype)


@caught_by("Operations")
class WritesIntoItsInput(NumpyBackend):
    def sigmoid(self, x: Any) -> Any:
        np.negative(x, out=x)
        return 1 / (1 + np.exp(x))


@caught_by("Layers")
class ForgetsMomentum(NumpyBackend):
    """Every update begins with zeros for state."""

    def update(self, formula: Any, targets: Any, *inputs: Any) -> Any:
        return super().update(formula, (targets[0], *map(np.zeros_like, targets[1:])), *inputs)


@caught_by("Layers")
class UpdatesTheGradient(NumpyBackend):
    """The gradient's memory is used for the new parameter."""

    def update(self, formula: Any, targets: Any, *inputs: Any) -> Any:
        new = formula(self.xp, *targets, *inputs)
        inputs[0][...] = new[0]
        return (inputs[0], *new[1:])


@caught_by("Weights")
class SavesInHalf(NumpyBackend):
    """What goes out is rounded, and comes in as whatever it says."""

    def to_host(self, array: Any) -> HostArray:
        return super().to_host(array.astype("f2").astype(array.dtype) if array.dtype in ("f4", "f8") else array)


@caught_by("State")
class SeedsTheGenerator(NumpyBackend):
    def random_bits(self, seed: int, position: int, count: int) -> Any:
        random.seed(seed)
        return super().random_bits(seed, position, count)


@caught_by("State")
class StopsRecording(NumpyBackend):
    def fuse(self, formula: Any) -> Any:
        Config.train = False
        return super().fuse(formula)


@caught_by("State")
class SharesScratch(NumpyBackend):
    """One buffer for all threads."""

    scratch = np.zeros(9, np.uint32)

    def random_bits(self, seed: int, position: int, count: int) -> Any:
        if count != 9:
            return super().random_bits(seed, position, count)
        self.scratch[:] = super().random_bits(seed, position, count)
        sys.stdout.flush()
        ctypes.CDLL(None).usleep(2000)  # lets another thread run
        return self.scratch.copy()


def main(names: list[str]) -> None:
    from dzcore.testing.kit import run

    for name in names or list(WRONG):
        cls, group = WRONG[name]
        register_backend(cls)
        spec = f"{name}:device1" if cls is IgnoresTheDevice else name
        outcomes = run([spec], [group], maxfail=1)
        print(json.dumps({
            "backend": name, "group": group, "ran": len(outcomes),
            "caught": {o.test: o.message.splitlines()[0][:200] for o in outcomes if o.result == "failed"},
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
