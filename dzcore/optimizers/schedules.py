"""Schedules: the learning rate as a function of the number of steps.

    schedule = CosineAnnealingLR(optimizer, T_max=30)
    for epoch in range(30):
        …
        schedule.step()

One step may be an epoch or a batch: the caller decides by where `step()` stands. Each rate follows from the first one
and from the count of steps alone, so that nothing adds up and a schedule can be continued anywhere. Names and formulas
are those of PyTorch. Write c for the count, lr₀ for the optimizer's rate when the schedule was made.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import cos, inf, isinf, pi
from typing import Any

from ..errors import StateError
from ..state import Stateful, checked
from .base import Optimizer, not_negative, positive

__all__ = [
    "CosineAnnealingLR", "ExponentialLR", "LambdaLR", "LinearLR", "MultiStepLR", "ReduceLROnPlateau", "Schedule",
    "SequentialLR", "StepLR",
]  # fmt: skip


class Schedule(Stateful):
    """Sets `optimizer.lr`, at once and at every `step()`, to `rate(lr₀, count)`, which a subclass defines.

    An optimizer has one schedule at a time; several in a row are a SequentialLR. The state is the count and lr₀; what
    else the schedule depends on stands in the program.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = _scheduled(optimizer)
        self.base = float(optimizer.lr)  # type: ignore[attr-defined]
        self.count = 0
        self._set()

    def rate(self, base: float, count: int) -> float:
        """Return the learning rate after `count` steps from `base`."""
        raise NotImplementedError(f"{type(self).__name__} needs a method rate(self, base, count)")

    def step(self) -> None:
        """Count one step, and set the learning rate that follows."""
        self.count += 1
        self._set()

    def _set(self) -> None:
        self.optimizer.lr = float(self.rate(self.base, self.count))

    def _state(self) -> dict[str, Any]:
        return {"schedule": type(self).__name__, "count": self.count, "base": self.base}

    def _stage(self, state: dict[str, Any]) -> Callable[[], None]:
        name, count, base = checked(self, state, schedule=str, count=int, base=float).values()
        if name != type(self).__name__:
            raise StateError(f"this is the state of a {name}, and not of a {type(self).__name__}")

        def commit() -> None:  # the optimizer's rate is a part of its own state
            self.count, self.base = count, base

        return commit


class LambdaLR(Schedule):
    """lr₀ · f(c), of your own function f."""

    def __init__(self, optimizer: Optimizer, f: Callable[[int], float]) -> None:
        if not callable(f):
            raise TypeError(f"f={f!r} cannot be called; give a function from the count of steps to a factor")
        self.f = f
        super().__init__(optimizer)

    def rate(self, base: float, count: int) -> float:
        return base * self.f(count)


class StepLR(Schedule):
    """lr₀ · gamma^⌊c / step_size⌋: less by a factor every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = _steps(step_size=step_size), gamma
        positive(gamma=gamma)
        super().__init__(optimizer)

    def rate(self, base: float, count: int) -> float:
        return base * self.gamma ** (count // self.step_size)


class MultiStepLR(Schedule):
    """lr₀ · gamma^n, with n the number of `milestones` that are at most c."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        positive(gamma=gamma)
        super().__init__(optimizer)

    def rate(self, base: float, count: int) -> float:
        return base * self.gamma ** bisect_right(self.milestones, count)


class ExponentialLR(Schedule):
    """lr₀ · gamma^c."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        positive(gamma=gamma)
        super().__init__(optimizer)

    def rate(self, base: float, count: int) -> float:
        return base * self.gamma**count


class LinearLR(Schedule):
    """lr₀ times a factor that goes in a line from `start_factor` to `end_factor` in `total_iters` steps: a warm-up."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        positive(start_factor=start_factor)
        not_negative(end_factor=end_factor)
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = _steps(total_iters=total_iters)
        super().__init__(optimizer)

    def rate(self, base: float, count: int) -> float:
        part = min(count, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * part)


