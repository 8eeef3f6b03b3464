"""Schedules: the rate is a formula of the count, and a saved count goes on."""

import json
from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np
import pytest

from dzcore import Parameter, Variable
from dzcore.errors import StateError
from dzcore.optimizers import (
    SGD,
    AdaDelta,
    Adam,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    ReduceLROnPlateau,
    Schedule,
    SequentialLR,
    StepLR,
)


def warm(optimizer: Any) -> SequentialLR:
    return SequentialLR(optimizer, [LinearLR(optimizer, 0.1, 1.0, 3), CosineAnnealingLR(optimizer, 4)], [3])


R = 0.5**0.5
#: The rates of the first steps from 0.8 on.
RATES: dict[str, tuple[Callable[[Any], Schedule], list[float]]] = {
    "LambdaLR": (lambda o: LambdaLR(o, lambda c: 1 / (1 + c)), [0.8, 0.4, 0.8 / 3, 0.2, 0.16]),
    "StepLR": (lambda o: StepLR(o, 2, 0.5), [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]),
    "MultiStepLR": (lambda o: MultiStepLR(o, [4, 1, 4], 0.5), [0.8, 0.4, 0.4, 0.4, 0.1, 0.1]),
    "ExponentialLR": (lambda o: ExponentialLR(o, 0.5), [0.8, 0.4, 0.2, 0.1]),
    "LinearLR": (lambda o: LinearLR(o, 0.5, 1.0, 4), [0.4, 0.5, 0.6, 0.7, 0.8, 0.8, 0.8]),
    "LinearLR down": (lambda o: LinearLR(o, 1.0, 0.0, 2), [0.8, 0.4, 0.0, 0.0]),
    "CosineAnnealingLR": (lambda o: CosineAnnealingLR(o, 4, 0.2), [0.8, 0.5 + 0.3 * R, 0.5, 0.5 - 0.3 * R, 0.2]),
    "SequentialLR": (warm, [0.08, 0.32, 0.56, 0.8, 0.4 + 0.4 * R, 0.4, 0.4 - 0.4 * R, 0.0]),
}  # fmt: skip
each_schedule = pytest.mark.parametrize("name", RATES)


@each_schedule
def test_rates(name: str) -> None:
    make, rates = RATES[name]
    optimizer = SGD(0.8)
    schedule = make(optimizer)
    for rate in rates:
        assert optimizer.lr == pytest.approx(rate, rel=1e-12, abs=1e-15)
        assert type(optimizer.lr) is float
        schedule.step()


@each_schedule
def test_goes_on_from_every_step(name: str) -> None:
    """In a new program, whose optimizer begins with another rate; to the bit."""
    make, rates = RATES[name]
    optimizer = Adam(0.8).setup([Parameter([1.0])])
    schedule = make(optimizer)
    for k in range(len(rates)):
        state = json.loads(json.dumps([schedule.state_dict(), optimizer.state_dict()]))
        for order in (1, -1):
            other = Adam(0.3).setup([Parameter([1.0])])
            successor = make(other)
            for each, saved in [(successor, state[0]), (other, state[1])][::order]:
                each.load_state_dict(saved)
            assert successor.state_dict() == state[0]
            for c in range(k, len(rates) + 2):
                assert other.lr == schedule.rate(0.8, c)
                successor.step()
        schedule.step()


def test_a_rate_that_was_changed_by_hand_stays() -> None:
    """The rate is the optimizer's; a schedule that is restored does not set it before its next step."""
    optimizer = SGD(0.8).setup([Parameter([1.0])])
    schedule = StepLR(optimizer, 1, 0.5)
    optimizer.lr = 0.01
    other = SGD(0.8).setup([Parameter([1.0])])
    successor = StepLR(other, 1, 0.5)
    other.load_state_dict(optimizer.state_dict())
    successor.load_state_dict(schedule.state_dict())
    assert other.lr == 0.01
    successor.step()
    assert other.lr == 0.4


def test_the_count_may_be_anything_at_once() -> None:
    """Nothing adds up: a million steps are as exact as one."""
    optimizer = SGD(0.1)
    schedule = CosineAnnealingLR(optimizer, 2_000_000)
    schedule.load_state_dict({"schedule": "CosineAnnealingLR", "count": 999_999, "base": 0.1})
    schedule.step()
    assert optimizer.lr == pytest.approx(0.05, rel=1e-9)


