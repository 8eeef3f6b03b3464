"""Spiral: three arms in the plane, the book's first classification problem."""

from math import cos, sin
from typing import Any

from ..backend import current_backend, get_backend
from ..backend.base import Backend
from ..graph import as_array
from ..random import Generator
from .base import Dataset, numbers

__all__ = ["Spiral", "get_spiral"]

ARMS, POINTS = 3, 100


def get_spiral(train: bool = True, *, backend: str | Backend | None = None) -> tuple[Any, Any]:
    """Draw three spiral arms of 100 points each, in random order, the same ones every time.

    Point i of arm j lies at the angle 4 j + 4 i/100 + noise, with noise of deviation 0.2, at the distance i/100.
    Returns x, float32 (300, 2), and t, the arm, int64 (300,).
    """
    own = current_backend() if backend is None else get_backend(backend)
    generator = Generator(1984 if train else 2020)
    # Drawn and rounded in one place, so that every backend gets the same points.
    noise = memoryview(own.to_host(generator.normal((ARMS * POINTS,), std=0.2, backend=own)).buffer).cast("B").cast("f")
    points = []
    for k in numbers(generator.permutation(ARMS * POINTS, backend=own), own):
        arm, i = divmod(k, POINTS)
        radius = i / POINTS
        theta = 4.0 * arm + 4.0 * radius + noise[k]
        points.append((radius * sin(theta), radius * cos(theta), arm))
    x, t = [[a, b] for a, b, _ in points], [arm for *_, arm in points]
    return as_array(x, own), as_array(t, own)


class Spiral(Dataset):
    """Points of three spiral arms: x is float32 (2,), t is the arm."""

    classes = ("0", "1", "2")

    def prepare(self) -> None:
        """Draw the points."""
        self.data, self.label = get_spiral(self.train, backend=self.backend)
