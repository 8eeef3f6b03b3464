"""Activations as in PyTorch: results, first and second derivatives, also where they saturate."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dzcore.functions as F
from dzcore import Variable

from .compare import compare, draw, torch
from .test_norm import second

T = torch.nn.functional
ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "relu": (F.relu, T.relu),
    "leaky_relu": (F.leaky_relu, lambda x: T.leaky_relu(x, 0.2)),
    "leaky_relu 0.01": (lambda x: F.leaky_relu(x, 0.01), T.leaky_relu),
    "elu": (F.elu, T.elu),
    "elu 0.5": (lambda x: F.elu(x, 0.5), lambda x: T.elu(x, 0.5)),
    "gelu": (F.gelu, lambda x: T.gelu(x, approximate="tanh")),
    "silu": (F.silu, T.silu),
    "softplus": (F.softplus, lambda x: T.softplus(x, threshold=1e9)),  # theirs is x from 20 on
    "sigmoid": (F.sigmoid, torch.sigmoid),
    "tanh": (F.tanh, torch.tanh),
    "softmax": (F.softmax, lambda x: torch.softmax(x, 1)),
    "softmax 0": (lambda x: F.softmax(x, axis=0), lambda x: torch.softmax(x, 0)),
    "log_softmax": (F.log_softmax, lambda x: torch.log_softmax(x, 1)),
    "log_softmax -1": (lambda x: F.log_softmax(x, axis=-1), lambda x: torch.log_softmax(x, -1)),
    "logsumexp": (lambda x: F.logsumexp(x, 1), lambda x: torch.logsumexp(x, 1)),
}
each = pytest.mark.parametrize("name", ACTIVATIONS)


@each
@pytest.mark.parametrize("width", [1.0, 5.0, 30.0])
def test_values_and_derivatives(name: str, width: float) -> None:
    ours, theirs = ACTIVATIONS[name]
    x = draw(4, 5, low=-width, high=width)
    compare(ours, theirs, x, rtol=1e-12)
    second(ours, theirs, x, rtol=1e-10)


@each
def test_float32(name: str) -> None:
    ours, theirs = ACTIVATIONS[name]
    compare(ours, theirs, draw(30, 20, low=-8.0, high=8.0).astype("float32"), rtol=3e-6)


@each
def test_far_out(name: str) -> None:
    """±1e4 and what lies between, where PyTorch's softplus without a threshold overflows."""
    ours, theirs = ACTIVATIONS[name]
    x = np.array([[-1e4, -800.0, -100.0, -40.0, 0.5, 40.0, 100.0, 800.0, 1e4]])
    if name == "softplus":
        theirs = T.softplus
    compare(ours, theirs, x, rtol=1e-12)


@pytest.mark.parametrize(("dtype", "x"), [("float32", -1e38), ("float64", -1e300), ("float64", -np.inf)])
def test_gelu_ends_at_zero(dtype: str, x: float) -> None:
    """However large the argument: a gate that is merely tiny would make it grow again."""
    v = Variable(np.array([x], dtype))
    y = F.gelu(v)
    y.backward()
    assert abs(y.item()) < 1e-36
    assert v.grad is not None
    assert abs(v.grad.item()) < 1e-34


def test_tuples_of_axes() -> None:
    x = draw(3, 4, 5)
    for ours, theirs in ((F.softmax, torch.softmax), (F.log_softmax, torch.log_softmax)):
        compare(
            lambda x, f=ours: f(x, axis=(0, -1)),
            lambda x, f=theirs: f(x.permute(1, 0, 2).reshape(4, 15), 1).reshape(4, 3, 5).permute(1, 0, 2),
            x,
        )
