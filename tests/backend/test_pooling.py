"""Pooling of NumPy arrays, compiled or place by place, held against the portable forms, bit for bit."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
from dzbackend_numpy import NumpyBackend, pooling
from dzbackend_numpy.compiled import windows
from dzbackend_numpy.compiled.native import compiler
from dzcore import Variable
from dzcore.backend.namespace import EXTENSIONS
from dzcore.functions.windows import Geometry

OPS = NumpyBackend().ops
WAYS = [
    "place by place",
    pytest.param(
        "compiled", marks=pytest.mark.skipif(compiler() is None, reason="llvmlite is not installed, or not to be used")
    ),
]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Loops for everything, or for nothing."""
    monkeypatch.setattr(pooling, "SMALL", 0 if request.param == "compiled" else 2**60)
    monkeypatch.setattr(windows, "LARGE", 100)
    return str(request.param)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    rank = draw(st.integers(1, 3))
    size, stride = (draw(st.tuples(*[st.integers(1, most)] * rank)) for most in (3, 4))
    pad = tuple([draw(st.integers(0, k // 2)) for k in size])
    spatial = tuple([draw(st.integers(max(1, k - 2 * p), 14)) for k, p in zip(size, pad, strict=True)])
    return Geometry(spatial, size, stride, pad, (1,) * rank)


NUMBERS = np.array([0.0, -0.0, 1.0, 1.0, -1.0, 2.5, np.nan, np.inf, -np.inf, -np.inf, -np.inf])


def drawn(shape: tuple[int, ...], dtype: str, seed: int) -> Any:
    return np.random.default_rng(seed).choice(NUMBERS, shape).astype(dtype)


def same(found: Any, wanted: Any) -> None:
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


def check(g: Geometry, shape: tuple[int, int], dtype: str, seed: int, layout: Any = lambda x: x) -> None:
    """Compare all four with the portable forms."""
    x, z = (layout(drawn((*shape, *spatial), dtype, seed)) for spatial in (g.spatial, g.out))
    with np.errstate(invalid="ignore"):
        values, winner = OPS.largest(x, g)
        for found, wanted in zip((values, winner), EXTENSIONS["largest"](OPS, x, g), strict=True):
            same(found, wanted)
        for name, inputs in (("window_put", (z, layout(winner))), ("window_sum", (x,)), ("window_spread", (z,))):
            found, wanted = getattr(OPS, name)(*inputs, g), EXTENSIONS[name](OPS, *inputs, g)
            same(found, wanted)
            number = ~np.isnan(wanted)  # of nan the sign is nobody's business
            np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(wanted[number]))


@pytest.mark.usefixtures("way")
@settings(max_examples=100, deadline=None)
@given(geometries(), st.integers(0, 3), st.integers(1, 5), st.sampled_from(["float32", "float64"]), st.integers(0, 9))
def test_any_geometry(g: Geometry, n: int, c: int, dtype: str, seed: int) -> None:
    check(g, (n, c), dtype, seed)


@pytest.mark.parametrize(
    "layout", [np.asfortranarray, lambda x: np.flip(np.flip(x).copy()), lambda x: np.repeat(x, 2, 1)[:, ::2]]
)
def test_any_layout(layout: Any, way: str) -> None:
    check(Geometry((12, 8), (2, 2), (2, 2), (0, 0), (1, 1)), (2, 4), "float32", 0, layout)
    check(Geometry((12, 9), (3, 3), (2, 2), (1, 1), (1, 1)), (2, 4), "float32", 0, layout)


def test_many_planes(way: str) -> None:
    """More than one thread takes at a time."""
    for g in (Geometry((28, 28), (2, 2), (2, 2), (0, 0), (1, 1)), Geometry((9, 9), (3, 3), (1, 1), (1, 1), (1, 1))):
        check(g, (31, 7), "float32", 0)


def test_what_no_window_takes_is_zero(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever there was in the memory before."""
    with monkeypatch.context() as patch:
        patch.setattr(np, "empty", lambda shape, dtype: np.full(shape, 7, dtype))
        for spatial, stride in (((6, 6), (3, 3)), ((7, 6), (2, 2)), ((6, 6), (2, 2))):
            check(Geometry(spatial, (2, 2), stride, (0, 0), (1, 1)), (3, 4), "float32", 0)


def test_float16_and_windows_of_many_places(way: str) -> None:
    """There are no loops for these."""
    check(Geometry((6, 6), (2, 2), (2, 2), (0, 0), (1, 1)), (2, 2), "float16", 0)
    check(Geometry((20, 20), (18, 18), (1, 1), (0, 0), (1, 1)), (2, 2), "float32", 0)
    check(Geometry((4, 4, 4, 4), (2,) * 4, (2,) * 4, (0,) * 4, (1,) * 4), (1, 1), "float32", 0)


def test_gradients_of_any_order(way: str) -> None:
    """With P for picking what won, and Q for its transpose: that of sum((P x)²) is 2 Q P x, and that of the sum of the
    squares of this is 4 Q P 2 Q P x."""
    x = Variable(np.random.default_rng(0).standard_normal((3, 2, 8, 8)).astype("f4"))
    for size, stride, pad in ((2, 2, 0), (3, 2, 0), (3, 1, 1)):
        g = Geometry((8, 8), (size,) * 2, (stride,) * 2, (pad,) * 2, (1, 1))
        winner = EXTENSIONS["largest"](OPS, x.data, g)[1]

        def twice(v: Any, w: Any = winner, g: Geometry = g) -> Any:
            return 2 * EXTENSIONS["window_put"](OPS, EXTENSIONS["window_pick"](OPS, v, w, g), w, g)

        y = F.pooling(x, size, stride, pad)
        (gx,) = dzcore.grad(F.sum(y * y), x, create_graph=True)
        np.testing.assert_allclose(gx.data, twice(x.data), rtol=1e-6)
        (ggx,) = dzcore.grad(F.sum(gx * gx), x)
        np.testing.assert_allclose(ggx.data, 2 * twice(gx.data), rtol=1e-6)


def test_threads_that_call_at_once(way: str) -> None:
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for turn in range(5):
                check(Geometry((16, 16), (2, 2), (2, 2), (0, 0), (1, 1)), (5, 6), "float32", 10 * seed + turn)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]


def test_who_won_takes_a_byte() -> None:
    """And the tape keeps nothing but that, not x."""
    x = Variable(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype("f4"))
    y = F.pooling(x, 2, 2)
    assert y.node is not None
    arrays = [each for each in y.node.saved if isinstance(each, np.ndarray)]
    assert [(each.dtype, each.shape) for each in arrays] == [(np.uint8, y.shape)]


def test_capabilities() -> None:
    assert {"largest", "window_put", "window_sum", "window_spread"} <= set(NumpyBackend.capabilities())
