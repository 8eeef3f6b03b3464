"""Products of large matrices by the kernel library: the same numbers as NumPy's, from matrices that lie in any way."""

from typing import Any

import numpy as np
import pytest

import dzcore
from dzbackend_numpy import NumpyBackend, extras, onednn
from dzbackend_numpy.onednn import product

from .test_threads import python

HERE = extras.allowed() and onednn.available()
needs_library = pytest.mark.skipif(not HERE, reason="onednn-cpu-gomp is not installed, or not to be used")

matmul = NumpyBackend().xp.matmul


def matrix(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect by what of the library a product is computed."""
    found: list[str] = []
    if HERE:
        sgemm, run = product._sgemm(), product.run
        monkeypatch.setattr(product, "_sgemm", lambda: lambda *given: (found.append("sgemm"), sgemm(*given))[1])
        monkeypatch.setattr(product, "run", lambda *given: (found.append("primitive"), run(*given))[1])
    return found


def check(x1: Any, x2: Any) -> None:
    with np.errstate(all="ignore"):
        wanted = x1.astype(np.float64) @ x2.astype(np.float64)
        found = matmul(x1, x2)
    assert (found.dtype, found.shape) == (np.result_type(x1, x2), wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


LAYOUTS = {
    "rows": lambda m, n: matrix(m, n),
    "columns": lambda m, n: matrix(n, m).T,
    "rows with gaps": lambda m, n: matrix(m, n + 5)[:, 2:-3],
    "columns with gaps": lambda m, n: matrix(n, m + 3)[:, :m].T,
}


@needs_library
@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
def test_the_library_reads_matrices_where_they_lie(first: str, second: str, calls: list[str]) -> None:
    for inner, thin in ((120, "sgemm"), (300, "primitive" if second.startswith("columns") else "sgemm")):
        calls.clear()
        check(LAYOUTS[first](70, inner), LAYOUTS[second](inner, 300))
        assert calls == [thin]


@needs_library
@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
def test_a_bias_is_added_on_the_way(first: str, second: str, calls: list[str]) -> None:
    for name, b in (
        ("dense", matrix(300, 1)[:, 0]),
        ("with gaps", matrix(300, 3)[:, 1]),
        ("backwards", matrix(300, 1)[::-1, 0]),
    ):
        calls.clear()
        x, W = LAYOUTS[first](70, 120), LAYOUTS[second](120, 300)
        np.testing.assert_allclose(product.linear(x, W, b), x.astype("f8") @ W + b, rtol=1e-4, atol=1e-3)
        assert calls == ["primitive"], name


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "shape", [(0, 3, 4), (1, 1, 1), (2, 3, 4), (300, 0, 5), (70, 120, 300), (2000, 300, 1), (1, 700, 700)]
)
def test_any_shape_with_a_bias(shape: tuple[int, int, int], dtype: str) -> None:
    m, k, n = shape
    x, W, b = matrix(m, k, dtype=dtype), matrix(k, n, dtype=dtype), matrix(n, 1, dtype=dtype)[:, 0]
    y = product.linear(x, W, b)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, x.astype("f8") @ W + b, rtol=1e-4, atol=1e-3)


@needs_library
@pytest.mark.parametrize("shape", [(1, 700, 700), (700, 700, 1), (3, 100_000, 1), (64, 64, 64), (1, 1, 2**18)])
def test_thin_ones(shape: tuple[int, int, int], calls: list[str]) -> None:
    m, k, n = shape
    for x1, x2 in ((matrix(m, k), matrix(k, n)), (matrix(k, m).T, matrix(n, k).T)):
        calls.clear()
        check(x1, x2)
        assert len(calls) == 1


@pytest.mark.parametrize(
    ("x1", "x2"),
    [
        (matrix(70, 120)[::-1], matrix(120, 300)),
        (matrix(70, 240)[:, ::2], matrix(120, 300)),
        (matrix(70, 1)[:, [0] * 120], np.broadcast_to(matrix(1, 300), (120, 300))),
        (np.broadcast_to(matrix(70, 1), (70, 120)), matrix(120, 300)),
        (matrix(70, 120, dtype="f8"), matrix(120, 300)),
        (matrix(70, 120).astype(">f4"), matrix(120, 300)),
        (matrix(63, 64), matrix(64, 64)),
        (matrix(2, 100, 200), matrix(200, 300)),
        (matrix(2, 100, 200), matrix(1, 200, 300)),
        (matrix(2, 100, 200, dtype="f8"), matrix(2, 200, 300, dtype="f8")),
        (np.broadcast_to(matrix(1, 100, 200), (2, 100, 200)), matrix(2, 200, 300)),
        (matrix(2, 100, 200)[::-1], matrix(2, 200, 300)),
        (matrix(2, 100, 400)[..., ::2], matrix(2, 200, 300)),
        (matrix(1, 1, 1, 2, 100, 200), matrix(1, 1, 1, 2, 200, 300)),
        (matrix(60, 16, 16), matrix(60, 16, 16)),
    ],
    ids=["backwards", "gaps", "rows repeated", "columns repeated", "float64", "byte order", "small", "one of a stack",
         "one for all of a stack", "stack of float64", "stack of one", "stack backwards", "stack with gaps", "six axes",
         "stack of small ones"],
)  # fmt: skip
def test_numpy_takes_the_others(x1: Any, x2: Any, calls: list[Any]) -> None:
    check(x1, x2)
    assert not calls


STACKS = {
    "dense": lambda m, n: matrix(6, m, n),
    "transposed": lambda m, n: matrix(6, n, m).swapaxes(1, 2),
    "heads": lambda m, n: matrix(2, m, 3, n).transpose(0, 2, 1, 3),
    "heads transposed": lambda m, n: matrix(2, n, 3, m).transpose(0, 2, 3, 1),
    "every second": lambda m, n: matrix(12, m, n)[::2],
    "five axes": lambda m, n: matrix(2, 1, 3, m, n),
}


@needs_library
@pytest.mark.parametrize("second", STACKS)
@pytest.mark.parametrize("first", STACKS)
def test_stacks(first: str, second: str, calls: list[str]) -> None:
    x1, x2 = STACKS[first](40, 70), STACKS[second](70, 130)
    fitting = x1.shape[:-2] == x2.shape[:-2]
    if not fitting:
        x1, x2 = (x.reshape(6, *x.shape[-2:]) for x in (x1, x2))
    check(x1, x2)
    assert calls == ["primitive"]


@needs_library
@pytest.mark.parametrize(
    ("left", "right"), [((900, 1, 40), (900, 40, 30)), ((50, 300, 1), (50, 1, 90)), ((2, 900, 900), (2, 900, 1))]
)
def test_stacks_of_thin_ones(left: tuple[int, ...], right: tuple[int, ...], calls: list[str]) -> None:
    check(matrix(*left), matrix(*right))
    assert calls == ["primitive"]


def test_stacks_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="mismatch"):
        matmul(matrix(2, 100, 200), matrix(2, 201, 300))
    with pytest.raises(ValueError, match=r"broadcast|mismatch"):
        matmul(matrix(2, 100, 200), matrix(3, 200, 300))


@needs_library
def test_small_ones_do_not_load_the_library() -> None:
    code = """if True:
        import numpy as np, dzcore
        from dzbackend_numpy.onednn import library
        x = dzcore.Variable(np.ones((60, 60), "f4"))
        x @ x
        print(len(library.library.kept))
        x = dzcore.Variable(np.ones((300, 300), "f4"))
        x @ x
        print(len(library.library.kept))
    """
    assert python(code).split() == ["0", "1"]


def test_what_is_not_finite_stays_in_its_rows() -> None:
    x1, x2 = matrix(70, 120), matrix(120, 300)
    x1[3, 4], x1[5, 6] = np.nan, np.inf
    found = matmul(x1, x2)
    assert np.isnan(found[3]).all()
    assert np.isinf(found[5]).all()
    assert np.isfinite(np.delete(found, [3, 5], 0)).all()


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(70,120\)|70,120|mismatch"):
        matmul(matrix(70, 120), matrix(121, 300))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads: int) -> None:
    before = dzcore.get_num_threads("numpy")
    try:
        dzcore.set_num_threads(threads, "numpy")
        check(matrix(100, 300), matrix(300, 400))
    finally:
        dzcore.set_num_threads(before, "numpy")


@needs_library
def test_after_a_fork() -> None:
    code = """if True:
        import os, numpy as np, dzcore
        x = dzcore.Variable(np.ones((300, 300), "f4"))
        x @ x
        if not (pid := os.fork()):
            os._exit(0 if float((x @ x).data[0, 0]) == 300.0 else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert python(code) == "0"


@needs_library
def test_an_error_of_the_library_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "_sgemm", lambda: lambda *given: 2)
    with pytest.raises(onednn.OneDNNError, match=r"sgemm of \(70, 120\) by \(120, 300\)"):
        matmul(matrix(70, 120), matrix(120, 300))
