"""Dropout: y = m x / (1 - p), with m = 1 where a word of the stream is below (1 - p) 2³²: held against that."""

from math import comb
from typing import Any

import pytest

from ... import functions as fn
from ... import random
from ...backend import Backend
from ...graph import Variable, grad, test_mode
from ...layers import Dropout as DropoutLayer
from ..compare import assert_close, values
from .group import Group
from .measure import COMPUTED, bits, own, send, widest
from .philox import words

__all__ = ["Dropout"]

RATIOS = [0.1, 0.25, 0.5, 0.9]
SEED, N = 7, 400
ULPS = {"float16": 2e-3, "float32": 5e-7, "float64": 1e-14}


def _inputs(backend: Backend, dtype: str, n: int = N) -> Variable:
    """Return n different numbers in [0.5, 1.5), none of which is 0."""
    return Variable(send(backend, [0.5 + i / n for i in range(n)], (n,), dtype))


def _mask(p: float, n: int = N, position: int = 0) -> list[bool]:
    """Return which elements stay, by the stream in Python's own integers."""
    return [word < round((1 - p) * 2**32) for word in words(SEED, position, n)]


def _bound(n: int, keep: float, tail: float = 1e-4) -> tuple[int, int]:
    """Return the counts between which a binomial number lies but for probability `tail` on each side."""
    below, low = 0.0, 0
    for k in range(n + 1):
        below += comb(n, k) * keep**k * (1 - keep) ** (n - k)
        low = k + 1 if below < tail else low
        if below > 1 - tail:
            return low, k
    return low, n


