"""Schedules beside torch.optim.lr_scheduler: the rate at every step."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from dzcore.optimizers import (
    SGD,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from .compare import draw, torch

theirs = torch.optim.lr_scheduler

#: Ours and theirs. Some of theirs multiply the last rate by a quotient, step by step, and gather rounding.
PAIRS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "LambdaLR": (lambda o: LambdaLR(o, lambda c: 0.9**c + 0.1), lambda o: theirs.LambdaLR(o, lambda c: 0.9**c + 0.1)),
    "StepLR": (lambda o: StepLR(o, 7, 0.3), lambda o: theirs.StepLR(o, 7, 0.3)),
    "StepLR by default": (lambda o: StepLR(o, 5), lambda o: theirs.StepLR(o, 5)),
    "MultiStepLR": (lambda o: MultiStepLR(o, [3, 10, 10, 25]), lambda o: theirs.MultiStepLR(o, [3, 10, 10, 25])),
    "ExponentialLR": (lambda o: ExponentialLR(o, 0.95), lambda o: theirs.ExponentialLR(o, 0.95)),
    "LinearLR": (lambda o: LinearLR(o, 0.2, 0.9, 11), lambda o: theirs.LinearLR(o, 0.2, 0.9, 11)),
    "LinearLR by default": (lambda o: LinearLR(o), lambda o: theirs.LinearLR(o)),
    "CosineAnnealingLR": (lambda o: CosineAnnealingLR(o, 40, 0.01), lambda o: theirs.CosineAnnealingLR(o, 40, 0.01)),
    "CosineAnnealingLR and up": (lambda o: CosineAnnealingLR(o, 9), lambda o: theirs.CosineAnnealingLR(o, 9)),
    "SequentialLR": (
        lambda o: SequentialLR(o, [LinearLR(o, 0.1, 1.0, 5), CosineAnnealingLR(o, 35)], [5]),
        lambda o: theirs.SequentialLR(o, [theirs.LinearLR(o, 0.1, 1.0, 5), theirs.CosineAnnealingLR(o, 35)], [5]),
    ),
    "SequentialLR of three": (
        lambda o: SequentialLR(o, [LinearLR(o), StepLR(o, 4), ExponentialLR(o, 0.9)], [6, 20]),
        lambda o: theirs.SequentialLR(
            o, [theirs.LinearLR(o), theirs.StepLR(o, 4), theirs.ExponentialLR(o, 0.9)], [6, 20]
        ),
    ),
}


def other(lr: float) -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rate(optimizer: Any) -> float:
    return float(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("name", PAIRS)
def test_40_steps(name: str) -> None:
    optimizer, counterpart = SGD(0.3), other(0.3)
    ours, their = PAIRS[name][0](optimizer), PAIRS[name][1](counterpart)
    rates = set()
    for step in range(41):
        assert optimizer.lr == pytest.approx(rate(counterpart), rel=1e-12, abs=1e-15), step
        rates.add(optimizer.lr)
        counterpart.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs call a method of theirs that they say not to call
            their.step()
        ours.step()
    assert len(rates) > 3


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 2, "factor": 0.5},
        {"patience": 1, "cooldown": 3, "factor": 0.7},
        {"patience": 2, "threshold": 0.2, "threshold_mode": "abs", "factor": 0.6},
        {"patience": 0, "threshold": 0.3, "min_lr": 0.001},
        {"patience": 1, "eps": 0.05, "factor": 0.8},
    ],
)
def test_reduce_on_plateau(mode: str, options: dict[str, Any]) -> None:
    """Over positive metrics; of a negative best, PyTorch takes a part in the wrong direction."""
    optimizer, counterpart = SGD(0.3), other(0.3)
    ours = ReduceLROnPlateau(optimizer, mode, **options)
    their = theirs.ReduceLROnPlateau(counterpart, mode, **options)
    rates = set()
    for step, metric in enumerate(draw(80, low=1.0, high=2.0).tolist()):
        ours.step(metric)
        their.step(metric)
        assert optimizer.lr == pytest.approx(rate(counterpart), rel=1e-12), step
        rates.add(optimizer.lr)
    assert len(rates) > 1
