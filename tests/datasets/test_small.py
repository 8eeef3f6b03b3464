"""Digits and Spiral: there at once, and the same for everybody."""

import gzip
from collections import Counter
from math import cos, hypot, sin
from pathlib import Path

import numpy as np
import pytest

from dzcore import random
from dzcore.backend import Backend
from dzcore.datasets import Digits, Spiral, digits, get_spiral
from dzcore.errors import DataError

from .test_base import host


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # the same bytes, and so the same test ids, in every run


KNOWN_ROW = "0,0,5,13,9,1,0,0,0,0,13,15,10,15,5,0,0,3,15,2,0,11,8,0"


def rows() -> list[list[int]]:
    return [list(map(int, line.split(","))) for line in gzip.open(digits.FILE, "rt")]


def test_digits(backend: Backend) -> None:
    data = Digits()
    x, t = data[0]
    assert (x.shape, x.dtype, t) == ((64,), backend.dtype("float32"), 0)
    np.testing.assert_array_equal(host(x, backend)[:24] * 16, [int(word) for word in KNOWN_ROW.split(",")])
    assert data.data.shape == (1442, 1, 8, 8)
    assert data.data.dtype == backend.dtype("uint8")
    assert data.label.dtype == backend.dtype("int64")


def test_every_digit_is_in_one_part_once() -> None:
    parts = [Digits(), Digits(train=False)]
    assert [len(part) for part in parts] == [1442, 355]
    both = [(*(part.data[i].reshape(-1).tolist()), part[i][1]) for part in parts for i in range(len(part))]
    assert Counter(both) == Counter(map(tuple, rows()))
    for part, share in zip(parts, (0.8, 0.2), strict=True):
        assert all(abs(n / (179.7 * share) - 1) < 0.06 for n in Counter(part.label.tolist()).values())


def test_digits_scale() -> None:
    x, _ = Digits().batch(range(1442))
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert Digits.labels() == {n: str(n) for n in range(10)}
    raw, _ = Digits(transform=lambda x: x)[0]
    assert (raw.shape, raw.dtype) == ((1, 8, 8), np.uint8)


@pytest.mark.parametrize("content", [b"no gzip", packed(b"1,2\n"), packed(b"x\n"), packed(b"300," * 64 + b"1\n")])
def test_damaged_digits(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "digits.csv.gz"
    file.write_bytes(content)
    monkeypatch.setattr(digits, "FILE", file)
    with pytest.raises(DataError, match=r"digits\.csv\.gz.*install dzcore again"):
        Digits()


def test_the_licence_is_named() -> None:
    text = (digits.FILE.parent / "README.md").read_text("utf-8")
    for words in ("UCI Machine Learning", "Alpaydin", "Kaynak", "1998", "CC BY 4.0"):
        assert words in text


def test_spiral(backend: Backend) -> None:
    x, t = get_spiral()
    assert (x.shape, x.dtype) == ((300, 2), backend.dtype("float32"))
    assert (t.shape, t.dtype) == ((300,), backend.dtype("int64"))
    assert Counter(host(t, backend).tolist()) == {0: 100, 1: 100, 2: 100}
    np.testing.assert_array_equal(host(x, backend), get_spiral(backend="numpy")[0])
    np.testing.assert_array_equal(host(t, backend), get_spiral(backend="numpy")[1])


def test_the_arms_of_the_spiral() -> None:
    noise = []
    for (a, b), arm in zip(*(each.tolist() for each in get_spiral(train=False)), strict=True):
        radius = hypot(a, b)
        assert abs(radius * 100 - round(radius * 100)) < 1e-4
        if radius > 0.05:
            theta = 4 * arm + 4 * radius  # turn back by it: what is left is the noise
            noise.append(np.arctan2(a * cos(theta) - b * sin(theta), a * sin(theta) + b * cos(theta)))
    assert 0.17 < np.std(noise) < 0.23
    assert abs(np.mean(noise)) < 0.05


def test_the_spiral_draws_nothing_from_the_default_stream() -> None:
    random.seed(5)
    Spiral()
    assert random.get_state() == (5, 0)
    assert not np.array_equal(Spiral().data, Spiral(train=False).data)
    x, t = Spiral()[0]
    assert x.shape == (2,)
    assert type(t) is int
    assert len(set(Spiral().label[:30].tolist())) == 3  # in random order
