"""Pooling: whose the gradient is, padding, nan and -inf, windows beyond the edge, and what is refused."""

import tracemalloc
from math import inf, isnan, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
from dzcore import Variable
from dzcore.backend import Backend
from dzcore.functions import pool, windows
from dzcore.testing import assert_close, check_gradients, values

BOTH = [F.pooling, F.average_pooling]


def test_the_first_of_equals_gets_the_gradient(backend: Backend) -> None:
    x = Variable([[[[1.0, 1.0, 0.0], [1.0, 1.0, 2.0], [0.0, 2.0, 2.0]]]])
    y = F.pooling(x, 2)
    assert_close(y.detach(), [[[[1.0, 2.0], [2.0, 2.0]]]])
    (gx,) = dzcore.grad(y, x)
    assert_close(gx, [[[[1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 1.0, 0.0]]]])


def test_padding_never_wins(backend: Backend) -> None:
    """Negative elements win against it, and so does -inf, which then gets its gradient."""
    for number in (-3.0, -inf):
        x = Variable([[[[number] * 3] * 2]])
        y = F.pooling(x, 2, 2, 1)
        assert values(y) == [number] * 4
        (gx,) = dzcore.grad(y, x)
        assert values(gx) == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]


def test_all_of_minus_infinity_in_the_padding_of_three_axes(backend: Backend) -> None:
    """Each window has its gradient at its own first element that is there."""
    x = Variable(backend.xp.full((1, 1, 2, 3, 3), -inf, device=backend.device))
    (gx,) = dzcore.grad(F.pooling(x, (2, 3, 3), (1, 2, 2), 1), x)
    expected = np.zeros((2, 3, 3))
    for d in (0, 0, 1):
        expected[d][np.ix_([0, 1], [0, 1])] += 1
    assert_close(gx, expected[None, None].tolist())


