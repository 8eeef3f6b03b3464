"""Convolutions of float32 by the kernel library: forward, and its transposes in x and in W."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from dzcore.functions.windows import Geometry

from .library import Handle, engine, make
from .plan import (
    BIAS,
    DIFF_DST,
    DIFF_SRC,
    DIFF_WEIGHTS,
    DST,
    SRC,
    WEIGHTS,
    Operand,
    Plan,
    attributes,
    form,
    numbers,
    run,
)

__all__ = ["convolve", "convolve_input", "convolve_weight"]

#: How many bytes of images are copied at a time.
PORTION = 2**24
DIRECT, TRAINING = 1, 64  # an algorithm and a purpose, of dnnl_types.h

_ROLES = {SRC: "x", DIFF_SRC: "x", WEIGHTS: "W", DIFF_WEIGHTS: "W", BIAS: "b", DST: "y", DIFF_DST: "y"}

Given = tuple[tuple[int, Any], ...]  # arguments and their arrays


def convolve(x: Any, W: Any, b: Any | None, g: Geometry) -> Any:
    """Return y (n, o, *out) of x (n, channels, *spatial), W (o, channels / groups, *size) and maybe b (o,)."""
    y = np.empty((len(x), len(W), *g.out), np.float32)
    bias = () if b is None else ((BIAS, np.ascontiguousarray(b)),)
    for some in _portions(x, y):
        _run("forward", g, ((SRC, x[some]), (WEIGHTS, W), *bias, (DST, y[some])))
    return y


def convolve_input(z: Any, W: Any, g: Geometry) -> Any:
    """Return x (n, channels, *spatial) of z (n, o, *out) and W (o, channels / groups, *size)."""
    x = np.empty((len(z), W.shape[1] * g.groups, *g.spatial), np.float32)
    for some in _portions(x, z):
        _run("backward_data", g, ((DIFF_SRC, x[some]), (WEIGHTS, W), (DIFF_DST, z[some])))
    return x


def convolve_weight(x: Any, z: Any, g: Geometry) -> Any:
    """Return W (o, channels / groups, *size) of x (n, channels, *spatial) and z (n, o, *out)."""
    total: Any = 0
    for some in _portions(x, z):
        W = np.empty((z.shape[1], x.shape[1] // g.groups, *g.size), np.float32)
        _run("backward_weights", g, ((SRC, x[some]), (DIFF_WEIGHTS, W), (DIFF_DST, z[some])))
        total = W if len(x) == some.stop - some.start else total + W
    return total


def _portions(x: Any, y: Any) -> Iterator[slice]:
    """Divide the images so that copies of those at a time fit into the work space."""
    n = len(x)
    step = max(1, PORTION // (4 * (x[0].size + y[0].size)))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _run(direction: str, g: Geometry, given: Given) -> None:
    """Compute one argument of the others, in its place."""
    given = tuple([(number, _laid(array)) for number, array in given])
    operands = tuple([_operand(number, array, g) for number, array in given])
    run((direction, g, operands), partial(_plan, direction, g, operands), [array for _, array in given])


def _laid(array: Any) -> Any:
    """Return an array that the library can read where it is: all steps are positive and whole elements."""
    return array if all(s > 0 and not s % 4 for s in array.strides) else np.ascontiguousarray(array)


def _operand(number: int, array: Any, g: Geometry) -> Operand:
    shape, strides = array.shape, tuple([s // 4 for s in array.strides])
    if g.groups > 1 and number in (WEIGHTS, DIFF_WEIGHTS):  # the library has an axis of the groups
        each = shape[0] // g.groups
        shape, strides = (g.groups, each, *shape[1:]), (strides[0] * each, *strides)
    return Operand(number, shape, strides)


def _plan(direction: str, g: Geometry, operands: Sequence[Operand]) -> Plan:
    """Compile a convolution, or one of its transposes."""
    shapes = {_ROLES[each.argument]: each.shape for each in operands}
    plain = _plain(direction, g, shapes["x"][1])
    x, y = (form(shapes[role], _dense(shapes[role]) if plain else None) for role in "xy")
    W, b = form(shapes["W"]), form(shapes["b"], (1,)) if "b" in shapes else None
    moves = [numbers(each) for each in (g.stride, [d - 1 for d in g.dilation], g.pad, g.pad)]
    settings = attributes()

    def described(direction: str, *rest: Any) -> Handle:
        return make("primitive_desc", f"convolution_{direction}_primitive_desc_create", engine(), *rest, settings)

    forward = described("forward", TRAINING, DIRECT, x, W, b, y, *moves)
    if direction == "forward":
        return Plan(forward, operands)
    forms = (x, W, y) if direction == "backward_data" else (x, W, b, y)
    return Plan(described(direction, DIRECT, *forms, *moves, forward), operands)


def _plain(direction: str, g: Geometry, channels: int) -> bool:
    """Tell whether x and y are better left as they are than copied into the layout that the library likes, blocks of
    channels.

    That is so where windows are x itself, and where the blocks of a result would be nearly empty. On two cores,
    8×64×56×56 by 1×1 to 256 channels takes 19 ms instead of 37, and the way back to 8×3×64×64 takes 3 ms instead of 8.
    """
    if direction == "backward_data" and channels <= 3 * g.groups:
        return True
    return max(g.size) == 1 == max(g.stride) and not any(g.pad)


def _dense(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of an array in C order."""
    return tuple([prod(shape[axis + 1 :]) for axis in range(len(shape))])
