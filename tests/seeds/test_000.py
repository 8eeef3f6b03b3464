"""Text 000, notes on steps 53 and 54: saving a model, dropout and test mode."""

from pathlib import Path

import numpy as np
import pytest

import dzcore
from dzcore import Config, test_mode, using_config

from .dropout import assert_direct_and_inverted, assert_drops, dropout
from .layers import assert_same_files, nested


def test_arrays_in_one_file(folder: Path) -> None:
    """Text 000, listings 1 and 2: savez with keywords, with a dictionary, and load; dzcore reads the file as well."""
    x1, x2 = np.array([1.0, 2.0]), np.array([3, 4])
    np.savez("test.npz", x1=x1, x2=x2)
    first = np.load("test.npz")
    data = {"x1": x1, "x2": x2}
    np.savez("test.npz", **data)
    second = np.load("test.npz")
    for found in (first, second):
        np.testing.assert_array_equal(found["x1"], x1)
        np.testing.assert_array_equal(found["x2"], x2)
    read = dzcore.load("test.npz", backend="numpy")
    assert list(read) == ["x1", "x2"]
    for name, x in data.items():
        assert read[name].dtype == x.dtype
        np.testing.assert_array_equal(read[name].data, x)


def test_flatten_params() -> None:
    """Text 000, listing 3: the nested parameters in a flat dictionary, under a parent's key as well."""
    params: dict[str, object] = {}
    nested()._flatten_params(params, "parent")
    assert list(params) == ["parent/l1/p1", "parent/p2", "parent/p3"]


def test_saving_and_loading(folder: Path) -> None:
    """Text 000, listing 4: save_weights and load_weights."""
    assert_same_files(np.ones((2, 4), np.float32))


def test_dropout_of_arrays() -> None:
    """Text 000, listings 5 to 7: the mask, the scale at test time, the scale while training."""
    assert_direct_and_inverted()


def test_the_test_mode() -> None:
    """Text 000, listing 8: Config.train and test_mode."""
    assert Config.enable_backprop
    assert Config.train
    with test_mode():
        assert not Config.train
        with using_config("train", True):
            assert Config.train
        assert not Config.train
    assert Config.train


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_by_hand(dtype: str) -> None:
    """Text 000, listing 9: dropout with the library's own random numbers."""
    assert_drops(dropout, dtype)