def test_it_trains_with_the_rate_of_the_schedule() -> None:
    param = Parameter(np.zeros(1))
    optimizer = SGD(1.0).setup([param])
    schedule = ExponentialLR(optimizer, 0.5)
    for _ in range(3):
        param.grad = Variable(np.ones(1)).detach()
        optimizer.update()
        schedule.step()
    assert float(param.data[0]) == -1.75


def test_a_schedule_of_one_s_own() -> None:
    class Root(Schedule):
        def rate(self, base: float, count: int) -> float:
            return base / np.float64(1 + count) ** 0.5

    optimizer = SGD(1.0)
    schedule = Root(optimizer)
    for _ in range(3):
        schedule.step()
    assert optimizer.lr == 0.5
    assert type(optimizer.lr) is float
    assert schedule.state_dict() == {"schedule": "Root", "count": 3, "base": 1.0}
    with pytest.raises(NotImplementedError, match=r"Schedule needs a method rate\(self, base, count\)"):
        Schedule(optimizer)


# Sequences -----------------------------------------------------------------------------------------------------------


def test_a_sequence_of_sequences() -> None:
    optimizer = SGD(0.8)
    inner = warm(optimizer)
    last = ExponentialLR(optimizer, 0.5)
    schedule = SequentialLR(optimizer, [inner, last], [5])
    rates = []
    for _ in range(7):
        rates.append(optimizer.lr)
        schedule.step()
    assert rates == pytest.approx([0.08, 0.32, 0.56, 0.8, 0.4 + 0.4 * R, 0.8, 0.4])


@pytest.mark.parametrize(
    ("milestones", "message"),
    [([], "milestones=.. must be 1 rising numbers"), ([0], "above 0"), ([1, 2], "must be 1"), ([-1], "above 0")],
)
def test_milestones_that_cannot_be(milestones: list[int], message: str) -> None:
    optimizer = SGD(0.8)
    both = [StepLR(optimizer, 1), StepLR(optimizer, 2)]
    with pytest.raises(ValueError, match=message):
        SequentialLR(optimizer, both, milestones)


def test_what_cannot_be_in_a_sequence() -> None:
    optimizer = SGD(0.8)
    with pytest.raises(ValueError, match="schedulers is empty"):
        SequentialLR(optimizer, [], [])
    with pytest.raises(ValueError, match=r"schedulers\[1\] has another optimizer"):
        SequentialLR(optimizer, [StepLR(optimizer, 1), StepLR(SGD(0.8), 1)], [2])
    with pytest.raises(TypeError, match=r"schedulers\[0\] is a ReduceLROnPlateau, which is no function of a count"):
        SequentialLR(optimizer, [ReduceLROnPlateau(optimizer)], [])  # type: ignore[list-item]


def test_the_base_of_a_sequence_is_never_guessed() -> None:
    """The warm-up has set its first rate when the other is made; in another order nobody knows the true one."""
    optimizer = SGD(0.8)
    warm_up, decay = LinearLR(optimizer, 0.1), StepLR(optimizer, 2)
    with pytest.raises(
        ValueError, match=r"schedulers\[1\] was not made right after schedulers\[0\]; make them in a row"
    ):
        SequentialLR(optimizer, [decay, warm_up], [5])
    assert SequentialLR(optimizer, [warm_up, decay], [5]).base == 0.8


# On a plateau --------------------------------------------------------------------------------------------------------


def test_reduces_on_a_plateau() -> None:
    optimizer = SGD(1.0)
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=2)
    rates = []
    for metric in [3.0, 2.0, 2.0, 1.99999, 2.0, 2.0, 2.0, 2.0, 1.0, nan, nan]:
        schedule.step(Variable(metric))
        rates.append(optimizer.lr)
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]


@pytest.mark.parametrize(
    ("options", "metrics", "best"),
    [
        ({}, [-1.0, -0.99995], -1.0),  # not better by a part of a negative one
        ({}, [-1.0, -1.00005, -1.1], -1.1),
        ({"mode": "max"}, [1.0, 1.00005, 1.1], 1.1),
        ({"mode": "max"}, [-1.0, -0.99995], -1.0),
        ({"mode": "max", "threshold": 0.5, "threshold_mode": "abs"}, [1.0, 1.4, 1.6], 1.6),
        ({"threshold": 0.5, "threshold_mode": "abs"}, [1.0, 0.6, 0.4], 0.4),
        ({}, [nan, 5.0, nan], 5.0),
    ],
)  # fmt: skip
def test_what_is_better(options: dict[str, Any], metrics: list[float], best: float) -> None:
    schedule = ReduceLROnPlateau(SGD(1.0), **options)
    for metric in metrics:
        schedule.step(metric)
    assert schedule.best == best


