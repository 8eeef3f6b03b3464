"""Losses as in PyTorch: every option, every reduction, results and gradients of all inputs."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import dzcore.functions as F
from dzcore import Variable

from .compare import assert_same, compare, draw, torch
from .test_norm import second

T = torch.nn.functional
REDUCTIONS = ("batchmean", "mean", "sum", "none")
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def reduced(loss: Callable[..., Any], reduction: str, samples: int) -> Callable[..., Any]:
    """Return PyTorch's loss with our reduction: "batchmean" is its sum over the number of samples."""
    if reduction != "batchmean":
        return lambda *xs, **options: loss(*xs, reduction=reduction, **options)
    return lambda *xs, **options: loss(*xs, reduction="sum", **options) / samples


def both(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Any, rtol: float = 1e-12) -> None:
    """Compare first and second derivatives, those in all arrays."""
    compare(ours, theirs, *arrays, rtol=rtol)
    if all(a.dtype.kind == "f" for a in arrays):
        second(ours, theirs, *arrays)


# Regression ----------------------------------------------------------------------------------------------------------

REGRESSION = {
    "mean_squared_error": (F.mean_squared_error, T.mse_loss),
    "mean_absolute_error": (F.mean_absolute_error, T.l1_loss),
    "huber_loss": (F.huber_loss, T.huber_loss),
    "huber_loss 0.3": (
        lambda *xs, **o: F.huber_loss(*xs, 0.3, **o),
        lambda *xs, **o: T.huber_loss(*xs, delta=0.3, **o),
    ),
}


@each_reduction
@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("shape", [(6,), (4, 3), (2, 3, 4)], ids=str)
def test_regression(name: str, shape: tuple[int, ...], reduction: str) -> None:
    ours, theirs = REGRESSION[name]
    both(lambda *xs: ours(*xs, reduction=reduction), reduced(theirs, reduction, shape[0]),
         draw(*shape, low=-2.0, high=2.0), draw(*shape, seed=1, low=-2.0, high=2.0))  # fmt: skip


# Classes -------------------------------------------------------------------------------------------------------------

WEIGHT = draw(5, seed=9, low=0.2, high=2.0)
OPTIONS: list[dict[str, Any]] = [
    {}, {"weight": WEIGHT}, {"label_smoothing": 0.3}, {"ignore_index": 2}, {"ignore_index": -100},
    {"weight": WEIGHT, "label_smoothing": 0.1}, {"weight": WEIGHT, "ignore_index": 0},
    {"label_smoothing": 1.0, "ignore_index": 2}, {"weight": WEIGHT, "label_smoothing": 0.2, "ignore_index": -1},
]  # fmt: skip


def tensors(options: Mapping[str, Any]) -> dict[str, Any]:
    return {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}


def names(options: Mapping[str, Any]) -> str:
    return ",".join(options) or "plain"


@each_reduction
@pytest.mark.parametrize("options", OPTIONS, ids=names)
@pytest.mark.parametrize("shape", [(7, 5), (3, 5, 4), (2, 5, 3, 2)], ids=str)
def test_softmax_cross_entropy(shape: tuple[int, ...], options: dict[str, Any], reduction: str) -> None:
    x, places = draw(*shape, low=-3.0, high=3.0), (shape[0], *shape[2:])
    t = np.random.default_rng(1).integers(0, 5, places)
    if options.get("ignore_index", 0) < 0:
        t[0] = options["ignore_index"]
    theirs = reduced(T.cross_entropy, reduction, shape[0])
    both(
        lambda x: F.softmax_cross_entropy(x, t, reduction=reduction, **options),
        lambda x: theirs(x, torch.tensor(t), **tensors(options)),
        x,
    )


