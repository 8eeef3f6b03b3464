"""Compiled loops: every layout and dtype, the team, numbers, and what is kept on disk."""

import os
import subprocess
import sys
import threading
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dzbackend_numpy import team
from dzbackend_numpy.compiled import loops, native
from dzbackend_numpy.compiled.loops import Plan
from dzbackend_numpy.fuse import Fused
from dzcore.backend import get_backend

xp = get_backend("numpy").ops

pytestmark = [
    pytest.mark.skipif(native.compiler() is None, reason="the compiler is an extra"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("each_size"),
]


def compiled(formula, *inputs, targets=0):
    """The formula, of which there is a loop for these inputs."""
    fused = Fused(xp, formula, 8, 1)
    assert isinstance(fused.plan(inputs, inputs[:targets]), Plan)
    return fused


def same(found, expected):
    """Bit for bit, but for what a NaN is."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    both = np.isnan(found) & np.isnan(expected) if found.dtype.kind == "f" else np.zeros(found.shape, bool)
    assert np.where(both, 0, found).tobytes() == np.where(both, 0, expected).tobytes()


# Layouts -------------------------------------------------------------------------------------------------------------


@st.composite
def views(draw, shape):
    """An array that broadcasts to the shape, of any layout but for gaps along the last axis."""
    lead = draw(st.integers(0, len(shape))) if draw(st.booleans()) else 0
    own = [n if draw(st.booleans()) else 1 for n in shape[lead:]] if draw(st.booleans()) else list(shape[lead:])
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["whole", "part", "backwards", "repeated", "unaligned"]))
    if kind == "part":
        return rng.normal(size=[n + 2 for n in own]).astype("f4")[tuple(slice(1, n + 1) for n in own)]
    x = rng.normal(size=own).astype("f4")
    if kind == "backwards" and x.ndim > 1:
        return x[::-1]
    if kind == "repeated" and own:
        return np.broadcast_to(x[:1], own)
    if kind == "unaligned":
        memory = np.zeros(x.nbytes + 1, np.uint8)
        y = memory[1:].view("f4").reshape(x.shape)
        y[...] = x
        return y
    return x


@st.composite
def operands(draw):
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    first = np.random.default_rng(0).normal(size=shape).astype("f4")
    rest = [draw(views(shape)) for _ in range(draw(st.integers(1, 3)))]
    axes = draw(st.permutations(range(len(shape)))) if draw(st.booleans()) else range(len(shape))
    if any(x.ndim < len(shape) for x in rest):
        return [first, *rest]
    return [x.transpose(axes) for x in (first, *rest)]


@given(operands())
def test_any_layout_gives_the_plain_answer(inputs):
    def formula(xp, x, *others):
        y = x * 2.0
        for other in others:
            y = y * other - x
        return y, y < x

    for found, expected in zip(Fused(xp, formula, 1, 1)(*inputs), formula(xp, *inputs), strict=True):
        same(found, expected)


MATRIX = np.random.default_rng(1).normal(size=(33, 64)).astype("f4")
IMAGES = np.random.default_rng(2).normal(size=(3, 4, 5, 6)).astype("f4")


@pytest.mark.parametrize(
    "inputs",
    [
        (MATRIX[:, 16:32], MATRIX[:, 32:48]),
        (MATRIX, MATRIX[0]),
        (MATRIX, MATRIX[:, :1]),
        (MATRIX.T, MATRIX.T * 2),
        (MATRIX[:, :1], MATRIX[:1]),
        (np.broadcast_to(np.float32(3), (33, 64)), MATRIX),
        (IMAGES, IMAGES[0, :, :1, :1]),
        (IMAGES, IMAGES[:, :, :1, :1]),
        (IMAGES.transpose(0, 2, 3, 1), IMAGES[0, :, 0, 0]),
        (IMAGES, np.full((), 2, "f4")),
        (MATRIX[::-1], MATRIX[::2][:1]),
    ],
    ids=lambda x: "",
)
def test_usual_layouts_have_a_loop(inputs):
    def formula(xp, x, y):
        return x * y - x

    same(compiled(formula, *inputs)(*inputs), formula(xp, *inputs))


def test_one_formula_for_many_layouts():
    fused = Fused(xp, lambda xp, x, y: x * y - x, 8, 1)
    square = np.random.default_rng(3).normal(size=(64, 64)).astype("f4")
    for x in (square, square.T, square[::-1], square.astype("f8"), square[:32], square):
        for y in (x, square[0], square[: len(x)].T[:64].T):
            same(fused(x, y), x * y - x)


def test_results_lie_in_memory_as_the_inputs_do():
    assert compiled(lambda xp, x: -x, MATRIX.T)(MATRIX.T).flags.f_contiguous
    assert compiled(lambda xp, x: -x, MATRIX)(MATRIX).flags.c_contiguous


@pytest.mark.parametrize(
    "inputs",
    [
        (MATRIX[:, ::2], MATRIX[:, ::2]),  # gaps
        (MATRIX[:, ::-1], MATRIX),
        (IMAGES[:, :2, :2, :2], IMAGES[:, 1:3, 1:3, 1:3]),  # four axes
    ],
    ids=["gaps", "backwards", "axes"],
)
def test_other_layouts_are_left_to_numpy(inputs):
    def formula(xp, x, y):
        return x * y - x

    fused = Fused(xp, formula, 8, 1)
    assert fused.plan(inputs) is None
    same(fused(*inputs), formula(xp, *inputs))


def test_a_result_of_fewer_axes_keeps_them():
    def formula(xp, x, y):
        return x + y, y * 2.0

    for found, expected in zip(
        Fused(xp, formula, 8, 1)(MATRIX, MATRIX[0]), formula(xp, MATRIX, MATRIX[0]), strict=True
    ):
        same(found, expected)


def test_targets_with_gaps_between_rows_are_written_in_place():
    memory, g = MATRIX.copy(), MATRIX[:, :16] * 2
    target, around = memory[:, 16:32], memory.copy()
    around[:, 16:32] = target - g * 0.5
    fused = compiled(lambda xp, p, g, lr: (p - g * lr,), target, g, 0.5, targets=1)
    assert fused.update((target,), (g, 0.5))[0] is target
    same(memory, around)


def test_axes_that_can_be_one_are():
    for x in (MATRIX, MATRIX[..., None], MATRIX[:, None], IMAGES, MATRIX.T):
        assert loops.lay_out([x]).lengths == [1, 1, x.size]
    assert loops.lay_out([IMAGES, IMAGES[0, :, :1, :1]]).lengths == [3, 4, 30]


@pytest.mark.skipif(sys.platform != "linux", reason="the protection of pages is asked for in Linux's way")
@pytest.mark.parametrize("n", [1, 16, 31, 32, 64, 100])
def test_nothing_is_read_beyond_an_array(n):
    """Neither behind it nor before, where pages that must not be touched lie."""
    code = f"""
import ctypes, mmap, numpy as np
from dzbackend_numpy.compiled import loops
from dzbackend_numpy.fuse import Fused
from dzcore.backend import get_backend
loops.WORTH = {loops.WORTH}
mprotect = ctypes.CDLL(None, use_errno=True).mprotect
page, kept = mmap.PAGESIZE, []
def guarded(at_the_end):
    memory = mmap.mmap(-1, 3 * page)
    kept.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    offset = 2 * page - 4 * {n} if at_the_end else page
    x = np.ndarray(({n},), "f4", memory, offset)
    x[...] = np.arange({n})
    for guard in (0, 2 * page):
        assert mprotect(ctypes.c_void_p(start + guard), ctypes.c_size_t(page), 0) == 0
    return x
fused = Fused(get_backend("numpy").ops, lambda xp, x, y: (x * 2.0 + y,), 8, 1)
for side in (False, True):
    x, y = guarded(side), guarded(side)
    expected = x * 2 + y
    fused.update((x,), (y,))
    assert (x == expected).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_target_whose_rows_are_one_is_left_to_numpy():
    memory, g = np.zeros(8, "f4"), np.ones((100, 8), "f4")
    target = np.lib.stride_tricks.as_strided(memory, (100, 8), (0, 4), writeable=True)
    assert Fused(xp, lambda xp, p, g: (p + g,), 8, 1).plan((target, g), (target,)) is None


def test_shapes_that_do_not_fit_are_numpys_error():
    with pytest.raises(ValueError, match="broadcast"):
        Fused(xp, lambda xp, x, y: x + y, 8, 1)(MATRIX, MATRIX[:2])


def test_an_overlapping_target_is_computed_first():
    memory = np.arange(100, dtype="f4")
    expected = memory[1:] - memory[:-1]
    fused = Fused(xp, lambda xp, p, g: (p - g,), 8, 1)
    fused.update((memory[1:],), (memory[:-1],))
    same(memory[1:], expected)


def test_many_layouts_are_forgotten_again():
    fused = Fused(xp, lambda xp, x: x * 2.0, 8, 1)
    for n in range(1, 700):
        same(fused(np.ones(n, "f4")), np.full(n, 2, "f4"))
    assert len(fused._plans) <= 256


# Dtypes --------------------------------------------------------------------------------------------------------------

WHOLE = {
    "arithmetic": lambda xp, x, y: (x + y) * x - y,
    "absolute": lambda xp, x, y: abs(x) + xp.sign(y) - (-y),
    "bits": lambda xp, x, y: (x & y) | (~x ^ y),
    "order": lambda xp, x, y: (x < y) | (x >= y + y) & (x != y),
    "larger": lambda xp, x, y: xp.maximum(x, y) - xp.minimum(x, y),
    "where": lambda xp, x, y: xp.where(x > 5, x, 7),
    "rounded": lambda xp, x, y: xp.floor(x) + xp.round(y),
    "squares": lambda xp, x, y: xp.square(x) + x * 3,
    "truth": lambda xp, x, y: xp.logical_and(x, xp.logical_not(y)),
    "as float32": lambda xp, x, y: xp.astype(x, xp.float32) * xp.astype(x > y, xp.float32),
    "as int64": lambda xp, x, y: xp.astype(x, xp.int64) + xp.astype(y, xp.uint8),
    "as bool": lambda xp, x, y: xp.astype(x, xp.bool),
    "with a float": lambda xp, x, y: x * 0.5 + y,
    "quotient": lambda xp, x, y: x / y,
}


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("name", WHOLE)
def test_integers(name, dtype):
    info = np.iinfo(dtype)
    x = np.array([info.min, info.max, 0, 1, 5, 6, 100, info.max // 2], dtype)
    x, y = (z.reshape(-1) for z in np.meshgrid(x, x))
    expected = WHOLE[name](xp, x, y)
    fused = Fused(xp, WHOLE[name], 8, 1)
    same(fused(x, y), expected)
    narrow = x.itemsize == 1 and name in ("quotient", "with a float")  # that is float16
    assert narrow or isinstance(fused.plan((x, y)), Plan)


MIXED = {
    "mask": lambda xp, x, m: xp.where(m, x, 0.0) * xp.astype(m, x.dtype),
    "tests": lambda xp, x, m: (xp.isnan(x) | xp.isinf(x)) ^ (xp.isfinite(x) & m),
    "signs": lambda xp, x, m: xp.copysign(xp.where(xp.signbit(x), 2.0, 3.0), x),
    "rounded": lambda xp, x, m: xp.floor(x) + xp.ceil(x) * xp.trunc(x) - xp.round(x),
    "full": lambda xp, x, m: xp.full_like(x, 3.5) + xp.ones_like(x) - xp.zeros_like(x),
    "truth": lambda xp, x, m: xp.logical_or(xp.logical_xor(m, x), ~m),
    "sums": lambda xp, x, m: (m + m) * (m * ~m + (x > 0)),
    "as float64": lambda xp, x, m: xp.astype(x, xp.float64) / 3.0 + m,
    "as float32": lambda xp, x, m: xp.astype(x, xp.float32) / 3.0,
    "as bool": lambda xp, x, m: xp.astype(x, xp.bool),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MIXED)
def test_booleans_and_floats(name, dtype):
    x = np.array([0.0, -0.0, 1.5, -1.5, 2.5, np.inf, -np.inf, np.nan, 1e-310, -7.7, 3e38], dtype)
    x, m = np.concatenate([x, x]), np.arange(22) < 11
    same(compiled(MIXED[name], x, m)(x, m), MIXED[name](xp, x, m))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_the_larger_one_of_zeros_and_nans(name, dtype):
    ends = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5]
    x, y = (np.tile(z.reshape(-1), 3).astype(dtype) for z in np.meshgrid(ends, ends))
    fused = compiled(lambda xp, x, y: getattr(xp, name)(x, y), x, y)
    same(fused(x, y), getattr(np, name)(x, y))
    same(fused(x[:7], y[:7]), getattr(np, name)(x[:7], y[:7]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logaddexp(dtype):
    ends = [0.0, -0.0, 1.0, -1.0, 50.0, -50.0, 800.0, -800.0, np.inf, -np.inf, np.nan, 0.3]
    x, y = (z.reshape(-1).astype(dtype) for z in np.meshgrid(ends, ends))
    found = compiled(lambda xp, x, y: xp.logaddexp(x, y), x, y)(x, y)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(found, np.logaddexp(x, y), rtol=4 * eps, atol=4 * eps)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, -6, -7, -8])
def test_powers(exponent):
    x = np.concatenate([np.geomspace(1e-44, 3e38, 999), [0.0, 1.0, np.inf]]).astype("f4")
    x = np.concatenate([x, -x, np.array([np.nan], "f4")])
    found, exact = compiled(lambda xp, x: x**exponent, x)(x), x.astype("f8") ** exponent
    np.testing.assert_array_equal(found, exact.astype("f4"))  # rounded once, and once more from float64
    assert np.array_equal(np.signbit(found), np.signbit(exact)) or exponent == 0


def test_formulas_within_formulas():
    def inner(xp, x, s):
        return x * s, x + (1.0 if xp.backend.dtype_name(x.dtype) == "float32" else 2.0)

    def outer(xp, x, s):
        y, z = xp.fused(inner, x, s)
        return y - z, xp.sigmoid(x)

    x = np.random.default_rng(0).normal(size=999).astype("f4")
    found, gate = compiled(outer, x, 0.3)(x, 0.3)
    same(found, x * np.float32(0.3) - (x + 1))
    np.testing.assert_allclose(gate, 1 / (1 + np.exp(-x)), rtol=1e-6)


# Numbers -------------------------------------------------------------------------------------------------------------


def test_numbers_beyond_a_dtype_have_numpys_answer():
    words = np.arange(100, dtype=np.uint32)

    def below(xp, w, threshold):
        return xp.astype(w < threshold, xp.float32)

    fused = compiled(below, words, 50)
    same(fused(words, 50), (words < 50).astype("f4"))
    same(fused(words, 2**32), np.ones(100, "f4"))
    same(fused(words, -1), np.zeros(100, "f4"))
    add = compiled(lambda xp, w, n: w + n, words, 5)
    with pytest.raises(OverflowError):
        add(words, 2**32)


@pytest.mark.parametrize("number", [1e39, -1e39, np.inf, np.nan, 1e-46, 0.1, 2**53 + 1])
def test_numbers_are_rounded_to_the_dtype_first(number):
    x = np.arange(1, 100, dtype="f4")
    kind = float if type(number) is float else int
    same(compiled(lambda xp, x, s: x * s, x, kind(2))(x, number), x * number)


def test_a_number_that_becomes_complex_is_left_to_numpy():
    x = np.ones(100, "f4")
    fused = Fused(xp, lambda xp, x, s: x * s**0.5, 8, 1)
    assert fused(x, -2.0).dtype == np.complex64
    same(fused(x, 4.0), x * 2.0)


# The team ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [100_003, 262_144])
def test_every_number_of_threads_gives_the_same_bits(n):
    x = np.random.default_rng(0).normal(size=(2, n)).astype("f4")
    cases = [(x[0],), (x,), (x[:, : n // 2],)]

    def formula(xp, x):
        return xp.tanh(x) * x, xp.exp(x)

    for inputs in cases:
        fused = compiled(formula, *inputs)
        plan = fused.plan(inputs)
        assert plan.parallel
        total, chunk = plan.layout[:2]
        assert 8 < total / chunk < 20
        with mock.patch.object(team, "size", return_value=1):
            alone = fused(*inputs)
        for size in (2, 3, 8):
            with mock.patch.object(team, "size", return_value=size):
                for a, b in zip(alone, fused(*inputs), strict=True):
                    same(a, b)


def test_threads_of_python_share_a_formula():
    x = np.random.default_rng(0).normal(size=100_000).astype("f4")
    fused, found = Fused(xp, lambda xp, x: xp.exp(x) * x, 8, 1), []
    threads = [threading.Thread(target=lambda: found.extend(fused(x) for _ in range(10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    for y in found:
        same(y, found[0])
    np.testing.assert_allclose(found[0], np.exp(x) * x, rtol=1e-6)


# What is kept --------------------------------------------------------------------------------------------------------

TEXT = "define i32 @answer() {{ ret i32 {} }}"


def answer(compiler, number):
    import ctypes

    return ctypes.CFUNCTYPE(ctypes.c_int)(compiler.load(TEXT.format(number), "answer"))()


def counting(compiler):
    return mock.patch.object(compiler, "_compile", mock.Mock(wraps=compiler._compile))


def test_what_was_compiled_is_not_compiled_again(tmp_path):
    first, second = native.Compiler(tmp_path), native.Compiler(tmp_path)
    assert answer(first, 42) == 42
    with counting(second) as compile_:
        assert answer(second, 42) == 42
        assert compile_.call_count == 0
        assert answer(second, 43) == 43
        assert compile_.call_count == 1
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], lambda b: b""])
def test_a_damaged_file_is_made_anew(tmp_path, damage):
    assert answer(native.Compiler(tmp_path), 42) == 42
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    compiler = native.Compiler(tmp_path)
    with counting(compiler) as compile_:
        assert answer(compiler, 42) == 42
    assert compile_.call_count == 1
    assert path.read_bytes() == whole


def test_a_file_under_the_name_of_another_is_not_loaded(tmp_path):
    compiler = native.Compiler(tmp_path)
    answer(compiler, 1)
    (one,) = tmp_path.iterdir()
    answer(compiler, 2)
    (two,) = set(tmp_path.iterdir()) - {one}
    two.write_bytes(one.read_bytes())
    assert answer(native.Compiler(tmp_path), 2) == 2


def test_another_processor_has_code_of_its_own(tmp_path):
    answer(native.Compiler(tmp_path), 42)
    other = native.Compiler(tmp_path)
    other.target += " another"
    with counting(other) as compile_:
        assert answer(other, 42) == 42
    assert compile_.call_count == 1


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path):
    assert answer(native.Compiler(tmp_path / "missing"), 42) == 42
    assert answer(native.Compiler(None), 42) == 42
    assert not list(tmp_path.iterdir())


def test_the_folder_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = native._folder()
    assert folder == tmp_path / "dzcore" / "kernels"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    assert native._folder() is None
    folder.chmod(0o700)
    with mock.patch.object(os, "getuid", return_value=12345):
        assert native._folder() is None
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert native._folder() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    assert native._folder() is None


def test_the_compiler_is_loaded_by_the_first_formula(tmp_path):
    script = """
import sys
import numpy as np
import dzcore
from dzcore.backend import get_backend
backend = get_backend("numpy")
f = backend.fuse(lambda xp, x: xp.exp(x) * x)
assert "llvmlite" not in sys.modules
f(np.ones(10, "f4"))
print("llvmlite" in sys.modules)
"""
    for allowed in ("1", "0"):
        environment = {**os.environ, "DZCORE_NUMPY_FAST": allowed, "XDG_CACHE_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(allowed == "1")


def test_without_a_loop_blocks_and_numpy_do_it():
    x = np.random.default_rng(0).normal(size=100).astype("f4")
    with mock.patch.object(loops, "compiler", return_value=None):
        fused = Fused(xp, lambda xp, x: xp.exp(x) * x, 8, 1)
        assert not isinstance(fused.plan((x,)), Plan)
        same(fused(x), np.exp(x) * x)