class CosineAnnealingLR(Schedule):
    """eta_min + (lr₀ - eta_min) (1 + cos(π c / T_max)) / 2 (Loshchilov and Hutter, ICLR 2017).

    It reaches `eta_min` after `T_max` steps; then it would rise again.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        not_negative(eta_min=eta_min)
        self.T_max, self.eta_min = _steps(T_max=T_max), eta_min
        super().__init__(optimizer)

    def rate(self, base: float, count: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + cos(pi * count / self.T_max)) / 2


class SequentialLR(Schedule):
    """One schedule after the other: the next begins, with its own count from 0, at each of the `milestones`.

    >>> from dzcore.optimizers import SGD, CosineAnnealingLR, LinearLR, SequentialLR
    >>> optimizer = SGD(lr=0.1)
    >>> both = [LinearLR(optimizer, 0.1, total_iters=5), CosineAnnealingLR(optimizer, T_max=25)]
    >>> schedule = SequentialLR(optimizer, both, milestones=[5])  # step() this one only
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]) -> None:
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        for i, each in enumerate(self.schedulers):
            if not isinstance(each, Schedule):
                raise TypeError(f"schedulers[{i}] is a {type(each).__name__}, which is no function of a count of steps")
            if each.optimizer is not optimizer:
                raise ValueError(f"schedulers[{i}] has another optimizer")
        starts = [0, *self.milestones]
        if not self.schedulers:
            raise ValueError("schedulers is empty; give one at least")
        if len(starts) != len(self.schedulers) or starts != sorted(set(starts)):
            raise ValueError(
                f"milestones={self.milestones} must be {len(self.schedulers) - 1} rising numbers above 0, the "
                f"counts at which schedulers[1] and those after it begin"
            )
        # Each was made when the one before had set its first rate; lr₀ is that of the first.
        for i, (one, other) in enumerate(pairwise(self.schedulers)):
            if other.base != one.rate(one.base, 0):
                raise ValueError(f"schedulers[{i + 1}] was not made right after schedulers[{i}]; make them in a row")
        super().__init__(optimizer)
        self.base = self.schedulers[0].base
        self._set()

    def rate(self, base: float, count: int) -> float:
        i = bisect_right(self.milestones, count)
        return self.schedulers[i].rate(base, count - ([0, *self.milestones])[i])


class ReduceLROnPlateau(Stateful):
    """Multiply the rate by `factor` when a metric has not become better for more than `patience` steps.

    Better is less (`mode="min"`) or more ("max") than the best by a part `threshold` of it, or, with
    `threshold_mode="abs"`, by `threshold` itself. After a reduction `cooldown` steps pass before it counts again. The
    rate does not fall below `min_lr`, nor by less than `eps`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode={mode!r} must be 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold_mode={threshold_mode!r} must be 'rel' or 'abs'")
        if not 0 < factor < 1:
            raise ValueError(f"factor={factor} must be between 0 and 1")
        not_negative(threshold=threshold, min_lr=min_lr, eps=eps)
        self.optimizer = _scheduled(optimizer)
        self.mode, self.factor = mode, factor
        self.patience, self.cooldown = _steps(0, patience=patience), _steps(0, cooldown=cooldown)
        self.threshold, self.threshold_mode, self.min_lr, self.eps = threshold, threshold_mode, min_lr, eps
        self.best = inf if mode == "min" else -inf
        self.bad = 0  #: steps without a better metric
        self.rest = 0  #: steps of the cooldown that are left

    def step(self, metric: Any) -> None:
        """Take note of a metric, a number or a Variable that holds one, and reduce the rate if it is time."""
        metric = float(metric)
        if self._better(metric):
            self.best, self.bad = metric, 0
        else:  # nan among them
            self.bad += 1
        if self.rest:
            self.rest, self.bad = self.rest - 1, 0
        if self.bad > self.patience:
            old = self.optimizer.lr  # type: ignore[attr-defined]
            new = max(old * self.factor, self.min_lr)
            if old - new > self.eps:
                self.optimizer.lr = new
            self.rest, self.bad = self.cooldown, 0

    def _better(self, metric: float) -> bool:
        sign, margin = (1 if self.mode == "max" else -1), self.threshold
        if self.threshold_mode == "rel":
            margin *= 0.0 if isinf(self.best) else abs(self.best)
        return metric * sign > self.best * sign + margin

    def _state(self) -> dict[str, Any]:
        return {"mode": self.mode, "best": self.best, "bad": self.bad, "rest": self.rest}

    def _stage(self, state: dict[str, Any]) -> Callable[[], None]:
        mode, best, bad, rest = checked(self, state, mode=str, best=float, bad=int, rest=int).values()
        if mode != self.mode:
            raise StateError(f"the state is for mode={mode!r}, and this ReduceLROnPlateau has {self.mode!r}")

        def commit() -> None:
            self.best, self.bad, self.rest = best, bad, rest

        return commit


def _scheduled(optimizer: Optimizer) -> Optimizer:
    """Return an optimizer whose rate can be set."""
    if not hasattr(optimizer, "lr"):
        raise TypeError(
            f"optimizer is a {type(optimizer).__name__}, which has no lr that a schedule could set; take one that has, "
            f"such as SGD or Adam"
        )
    return optimizer


def _steps(least: int = 1, /, **numbers: int) -> int:
    """Return a whole number of steps, at least so many."""
    ((name, number),) = numbers.items()
    if isinstance(number, bool) or not hasattr(number, "__index__") or number.__index__() < least:
        raise ValueError(f"{name}={number!r} must be a whole number of steps, at least {least}")
    return number.__index__()
