"""Dropout against its mathematics: y = m·x/(1-p), with P(m = 1) = 1-p, and the same m in every derivative."""

from math import comb, nan

import numpy as np
import pytest

import dzcore
from dzcore import Variable, random
from dzcore import functions as F
from dzcore.backend import Backend, use_backend
from dzcore.testing import assert_close, values

RATIOS = [0.1, 0.25, 0.5, 0.75, 0.9]
N = 4000


def drop(
    p: float, mode: str = "inverted", dtype: str = "float64", n: int = N
) -> tuple[Variable, Variable, list[float]]:
    """Return x, dropout(x) and the values of x; no x is 0, and no two are equal."""
    random.seed(7)
    plain = [0.5 + i / n for i in range(n)]
    x = Variable(plain, dtype=dtype)
    return x, F.dropout(x, p, mode=mode), values(x)


@pytest.mark.parametrize("p", RATIOS)
def test_every_output_is_0_or_scaled(p: float, backend: Backend) -> None:
    _, y, plain = drop(p)
    for found, given in zip(values(y), plain, strict=True):
        assert found == 0.0 or found == pytest.approx(given / (1 - p), rel=1e-14)


def binomial_bound(n: int, keep: float, tail: float) -> tuple[int, int]:
    """Return the counts between which a binomial number lies but for probability `tail` on each side."""
    below, low, high = 0.0, 0, n
    for k in range(n + 1):
        below += comb(n, k) * keep**k * (1 - keep) ** (n - k)
        if below < tail:
            low = k + 1
        if below > 1 - tail:
            high = k
            break
    return low, high


@pytest.mark.parametrize("p", RATIOS)
def test_the_kept_fraction_is_binomial(p: float, backend: Backend) -> None:
    n = 400
    _, y, _ = drop(p, n=n)
    low, high = binomial_bound(n, 1 - p, 1e-4)
    assert low <= sum(1 for v in values(y) if v != 0.0) <= high


@pytest.mark.parametrize("p", RATIOS)
def test_the_expected_value_is_kept(p: float) -> None:
    """Over many draws the mean of y approaches x: standard error sqrt(p/(1-p)/n)."""
    random.seed(1)
    n = 200_000
    mean = float(F.mean(F.dropout(Variable(np.ones(n)), p)))
    assert mean == pytest.approx(1.0, abs=4 * (p / (1 - p) / n) ** 0.5)


@pytest.mark.parametrize("p", RATIOS)
def test_masks_are_the_same_on_every_backend(p: float, backend: Backend, numpy_backend: Backend) -> None:
    _, y, _ = drop(p, dtype="float32", n=333)
    with use_backend(numpy_backend):
        _, expected, _ = drop(p, dtype="float32", n=333)
    assert values(y) == values(expected)


def test_neighbors_are_independent() -> None:
    """Rows and columns are dropped apart: no row of a large array is all 0, none is all kept, no two are equal."""
    random.seed(3)
    kept = np.asarray(F.dropout(Variable(np.ones((100, 100))), 0.5).data) != 0
    assert 20 < kept.sum(axis=0).min() < kept.sum(axis=0).max() < 80
    assert 20 < kept.sum(axis=1).min() < kept.sum(axis=1).max() < 80
    assert len({row.tobytes() for row in kept}) == 100


def test_every_call_draws_another_mask(backend: Backend) -> None:
    x = Variable([1.0] * 64)
    assert values(F.dropout(x)) != values(F.dropout(x))
    random.seed(5)
    first = values(F.dropout(x))
    random.seed(5)
    assert values(F.dropout(x)) == first


@pytest.mark.parametrize("mode", ["inverted", "direct"])
@pytest.mark.parametrize("p", RATIOS)
def test_the_gradient_is_the_same_mask(p: float, mode: str, backend: Backend) -> None:
    x, y, plain = drop(p, mode, n=200)
    for create_graph in (False, True):
        (gx,) = dzcore.grad(y, x, create_graph=create_graph)
        for g, out, given in zip(values(gx), values(y), plain, strict=True):
            assert g == pytest.approx(out / given, rel=1e-14)


