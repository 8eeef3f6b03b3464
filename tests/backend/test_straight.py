"""Formulas as straight lines of NumPy calls, and the numbers in them: the bits and warnings of the plain evaluation."""

import warnings

import numpy as np
import pytest

from dzbackend_numpy.scalars import MOST, scalars
from dzbackend_numpy.straight import straight
from dzbackend_numpy.trace import trace
from dzcore.backend import get_backend

backend = get_backend("numpy")
xp = backend.ops

FORMULAS = {
    "twice the same": lambda xp, x, y: x * x + y * x,
    "numbers on either side": lambda xp, x, y: 1.5 - x / 3.0 + 0.1 * y,
    "zeros and their signs": lambda xp, x, y: (x * 0.0, x * -0.0, y + -0.0),
    "nan and inf": lambda xp, x, y: (x * float("nan"), xp.minimum(y, float("inf"))),
    "several results": lambda xp, x, y: (xp.exp(x), xp.where(x > y, x, 0.0)),
    "no arithmetic": lambda xp, x, y: (y, x),
    "integers": lambda xp, x, y: x * 3 + y**2,
    "casts": lambda xp, x, y: xp.astype(x > y, xp.float64) * 0.1,
}
SHAPES = [((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2,)), ((0,), (0,)), ((), ())]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("name", FORMULAS)
def test_bits_are_those_of_the_plain_evaluation(name, dtype):
    rng = np.random.default_rng(0)
    for shapes in SHAPES:
        x, y = (np.asarray(rng.normal(size=shape), dtype) for shape in shapes)
        line = straight(trace(xp, FORMULAS[name], (x.dtype, y.dtype)), "line")
        found, expected = line(x, y), FORMULAS[name](xp, x, y)
        many = isinstance(expected, tuple)
        assert isinstance(found, tuple) == many
        for one, other in zip(found if many else [found], expected if many else [expected], strict=True):
            assert one.dtype.newbyteorder("=") == other.dtype.newbyteorder("=")
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(np.signbit(one), np.signbit(other))


def test_what_computes_with_numbers_alone_is_no_straight_line():
    assert straight(trace(xp, lambda xp, x, a: x * (1.0 - a), (np.dtype("f4"), float)), "line") is None


def test_numbers_are_kept_as_arrays_of_the_dtype_that_they_meet():
    one = backend.number(0.1, np.dtype("f4"))
    assert (one.dtype, one.shape, one.flags.writeable) == (np.dtype("f4"), (), False)
    assert backend.number(0.1, np.dtype("f4")) is one
    assert backend.number(0.1, np.dtype("f8")) == 0.1


@pytest.mark.parametrize(("number", "dtype"), [(0.0, "f4"), (-0.0, "f4"), (0.5, "i8"), (0.5, "?"), (1e6, "f2")])
def test_numbers_that_are_left_to_numpy(number, dtype):
    assert backend.number(number, np.dtype(dtype)) is number
    nan = float("nan")
    assert backend.number(nan, np.dtype("f4")) is nan


def test_a_number_that_does_not_fit_is_warned_of_each_time():
    x = np.ones(3, "f2")
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="overflow"):
            x * backend.number(1e6, x.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(x * backend.number(float("inf"), x.dtype)).all()


def test_few_numbers_are_kept():
    for i in range(2 * MOST):
        backend.number(1.0 + i, np.dtype("f4"))
    assert len(scalars) <= MOST
