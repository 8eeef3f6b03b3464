"""Convolutions of NumPy arrays without the kernel library: another way to the same numbers, and no large matrices."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import dzcore
import dzcore.functions as F
from dzbackend_numpy import NumpyBackend, convolution, onednn
from dzcore import Variable
from dzcore.backend.namespace import EXTENSIONS
from dzcore.functions.windows import Geometry

from .test_onednn import geometries

OPS = NumpyBackend().ops


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "available", lambda: False)


def operands(g: Geometry, channels: int, o: int, dtype: str) -> tuple[Any, Any]:
    """Return whole numbers, of which sums in any order are the same."""
    rng = np.random.default_rng(0)
    z, W = (rng.integers(-4, 5, shape).astype(dtype) for shape in ((2, o, *g.out), (o, channels // g.groups, *g.size)))
    return z, W


@settings(max_examples=150, deadline=None)
@given(geometries())
def test_the_transpose_by_a_turned_kernel(g: Geometry) -> None:
    for channels, o in ((1, 1), (4, 1), (3, 2)):
        z, W = operands(g, channels * g.groups, o * g.groups, "float64")
        turned = convolution._turned(W, g)
        if turned is not None:
            wanted = EXTENSIONS["convolve_input"](OPS, z, W, g)
            np.testing.assert_array_equal(EXTENSIONS["convolve"](OPS, z, *turned), wanted)
        np.testing.assert_array_equal(OPS.convolve_input(z, W, g), EXTENSIONS["convolve_input"](OPS, z, W, g))


def test_when_a_kernel_is_turned() -> None:
    """With steps of one, no more padding than the kernel reaches, and no more windows than the other way makes."""
    g = Geometry((8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    W = np.zeros((4, 4, 3, 3))
    found = convolution._turned(W, g)
    assert found is not None
    assert found[1] == g
    for other in (g._replace(stride=(2, 1)), g._replace(pad=(3, 1)), g._replace(pad=(0, 0))):
        assert convolution._turned(W, other) is None
    assert convolution._turned(np.zeros((5, 4, 3, 3)), g) is None
    assert convolution._turned(np.zeros((6, 4, 3, 3)), g._replace(groups=2)) is not None


def test_infinite_weights_do_not_meet_the_padding(alone: None) -> None:
    """A turned kernel has padding where the transpose has none."""
    g = Geometry((8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    z, W = operands(g, 4, 4, "float32")
    W[0, 0, 0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        found, wanted = OPS.convolve_input(z, W, g), EXTENSIONS["convolve_input"](OPS, z, W, g)
    np.testing.assert_array_equal(found, wanted)
    assert np.isfinite(found[:, :, -1, -1]).all()


def test_no_copy_of_all_windows(alone: None) -> None:
    """A step takes the arrays that it makes and no more than a few portions: all windows would be 25 times x."""
    x = Variable(np.random.default_rng(0).normal(size=(64, 8, 48, 48)).astype("f4"))
    W = Variable(np.random.default_rng(0).normal(size=(8, 8, 5, 5)).astype("f4"))

    def step() -> Any:
        return dzcore.grad(F.conv2d(x, W, pad=2), [x, W])

    step()
    tracemalloc.start()
    step()
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 6 * x.data.nbytes, f"{taken / x.data.nbytes:.1f} times the input"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_biased(dtype: str, alone: None) -> None:
    g = Geometry((8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    _, W = operands(g, 4, 6, dtype)
    x = np.random.default_rng(1).integers(-4, 5, (2, 4, 8, 8)).astype(dtype)
    b = np.arange(6).astype(dtype)
    found = OPS.convolve_biased(x, W, b, g)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, OPS.convolve(x, W, g) + b[:, None, None])