@each_reduction
@pytest.mark.parametrize("options", [o for o in OPTIONS if "ignore_index" not in o], ids=names)
@pytest.mark.parametrize("shape", [(7, 5), (3, 5, 4)], ids=str)
def test_softmax_cross_entropy_of_probabilities(
    shape: tuple[int, ...], options: dict[str, Any], reduction: str
) -> None:
    t = draw(*shape, seed=1, low=0.0, high=1.0)
    theirs = reduced(T.cross_entropy, reduction, shape[0])
    both(
        lambda x, t: F.softmax_cross_entropy(x, t, reduction=reduction, **options),
        lambda x, t: theirs(x, t, **tensors(options)),
        draw(*shape, low=-3.0, high=3.0),
        t / t.sum(axis=1, keepdims=True),
    )


def test_large_scores() -> None:
    """±1e4 in float32, where the fused path and the one with options must be as exact as PyTorch."""
    x = draw(6, 5, low=-1e4, high=1e4).astype("float32")
    t = np.array([0, 1, 2, 3, 4, 0])
    for options in ({}, {"label_smoothing": 0.1}, {"weight": WEIGHT.astype("float32")}):
        compare(
            lambda x, o=options: F.softmax_cross_entropy(x, t, **o),
            lambda x, o=options: T.cross_entropy(x, torch.tensor(t), **tensors(o), reduction="sum") / 6,
            x,
            rtol=1e-6,
        )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_everything_ignored(smoothing: float) -> None:
    """0, where PyTorch's mean is nan: a batch of nothing but padding must not end a training."""
    x, t = Variable(draw(3, 5)), np.full(3, -1)
    for reduction in ("batchmean", "mean", "sum"):
        loss = F.softmax_cross_entropy(x, t, ignore_index=-1, reduction=reduction, label_smoothing=smoothing)
        x.cleargrad()
        loss.backward()
        assert float(loss) == 0.0
        assert not x.grad.data.any()
    assert torch.isnan(T.cross_entropy(torch.tensor(x.data), torch.tensor(t), ignore_index=-1))


# Probabilities -------------------------------------------------------------------------------------------------------


@each_reduction
@pytest.mark.parametrize("options", [(), ("weight",), ("pos_weight",), ("weight", "pos_weight")], ids=names)
def test_sigmoid_cross_entropy(options: tuple[str, ...], reduction: str) -> None:
    given = {name: draw(4, seed=5 + i, low=0.3, high=3.0) for i, name in enumerate(options)}
    theirs = reduced(T.binary_cross_entropy_with_logits, reduction, 3)
    both(
        lambda x, t: F.sigmoid_cross_entropy(x, t, reduction=reduction, **given),
        lambda x, t: theirs(x, t, **tensors(given)),
        draw(3, 4, low=-4.0, high=4.0),
        draw(3, 4, seed=1, low=0.0, high=1.0),
    )


@each_reduction
def test_binary_cross_entropy(reduction: str) -> None:
    theirs = reduced(T.binary_cross_entropy, reduction, 4)
    ours = lambda p, t: F.binary_cross_entropy(p, t, reduction=reduction)  # noqa: E731
    t = draw(4, 3, seed=1, low=0.0, high=1.0)
    near = np.array([[1e-6, 1e-5, 1 - 1e-5], [1e-4, 1 - 1e-6, 0.5], [0.1, 0.01, 1e-3], [0.9, 0.99, 0.999]])
    # theirs has no gradient in t, and adds 1e-12 to the p (1 - p) that its gradient in p divides by
    for p, rtol in ((draw(4, 3, low=0.01, high=0.99), 1e-10), (near, 1e-5)):
        compare(lambda p: ours(p, t), lambda p: theirs(p, torch.tensor(t)), p, rtol=rtol)
    assert_same(ours(Variable(near), t), theirs(torch.tensor(near), torch.tensor(t)), rtol=1e-12)


def test_far_scores_in_float32() -> None:
    x = np.array([[-1e4, -100.0, -30.0, -10.0, 10.0, 30.0, 80.0, 1e4]], "float32")
    for t in (np.zeros_like(x), np.ones_like(x), np.full_like(x, 0.5)):
        compare(
            lambda x, t=t: F.sigmoid_cross_entropy(x, t, reduction="none"),
            lambda x, t=t: T.binary_cross_entropy_with_logits(x, torch.tensor(t), reduction="none"),
            x,
            rtol=1e-6,
        )