def test_no_further_than_the_least_rate() -> None:
    optimizer = SGD(1.0)
    schedule = ReduceLROnPlateau(optimizer, patience=0, min_lr=0.02)
    for metric in [1.0] * 5:
        schedule.step(metric)
    assert optimizer.lr == 0.02


def test_a_plateau_goes_on_from_every_step() -> None:
    metrics = [3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, nan, 1.0, 0.5]

    def make(rate: float) -> tuple[Adam, ReduceLROnPlateau]:
        optimizer = Adam(rate).setup([Parameter([1.0])])
        return optimizer, ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1)

    optimizer, schedule = make(1.0)
    saved, rates = [], []
    for metric in metrics:
        saved.append((schedule.state_dict(), optimizer.state_dict()))
        schedule.step(metric)
        rates.append(optimizer.lr)
    assert len(set(rates)) == 3
    for k, (state, rest) in enumerate(saved):
        other, successor = make(0.3)
        successor.load_state_dict(state)
        other.load_state_dict(rest)
        for metric, rate in zip(metrics[k:], rates[k:], strict=True):
            successor.step(metric)
            assert other.lr == rate


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda o: StepLR(o, 1), ReduceLROnPlateau])
def test_without_a_rate_there_is_nothing_to_schedule(make: Any) -> None:
    with pytest.raises(TypeError, match="optimizer is a AdaDelta, which has no lr that a schedule could set; take one"):
        make(AdaDelta())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: StepLR(o, 0), "step_size=0 must be a whole number of steps, at least 1"),
        (lambda o: StepLR(o, 1.5), "step_size=1.5 must be"),
        (lambda o: StepLR(o, True), "step_size=True must be"),
        (lambda o: StepLR(o, 1, 0.0), "gamma=0.0 must be positive"),
        (lambda o: MultiStepLR(o, [1], -1.0), "gamma=-1.0 must be positive"),
        (lambda o: ExponentialLR(o, 0), "gamma=0 must be positive"),
        (lambda o: LinearLR(o, 0.0), "start_factor=0.0 must be positive"),
        (lambda o: LinearLR(o, end_factor=-1.0), "end_factor=-1.0 must not be negative"),
        (lambda o: LinearLR(o, total_iters=0), "total_iters=0 must be"),
        (lambda o: CosineAnnealingLR(o, 0), "T_max=0 must be"),
        (lambda o: CosineAnnealingLR(o, 5, -0.1), "eta_min=-0.1 must not be negative"),
        (lambda o: ReduceLROnPlateau(o, "less"), "mode='less' must be 'min' or 'max'"),
        (lambda o: ReduceLROnPlateau(o, threshold_mode="r"), "threshold_mode='r' must be 'rel' or 'abs'"),
        (lambda o: ReduceLROnPlateau(o, factor=1.0), "factor=1.0 must be between 0 and 1"),
        (lambda o: ReduceLROnPlateau(o, patience=-1), "patience=-1 must be a whole number of steps, at least 0"),
        (lambda o: ReduceLROnPlateau(o, cooldown=2.0), "cooldown=2.0 must be a whole number of steps"),  # type: ignore[arg-type]
    ],
)
def test_options_that_cannot_be(make: Any, message: str) -> None:
    optimizer = SGD(0.8)
    with pytest.raises(ValueError, match=message):
        make(optimizer)
    assert optimizer.lr == 0.8


def test_a_factor_that_is_no_function() -> None:
    with pytest.raises(TypeError, match="f=0.5 cannot be called; give a function from the count of steps to a factor"):
        LambdaLR(SGD(0.8), 0.5)  # type: ignore[arg-type]


def test_a_state_of_something_else() -> None:
    step, plateau = StepLR(SGD(0.8), 1), ReduceLROnPlateau(SGD(0.8))
    with pytest.raises(StateError, match="this is the state of a ExponentialLR, and not of a StepLR"):
        step.load_state_dict(ExponentialLR(SGD(0.8), 0.5).state_dict())
    for each in (step, plateau):
        with pytest.raises(StateError, match=f"this is not the state of a {type(each).__name__}: it has"):
            each.load_state_dict({"count": 3})
    with pytest.raises(StateError, match="count=1.0 cannot be"):
        step.load_state_dict(step.state_dict() | {"count": 1.0})
    with pytest.raises(StateError, match="the state is for mode='max', and this ReduceLROnPlateau has 'min'"):
        plateau.load_state_dict(ReduceLROnPlateau(SGD(0.8), "max").state_dict())
    assert step.count == 0
