"""Convolutions by the kernel library, held against the portable forms: any geometry, any layout, any thread."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dzcore
from dzbackend_numpy import NumpyBackend, convolution, extras, onednn
from dzbackend_numpy.onednn import convolution as kernels
from dzbackend_numpy.onednn import library, plan
from dzcore.backend.namespace import EXTENSIONS
from dzcore.functions.windows import Geometry

from .test_threads import python

pytestmark = pytest.mark.skipif(
    not (extras.allowed() and onednn.available()), reason="onednn-cpu-gomp is not installed, or not to be used"
)

OPS = NumpyBackend().ops
SAME = Geometry((9, 9), (3, 3), (1, 1), (1, 1), (1, 1))
NAMES = ("convolve", "convolve_biased", "convolve_input", "convolve_weight")


def compute(name: str, arrays: dict[str, Any], g: Geometry) -> Any:
    """Have the library compute one of the functions."""
    x, W, b, z = (arrays[key] for key in "xWbz")
    if name in ("convolve", "convolve_biased"):
        return onednn.convolve(x, W, b if name == "convolve_biased" else None, g)
    return onednn.convolve_input(z, W, g) if name == "convolve_input" else onednn.convolve_weight(x, z, g)


def expected(name: str, arrays: dict[str, Any], g: Geometry) -> Any:
    """Compute it as the core does, in float64."""
    x, W, b, z = (arrays[key].astype(np.float64) for key in "xWbz")
    plain = EXTENSIONS["convolve_input" if name == "convolve_input" else "convolve_weight"]
    if name in ("convolve", "convolve_biased"):
        y = EXTENSIONS["convolve"](OPS, x, W, g)
        return y + b.reshape(-1, *[1] * len(g.size)) if name == "convolve_biased" else y
    return plain(OPS, z, W, g) if name == "convolve_input" else plain(OPS, x, z, g)


def check(name: str, arrays: dict[str, Any], g: Geometry) -> None:
    found, wanted = compute(name, arrays, g), expected(name, arrays, g)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    scale = float(np.abs(wanted).max(initial=1.0))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5 * scale)


def made(g: Geometry, n: int, channels: int, o: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"x": (n, channels, *g.spatial), "W": (o, channels // g.groups, *g.size), "b": (o,), "z": (n, o, *g.out)}
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    rank = draw(st.integers(1, 3))
    size, stride, dilation = (draw(st.tuples(*[st.integers(1, most)] * rank)) for most in (4, 3, 4))
    pad = draw(st.tuples(*[st.integers(0, 4)] * rank))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(size, pad, dilation, strict=True)]
    spatial = tuple([low + draw(st.integers(0, 6)) for low in least])
    return Geometry(spatial, size, stride, pad, dilation, draw(st.integers(1, 3)))


@settings(max_examples=120, deadline=None)
@given(geometries(), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from(NAMES))
def test_any_geometry(g: Geometry, n: int, channels: int, o: int, name: str) -> None:
    check(name, made(g, n, channels * g.groups, o * g.groups), g)


def packed(x: Any) -> Any:
    """Return x as a field of records of five bytes."""
    records = np.zeros(x.shape, [("other", "u1"), ("x", "f4")])
    records["x"] = x
    return records["x"]


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda x: np.asfortranarray(x),
    "channels last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if x.ndim > 1 else x,
    "every second": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "offset": lambda x: np.concatenate([x[:1], x])[1:],
    "backwards": lambda x: np.flip(np.flip(x).copy()),
    "packed": packed,
    "off by bytes": lambda x: np.frombuffer(b"x" + x.tobytes(), np.float32, offset=1).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_any_layout(name: str, layout: str) -> None:
    for groups in (1, 2):
        g = Geometry((7, 6), (3, 2), (2, 1), (1, 0), (1, 2), groups)
        arrays = {key: LAYOUTS[layout](array) for key, array in made(g, 3, 4, 6).items()}
        check(name, arrays, g)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_broadcast(name: str) -> None:
    """Gradients of sums have steps of zero."""
    g = Geometry((6, 6), (3, 3), (1, 1), (1, 1), (1, 1))
    arrays = {key: np.broadcast_to(np.float32(0.75), array.shape) for key, array in made(g, 2, 3, 4).items()}
    check(name, arrays, g)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("channels", "o", "g"),
    [
        (1, 6, Geometry((28, 28), (5, 5), (1, 1), (2, 2), (1, 1))),
        (3, 16, Geometry((20, 20), (7, 7), (2, 2), (3, 3), (1, 1))),
        (16, 40, Geometry((9, 9), (1, 1), (1, 1), (0, 0), (1, 1))),
        (16, 16, Geometry((30, 30), (3, 3), (1, 1), (12, 12), (12, 12))),
        (24, 24, Geometry((9, 9), (3, 3), (1, 1), (1, 1), (1, 1), 24)),
        (32, 16, Geometry((9, 9), (3, 3), (2, 2), (1, 1), (1, 1), 2)),
        (8, 8, Geometry((40,), (9,), (1,), (4,), (1,))),
        (8, 8, Geometry((5, 6, 7), (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1))),
        (2, 3, Geometry((2, 2), (1, 1), (1, 1), (5, 5), (1, 1))),
    ],
)
def test_geometries_of_real_networks(name: str, channels: int, o: int, g: Geometry) -> None:
    check(name, made(g, 2, channels, o), g)


@pytest.mark.parametrize("name", NAMES)
def test_portions_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    g = Geometry((8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    arrays = made(g, 7, 4, 4)
    for portion in (1, 2 * 4 * 2 * 4 * 64, 2**30):
        monkeypatch.setattr(kernels, "PORTION", portion)
        check(name, arrays, g)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_that_are_not_finite(name: str) -> None:
    """They come out where they do in the plain evaluation, also where a weight meets nothing but padding."""
    g = Geometry((12, 12), (3, 3), (1, 1), (2, 2), (1, 1))
    for key in "xWbz":
        for number in (np.nan, np.inf, -np.inf, 3e38):
            arrays = made(g, 4, 8, 8)
            arrays[key].reshape(-1)[3] = number
            given_to = {"convolve": "xW", "convolve_biased": "xWb", "convolve_input": "zW", "convolve_weight": "xz"}
            inputs = [arrays[each] for each in given_to[name]]
            with np.errstate(all="ignore"):
                found = getattr(OPS, name)(*inputs, g)
                wanted = EXTENSIONS[name](OPS, *inputs, g) if name != "convolve_biased" else (
                    EXTENSIONS["convolve"](OPS, *inputs[:2], g) + inputs[2].reshape(-1, 1, 1))  # fmt: skip
            for kind in (np.isnan, np.isposinf, np.isneginf):
                np.testing.assert_array_equal(kind(found), kind(wanted))
            finite = np.isfinite(wanted)
            np.testing.assert_allclose(found[finite], wanted[finite], rtol=1e-3, atol=1e-4)


class AskedError(Exception):
    """The library was asked."""


def refuse(*_: Any) -> Any:
    raise AskedError


def test_what_the_library_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large arrays of float32 along up to three axes; everything else is done as the core does it."""
    for name in ("convolve", "convolve_input", "convolve_weight"):
        monkeypatch.setattr(onednn, name, refuse)
    large = Geometry((16, 16), (3, 3), (1, 1), (0, 0), (1, 1))
    small = Geometry((5, 5), (3, 3), (1, 1), (0, 0), (1, 1))
    four = Geometry((4, 4, 4, 4), (2, 2, 2, 2), (1,) * 4, (0,) * 4, (1,) * 4)

    def asks(g: Geometry, n: int, dtype: str) -> list[bool]:
        arrays = {key: array.astype(dtype) for key, array in made(g, n, 8, 8).items()}
        found = []
        for name, keys in zip(NAMES, ("xW", "xWb", "zW", "xz"), strict=True):
            try:
                getattr(OPS, name)(*[arrays[key] for key in keys], g)
                found.append(False)
            except AskedError:
                found.append(True)
        return found

    assert asks(large, 2, "float32") == [True] * 4
    for g, n, dtype in ((large, 2, "float64"), (large, 0, "float32"), (small, 1, "float32"), (four, 2, "float32")):
        assert asks(g, n, dtype) == [False] * 4, (g, n, dtype)
    monkeypatch.setenv("DZCORE_NUMPY_FAST", "0")
    assert asks(large, 2, "float32") == [False] * 4
    monkeypatch.setenv("DZCORE_NUMPY_FAST", "1")
    monkeypatch.setattr(onednn, "available", lambda: False)
    assert asks(large, 2, "float32") == [False] * 4


