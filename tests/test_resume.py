"""A training that is stopped anywhere and continued by other objects ends with the same bits as one that was not.

Without files: everything is taken apart into JSON and arrays on the host, as a checkpoint does, and put together again.
"""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pytest

import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable, as_variable, random, use_backend
from dzcore.backend import Backend
from dzcore.dataloaders import DataLoader, SeqDataLoader
from dzcore.datasets import ArrayDataset
from dzcore.io.tree import host_array, join, split
from dzcore.models import Model
from dzcore.optimizers import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    AdamW,
    ClipGrad,
    CosineAnnealingLR,
    LinearLR,
    MomentumSGD,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
    WeightDecay,
)
from dzcore.state import Stateful

from .switching.runs import bits, distance, tolerance

EPOCHS = 3
RULES: dict[str, Callable[[], Any]] = {
    "SGD": lambda: SGD(0.1),
    "MomentumSGD": lambda: MomentumSGD(0.05),
    "Adam": lambda: Adam(0.02),
    "AdamW": lambda: AdamW(0.02, weight_decay=0.1),
    "AdaGrad": lambda: AdaGrad(0.05),
    "AdaDelta": lambda: AdaDelta(),
}


def warm(optimizer: Any) -> SequentialLR:
    both = [LinearLR(optimizer, 0.2, total_iters=2), CosineAnnealingLR(optimizer, 10)]
    return SequentialLR(optimizer, both, [2])


class Digits(Model):
    """Convolution, running statistics, dropout, and a layer without a size at first."""

    def __init__(self) -> None:
        # Without a bias, which the norm takes out again: its gradient would be rounding errors and nothing else.
        self.conv = L.Conv2d(3, 3, pad=1, nobias=True)
        self.norm = L.BatchNorm()
        self.hidden = L.Linear(5)
        self.out = L.Linear(3)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norm(self.conv(x)))
        x = F.dropout(F.flatten(x), 0.3)
        return self.out(F.dropout(F.tanh(self.hidden(x)), 0.5))


class Forecast(Model):
    """A recurrent network of two layers, one with two parts of its state."""

    def __init__(self) -> None:
        self.rnn = L.Stacked(L.LSTM(4), L.Dropout(0.2), L.GRU(3))
        self.out = L.Linear(1)

    def forward(self, x: Any) -> Any:
        return self.out(self.rnn(x))


def augmented(x: Any) -> Any:
    """Mirror and disturb a picture, at random."""
    own = as_variable(x).backend
    if int(random.integers(0, 2, (), backend=own)):
        x = own.xp.flip(x, axis=-1)
    return x + random.normal(x.shape, std=0.1, backend=own)


def pictures(transform: Any = None) -> ArrayDataset:
    draw = np.random.default_rng(0)
    data, label = draw.standard_normal((11, 1, 4, 4)).astype("f4"), draw.integers(0, 3, 11)
    with use_backend("numpy"):
        return ArrayDataset(data, label, transform=transform)


def series() -> ArrayDataset:
    wave = np.sin(np.arange(12, dtype="f4"))[:, None]
    with use_backend("numpy"):
        return ArrayDataset(wave[:-1], wave[1:])


class Recipe(NamedTuple):
    """What is trained, and how."""

    rule: str = "SGD"
    schedule: Callable[[Any], Any] | None = None
    hooks: tuple[Any, ...] = ()
    recurrent: bool = False
    transform: Any = None
    options: dict[str, Any] = {}  # noqa: RUF012  # of the loader; nobody changes it


