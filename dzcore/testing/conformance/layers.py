"""Layers: small networks train, and go the way that the portable form and the reference go."""

from collections.abc import Callable
from typing import Any

import pytest

from ... import functions as fn
from ... import optimizers, random
from ...backend import Backend, use_backend
from ...graph import Variable, test_mode
from ...models import MLP
from ..compare import values
from ..draw import Source
from .group import Group
from .measure import measures_of, reference_for, send

__all__ = ["Layers"]

OPTIMIZERS: dict[str, Callable[[], optimizers.Optimizer]] = {
    "SGD": lambda: optimizers.SGD(0.2),
    "MomentumSGD": lambda: optimizers.MomentumSGD(0.05),
    "AdaGrad": lambda: optimizers.AdaGrad(0.05),
    "AdaDelta": lambda: optimizers.AdaDelta(eps=1e-4),
    "Adam": lambda: optimizers.Adam(0.02),
    "AdamW": lambda: optimizers.AdamW(0.02),
}
STEPS, ROWS, SIZE, CLASSES = 12, 16, 5, 3
#: Twelve steps in float32 amplify rounding some hundred times; a wrong term in a formula is worth far more.
RTOL, ATOL = 1e-3, 1e-4


def _data(backend: Backend) -> tuple[Variable, Any]:
    """Return points and the class of each, by its largest coordinate."""
    plain = Source(11).uniform(ROWS * SIZE, -1.0, 1.0)
    rows = [plain[i : i + SIZE] for i in range(0, len(plain), SIZE)]
    classes = [max(range(CLASSES), key=row.__getitem__) for row in rows]
    x = Variable(send(backend, plain, (ROWS, SIZE), "float32"), backend=backend).detach()
    return x, Variable(send(backend, classes, (ROWS,), "int64"), backend=backend)


def _train(backend: Backend, optimizer: optimizers.Optimizer, steps: int = STEPS) -> tuple[list[float], list[Any]]:
    """Return the losses of a small network with dropout, and its weights after training."""
    with use_backend(backend):
        random.seed(5)
        model = MLP((8, 8, CLASSES), activation=fn.tanh, dropout=0.25, in_size=SIZE)
        optimizer.setup(model)
        x, t = _data(backend)
        losses = []
        for _ in range(steps):
            loss = fn.softmax_cross_entropy(model(x), t)
            model.cleargrads()
            loss.backward()
            optimizer.update()
            losses.append(float(loss))
        assert all(param.backend is backend and backend.owns(param.data) for param in model.params())
        assert {backend.dtype_name(param.dtype) for param in model.params()} == {"float32"}
        with test_mode():
            losses.append(float(fn.softmax_cross_entropy(model(x), t)))
        return losses, [values(param) for param in model.params()]


def _assert_near(found: list[float], expected: list[float], what: str) -> None:
    for i, (x, y) in enumerate(zip(found, expected, strict=True)):
        assert abs(x - y) <= ATOL + RTOL * abs(y), f"{what}, number {i}: {x!r}, expected {y!r}"


class Layers(Group):
    """Whole networks."""

    def test_initial_weights(self, backend: Backend) -> None:
        """They are equal bit for bit wherever they are drawn."""
        found = _train(backend, optimizers.SGD(), steps=0)[1]
        for other in measures_of(backend):
            assert found == _train(other, optimizers.SGD(), steps=0)[1], f"on {other}"

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_training(self, name: str, backend: Backend) -> None:
        """Losses and weights go the way of the portable form and of the reference, and the loss falls."""
        losses, weights = _train(backend, OPTIMIZERS[name]())
        for other in measures_of(backend):
            expected, others = _train(other, OPTIMIZERS[name]())
            _assert_near(losses, expected, f"the loss, against {other}")
            for i, (found, wanted) in enumerate(zip(weights, others, strict=True)):
                _assert_near(found, wanted, f"parameter {i}, against {other}")
        assert losses[-1] < losses[0], f"the loss does not fall: {losses}"

    def test_moving(self, backend: Backend) -> None:
        """A model that moves to the reference and back in the middle of training goes the same way."""
        other = reference_for(backend)
        expected = _train(backend, optimizers.Adam(0.02))[1]
        random.seed(5)
        model = MLP((8, 8, CLASSES), activation=fn.tanh, dropout=0.25, in_size=SIZE)
        optimizer = optimizers.Adam(0.02).setup(model)
        for step in range(STEPS):
            here = other if 4 <= step < 8 else backend
            model.to(here)
            x, t = _data(here)
            loss = fn.softmax_cross_entropy(model(x), t)
            model.cleargrads()
            loss.backward()
            optimizer.update()
            assert all(param.backend is here for param in model.params())
        for i, (param, wanted) in enumerate(zip(model.params(), expected, strict=True)):
            _assert_near(values(param), wanted, f"parameter {i}")

    def test_an_update_reaches_nobody_else(self, backend: Backend) -> None:
        """A step changes the model's parameters, and no array that somebody kept or gave."""
        random.seed(5)
        model = MLP((4, CLASSES), in_size=SIZE)
        given = send(backend, [0.5] * CLASSES, (CLASSES,), "float32")
        list(model.params())[-1].data = given
        x, t = _data(backend)
        before, kept = [values(param) for param in model.params()], values(x)
        optimizer = optimizers.MomentumSGD(0.5).setup(model)
        fn.softmax_cross_entropy(model(x), t).backward()
        grads = [values(param.grad) for param in model.params()]
        optimizer.update()
        assert all(values(param) != old for param, old in zip(model.params(), before, strict=True))
        assert [values(param.grad) for param in model.params()] == grads
        assert values(x) == kept
        assert values(Variable(given)) == [0.5] * CLASSES
