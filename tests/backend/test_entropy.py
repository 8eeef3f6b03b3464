"""Cross-entropies in compiled loops over rows: the core's numbers, and nothing is read that is not there."""

from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
from dzbackend_numpy import NumpyBackend, losses
from dzbackend_numpy.compiled import entropy
from dzbackend_numpy.compiled.native import compiler
from dzcore.backend.namespace import EXTENSIONS

needs_compiler = pytest.mark.skipif(compiler() is None, reason="the compiler is an extra")
xp = NumpyBackend().ops
inf, nan = np.inf, np.nan


def data(n: int, classes: int, dtype: str = "f4") -> tuple[Any, Any]:
    rng = np.random.default_rng(n + classes)
    return (rng.standard_normal((n, classes)) * 4).astype(dtype), rng.integers(0, classes, n)


def check(x: Any, t: Any, rtol: float = 1e-5) -> None:
    """Compare with the formulas of the core in float64."""
    wide = x.astype("f8")
    found = xp.cross_entropy(x, t), xp.cross_entropy_gradient(x.dtype.type(-1.5), x, t)
    wanted = EXTENSIONS["cross_entropy"](xp, wide, t), EXTENSIONS["cross_entropy_gradient"](xp, -1.5, wide, t)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == x.dtype
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol / len(x))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect which loops run."""
    found: list[str] = []
    run = entropy._run
    monkeypatch.setattr(entropy, "_run", lambda name, *given: (found.append(name), run(name, *given))[1])
    return found


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (7, 3), (100, 10), (33, 1000), (20_000, 5), (2, 70_000)])
def test_the_same_as_the_core(shape: tuple[int, int], dtype: str, threads: int, calls: list[str]) -> None:
    before = dzcore.get_num_threads("numpy")
    try:
        dzcore.set_num_threads(threads, "numpy")
        check(*data(*shape, dtype), rtol=1e-4 if dtype == "f4" else 1e-10)
    finally:
        dzcore.set_num_threads(before, "numpy")
    assert calls == ["losses", "gradients"]


LAYOUTS = {
    "columns": lambda x, t: (np.asfortranarray(x), t),
    "gaps": lambda x, t: (np.repeat(x, 2, axis=1)[:, ::2], np.repeat(t, 2)[::2]),
    "backwards": lambda x, t: (x[::-1], t[::-1]),
    "read-only": lambda x, t: (np.broadcast_to(x[:1], x.shape), np.broadcast_to(t[:1], t.shape)),
    "int8": lambda x, t: (x, t.astype("i1")),
    "uint64": lambda x, t: (x, t.astype("u8")),
    "order of bytes": lambda x, t: (x, t.astype(">i8")),
}


@pytest.mark.parametrize("change", LAYOUTS.values(), ids=LAYOUTS)
def test_arrays_that_lie_in_any_way(change: Any) -> None:
    check(*change(*data(50, 7)))


@pytest.mark.parametrize("x", [data(4, 3)[0].astype("f2"), data(4, 3)[0].astype(">f4"), data(4, 3)[0][:0]])
def test_the_core_computes_the_others(x: Any, calls: list[str]) -> None:
    assert not losses._fit(x, data(4, 3)[1][: len(x)])


ROWS = [
    [nan, 0.0, 1.0], [0.0, nan, 1.0], [inf, 0.0, 1.0], [0.0, inf, 1.0], [-inf, 0.0, 1.0], [0.0, -inf, 1.0],
    [-inf, -inf, -inf], [3e38, -3e38, 3e38], [-3e38, -3e38, -3e38], [1e-45, -0.0, 0.0], [200.0, 0.0, -200.0],
]  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("t", [0, 1])
def test_what_is_not_finite(row: list[float], t: int) -> None:
    x = np.array([row, [0.5, 1.0, 2.0]], "f4")
    classes = np.array([t, 2])
    with np.errstate(all="ignore"):
        for name, given in (("cross_entropy", (x, classes)), ("cross_entropy_gradient", (np.float32(2), x, classes))):
            found, wanted = getattr(xp, name)(*given), EXTENSIONS[name](xp, *given)
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


@needs_compiler
@pytest.mark.parametrize("wrong", [-1, 3, 2**40, -(2**40)])
def test_a_class_that_is_none_changes_nothing_elsewhere(wrong: int) -> None:
    """Whoever changes t after the loss has looked at it gets the gradient of no class."""
    x, t = data(6, 3)
    memory = np.full(6 * 3 + 20, 7.0, "f4")
    right = xp.cross_entropy_gradient(np.float32(1), x, t)
    t[2] = wrong
    assert np.isnan(xp.cross_entropy(x, t))
    y = memory[10:-10].reshape(6, 3)
    entropy.gradients(x, t, y, np.array(1 / 6, "f4"))
    np.testing.assert_allclose(np.delete(y, 2, 0), np.delete(right, 2, 0), rtol=1e-6)
    e = np.exp(x[2] - x[2].max())
    np.testing.assert_allclose(y[2], e / e.sum() / 6, rtol=1e-5)
    assert (memory[:10] == 7.0).all()
    assert (memory[-10:] == 7.0).all()


def test_no_array_of_classes_is_made() -> None:
    """Forward and backward hold x and its gradient, and nothing else of that size."""
    import tracemalloc

    x, t = dzcore.Variable(np.zeros((1000, 500), "f4")), np.zeros(1000, int)
    F.softmax_cross_entropy(x, t).backward()
    x.cleargrad()
    tracemalloc.start()
    try:
        F.softmax_cross_entropy(x, t).backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (1.1 if compiler() else 6) * x.data.nbytes
