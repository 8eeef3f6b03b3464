"""Compiled functions against those of a wider format: units in the last place, and special values."""

import numpy as np
import pytest

from dzbackend_numpy.compiled.loops import Plan
from dzbackend_numpy.compiled.native import compiler
from dzbackend_numpy.fuse import Fused
from dzcore.backend import get_backend

pytestmark = [
    pytest.mark.skipif(compiler() is None, reason="the compiler is an extra"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

#: Units in the last place that a function may be off.
BOUND = {"exp": 0.9, "expm1": 1.8, "log": 0.9, "log1p": 1.5, "sqrt": 0.8, "tanh": 2.4}
QUOTIENT = 5.5  #: of tanh in float32
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -0.5, 2.0, -2.0, 20.0, -20.0]


def inputs_of(dtype):
    """Every exponent and sign with random fractions, and what is around the places where something changes."""
    info = np.finfo(dtype)
    whole = np.dtype(f"u{info.bits // 8}")
    rng = np.random.default_rng(7)
    strata = np.arange(2 ** (info.bits - info.nmant), dtype=whole)[:, None] << whole.type(info.nmant)
    fractions = rng.integers(0, 2**info.nmant, (strata.size, 1_000_000 // strata.size), dtype=whole)
    random = (strata | fractions).reshape(-1).view(dtype)
    usual = rng.uniform(-30, 30, 200_000)
    near_one = 1 + rng.uniform(-0.6, 0.6, 200_000)
    largest, normal, least = map(float, (info.max, info.tiny, info.smallest_subnormal))
    ends = np.array([np.log(largest), np.log(normal), np.log(least), 0.5**0.5, 2**0.5, largest, normal, least], dtype)
    around = (ends.view(whole)[:, None] + np.arange(-50, 50).astype(whole)).view(dtype).reshape(-1)
    return np.concatenate([random, around, -around, *(x.astype(dtype) for x in (usual, near_one, np.array(SPECIAL)))])


def distances(found, exact):
    """How far off, in units that the last place of the exact value has."""
    info, wide = np.finfo(found.dtype), exact.dtype.type
    exponent = np.frexp(exact)[1].astype(np.int64) - 1
    unit = np.ldexp(wide(1), np.maximum(exponent, info.minexp) - info.nmant)
    beyond = wide(2) ** info.maxexp  # infinity stands for what would be next
    found = np.where(np.isinf(found), np.copysign(beyond, found.astype(wide)), found.astype(wide))
    off = np.abs(found - np.clip(exact, -beyond, beyond)) / unit
    return np.where(np.isnan(found) | (np.abs(exact) >= beyond) & (np.abs(found) == beyond), 0.0, off)


@pytest.mark.parametrize("name", BOUND)
@pytest.mark.parametrize(("dtype", "wide"), [("float32", np.float64), ("float64", np.longdouble)])
def test_errors_and_special_values(name, dtype, wide):
    if np.finfo(wide).nmant < np.finfo(dtype).nmant + 10:
        pytest.skip("long double is no wider than float64 here")
    x = inputs_of(dtype)
    fused = Fused(get_backend("numpy").ops, lambda xp, x: getattr(xp, name)(x))
    assert isinstance(fused.plan((x,)), Plan)
    found, exact = fused(x), getattr(np, name)(x.astype(wide))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    off = distances(found, exact)
    worst = int(np.argmax(off))
    print(f"{name} in {dtype}: {off[worst]:.2f} units at {x[worst]!r}")
    bound = QUOTIENT if (name, dtype) == ("tanh", "float32") else BOUND[name]
    assert off[worst] <= bound, (x[worst], found[worst], exact[worst])
    zero = found == 0
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(exact[zero]))