class Training:
    """All objects of a program that trains."""

    def __init__(self, recipe: Recipe, seed: int, backend: Backend) -> None:
        random.seed(seed)
        self.recipe, self.backend = recipe, backend
        with use_backend(backend):
            self.model: Any = Forecast() if recipe.recurrent else Digits()
        self.optimizer = RULES[recipe.rule]().setup(self.model)
        self.schedule = None if recipe.schedule is None else recipe.schedule(self.optimizer)
        for hook in recipe.hooks:
            self.optimizer.add_hook(hook)
        options = {"backend": backend} | recipe.options
        if recipe.recurrent:
            self.loader: DataLoader = SeqDataLoader(series(), 3, **options)
        else:
            self.loader = DataLoader(pictures(recipe.transform), 4, **options)
        self.losses: list[Any] = []

    def parts(self) -> dict[str, Stateful]:
        """What a checkpoint is given."""
        parts = {"model": self.model, "optimizer": self.optimizer, "loader": self.loader, "schedule": self.schedule}
        return {name: part for name, part in parts.items() if part is not None}

    def steps(self) -> Iterator[int]:
        """Train, and hand over after every step."""
        total = 0.0
        for epoch in range(self.loader.epoch, EPOCHS):
            if self.recipe.recurrent and not self.loader.iteration:
                self.model.rnn.reset_state()
            for x, t in self.loader:
                loss = self.loss(x, t)
                self.model.cleargrads()
                loss.backward()
                loss.unchain_backward()
                self.optimizer.update()
                self.losses.append(bits(loss))
                if self.schedule is not None and not isinstance(self.schedule, ReduceLROnPlateau):
                    self.schedule.step()
                yield epoch
            if isinstance(self.schedule, ReduceLROnPlateau):
                self.schedule.step(total := total + 1.0)

    def loss(self, x: Any, t: Any) -> Variable:
        if not self.recipe.recurrent:
            return F.softmax_cross_entropy(self.model(x), t)
        total = F.mean_squared_error(self.model(x), t)
        return total + F.mean_squared_error(self.model(x), t)

    def saved(self) -> Any:
        """What a checkpoint keeps: text, and arrays on the host."""
        states = {name: part._state() for name, part in self.parts().items()}
        structure, arrays = split({"states": states, "stream": random.default_generator.state_dict()})
        return json.dumps(structure), {name: host_array(array) for name, array in arrays.items()}

    def restore(self, saved: Any) -> None:
        text, arrays = saved
        tree = join(json.loads(text), lambda name: arrays[name])
        with use_backend(self.backend):  # where layers without a size put their weights
            commits = [part._stage(tree["states"][name]) for name, part in self.parts().items()]
        for commit in commits:
            commit()
        random.default_generator.load_state_dict(tree["stream"])

    def everything(self) -> Any:
        """All bits that there are."""
        text, arrays = self.saved()
        return text, {name: (host.dtype, host.shape, bytes(host.buffer)) for name, host in arrays.items()}


def check(recipe: Recipe, backend: Backend, every: int = 1) -> None:
    """Save at every step, continue from each in new objects, and compare all bits at the end."""
    run = Training(recipe, 0, backend)
    saved = [run.saved()] + [run.saved() for _ in run.steps()]
    end = run.everything()
    assert len(saved) == len(run.losses) + 1 > 2 * EPOCHS
    assert len(set(run.losses)) == len(run.losses)
    for k in range(0, len(saved), every):
        other = Training(recipe, 1 + k, backend)
        if k % 3 == 1:  # objects that have been used already
            for _ in islice(other.steps(), 2):
                pass
            other.losses.clear()
        other.restore(saved[k])
        assert as_bits(other.saved()) == as_bits(saved[k]), k
        for _ in other.steps():
            pass
        assert other.losses == run.losses[k:], k
        assert other.everything() == end, k


def as_bits(saved: Any) -> Any:
    text, arrays = saved
    return text, {name: (host.dtype, host.shape, bytes(host.buffer)) for name, host in arrays.items()}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule(numpy_backend: Backend, rule: str) -> None:
    """With dropout, running statistics and shuffling."""
    check(Recipe(rule), numpy_backend)


@pytest.mark.parametrize("rule", RULES)
def test_with_hooks(numpy_backend: Backend, rule: str) -> None:
    check(Recipe(rule, hooks=(WeightDecay(0.01), ClipGrad(0.5))), numpy_backend)


