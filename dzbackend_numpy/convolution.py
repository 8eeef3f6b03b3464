"""Convolutions of NumPy arrays: by the kernel library where it is installed and takes them, else as the core does them,
as products of matrices that hold the windows of some images."""

from math import prod
from typing import Any

import numpy as np

from dzcore.backend.namespace import EXTENSIONS, Namespace
from dzcore.functions.windows import Geometry

from . import extras, onednn

__all__ = ["convolve", "convolve_biased", "convolve_input", "convolve_weight"]

#: From how many multiplications on the library is asked: loading it takes 50 ms.
LARGE = 2**16


def convolve(xp: Namespace, x: Any, W: Any, g: Geometry) -> Any:
    """Do as `convolve` of the core."""
    if _is_for_the_library(x, W, W.size * prod(g.out), g) and _misses_nothing(W, g):
        return onednn.convolve(x, W, None, g)
    return EXTENSIONS["convolve"](xp, x, W, g)


def convolve_biased(xp: Namespace, x: Any, W: Any, b: Any, g: Geometry) -> Any:
    """Do as `convolve_biased` of the core."""
    if _is_for_the_library(x, W, W.size * prod(g.out), g) and _misses_nothing(W, g):
        return onednn.convolve(x, W, b, g)
    return EXTENSIONS["convolve_biased"](xp, x, W, b, g)


def convolve_input(xp: Namespace, z: Any, W: Any, g: Geometry) -> Any:
    """Do as `convolve_input` of the core."""
    if _is_for_the_library(z, W, W.size * prod(g.out), g):
        return onednn.convolve_input(z, W, g)
    turned = _turned(W, g)
    if turned is not None and _misses_nothing(*turned):
        return EXTENSIONS["convolve"](xp, z, *turned)
    return EXTENSIONS["convolve_input"](xp, z, W, g)


def convolve_weight(xp: Namespace, x: Any, z: Any, g: Geometry) -> Any:
    """Do as `convolve_weight` of the core."""
    if _is_for_the_library(x, z, prod(z.shape[1:]) * x.shape[1] // g.groups * prod(g.size), g):
        W = onednn.convolve_weight(x, z, g)
        if _misses_nothing(W, g):
            return W
    return EXTENSIONS["convolve_weight"](xp, x, z, g)


def _is_for_the_library(a: Any, b: Any, work: int, g: Geometry) -> bool:
    """Tell whether the library is there and takes this, `work` multiplications an image."""
    return (
        a.dtype == b.dtype == np.float32
        and len(a) * work >= LARGE
        and len(g.size) <= 3
        and extras.allowed()
        and onednn.available()
    )


def _misses_nothing(W: Any, g: Geometry) -> bool:
    """Tell whether it does not matter if weights are multiplied by zeros of the padding: infinite ones become nan."""
    return not any(g.pad) or bool(np.isfinite(W).all())


def _turned(W: Any, g: Geometry) -> tuple[Any, Geometry] | None:
    """Return W and the geometry with which `convolve` does `convolve_input`, which takes two thirds of the time.

    None where it does not, or where there are so many more windows of z that it takes longer.
    """
    o, c, *size = W.shape
    pad = tuple([d * (k - 1) - p for d, k, p in zip(g.dilation, g.size, g.pad, strict=True)])
    if max(g.stride) > 1 or min(pad) < 0 or o * prod(g.spatial) > c * g.groups * prod(g.out):
        return None
    W = np.flip(W, tuple(range(2, W.ndim))).reshape(g.groups, o // g.groups, c, *size)
    return W.swapaxes(1, 2).reshape(g.groups * c, o // g.groups, *size), g._replace(spatial=g.out, pad=pad)
