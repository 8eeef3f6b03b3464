"""Wrong primitives, and wrong overrides of dzcore's own functions."""

from typing import Any

import numpy as np

from dzbackend_numpy import NumpyBackend
from dzcore.backend import portable

from .base import caught_by


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
class UpdatesAllAlike(NumpyBackend):
    """The sum of a gradient is as good as the gradient."""

    def updater(self, formula: Any, targets: Any) -> Any:
        right = super().updater(formula, targets)
        return lambda inputs, numbers: right([x * 0 + x.sum() for x in inputs], numbers)


@caught_by("Primitives")
class UpdatesOnce(NumpyBackend):
    """The first inputs are as good as the next."""

    def updater(self, formula: Any, targets: Any) -> Any:
        right, kept = super().updater(formula, targets), vars(self).setdefault("kept", [])

        def updates(inputs: Any, numbers: Any) -> Any:
            kept.append(inputs)
            return right(kept[0], numbers)

        return updates


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


@caught_by("Primitives")
class UpdateInHalves(NumpyBackend):
    """The first half is written before the second is read."""

    def update(self, formula: Any, targets: Any, *inputs: Any) -> Any:
        arrays = (*targets, *inputs)
        if any(getattr(x, "shape", ()) != targets[0].shape for x in arrays) or targets[0].ndim == 0:
            return super().update(formula, targets, *inputs)
        middle = len(targets[0]) // 2
        for half in (slice(0, middle), slice(middle, None)):
            new = [np.array(y) for y in formula(self.xp, *[x[half] for x in arrays])]
            for target, value in zip(targets, new, strict=True):
                target[half] = value
        return targets


@caught_by("Primitives")
class CrossEntropyOf256Rows(NumpyBackend):
    """The rows beyond one block are left out."""

    def cross_entropy(self, x: Any, t: Any) -> Any:
        x = x - x.max(axis=1, keepdims=True)
        return (np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(t)), t])[:256].mean()


@caught_by("Primitives")
class GradientOf32Classes(NumpyBackend):
    """The classes beyond one warp are left out."""

    def cross_entropy_gradient(self, gy: Any, x: Any, t: Any) -> Any:
        p = np.exp(x - x.max(axis=1, keepdims=True))
        p = p / p.sum(axis=1, keepdims=True) - (np.arange(x.shape[1]) == t[:, None])
        p[:, 32:] = 0
        return (p * (gy / len(x))).astype(x.dtype)
