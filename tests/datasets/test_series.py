"""Time series: every value with the one that follows it."""

import sys
from importlib.machinery import ModuleSpec
from math import cos, pi, sin
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dzcore import Variable, get_backend, random
from dzcore.backend import Backend
from dzcore.dataloaders import DataLoader
from dzcore.datasets import SinCurve, Sunspots, TimeSeries
from dzcore.errors import DataError

from .test_base import host


def test_pairs(backend: Backend) -> None:
    data = TimeSeries([1.0, 4.0, 9.0, 16.0])
    assert data.backend is backend
    assert len(data) == 3
    x, t = data[1]
    assert (x.shape, t.shape) == ((1,), (1,))
    assert backend.dtype_name(x.dtype) == backend.dtype_name(t.dtype) == "float32"
    x, t = data.batch(range(3))
    assert host(x, backend).tolist() == [[1.0], [4.0], [9.0]]
    assert host(t, backend).tolist() == [[4.0], [9.0], [16.0]]


@given(n=st.integers(2, 50))
def test_the_label_is_the_next_value(n: int) -> None:
    data = TimeSeries(np.arange(n) ** 2)
    x, t = data.batch(range(n - 1))
    np.testing.assert_array_equal(x[1:], t[:-1])
    assert (x[0, 0], t[-1, 0]) == (0, (n - 1) ** 2)


@pytest.mark.parametrize(
    ("dtype", "kept"), [("float32", "float32"), ("float64", "float64"), ("int64", "float32"), ("uint8", "float32")]
)
def test_dtypes(dtype: str, kept: str, backend: Backend) -> None:
    array = backend.asarray([1, 2, 4], dtype)
    for values in (array, Variable(array)):
        data = TimeSeries(values)
        assert backend.dtype_name(data.data.dtype) == backend.dtype_name(data.label.dtype) == kept
        assert backend.owns(data.data)


def test_normalized(backend: Backend) -> None:
    values = [3.0, 5.0, 7.0, 9.0]
    data = TimeSeries(values, normalize=True)
    assert (data.mean, data.std) == pytest.approx((6.0, 5**0.5))
    x, t = (host(each, backend)[:, 0] for each in data.batch(range(3)))
    np.testing.assert_allclose(x * data.std + data.mean, values[:-1], rtol=1e-6)
    np.testing.assert_allclose(t * data.std + data.mean, values[1:], rtol=1e-6)
    every = np.append(x, t[-1])
    assert (every.mean(), every.std()) == pytest.approx((0.0, 1.0), abs=1e-6)
    assert (TimeSeries(values).mean, TimeSeries(values).std) == (0.0, 1.0)


def test_backend(strict: str) -> None:
    data = TimeSeries(np.arange(4.0), backend=strict)
    assert data.backend is get_backend(strict)
    assert data.backend.owns(data.data)
    there = get_backend("strict:device1").asarray([1.0, 2.0], "float32")
    assert TimeSeries(there).backend is get_backend("strict:device1")


