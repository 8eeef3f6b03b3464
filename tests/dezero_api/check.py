"""Comparisons of the table's cases."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dzcore import Variable

#: What the cases are given: a pair of rows.
ROWS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def rows() -> Variable:
    return Variable(ROWS.copy())


def same(actual: Any, expected: Any, rtol: float = 1e-6) -> None:
    """Compare a Variable, an array or a number with numbers: shape and values."""
    found = actual.data if isinstance(actual, Variable) else actual
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def slopes(f: Callable[..., Any], *inputs: Any, value: Any, gradients: tuple[Any, ...]) -> None:
    """Compare the result of f, and the gradients of its sum by the inputs, as many as are given."""
    xs = [Variable(np.array(x, float)) if isinstance(x, (float, list)) else x for x in inputs]
    y = f(*xs)
    same(y, value)
    y.backward()
    for x, gradient in zip(xs, gradients, strict=False):
        same(x.grad, gradient)
