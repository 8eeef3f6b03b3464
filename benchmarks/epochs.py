"""Seconds per epoch over MNIST: 784-1000-10, sigmoid, SGD, batches of 100, each framework with its own DataLoader."""

import time
from collections.abc import Callable, Iterable
from types import ModuleType

import dezero
import dezero.functions as DF
import numpy as np

import dzcore
import dzcore.functions as F
from dzcore import DataLoader, optimizers
from dzcore.datasets import MNIST
from dzcore.models import MLP


class _Arrays(dezero.datasets.Dataset):
    """MNIST as DeZero keeps it: pictures of uint8, converted one by one as they are asked for."""

    def __init__(self, pictures: np.ndarray, labels: np.ndarray) -> None:
        self.arrays = (pictures, labels)
        super().__init__(
            transform=dezero.transforms.Compose(
                [dezero.transforms.Flatten(), dezero.transforms.ToFloat(), dezero.transforms.Normalize(0.0, 255.0)]
            )
        )

    def prepare(self) -> None:
        self.data, self.label = self.arrays


def run(epochs: int) -> list[tuple[str, float, float]]:
    """Train both in turn; return (framework, seconds of the fastest epoch, loss of the last one)."""
    dzcore.random.seed(0)
    train = MNIST(train=True)
    contenders = {"dzcore": _ours(train), "DeZero": _dezero(train)}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    losses: dict[str, float] = {}
    for _ in range(epochs):
        for name, epoch in contenders.items():
            start = time.perf_counter()
            losses[name] = epoch()
            seconds[name].append(time.perf_counter() - start)
    return [(name, min(seconds[name]), losses[name]) for name in contenders]


def _ours(train: MNIST) -> Callable[[], float]:
    model = MLP((1000, 10))
    return _trainer(F, DataLoader(train, 100, seed=0), model, optimizers.SGD().setup(model))


def _dezero(train: MNIST) -> Callable[[], float]:
    pictures = np.asarray(train.data).reshape(-1, 1, 28, 28)
    loader = dezero.DataLoader(_Arrays(pictures, np.asarray(train.label).astype(np.int64)), 100)
    model = dezero.models.MLP((1000, 10))
    return _trainer(DF, loader, model, dezero.optimizers.SGD().setup(model))


def _trainer(functions: ModuleType, loader: Iterable, model: Callable, optimizer: object) -> Callable[[], float]:
    """Return the function that trains for an epoch and gives the mean loss: the same lines for both frameworks."""

    def epoch() -> float:
        total, count = 0.0, 0
        for x, t in loader:
            loss = functions.softmax_cross_entropy(model(x), t)
            model.cleargrads()
            loss.backward()
            optimizer.update()
            total += float(loss.data) * len(t)
            count += len(t)
        return total / count

    return epoch