@pytest.mark.parametrize("place", range(4))
def test_nan_comes_through(place: int, backend: Backend) -> None:
    numbers = [1.0, 3.0, 2.0, 0.0, 5.0, 6.0]
    numbers[place] = nan
    x = Variable([[numbers]])
    found = values(F.pooling(x, 2, 2))
    assert [isnan(v) for v in found] == [place // 2 == k for k in range(3)]
    assert isnan(float(F.average_pooling(x, 6)[0, 0, 0]))


def test_large_windows(backend: Backend) -> None:
    """More places than a byte counts."""
    x = Variable(backend.xp.reshape(backend.xp.arange(2 * 17 * 17, dtype=backend.dtype("float32"),
                                                      device=backend.device), (1, 2, 17, 17)))  # fmt: skip
    y = F.pooling(x, 17)
    assert values(y) == [288.0, 577.0]
    (gx,) = dzcore.grad(y, x)
    assert [i for i, g in enumerate(values(gx)) if g] == [288, 577]
    assert values(F.pooling(x, 16)) == [270.0, 271.0, 287.0, 288.0, 559.0, 560.0, 576.0, 577.0]


@given(st.data())
def test_portions_change_nothing(data: st.DataObject) -> None:
    """Channels and images one after another give what all at once give, and gradients too."""
    size = data.draw(st.tuples(*[st.integers(1, 3)] * 2))
    stride = data.draw(st.tuples(*[st.integers(1, 3)] * 2))
    pad = tuple(data.draw(st.integers(0, k // 2)) for k in size)
    ceil = data.draw(st.booleans())
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(3, 6), st.integers(3, 6)))
    x = Variable(np.random.default_rng(0).integers(-9, 9, shape).astype("float64"))
    for f in BOTH:
        results = []
        for room in (2**19, 8 * 50, 1):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(windows, "ROOM", (room, room))
                y = f(x, size, stride, pad, ceil)
                results.append((y.data, dzcore.grad(y, x, create_graph=True)[0].data))
        for y, gx in results[1:]:
            np.testing.assert_array_equal(y, results[0][0])
            np.testing.assert_array_equal(gx, results[0][1])


@given(*[st.integers(*bounds) for bounds in ((1, 12), (1, 6), (1, 6))], st.data())
def test_ceil_mode_leaves_nothing_out(n: int, k: int, s: int, data: st.DataObject) -> None:
    """Every element between the first and the last window is in one, where windows do not leave gaps, and every
    window has an element."""
    p = data.draw(st.integers(0, k // 2))
    x = Variable(np.ones((1, 1, n)))
    if n + 2 * p - k <= -s:
        with pytest.raises(ValueError, match="does not fit"):
            F.pooling(x, k, s, p, True)
        return
    y = F.pooling(x, k, s, p, True)
    assert values(y) == [1.0] * y.size  # -inf where a window has nothing
    last = (y.size - 1) * s - p
    assert last < n
    assert last + k >= n or last + s >= n
    (gx,) = dzcore.grad(F.average_pooling(x, k, s, p, True), x)
    if s <= k:
        assert all(g > 0 for g in values(gx))


def test_averages_count_padding_but_nothing_beyond(backend: Backend) -> None:
    x = Variable([[[1.0, 2.0, 3.0, 4.0, 5.0]]])
    assert_close(F.average_pooling(x, 3, 2, 1), [[[1.0, 3.0, 3.0]]])
    assert_close(F.average_pooling(x, 4, 3, 1, True), [[[1.5, 3.0]]])
    assert_close(F.average_pooling(x, 2, 4, 0, True), [[[1.5, 5.0]]])
    assert_close(F.average_pooling(x, 4, 4, 1, True), [[[1.5, 3.0]]])


def test_averages_of_what_float16_cannot_add_up(backend: Backend) -> None:
    if "float16" not in backend.dtypes:
        pytest.skip("no float16")
    x = F.broadcast_to(Variable([3e4], dtype="float16"), (1, 1, 5, 5))
    for ceil in (False, True):
        y = F.average_pooling(x, 4, 4, 0, ceil)
        assert y.dtype == x.dtype
        assert set(values(y)) == {3e4}


@pytest.mark.parametrize("f", BOTH)
def test_empty_batch(f: Any, backend: Backend) -> None:
    x = Variable(backend.xp.zeros((0, 2, 5, 4), device=backend.device))
    for ceil in (False, True):
        y = f(x, 2, 2, 1, ceil)
        assert y.shape == (0, 2, 3, 3)
        for create_graph in (False, True):
            assert dzcore.grad(y, x, create_graph=create_graph)[0].shape == x.shape


@pytest.mark.parametrize("f", BOTH)
def test_no_array_of_all_windows(f: Any) -> None:
    """Forwards and backwards, windows of 7x7 with stride 1 would take 49 times as much as x."""
    x = Variable(np.random.default_rng(0).normal(size=(32, 8, 48, 48)).astype("f4"))

    def step() -> Any:
        return dzcore.grad(f(x, 7, 1, 3), x)

    step()
    tracemalloc.start()
    step()
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The places of what is largest are 8 bytes for each result, as PyTorch's, and are put together from portions.
    assert taken < (10 if f is F.pooling else 7) * x.data.nbytes, f"{taken / x.data.nbytes:.1f} times the input"


@pytest.mark.parametrize("f", BOTH)
def test_what_is_refused(f: Any, backend: Backend) -> None:
    x = Variable([[[[1.0] * 5] * 4]])
    for pad, size in ((2, 3), ((0, 1), 1), (1, (2, 1))):
        with pytest.raises(ValueError, match=rf"{f.__name__}: pad=.* at most half of kernel_size="):
            f(x, size, 1, pad)
    with pytest.raises(ValueError, match="spatial axis 0 of .*a window of 7"):
        f(x, 7)
    with pytest.raises(ValueError, match="a window of 9"):
        f(x, 9, 2, 0, True)
    with pytest.raises(ValueError, match=r"must be \(n, channels, \*spatial\)"):
        f(x[0, 0], 2)
    with pytest.raises(ValueError, match="none empty"):
        f(Variable(backend.xp.ones((1, 1, 0), device=backend.device)), 2, 1, 1)
    with pytest.raises(TypeError, match=rf"{f.__name__}: x has dtype .*int64.* floating-point"):
        f(Variable([[[1, 2, 3]]]), 2)
    with pytest.raises(ValueError, match="kernel_size=0 must be at least 1"):
        f(x, 0)


def test_windows_beyond_the_input_in_ceil_mode(backend: Backend) -> None:
    """As in PyTorch, a window may be larger than the input, if the stride is as well."""
    x = Variable([[[1.0, 3.0]]])
    assert values(F.pooling(x, 3, 2, 0, True)) == [3.0]
    assert values(F.average_pooling(x, 3, 2, 0, True)) == [2.0]


def test_derivatives_of_the_third_order(backend: Backend) -> None:
    """Pooling is linear where the winners stay, so that these appear beyond the second order only."""
    g = windows.Geometry((4, 5), (2, 3), (2, 1), (0, 1), (1, 1))
    numbers = [[[[float(7 * i % 20) for i in range(5 * j, 5 * j + 5)] for j in range(4)]]]
    x = Variable(backend.asarray(np.array(numbers)), backend=backend)
    _, winner = backend.ops.largest(x.data, g)
    check_gradients(lambda x: F.window_pick(x, winner, g), x)
    check_gradients(lambda z: F.window_put(z, winner, g), F.window_pick(x, winner, g).detach())


def test_global_average(backend: Backend) -> None:
    x = Variable([[[[1.0, 3.0], [2.0, 2.0]], [[5.0, 5.0], [6.0, 8.0]]]])
    assert_close(F.global_average_pooling(x), [[2.0, 6.0]])
    with pytest.raises(ValueError, match="global_average_pooling: x has shape"):
        F.global_average_pooling(x[0, 0])


def test_the_order_of_places_is_that_of_memory() -> None:
    assert [float(e[0, 0]) for e in pool._places(np.arange(6.0).reshape(2, 3), windows.Geometry(
        (2, 3), (2, 2), (1, 1), (0, 0), (1, 1)), (1, 1))] == [0.0, 1.0, 3.0, 4.0]  # fmt: skip
