"""Dropout as the texts write it by hand, and what they print with the one that is there."""

import re
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
from dzcore import Variable, as_variable, cuda, test_mode


def dropout(x: Any, dropout_ratio: float = 0.5) -> Variable:
    x = as_variable(x)

    if dzcore.Config.train:
        xp = cuda.get_array_module(x)
        mask = xp.random.rand(*x.shape) > dropout_ratio
        scale = xp.array(1.0 - dropout_ratio).astype(x.dtype)
        return x * mask / scale
    else:
        return x


def assert_drops(f: Any, dtype: str = "float64") -> None:
    """Results are 0 or x / (1 - p), the gradient is the same mask, and test mode changes nothing."""
    np.random.seed(0)
    x = Variable(np.linspace(1.0, 2.0, 200).astype(dtype))
    y = f(x, 0.6)
    ratios = (y / x).data
    assert y.dtype == dtype
    kept = ratios > 0
    np.testing.assert_allclose(ratios[kept], 2.5, rtol=1e-6)
    assert 50 < kept.sum() < 110
    y.backward()
    np.testing.assert_allclose(x.grad.data, ratios, rtol=1e-6)
    with test_mode():
        np.testing.assert_array_equal(f(x, 0.6).data, x.data)


def assert_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Five ones, dropped and not."""
    x = np.ones(5)
    print(x)

    y = F.dropout(x)
    print(y)

    with test_mode():
        y = F.dropout(x)
        print(y)

    ones, dropped, tested = capsys.readouterr().out.splitlines()
    assert ones == "[1. 1. 1. 1. 1.]"
    assert re.fullmatch(r"variable\(\[([02]\. ){4}[02]\.\]\)", dropped)
    assert tested == "variable([1. 1. 1. 1. 1.])"


def direct_and_inverted() -> tuple[Any, ...]:
    """The idea on plain arrays: at training and test time, scaled at test time and while training."""
    np.random.seed(0)
    dropout_ratio = 0.6
    x = np.ones(10)
    mask = np.random.rand(10) > dropout_ratio
    dropped = x * mask
    scale = 1 - dropout_ratio
    weakened = x * scale
    mask2 = np.random.rand(*x.shape) > dropout_ratio
    inverted = x * mask2 / scale
    return x, mask, dropped, weakened, mask2, inverted


def assert_direct_and_inverted(on: Any = np.asarray) -> None:
    """The same with Variables in place of arrays: masks multiply, numbers scale."""
    x, mask, dropped, weakened, mask2, inverted = direct_and_inverted()
    v = Variable(on(x))
    np.testing.assert_array_equal((v * on(mask)).data, dropped)
    np.testing.assert_allclose((v * (1 - 0.6)).data, weakened)
    np.testing.assert_allclose((v * on(mask2) / (1 - 0.6)).data, inverted)
    assert set(dropped.tolist()) == {0.0, 1.0}
    assert {round(number, 9) for number in inverted.tolist()} == {0.0, 2.5}