def test_transforms() -> None:
    data = TimeSeries([1.0, 2.0, 3.0], transform=lambda x: x * 10, target_transform=lambda t: -t)
    assert [(x.item(), t.item()) for x, t in data] == [(10.0, -2.0), (20.0, -3.0)]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0], {}, r"values has shape \(1,\); a series is \(n \+ 1,\), two numbers at least"),
        (3.0, {}, r"values has shape \(\)"),
        ([[1.0, 2.0]], {}, r"values has shape \(1, 2\)"),
        ([2.0, 2.0], {"normalize": True}, "values have mean 2.0 and deviation 0.0; normalize=True divides by it"),
        ([2.0, float("nan")], {"normalize": True}, "deviation nan"),
    ],
)
def test_wrong_values(values: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimeSeries(values, **options)


# The book's sine -----------------------------------------------------------------------------------------------------


def test_sine(backend: Backend) -> None:
    train, test = SinCurve(train=True), SinCurve(train=False)
    assert len(train) == len(test) == 999
    assert train[0][0].shape == train[0][1].shape == (1,)
    xs = [2 * pi * i / 999 for i in range(1000)]
    x, t = (host(each, backend)[:, 0] for each in test.batch(range(999)))
    np.testing.assert_allclose(np.append(x, t[-1]), [cos(x) for x in xs], atol=1e-6)
    x, t = (host(each, backend)[:, 0] for each in train.batch(range(999)))
    np.testing.assert_array_equal(x[1:], t[:-1])
    noise = np.append(x, t[-1]) - [sin(x) for x in xs]
    assert 0.045 < abs(noise).max() <= 0.0500001
    assert noise.std() == pytest.approx(0.1 / 12**0.5, rel=0.05)
    assert abs(noise.mean()) < 0.003
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.1


def test_the_sine_is_the_same_for_everybody(backend: Backend) -> None:
    random.seed(8)
    data = SinCurve()
    assert random.get_state() == (8, 0)
    np.testing.assert_array_equal(host(data.data, backend), SinCurve(backend="numpy").data)


# Sunspots ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is found as the package statsmodels, and in it the place of the file."""
    spec = ModuleSpec("statsmodels", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec if name == "statsmodels" else None)
    (tmp_path / "datasets" / "sunspots").mkdir(parents=True)
    return tmp_path / "datasets" / "sunspots" / "sunspots.csv"


def written(years: range) -> str:
    return '"YEAR","SUNACTIVITY"\n' + "".join(f"{year},{year % 11 * 10.5}\n" for year in years)


def test_sunspots(package: Path, backend: Backend) -> None:
    package.write_text(written(range(1700, 2009)), "ascii")
    train, test = Sunspots(), Sunspots(train=False)
    assert (train.years[0], train.years[-1], len(train)) == (1701, 1949, 249)
    assert (test.years[0], test.years[-1], len(test)) == (1950, 2008, 59)
    for part in (train, test):
        x, t = (host(each, backend)[:, 0] for each in part.batch(range(len(part))))
        assert len(part.years) == len(part)
        np.testing.assert_allclose(t * 100, [year % 11 * 10.5 for year in part.years], rtol=1e-6)
        np.testing.assert_allclose(x * 100, [(year - 1) % 11 * 10.5 for year in part.years], rtol=1e-6)
    assert next(iter(DataLoader(test, 10)))[0].shape == (10, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"sunspots.csv' cannot be read \(.*No such file.*install statsmodels again"),
        ("year,activity\n1700;5\n", "sunspots.csv' cannot be read"),
        ("year,activity\n1700,five\n", "sunspots.csv' cannot be read"),
        (written(range(1700, 2000)), "does not have the years 1700 to 2008"),
        (written(range(1749, 2058)), "does not have the years 1700 to 2008"),
    ],
)
def test_damaged_sunspots(package: Path, content: str | None, message: str) -> None:
    if content is not None:
        package.write_text(content, "ascii")
    with pytest.raises(DataError, match=message):
        Sunspots()


def test_no_statsmodels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"come with the package statsmodels: pip install 'dzcore\[series\]'"):
        Sunspots()


def test_the_real_sunspots() -> None:
    """Known values (the maximum of 1957 is the highest), read without importing what reads them elsewhere."""
    from importlib.util import find_spec

    if find_spec("statsmodels") is None:
        pytest.skip("needs statsmodels: pip install 'dzcore[series]'")
    before = set(sys.modules)
    train, test = Sunspots(), Sunspots(train=False)
    assert not {name.partition(".")[0] for name in set(sys.modules) - before} & {"statsmodels", "pandas"}
    numbers = dict(zip([*train.years, *test.years], [*train.label[:, 0], *test.label[:, 0]], strict=True))
    known = {1701: 11.0, 1778: 154.4, 1810: 0.0, 1957: 190.2, 2008: 2.9}
    assert {year: round(float(numbers[year]) * 100, 1) for year in known} == known
    assert max(numbers, key=numbers.__getitem__) == 1957
    assert round(float(train.data[0, 0]) * 100, 1) == 5.0
