"""Convolutions: transposes of each other, windows in portions, memory, sizes, and what is refused."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
from dzcore import Variable
from dzcore.backend import Backend, get_backend
from dzcore.errors import MixedBackendError
from dzcore.functions import windows
from dzcore.functions.windows import Geometry, get_conv_outsize, get_deconv_outsize
from dzcore.testing import assert_close


@st.composite
def problems(draw: st.DrawFn) -> tuple[Geometry, np.ndarray, np.ndarray, np.ndarray]:
    """Any geometry that has a window, with x, W and z of small whole numbers, so that all sums are exact."""
    rank, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    axes = [draw(st.tuples(*[st.integers(*b) for b in ((1, 3), (1, 4), (0, 3), (1, 3), (0, 4))])) for _ in range(rank)]
    spatial = tuple(max(1, d * (k - 1) + 1 - 2 * p) + more for k, _, p, d, more in axes)
    size, stride, pad, dilation, _ = zip(*axes, strict=True)
    g = Geometry(spatial, size, stride, pad, dilation, groups)
    n, c, o = draw(st.integers(0, 3)), groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    shapes = (n, c, *spatial), (o, c // groups, *size), (n, o, *g.out)
    x, W, z = (random.integers(-4, 5, shape).astype("float64") for shape in shapes)
    return g, x, W, z


def three(problem: tuple[Geometry, Any, Any, Any], backend: Backend | None = None) -> list[Any]:
    g, x, W, z = problem
    xp = (backend or get_backend("numpy")).ops
    return [xp.convolve(x, W, g), xp.convolve_input(z, W, g), xp.convolve_weight(x, z, g)]


@given(problems())
def test_the_three_are_transposes(problem: tuple[Geometry, Any, Any, Any]) -> None:
    """<convolve(x, W), z> = <x, convolve_input(z, W)> = <W, convolve_weight(x, z)>."""
    _, x, W, z = problem
    y, gx, gW = three(problem)
    assert (y.shape, gx.shape, gW.shape) == (z.shape, x.shape, W.shape)
    assert np.sum(y * z) == np.sum(x * gx) == np.sum(W * gW)


@given(problems(), st.sampled_from([1, 5, 60, 400]))
def test_portions_change_nothing(problem: tuple[Geometry, Any, Any, Any], room: int) -> None:
    """Images, and rows of one image, one after another give what all at once give."""
    whole = three(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "ROOM", (room, room))
        if room == 1:
            patch.setattr(windows, "portions", single)
            patch.setattr(F.conv, "portions", single)
        parts = three(problem)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)


def single(xp: Any, count: int, size: int, rooms: int = 1) -> list[slice]:
    """As `portions`: one at a time."""
    return [slice(i, i + 1) for i in range(count)] or [slice(0, 0)]


def test_portions_on_every_backend(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    g = Geometry((6, 5), (3, 2), (2, 1), (1, 0), (1, 2), 2)
    random = np.random.default_rng(0)
    shapes = (2, 4, 6, 5), (6, 2, 3, 2), (2, 6, *g.out)
    plain = [random.integers(-4, 5, shape).astype("float64") for shape in shapes]
    expected = three((g, *plain))
    own = [Variable(a.tolist(), dtype="float64").data for a in plain]
    monkeypatch.setattr(F.conv, "portions", single)
    for found, wanted in zip(three((g, *own), backend), expected, strict=True):
        assert_close(found, wanted.tolist())


@given(st.integers(0, 10), st.integers(1, 7), st.sampled_from([1, 3]), st.sampled_from([(2, 8), (100, 3)]))
def test_portions_cover_everything_once(count: int, size: int, rooms: int, room: tuple[int, int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "ROOM", room)
        slices = list(windows.portions(get_backend("numpy").ops, count, size, rooms))
    assert [i for s in slices for i in range(s.start, s.stop)] == list(range(count))
    assert all((s.stop - s.start) * size <= max(size, rooms * room[0]) for s in slices)
    assert slices  # of nothing there is one, so that results have a shape


# Memory --------------------------------------------------------------------------------------------------------------


def peak(f: Callable[[], Any]) -> int:
    """Return how many bytes f takes at most beyond what is there, its result included."""
    f()
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(32, 8, 48, 48), (1, 8, 256, 288)], ids=["batch", "image"])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["convolve", "convolve_input", "convolve_weight"])
def test_no_array_of_all_windows(which: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """With kernels of 7x7, the windows would take 49 times as much as x."""
    room = 2**15
    monkeypatch.setattr(windows, "ROOM", (room, 0))
    c = shape[1]
    g = Geometry(shape[2:], (7, 7), (1, 1), (3, 3), (1, 1))
    x, W, z = np.ones(shape, "f4"), np.ones((c, c, 7, 7), "f4"), np.ones(shape, "f4")
    xp = get_backend("numpy").ops
    calls = (lambda: xp.convolve(x, W, g), lambda: xp.convolve_input(z, W, g), lambda: xp.convolve_weight(x, z, g))
    taken = peak(calls[which])
    assert taken < 4 * x.nbytes + 2 * 16 * 4 * room, f"{taken / x.nbytes:.1f} times the input"


def test_memory_of_a_training_step() -> None:
    """Forwards and backwards with the settings as they are: x and W are saved, y and the gradients come out."""
    x, W = Variable(np.ones((32, 16, 48, 48), "f4")), Variable(np.ones((16, 16, 5, 5), "f4"))

    def step() -> Any:
        y = F.conv2d(x, W, None, 1, 2)
        return dzcore.grad(y, [x, W])

    nbytes = x.data.nbytes
    assert nbytes * 25 > 115e6
    taken = peak(step)
    assert taken < 6 * nbytes, f"{taken / nbytes:.1f} times the input"  # y, gy, gx twice while it is put together


# Empty batches, dtypes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d", "deconv1d", "deconv2d", "deconv3d"])
def test_empty_batch(name: str, backend: Backend) -> None:
    rank = int(name[-2])
    x = Variable(backend.xp.zeros((0, 4, *[5] * rank), device=backend.device))
    W = Variable(backend.xp.ones((4, 2, *[3] * rank), device=backend.device))
    b = Variable(backend.xp.ones(4, device=backend.device))
    y = getattr(F, name)(x, W, b, groups=2, stride=2, pad=1)
    assert y.shape == (0, 4, *[3 if name.startswith("conv") else 9] * rank)
    for create_graph in (False, True):
        gx, gW, gb = dzcore.grad(y, [x, W, b], create_graph=create_graph)
        assert (gx.shape, gW.shape, gb.shape) == (x.shape, W.shape, b.shape)
        assert_close(gb.detach(), [0.0] * 4)
        assert float(F.sum(F.abs(gW))) == 0.0


def test_dtypes_meet(backend: Backend) -> None:
    """The result has the widest, and gradients come back in their own."""
    dtypes = {"x": "float32", "W": "float64", "b": "float32"}
    x, W, b = (Variable(backend.xp.ones(shape, dtype=backend.dtype(dtype), device=backend.device))
               for shape, dtype in zip(((1, 2, 4, 4), (2, 2, 3, 3), (2,)), dtypes.values(), strict=True))  # fmt: skip
    for f in (F.conv2d, F.deconv2d):
        y = f(x, W, b)
        assert backend.dtype_name(y.dtype) == "float64"
        found = dzcore.grad(y, [x, W, b])
        assert [backend.dtype_name(g.dtype) for g in found] == list(dtypes.values())


def test_raw_arrays_and_backends(strict: str) -> None:
    x, W = np.ones((1, 2, 4, 4)), np.ones((2, 2, 3, 3))
    assert_close(F.conv2d(x, W), np.full((1, 2, 2, 2), 18.0).tolist())
    elsewhere = Variable(W.tolist(), backend="strict")
    for f in (F.conv2d, F.deconv2d):
        with pytest.raises(MixedBackendError, match="numpy meets strict"):
            f(Variable(x.astype("f4")), elsewhere)


def test_dezero_names() -> None:
    x, W, b = (np.random.default_rng(0).normal(size=s) for s in ((2, 3, 5, 4), (4, 3, 3, 2), (4,)))
    assert_close(F.conv2d_simple(x, W, b, 2, 1), F.conv2d(x, W, b, stride=2, pad=1))
    assert_close(F.pooling_simple(x, 2, 2, 1), F.pooling(x, (2, 2), stride=(2, 2), pad=(1, 1)))
    col = F.im2col_array(x, (3, 2), 1, 1, to_matrix=False)
    assert type(col) is np.ndarray
    assert col.shape == (2, 3, 3, 2, 5, 5)
    np.testing.assert_array_equal(col, F.im2col(x, (3, 2), 1, 1, to_matrix=False).data)
    img = F.col2im_array(col, x.shape, (3, 2), 1, 1, to_matrix=False)
    assert type(img) is np.ndarray
    rows = F.im2col_array(x, (3, 2), 1, 1)
    np.testing.assert_array_equal(rows, F.im2col(x, (3, 2), 1, 1).data)
    np.testing.assert_allclose(F.col2im_array(rows, x.shape, (3, 2), 1, 1), img, rtol=1e-14)


@given(problems(), st.booleans())
def test_columns_are_transposes(problem: tuple[Geometry, Any, Any, Any], to_matrix: bool) -> None:
    """<im2col(x), c> = <x, col2im(c)>."""
    g, x = problem[0]._replace(dilation=(1,) * len(problem[0].size)), problem[1]
    col = F.im2col(x, g.size, g.stride, g.pad, to_matrix)
    c = Variable(np.random.default_rng(1).integers(-4, 5, col.shape).astype("float64"))
    back = F.col2im(c, x.shape, g.size, g.stride, g.pad, to_matrix)
    assert back.shape == x.shape
    assert float(F.sum(col * c)) == float(F.sum(back * x))


def test_a_matrix_of_windows_convolves(backend: Backend) -> None:
    """What the rows of im2col are good for: they times the kernels are the convolution."""
    x, W = (Variable(np.random.default_rng(0).normal(size=s).tolist(), dtype="float64")
            for s in ((2, 3, 5, 4), (4, 3, 3, 2)))  # fmt: skip
    y = F.im2col(x, (3, 2), 2, 1) @ F.reshape(W, (4, -1)).T
    expected = F.conv2d(x, W, None, 2, 1)
    n, o, h, w = expected.shape
    assert_close(F.permute_dims(F.reshape(y, (n, h, w, o)), (0, 3, 1, 2)), expected, rtol=1e-11, atol=1e-12)


# Sizes ---------------------------------------------------------------------------------------------------------------


def test_outsizes() -> None:
    assert get_conv_outsize(4, 3, 1, 1) == 4  # of the book
    assert get_conv_outsize(28, 5, 1, 0) == 24
    assert get_conv_outsize(8, 3, 2, 0) == 3
    assert get_conv_outsize(7, 3, 2, 0, dilation=3) == 1
    assert get_deconv_outsize(4, 3, 1, 1) == 4
    assert get_deconv_outsize(3, 3, 2, 0, 2) == 9


@given(*[st.integers(*bounds) for bounds in ((1, 9), (1, 5), (1, 4), (0, 3), (1, 3))])
def test_deconv_outsize_is_the_least_that_convolves_to_it(n: int, k: int, s: int, p: int, d: int) -> None:
    """By trying all sizes."""
    fitting = [size for size in range(1, 100) if size + 2 * p > d * (k - 1) and get_conv_outsize(size, k, s, p, d) == n]
    if s * (n - 1) + d * (k - 1) < 2 * p:
        with pytest.raises(ValueError, match="nothing is left"):
            get_deconv_outsize(n, k, s, p, d)
    else:
        assert get_deconv_outsize(n, k, s, p, d) == min(fitting)
    x, W = np.ones((1, 1, n)), np.ones((1, 1, k))
    for size in range(1, 60) if fitting else ():
        if size in fitting:
            assert F.deconv1d(x, W, None, s, p, size, d).shape == (1, 1, size)
        else:
            with pytest.raises(ValueError, match=rf"outsize={size} must be .*{max(fitting)}"):
                F.deconv1d(x, W, None, s, p, size, d)


X, W = np.ones((1, 2, 5, 6)), np.ones((2, 2, 3, 3))
WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "too small": (lambda: F.conv2d(X, np.ones((2, 2, 3, 7))), ValueError,
                  r"spatial axis 1 of \(5, 6\): a window of 7 \(kernel_size=7, dilation=1\) does not fit into 6 "
                  r"\(input_size=6, pad=0 on both sides\)"),
    "dilated": (lambda: F.conv2d(X, W, dilation=3, pad=(0, 1)), ValueError, "axis 0.*a window of 7.*input_size=5"),
    "channels": (lambda: F.conv2d(X, np.ones((2, 3, 3, 3))), ValueError, "x has 2 channels .* is for 3"),
    "channels of groups": (lambda: F.conv2d(X, W, groups=2), ValueError, "x has 2 channels .* groups=2 is for 4"),
    "groups": (lambda: F.conv2d(X, np.ones((3, 1, 3, 3)), groups=2), ValueError, "groups=2 must .* divides 3"),
    "groups of 0": (lambda: F.conv2d(X, W, groups=0), ValueError, "groups=0 must be a positive integer"),
    "groups of a kind": (lambda: F.conv2d(X, W, groups=True), ValueError, "groups=True must be a positive integer"),
    "axes of x": (lambda: F.conv2d(X[0], W), ValueError, r"conv2d: x has shape \(2, 5, 6\); it must be \(n, channels,"),
    "axes of W": (lambda: F.conv1d(X[0], W), ValueError, "conv1d: W has shape"),
    "bias": (lambda: F.conv2d(X, W, np.ones(3)), ValueError, r"b has shape \(3,\); it must be \(2,\)"),
    "bias of a deconvolution": (lambda: F.deconv2d(X, np.ones((2, 3, 2, 2)), np.ones(2)), ValueError, r"be \(3,\)"),
    "channels of a deconvolution": (lambda: F.deconv2d(X, np.ones((3, 2, 2, 2))), ValueError, "2 channels .* for 3"),
    "empty kernel": (lambda: F.conv2d(X, np.ones((2, 2, 0, 3))), ValueError, "nothing but the batch may be empty"),
    "empty input": (lambda: F.deconv2d(np.ones((1, 2, 0, 3)), W, outsize=2), ValueError, "nothing but the batch"),
    "stride": (lambda: F.conv2d(X, W, stride=0), ValueError, "stride=0 must be at least 1"),
    "pad": (lambda: F.conv2d(X, W, pad=(0, -1)), ValueError, r"pad=\(0, -1\) must be at least 0"),
    "dilation": (lambda: F.conv2d(X, W, dilation=(1, 0)), ValueError, "dilation=.* at least 1"),
    "too many": (lambda: F.conv2d(X, W, stride=(1, 1, 1)), ValueError, "stride=.* has 3 numbers.* 2 spatial axes"),
    "no integer": (lambda: F.conv2d(X, W, pad=0.5), TypeError, "pad=0.5 must be an integer"),
    "nothing left": (lambda: F.deconv2d(X, np.ones((2, 1, 1, 1)), pad=3), ValueError,
                     r"axis 0 of \(5, 6\): size=5 windows .* cover 5; nothing is left .*p=3"),
    "outsize": (lambda: F.deconv2d(X, W, stride=2, outsize=(12, 15)), ValueError,
                r"outsize=\(12, 15\) must be from 13 to 14 along spatial axis 1.* makes 6"),
    "outsize of stride 1": (lambda: F.deconv2d(X, W, outsize=9), ValueError, "outsize=9 must be 7 along spatial"),
    "im2col": (lambda: F.im2col(X, 7), ValueError, "spatial axis 0"),
    "im2col of a matrix": (lambda: F.im2col(X[0, 0], 1), ValueError, r"im2col: x has shape \(5, 6\)"),
    "col2im": (lambda: F.col2im(np.ones((3, 3)), (1, 2, 5, 6), 3), ValueError, r"x has shape \(3, 3\).*\(12, 18\)"),
    "conv_outsize": (lambda: get_conv_outsize(4, 7, 1, 1), ValueError, "window of 7 .* into 6"),
    "conv_outsize of stride 0": (lambda: get_conv_outsize(4, 3, 0, 1), ValueError, "stride=0 must be at least 1"),
    "deconv_outsize": (lambda: get_deconv_outsize(0, 3, 1, 0), ValueError, "size=0 windows .* cover 0; nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_said(name: str) -> None:
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()


def test_numbers_of_any_library_are_integers() -> None:
    assert F.conv2d(X, W, stride=np.int64(2), pad=np.array([1, 1])).shape == (1, 2, 3, 3)
