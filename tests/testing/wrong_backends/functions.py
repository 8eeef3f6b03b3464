"""Backends on which whole functions, networks and files go wrong, and those that leave traces."""

import ctypes
import random as pyrandom
import sys
from typing import Any

import array_api_compat.numpy as npc
import numpy as np

from dzbackend_numpy import NumpyBackend
from dzcore import random
from dzcore.backend import HostArray
from dzcore.backend.namespace import EXTENSIONS
from dzcore.graph import Config
from tests.strict_backend import StrictBackend

from .base import Over, caught_by


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


@caught_by("Operations")
class CosineOfDegreesInFloat32(NumpyBackend):
    xp = Over(npc, cos=lambda x: npc.cos(x * x.dtype.type(np.pi / 180)) if x.dtype == np.float32 else npc.cos(x))


@caught_by("Operations")
class ProductsInTensorFloat32(NumpyBackend):
    """Factors lose 13 of their 23 bits on the way into a product."""

    @staticmethod
    def short(x: Any) -> Any:
        if x.dtype != np.float32:
            return x
        return (np.ascontiguousarray(x).view(np.uint32) + 0x1000 & np.uint32(0xFFFFE000)).view("f4").reshape(x.shape)

    xp = Over(npc, matmul=lambda a, b: np.matmul(*map(ProductsInTensorFloat32.short, (a, b))))


@caught_by("Operations", priority=10**6)
class ClaimsTheHighestPriority(NumpyBackend):
    """It must not be its own measure for that."""

    xp = Over(npc, logical_xor=npc.logical_or, nextafter=lambda a, b: a + b, round=npc.ceil)


@caught_by("Operations")
class ClipsClasses(StrictBackend):
    """An accelerator that takes a class that does not exist for the nearest one."""

    accelerator = True

    def cross_entropy(self, x: Any, t: Any) -> Any:
        return EXTENSIONS["cross_entropy"](self.ops, x, self.xp.clip(t, 0, x.shape[1] - 1))


@caught_by("Operations")
class GradientOfClippedClasses(StrictBackend):
    """The same, in the gradient only."""

    accelerator = True

    def cross_entropy_gradient(self, gy: Any, x: Any, t: Any) -> Any:
        return EXTENSIONS["cross_entropy_gradient"](self.ops, gy, x, self.xp.clip(t, 0, x.shape[1] - 1))


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
class SeedsPythonsRandom(NumpyBackend):
    def random_bits(self, seed: int, position: int, count: int) -> Any:
        pyrandom.seed(seed)
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
