"""A training step on an accelerator never waits for a value: the loss is read when somebody looks at it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import array_api_strict
import pytest

import dzcore.functions as F
from dzcore import Parameter, no_grad, random, test_mode
from dzcore.backend import Backend, HostArray, get_backend, register_backend
from dzcore.cli.measure import Tally
from dzcore.dataloaders import DataLoader
from dzcore.datasets import ArrayDataset
from dzcore.models import MLP, Model
from dzcore.optimizers import SGD, AdaDelta, AdaGrad, Adam, AdamW, MomentumSGD, Optimizer
from dzcore.optimizers.hooks import ClipGrad, FreezeParam, WeightDecay
from tests.elsewhere import Elsewhere

Array = array_api_strict._array_object.Array
RULES = {rule.__name__: rule for rule in (SGD, MomentumSGD, AdaGrad, AdaDelta, Adam, AdamW)}


class Distant(Elsewhere):
    """An accelerator: a second device, out of NumPy's reach, and a scatter of its own as any accelerator has."""

    name = "distant"
    accelerator = True
    watched = False

    def index_add(self, size: int, index: Any, values: Any) -> Any:
        hits = self.xp.arange(size, dtype=index.dtype, device=self.device)[:, None] == index[None, :]
        flat = self.xp.reshape(values, (values.shape[0], -1))
        return self.xp.reshape(self.xp.astype(hits, values.dtype) @ flat, (size, *values.shape[1:]))

    def to_host(self, array: Any) -> HostArray:
        if self.watched:
            raise AssertionError("the host reads an array")
        return super().to_host(array)


@pytest.fixture
def distant(only_numpy: Backend) -> Distant:
    register_backend(Distant)
    backend = get_backend("distant")
    assert isinstance(backend, Distant)
    return backend


@pytest.fixture
def watch(distant: Distant, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Whatever is read inside `with watch()` raises."""

    @contextmanager
    def watching() -> Iterator[None]:
        def refuse(self: Any, *_: Any) -> Any:
            raise AssertionError("the host reads a value")

        with monkeypatch.context() as patch:
            for name in ("__float__", "__int__", "__bool__", "__index__", "__complex__", "__array__", "__buffer__"):
                if hasattr(Array, name):
                    patch.setattr(Array, name, refuse)
            patch.setattr(distant, "watched", True)
            yield

    return watching


def loader_on(backend: Backend) -> DataLoader:
    draw = random.Generator(3)
    x, t = draw.uniform((20, 4), backend=backend), draw.integers(0, 3, 20, backend=backend)
    return DataLoader(ArrayDataset(x, t, backend=backend), 8, seed=0)


def train(model: Model, optimizer: Optimizer, loader: DataLoader, tally: Tally) -> None:
    for x, t in loader:
        y = model(x)
        loss = F.softmax_cross_entropy(y, t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        tally.add(loss.data, y.data, t)


def test_the_watch_sees_every_read(distant: Distant, watch: Callable[[], Any]) -> None:
    x = distant.asarray([1.0])[0]
    for read in (float, int, bool, distant.to_host):
        with watch(), pytest.raises(AssertionError, match="the host reads"):
            read(x)
    assert float(x) == 1


@pytest.mark.parametrize(
    ("rule", "activation"), [*((rule, "relu") for rule in RULES), ("SGD", "sigmoid"), ("SGD", "tanh")]
)
def test_a_training_reads_nothing(rule: str, activation: str, distant: Distant, watch: Callable[[], Any]) -> None:
    random.seed(0)
    loader, tally = loader_on(distant), Tally(distant)
    model = MLP((6, 5, 3), getattr(F, activation), dropout=0.3, in_size=4).to(distant)
    optimizer = RULES[rule]().setup(model)
    optimizer.add_hook(WeightDecay(0.1)).add_hook(ClipGrad(0.5)).add_hook(FreezeParam(model.l1))
    with watch():
        for _ in range(2):
            train(model, optimizer, loader, tally)
        with no_grad(), test_mode():
            for x, t in DataLoader(loader.dataset, 7, shuffle=False):
                y = model(x)
                tally.add(F.softmax_cross_entropy(y, t).data, y.data, t)
                F.accuracy(y, t)
    loss, accuracy = tally.read()
    assert tally.samples == 60
    assert 0 < loss < 3
    assert 0 <= accuracy <= 1


def test_drawing_and_picking_read_nothing(distant: Distant, watch: Callable[[], Any]) -> None:
    random.seed(0)
    random.normal(1, backend=distant)  # the table is sent once
    x, rows = Parameter([[1.0, 2.0]] * 4, backend=distant), distant.asarray([0, 3, 3], "int64")
    with watch():
        for draw in (random.uniform, random.normal):
            draw((3, 2), backend=distant)
        random.permutation(9, backend=distant)
        random.bernoulli(0.3, (3,), backend=distant)
        random.integers(0, 9, (3,), backend=distant)
        y = F.sum(x[rows] ** 2.0) + F.sum(F.take(x, rows, axis=0) * F.max(x) + F.clip(x[1:2], -1.0, 1.0))
        y.backward()
        assert x.grad is not None


def test_the_next_batch_is_sent_without_a_look_at_the_device(distant: Distant, watch: Callable[[], Any]) -> None:
    loader = DataLoader(loader_on(get_backend("numpy")).dataset, 8, backend=distant, prefetch=2, seed=0)
    with watch():
        batches = list(loader)
    assert all(distant.owns(array) for batch in batches for array in batch)
