"""Wrong random words, and wrong dropout."""

from typing import Any

import numpy as np

from dzbackend_numpy import NumpyBackend

from .base import caught_by


@caught_by("RandomStream")
class OneWrongBit(NumpyBackend):
    """A bit of the word 700 of each stretch."""

    def random_bits(self, seed: int, position: int, count: int) -> Any:
        words = super().random_bits(seed, position, count).copy()
        words[700:701] ^= 1 << 5
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
        return (lambda *inputs: plain(*inputs[:-1], 1.0)) if formula.__name__ == "_dropped" else plain


@caught_by("Dropout")
class DropoutKeepsTheOthers(NumpyBackend):
    def dropped(self, x: Any, bits: Any, threshold: Any, scale: Any) -> Any:
        return np.where(bits < threshold, 0.0, x * scale).astype(x.dtype)


@caught_by("Dropout")
class DropoutDropsNothing(NumpyBackend):
    """The expected value is right, the mask is not."""

    def dropped(self, x: Any, bits: Any, threshold: Any, scale: Any) -> Any:
        return x * 1.0