def test_the_second_derivative_is_zero(backend: Backend) -> None:
    """d²y/dx² = 0, and the derivative by the upstream gradient is the mask again."""
    x, y, plain = drop(0.3, n=50)
    u = Variable(plain, dtype="float64")
    (gx,) = dzcore.grad(y, x, u, create_graph=True)
    again, mask = dzcore.grad(gx, [x, u], allow_unused=True)
    assert again is None
    assert_close(mask * x.detach(), y.detach())


@pytest.mark.parametrize("p", [0.0, *RATIOS])
def test_test_mode_is_the_identity(p: float, backend: Backend) -> None:
    x = Variable([1.0, 2.0, 3.0])
    state = random.get_state()
    with dzcore.test_mode():
        y = F.dropout(x, p)
    assert_close(y.detach(), x.detach())
    y.backward()
    assert_close(x.grad, [1.0, 1.0, 1.0])
    assert random.get_state() == state, "test mode uses up random numbers"


@pytest.mark.parametrize("p", RATIOS)
def test_direct_mode(p: float, backend: Backend) -> None:
    """While training, elements stay as they are or are 0; at test time all are multiplied by 1-p."""
    x, y, plain = drop(p, "direct", n=400)
    assert all(found in (0.0, given) for found, given in zip(values(y), plain, strict=True))
    low, high = binomial_bound(400, 1 - p, 1e-4)
    assert low <= sum(1 for v in values(y) if v != 0.0) <= high
    with dzcore.test_mode():
        z = F.dropout(x, p, mode="direct")
    assert_close(z.detach(), (x * (1 - p)).detach())
    (gx,) = dzcore.grad(z, x)
    assert values(gx) == [1 - p] * 400


@pytest.mark.parametrize("mode", ["inverted", "direct"])
def test_nothing_is_dropped_at_0(mode: str, backend: Backend) -> None:
    x, y, _ = drop(0.0, mode, n=100)
    assert values(y) == values(x)


def test_nearly_everything_is_dropped_at_0_999(backend: Backend) -> None:
    _, y, plain = drop(0.999)
    kept = [(v, x) for v, x in zip(values(y), plain, strict=True) if v]
    assert 0 < len(kept) < 20
    assert all(v == pytest.approx(1000 * x, rel=1e-12) for v, x in kept)


@pytest.mark.parametrize("p", [1.0, 1.5, -1.0, -0.1, nan])
@pytest.mark.parametrize("training", [True, False])
def test_impossible_ratios_are_refused(p: float, training: bool) -> None:
    with dzcore.using_config("train", training), pytest.raises(ValueError, match=rf"dropout_ratio={p}"):
        F.dropout(Variable([1.0]), p)


def test_impossible_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="mode='scaled'"):
        F.dropout(Variable([1.0]), 0.5, mode="scaled")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_stays(dtype: str) -> None:
    x, y, _ = drop(0.3, dtype=dtype, n=10)
    assert y.dtype == dtype
    assert dzcore.grad(y, x)[0].dtype == dtype


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 3, 4)])
def test_shapes(shape: tuple[int, ...], backend: Backend) -> None:
    x = Variable(dzcore.ones(shape).data)
    y = F.dropout(x, 0.5)
    assert y.shape == shape
    y.backward()
    assert x.grad.shape == shape
    assert set(values(y)) <= {0.0, 2.0}


def test_inputs_are_not_mutated(numpy_backend: Backend) -> None:
    x = Variable(np.ones(10))
    x.data.flags.writeable = False
    F.dropout(x, 0.5).backward()
    assert x.data.tolist() == [1.0] * 10


def test_integers_are_refused(backend: Backend) -> None:
    with pytest.raises(TypeError, match="dropout: x has dtype"):
        F.dropout(dzcore.arange(3))
