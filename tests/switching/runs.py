"""A small training that can be moved about, and the comparison of two of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dzcore.functions as F
from dzcore import Variable, as_variable, grad, no_grad, random, test_mode, use_backend
from dzcore.backend import Backend
from dzcore.dataloaders import DataLoader
from dzcore.datasets import ArrayDataset
from dzcore.layers import Linear
from dzcore.layers.base import Buffer
from dzcore.models import Model
from dzcore.optimizers import SGD, Adam, MomentumSGD, Optimizer
from dzcore.optimizers.hooks import ClipGrad, WeightDecay
from dzcore.testing import values

#: Every rule with its update Lipschitz in the gradient: a large eps keeps Adam from dividing rounding by rounding.
RULES: dict[str, Any] = {
    "sgd": lambda: SGD(0.1),
    "momentum": lambda: MomentumSGD(0.05),
    "adam": lambda: Adam(0.02, eps=0.01),
}
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}
SAMPLES, SIZE, CLASSES, BATCH = 22, 4, 3, 8

#: Units in the last place that a step may add to weights and outputs of magnitude 1. A step has five products of sums
#: of at most 8 terms one after the other, forward, backward and once more for second derivatives: some 100 units at
#: the worst (3 were seen), and smooth activations, clipped gradients and small steps keep what is there from growing by
#: more than some 5 % a step. The wrong mask, order, or state of an optimizer gives 1e-3 and more after one step.
GROWTH = 300


def tolerance(dtype: str, steps: int) -> float:
    """How far apart two runs may be after so many steps."""
    return GROWTH * UNIT[dtype] * (1 + steps)


class Net(Model):
    """Three layers, the last two without a size at first, dropout, and running statistics."""

    def __init__(self, dtype: str) -> None:
        self.l0 = Linear(6, dtype=dtype, in_size=SIZE)
        self.l1 = Linear(5, dtype=dtype)
        self.l2 = Linear(CLASSES, dtype=dtype)
        self.center = Buffer([0.0] * SIZE, dtype=dtype)
        self.hidden: Variable | None = None  #: what dropout left at the last call

    def forward(self, x: Any) -> Variable:
        x = as_variable(x)
        from dzcore import Config

        if Config.train:
            xp = x.backend.xp
            self.center.data = self.center.data * 0.9 + xp.mean(x.data, axis=0) * 0.1
        x = F.dropout(F.tanh(self.l0(x - self.center)), 0.25)
        x = F.dropout(F.tanh(self.l1(x)), 0.5)
        self.hidden = x.detach()
        return self.l2(x)


def samples(dtype: str, backend: Backend) -> ArrayDataset:
    """The same numbers on every backend."""
    draw = random.Generator(1)
    x = draw.uniform((SAMPLES, SIZE), -1.0, 1.0, dtype, backend=backend)
    return ArrayDataset(x, draw.integers(0, CLASSES, SAMPLES, backend=backend), backend=backend)


class Run:
    """A training that draws from a default stream of its own."""

    def __init__(self, backend: Backend, rule: str, dtype: str, seed: int, prefetch: int = 0) -> None:
        self.dtype = dtype
        self.stream = (seed, 0)
        self.steps = 0
        self.optimizer: Optimizer = RULES[rule]().add_hook(WeightDecay(0.01)).add_hook(ClipGrad(1.0))
        self.renew(backend)
        self.loader = DataLoader(samples(dtype, backend), BATCH, seed=seed, prefetch=prefetch)
        self.batch: list[tuple[Any, ...]] = []  #: bits of the last batch

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Let the default generator be this run's own."""
        before = random.get_state()
        random.set_state(self.stream)
        try:
            yield
        finally:
            self.stream = random.get_state()
            random.set_state(before)

    def renew(self, backend: Backend) -> None:
        """Begin a new model, on a backend."""
        with self.drawing(), use_backend(backend):
            self.model = Net(self.dtype)
        self.optimizer.setup(self.model)

    def load(self, path: str | os.PathLike[str]) -> None:
        self.model.load_weights(path)

    @property
    def backend(self) -> Backend:
        """Where the model is."""
        return self.model.l0.W.backend

    def step(self, second: bool = False, between: Backend | None = None) -> None:
        """Train on one batch; with the square of the gradient in the loss; moving between gradient and update."""
        with self.drawing():
            x, t = next(self.loader, None) or next(self.loader)
            assert self.loader.backend.owns(x)
            assert self.loader.backend.owns(t)
            self.batch = [bits(as_variable(each)) for each in (x, t)]
            x, t = (as_variable(each).to(self.backend) for each in (x, t))
            loss = F.softmax_cross_entropy(self.model(x), t)
            if second:
                slopes = grad(loss, list(self.model.params()), create_graph=True)
                loss = loss + sum(
                    (F.sum(g * g) for g in slopes), start=Variable(0.0, dtype=self.dtype).to(self.backend)
                )
            self.model.cleargrads()
            loss.backward()
            if between is not None:
                self.model.to(between)
            self.optimizer.update()
        self.steps += 1

    def scores(self) -> Variable:
        """What the model says of all samples, in test mode."""
        with self.drawing(), no_grad(), test_mode():
            return self.model(samples(self.dtype, self.backend).data)


def bits(x: Variable) -> tuple[Any, ...]:
    """Everything that two equal arrays have in common, whatever their backends."""
    host = x.to_host()
    return host.dtype, host.shape, bytes(memoryview(host.buffer).cast("B"))


def assert_equal_bits(run: Run, model: Run) -> None:
    """Raise unless both have drawn the same: places in the streams, the batch, the masks."""
    assert run.stream == model.stream
    assert run.loader.generator.state == model.loader.generator.state
    assert run.loader.iteration == model.loader.iteration
    assert run.batch == model.batch
    if run.model.hidden is not None and model.model.hidden is not None:
        dropped, expected = ([value == 0 for value in values(each.model.hidden)] for each in (run, model))
        assert dropped == expected


def distance(x: Variable, y: Variable) -> float:
    """The largest difference of their elements, on whichever backends."""
    assert x.backend.dtype_name(x.dtype) == y.backend.dtype_name(y.dtype)
    assert x.shape == y.shape
    return max(abs(a - b) for a, b in zip(values(x), values(y), strict=True))


def apart(run: Run, model: Run) -> float:
    """The largest difference of weights, buffers and gradients."""
    here, there = dict(run.model.named_state()), dict(model.model.named_state())
    assert list(here) == list(there)
    most = 0.0
    for name, value in here.items():
        other = there[name]
        assert (value._data is None) == (other._data is None), name
        if value._data is not None:
            assert value.backend is run.backend, name
            assert run.backend.owns(value.data), name
            most = max(most, distance(value, other))
        assert (value.grad is None) == (other.grad is None), name
        if value.grad is not None and other.grad is not None:
            assert value.grad.backend is run.backend, name
            assert run.backend.owns(value.grad.data), name
            most = max(most, distance(value.grad, other.grad))
    return most
