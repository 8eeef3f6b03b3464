"""Pictures as vectors, or in the form that convolutions want."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dzcore import DataLoader
from dzcore.backend import Backend
from dzcore.datasets import MNIST, Digits, FashionMNIST

from .files import write_set
from .test_base import host


@pytest.mark.parametrize("kind", [Digits, MNIST, FashionMNIST])
def test_the_same_numbers_in_another_form(tmp_path: Path, backend: Backend, kind: Any) -> None:
    options = {} if kind is Digits else {"root": write_set(tmp_path)}
    flat, full = kind(**options), kind(flat=False, **options)
    height, width = kind.size
    (x, t), (y, u) = flat[2], full[2]
    assert (tuple(x.shape), tuple(y.shape)) == ((height * width,), (1, height, width))
    assert t == u
    a, b = host(flat.batch([3, 0])[0], backend), host(full.batch([3, 0])[0], backend)
    assert b.dtype == np.float32
    np.testing.assert_array_equal(a.reshape(2, 1, height, width), b)
    np.testing.assert_array_equal(host(full[3][0], backend), b[0])
    assert b.max() <= 1.0


def test_loaders_keep_it() -> None:
    assert {x.shape[1:] for x, _ in DataLoader(Digits(flat=False), 100)} == {(1, 8, 8)}
    assert {x.shape[1:] for x, _ in DataLoader(Digits(flat=True), 100)} == {(64,)}


@pytest.mark.parametrize("flat", [None, 0, "no"])
def test_it_is_yes_or_no(flat: Any) -> None:
    with pytest.raises(TypeError, match=f"flat={flat!r} must be True or False"):
        Digits(flat=flat)