@pytest.mark.parametrize(
    "schedule",
    [
        warm,
        lambda o: StepLR(o, 2, 0.5),
        lambda o: CosineAnnealingLR(o, 9),
        lambda o: ReduceLROnPlateau(o, patience=0, factor=0.5),
    ],
)
@pytest.mark.parametrize("rule", ["MomentumSGD", "Adam"])
def test_with_schedules(numpy_backend: Backend, rule: str, schedule: Any) -> None:
    check(Recipe(rule, schedule), numpy_backend)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seed": 5},
        {"shuffle": False},
        {"drop_last": True},
        {"prefetch": 3},
        {"workers": 2},
        {"workers": 1, "prefetch": 2, "seed": 5},
    ],
)
def test_with_augmentation(numpy_backend: Backend, options: dict[str, Any]) -> None:
    check(Recipe("Adam", warm, transform=augmented, options=options), numpy_backend)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("options", [{}, {"prefetch": 2}])
def test_truncated_back_propagation(numpy_backend: Backend, rule: str, options: dict[str, Any]) -> None:
    """The state of recurrent layers goes on in mid-epoch."""
    check(Recipe(rule, hooks=(ClipGrad(1.0),), recurrent=True, options=options), numpy_backend)


STRICT = {
    "rules": Recipe("AdamW", hooks=(WeightDecay(0.01),)),
    "augmentation": Recipe("MomentumSGD", warm, transform=augmented, options={"workers": 1, "prefetch": 1}),
    "recurrent": Recipe("Adam", warm, (ClipGrad(1.0),), recurrent=True),
}


@pytest.mark.parametrize("recipe", STRICT)
def test_on_every_backend(backend: Backend, recipe: str) -> None:
    check(STRICT[recipe], backend, every=5)


@pytest.mark.parametrize("recurrent", [False, True])
def test_each_part_matters(numpy_backend: Backend, recurrent: bool) -> None:
    """The comparison has teeth: whatever is not restored is missed."""
    recipe = Recipe(
        "Adam", lambda o: StepLR(o, 2, 0.5), recurrent=recurrent, transform=None if recurrent else augmented
    )
    run = Training(recipe, 0, numpy_backend)
    steps = run.steps()
    for _ in range(6 if recurrent else 4):  # in mid-epoch
        next(steps)
    saved = run.saved()
    for _ in steps:
        pass
    for left_out in (None, *run.parts(), "stream", "carried"):
        if left_out == "carried" and not recurrent:
            continue
        other = Training(recipe, 1, numpy_backend)
        next(other.steps())
        before, stream = {name: part.state_dict() for name, part in other.parts().items()}, random.get_state()
        carried = getattr(other.model, "rnn", None) and [
            (layer, name, getattr(layer, name))
            for layer in other.model.rnn.layers
            for name in getattr(layer, "carried", ())
        ]
        other.restore(saved)
        if left_out == "model":
            other.model.load_state_dict(before["model"])
        elif left_out == "stream":
            random.set_state(stream)
        elif left_out == "carried":
            for layer, name, value in carried:
                setattr(layer, name, value)
        elif left_out is not None:
            other.parts()[left_out].load_state_dict(before[left_out])
        for _ in other.steps():
            pass
        same = other.losses[-5:] == run.losses[-5:]
        assert same == (left_out is None), left_out


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("rule", ["MomentumSGD", "AdamW"])
def test_on_another_backend(strict: str, numpy_backend: Backend, rule: str, recurrent: bool) -> None:
    """Restored elsewhere, it goes on within rounding: the same batches, masks and order."""
    from dzcore import get_backend

    recipe = Recipe(rule, warm, (ClipGrad(1.0),), recurrent)
    run = Training(recipe, 0, numpy_backend)
    saved = [run.saved() for _ in run.steps()]
    there = get_backend(strict)
    for k in (0, 2, len(saved) - 3):
        other = Training(recipe, 1, there)
        other.restore(saved[k])
        assert {value.backend for _, value in other.model.named_state()} == {there}
        steps = sum(1 for _ in other.steps())
        assert steps == len(saved) - 1 - k
        assert json.loads(other.saved()[0]) == json.loads(run.saved()[0])
        here, found = dict(run.model.named_state()), dict(other.model.named_state())
        worst = max(distance(here[path], found[path]) for path in here)
        assert worst <= tolerance("float32", steps), (k, worst)