def test_plans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PLANS", 3)
    desk = plan._desk()
    desk.plans.clear()
    geometries = [Geometry((n, 9), (3, 3), (1, 1), (1, 1), (1, 1)) for n in range(5, 10)]
    for g in (*geometries, *geometries[::-1]):
        for name in NAMES:
            check(name, made(g, 2, 8, 8), g)
            assert len(desk.plans) <= 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "o"), [(16, 16), (3, 16), (16, 3), (6, 40)])
def test_wherever_copies_lie(name: str, channels: int, o: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the work space, in arrays of their own, and in the memory of the result."""
    arrays, desk = made(SAME, 3, channels, o), plan._desk()
    for shared in (0, 2**22):
        monkeypatch.setattr(plan, "SHARED", shared)
        for guest in (plan._guest, lambda *_: None):
            monkeypatch.setattr(plan, "_guest", guest)
            desk.plans.clear()
            for _ in range(2):
                check(name, arrays, SAME)
    desk.plans.clear()


def test_a_copy_lies_where_the_result_will_be() -> None:
    desk, arrays = plan._desk(), made(SAME, 3, 64, 64)
    desk.plans.clear()
    for name in NAMES:
        check(name, arrays, SAME)
    assert [len(each._guests) for each in desk.plans.values()] == [1] * 4


def test_no_copy_lies_in_the_gaps_of_a_result() -> None:
    """They are somebody else's."""
    x, W, whole = np.ones((3, 64, 9, 9), np.float32), np.ones((64, 64, 3, 3), np.float32), np.zeros((3, 64, 9, 18))
    whole = whole.astype(np.float32)
    kernels._run("forward", SAME, ((plan.SRC, x), (plan.WEIGHTS, W), (plan.DST, whole[..., ::2])))
    assert whole.max() == 64 * 9
    assert not whole[..., 1::2].any()


def test_a_plan_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    g = Geometry((11, 9), (3, 3), (1, 1), (1, 1), (1, 1))
    arrays = made(g, 2, 8, 8)
    check("convolve", arrays, g)
    monkeypatch.setattr(kernels, "_plan", refuse)
    check("convolve", made(g, 2, 8, 8, seed=1), g)
    with pytest.raises(AskedError):
        compute("convolve", made(g, 3, 8, 8), g)


def test_the_plan_that_was_used_longest_ago_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PLANS", 2)
    plan._desk().plans.clear()
    first, second, third = [Geometry((n, 9), (3, 3), (1, 1), (1, 1), (1, 1)) for n in (5, 6, 7)]
    for g in (first, second, first, third):
        compute("convolve", made(g, 2, 8, 8), g)
    monkeypatch.setattr(kernels, "_plan", refuse)
    for g in (first, third):
        check("convolve", made(g, 2, 8, 8), g)
    with pytest.raises(AskedError):
        compute("convolve", made(second, 2, 8, 8), second)


def test_work_space_that_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan works in the space that there is now, and not where it was at an earlier call."""
    g = Geometry((13, 9), (3, 3), (1, 1), (1, 1), (1, 1))
    spaces: list[Any] = []

    def elsewhere(size: int, dtype: Any) -> Any:
        spaces.append(np.zeros(size, dtype))
        return spaces[-1]

    monkeypatch.setattr(plan, "np", SimpleNamespace(empty=elsewhere, uint8=np.uint8))
    for _ in range(3):
        check("convolve", made(g, 2, 8, 8), g)
    assert len(spaces) == 3
    assert all(space.any() for space in spaces)


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_threads(name: str) -> None:
    g = Geometry((20, 20), (3, 3), (1, 1), (1, 1), (1, 1))
    before = dzcore.get_num_threads("numpy")
    try:
        for number in (1, 3, 2, 1):
            dzcore.set_num_threads(number, "numpy")
            check(name, made(g, 3, 8, 8), g)
    finally:
        dzcore.set_num_threads(before, "numpy")


def test_threads_that_call_at_once() -> None:
    failed: list[BaseException] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        try:
            start.wait()
            for turn in range(6):
                g = Geometry((10 + number % 2, 12), (3, 3), (1, 1), (1, 1), (1, 1))
                for name in NAMES:
                    check(name, made(g, 2, 8, 8, seed=10 * number + turn), g)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]


FORK = """
import os, numpy as np, dzcore, dzcore.functions as F
rng = np.random.default_rng(0)
x, W = (dzcore.Variable(rng.standard_normal(s).astype("f4")) for s in ((4, 8, 20, 20), (8, 8, 3, 3)))
def step():
    y = F.conv2d(x, W, pad=1)
    return [v.data for v in (y, *dzcore.grad(F.sum(y * y), [x, W]))]
before = step()
child = os.fork()
if child == 0:
    same = all(np.allclose(a, b, rtol=1e-3, atol=1e-2) for a, b in zip(before, step()))
    os._exit(0 if same else 3)
_, status = os.waitpid(child, 0)
again = all(np.array_equal(a, b) for a, b in zip(before, step()))
print(os.waitstatus_to_exitcode(status), again)
"""


def test_after_a_fork() -> None:
    """Both processes go on: the child has none of the threads."""
    assert python(FORK) == "0 True"


LOADED = """
import numpy as np, dzcore, dzcore.functions as F
x, W = (dzcore.Variable(np.ones(s, "f4")) for s in (({n}, 8, 20, 20), (8, 8, 3, 3)))
F.conv2d(x[:, :, :4, :4], W)
assert "libdnnl" not in open("/proc/self/maps").read(), "for a small one"
F.conv2d(x, W)
print("libdnnl" in open("/proc/self/maps").read())
"""


def test_the_library_is_loaded_when_it_is_needed() -> None:
    assert python(LOADED.format(n=1)) == "True"
    assert python(LOADED.format(n=1), DZCORE_NUMPY_FAST="0") == "False"


def test_errors_say_what_was_asked() -> None:
    with pytest.raises(onednn.OneDNNError, match="memory_desc_create_with_strides: invalid arguments"):
        plan.form((2, -3), (3, 1))
    g = Geometry((5, 5), (3, 3), (1, 1), (0, 0), (1, 1))
    with pytest.raises(onednn.OneDNNError, match="convolution_forward_primitive_desc_create: invalid arguments"):
        onednn.convolve(np.ones((1, 2, 5, 5), "f4"), np.ones((4, 3, 3, 3), "f4"), None, g)


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not available, and who asks nevertheless is told what to install."""
    monkeypatch.setattr(library, "_places", lambda: iter(()))
    assert library.available.__wrapped__() is False
    with pytest.raises(onednn.OneDNNError, match=r"pip install 'dzbackend-numpy\[fast\]'"):
        library.library.__wrapped__()


def test_no_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.team, "gomp", lambda: None)
    assert library._found() is None


def test_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def version() -> Any:
        return SimpleNamespace(contents=SimpleNamespace(major=2))

    monkeypatch.setattr(library.ctypes, "CDLL", lambda path: SimpleNamespace(dnnl_version=version))
    assert library._found() is None


def test_the_distribution_names_the_file() -> None:
    """The library is the one that the distribution installed."""
    assert next(library._places()).is_file()


def test_capabilities() -> None:
    assert set(NAMES) <= set(NumpyBackend.capabilities())
    assert convolution.LARGE > 0