class Dropout(Group):
    """The scale, the mask, the share of what stays, both modes, the gradient."""

    @pytest.mark.parametrize("dtype", COMPUTED)
    @pytest.mark.parametrize("p", RATIOS)
    def test_every_output_is_0_or_scaled(self, p: float, dtype: str, backend: Backend) -> None:
        """An element is 0, or x / (1 - p): exactly those stay whose word is below the threshold."""
        if dtype not in backend.dtypes:
            return
        random.seed(SEED)
        x = _inputs(backend, dtype)
        y = fn.dropout(x, p)
        assert y.dtype == x.dtype
        assert backend.owns(y.data)
        for found, given, stays in zip(values(y), values(x), _mask(p), strict=True):
            assert abs(found - (given / (1 - p) if stays else 0.0)) <= ULPS[dtype] * given / (1 - p)

    @pytest.mark.parametrize("p", RATIOS)
    def test_the_share_of_what_stays(self, p: float, backend: Backend) -> None:
        """It lies within the bound of the binomial distribution, for several draws."""
        random.seed(SEED)
        low, high = _bound(N, 1 - p)
        for _ in range(3):
            kept = sum(v != 0.0 for v in values(fn.dropout(_inputs(backend, "float32"), p)))
            assert low <= kept <= high, f"{kept} of {N} stay at p={p}; it should be {low} to {high}"

    @pytest.mark.parametrize("p", RATIOS)
    def test_the_mean_stays(self, p: float, backend: Backend) -> None:
        """Of 20000 ones the mean is 1 within four standard errors, √(p / (1 - p) / n): the scale is right."""
        random.seed(SEED)
        n = 20000
        y = fn.dropout(Variable(send(backend, [1.0] * n, (n,), "float32")), p)
        assert abs(float(fn.mean(y)) - 1.0) <= 4 * (p / (1 - p) / n) ** 0.5

    @pytest.mark.parametrize("mode", ["inverted", "direct"])
    @pytest.mark.parametrize("p", RATIOS)
    def test_the_gradient_is_the_same_mask(self, p: float, mode: str, backend: Backend) -> None:
        """dy/dx is 1 / (1 - p), or 1 in direct mode, where the element stays, and 0 elsewhere; d²y/dx² is 0."""
        dtype = widest(backend)
        random.seed(SEED)
        x = _inputs(backend, dtype)
        y = fn.dropout(x, p, mode=mode)
        slope = 1.0 / (1 - p) if mode == "inverted" else 1.0
        wanted = [slope if stays else 0.0 for stays in _mask(p)]
        for create_graph in (False, True):
            (gx,) = grad(y, x, create_graph=create_graph)
            assert gx is not None
            assert gx.dtype == x.dtype
            assert all(abs(g - w) <= ULPS[dtype] * slope for g, w in zip(values(gx), wanted, strict=True))
        u = _inputs(backend, dtype)
        (gx,) = grad(y, x, u, create_graph=True)
        assert gx is not None
        again, mask = grad(gx, [x, u], allow_unused=True)
        assert again is None
        assert all(abs(g - w) <= ULPS[dtype] * slope for g, w in zip(values(mask), wanted, strict=True))

    @pytest.mark.parametrize("p", RATIOS)
    def test_direct_mode(self, p: float, backend: Backend) -> None:
        """While training, elements stay as they are or are 0; at test time all are multiplied by 1 - p."""
        random.seed(SEED)
        x = _inputs(backend, "float32")
        y = fn.dropout(x, p, mode="direct")
        assert values(y) == [v if stays else 0.0 for v, stays in zip(values(x), _mask(p), strict=True)]
        with test_mode():
            z = fn.dropout(x, p, mode="direct")
        assert_close(z.detach(), [v * (1 - p) for v in values(x)], rtol=5e-7)

    @pytest.mark.parametrize("p", [0.0, *RATIOS])
    def test_test_mode_is_the_identity(self, p: float, backend: Backend) -> None:
        """Nothing is dropped, nothing scaled, no random number used, and the gradient is 1."""
        x, state = _inputs(backend, "float32"), random.get_state()
        with test_mode():
            y = fn.dropout(x, p)
        assert bits(backend, y.data) == bits(backend, x.data)
        assert values(grad(y, x)[0]) == [1.0] * N
        assert random.get_state() == state

    def test_nothing_is_dropped_at_0(self, backend: Backend) -> None:
        """The ratio 0 is the identity, in training as well."""
        x = _inputs(backend, "float32")
        for mode in ("inverted", "direct"):
            assert bits(backend, fn.dropout(x, 0.0, mode=mode).data) == bits(backend, x.data)

    def test_every_call_draws_on(self, backend: Backend) -> None:
        """Calls take the stream one after the other; the same state gives the same mask."""
        x, n = _inputs(backend, "float32", 33), 33
        random.seed(SEED)
        found = [[v != 0.0 for v in values(fn.dropout(x, 0.5))] for _ in range(3)]
        assert found == [_mask(0.5, n, k * n) for k in range(3)]
        assert random.get_state() == (SEED, 3 * n)

    @pytest.mark.parametrize("shape", [(), (0,), (2, 3), (4, 2, 5)])
    def test_dropout_of_any_shape(self, shape: tuple[int, ...], backend: Backend) -> None:
        """Any shape, also of a view; the layer does what the function does."""
        count = 1
        for n in shape:
            count *= n
        x = Variable(send(backend, [1.0] * count, shape, "float32"))
        random.seed(SEED)
        y = fn.dropout(x, 0.5)
        assert y.shape == shape
        assert backend.owns(own(backend, y.data))
        assert values(y) == [2.0 if stays else 0.0 for stays in _mask(0.5, count)]
        random.seed(SEED)
        assert values(DropoutLayer(0.5)(x)) == values(y)
        if len(shape) == 2:
            random.seed(SEED)
            assert values(fn.dropout(x.T, 0.5)) == values(y)

    def test_infinities_stay(self, backend: Backend) -> None:
        """An inf or nan that stays is itself, and what is dropped beside it is 0. (Dropped itself, it is x · 0.)"""
        random.seed(SEED)
        special: list[Any] = [float("inf"), float("nan"), float("-inf"), -1.0] * 8
        found = values(fn.dropout(Variable(send(backend, special, (32,), "float32")), 0.5))
        for y, x, stays in zip(found, special, _mask(0.5, 32), strict=True):
            assert str(y) == str(2.0 * x) if stays else (y == 0.0 or x - x != 0.0)
