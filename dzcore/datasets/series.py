"""Time series: every value with the one that follows it."""

from math import cos, pi, sin
from typing import Any

from ..backend import Backend
from ..errors import DataError
from ..graph import as_array, as_variable
from ..graph.variable import transfer
from ..random import Generator
from .base import Dataset, Transform

__all__ = ["SinCurve", "Sunspots", "TimeSeries"]


FIRST_TEST_YEAR = 1950


def _pairs(values: Any, own: Backend) -> tuple[Any, Any]:
    """Return data and label, both (n, 1), of an array (n + 1,)."""
    column = own.xp.reshape(values, (-1, 1))
    return column[:-1, ...], column[1:, ...]


class TimeSeries(Dataset):
    """The n + 1 numbers of a series as n pairs in their order: x is a number, t the next one, both (1,).

    `values` is an array or Variable (n + 1,), or a list; integers become float32. With `normalize`, x and t are
    (value - mean) / std; `y * data.std + data.mean` takes a prediction back to the units of the values.

    >>> import dzcore
    >>> data = dzcore.datasets.TimeSeries([1.0, 4.0, 9.0])
    >>> [(float(x[0]), float(t[0])) for x, t in data]
    [(1.0, 4.0), (4.0, 9.0)]
    """

    def __init__(
        self,
        values: Any,
        normalize: bool = False,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        series = as_variable(values)
        super().__init__(True, transform, target_transform, backend=series.backend if backend is None else backend)
        if len(series.shape) != 1 or series.shape[0] < 2:
            raise ValueError(f"values has shape {series.shape}; a series is (n + 1,), two numbers at least")
        array, xp = transfer(series.data, series.backend, self.backend), self.backend.xp
        if not self.backend.is_floating(array.dtype):
            array = xp.astype(array, self.backend.dtype("float32"))
        self.mean, self.std = 0.0, 1.0
        if normalize:
            self.mean, self.std = float(xp.mean(array)), float(xp.std(array))
            if not self.std > 0:
                raise ValueError(f"values have mean {self.mean} and deviation {self.std}; normalize=True divides by it")
            array = (array - self.mean) / self.std
        self.data, self.label = _pairs(array, self.backend)


class SinCurve(Dataset):
    """One period of a sine with noise to train with, of a cosine without noise to test: 999 pairs of floats (1,).

    The 1000 points lie evenly on [0, 2π], both ends included; the noise is uniform in [-0.05, 0.05), the same every
    time.
    """

    def prepare(self) -> None:
        """Compute the points."""
        xs = [2 * pi * i / 999 for i in range(1000)]
        own = self.backend
        if self.train:
            noise = Generator(1984).uniform((1000,), -0.05, 0.05, backend=own)
            values = as_array([sin(x) for x in xs], own) + noise
        else:
            values = as_array([cos(x) for x in xs], own)
        self.data, self.label = _pairs(values, own)


class Sunspots(Dataset):
    """The yearly sunspot number, 1700 to 2008, divided by 100: a year's and the next one's, both (1,).

    The years up to 1949 are there to train with, the 59 from 1950 on to be predicted; `years` has the year of each t.
    Source: National Geophysical Data Center, in the public domain; it comes with the package statsmodels.

    Raises:
        DataError: statsmodels is not installed, or its file is another one.
    """

    def prepare(self) -> None:
        """Read the series from the package's file, without importing the package."""
        series, cut = _read_sunspots(), FIRST_TEST_YEAR - 1700
        part = series[:cut] if self.train else series[cut - 1 :]
        self.years = [year for year, _ in part[1:]]
        self.data, self.label = _pairs(as_array([number / 100 for _, number in part], self.backend), self.backend)


def _read_sunspots() -> list[tuple[int, float]]:
    """Return years and numbers."""
    from importlib.util import find_spec
    from pathlib import Path

    package = find_spec("statsmodels")
    if package is None or not package.submodule_search_locations:
        raise DataError("the sunspots come with the package statsmodels: pip install 'dzcore[series]'")
    path = Path(package.submodule_search_locations[0], "datasets", "sunspots", "sunspots.csv")
    try:
        rows = [line.split(",") for line in path.read_text("ascii").split()[1:]]
        series = [(int(float(year)), float(value)) for year, value in rows]
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}); install statsmodels again") from error
    if [year for year, _ in series] != list(range(1700, 2009)):
        raise DataError(f"{str(path)!r} does not have the years 1700 to 2008; install statsmodels>=0.14")
    return series
