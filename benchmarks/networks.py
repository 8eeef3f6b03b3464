"""Training steps of multi-layer perceptrons, batches of 100 in float32: forward, backward, update."""

from collections.abc import Callable

import dezero
import dezero.functions as DF
import dezero.layers as DL
import numpy as np
import torch
from harness import Result, compete

import dzcore
import dzcore.functions as F
from dzcore import optimizers
from dzcore.models import MLP


def run(rounds: int) -> list[Result]:
    """Time a step of 784-1000-10 (sigmoid, SGD) and of 784-512-512-512-10 (ReLU, dropout 0.2, Adam)."""
    rng = np.random.default_rng(0)
    x = rng.random((100, 784), dtype=np.float32)
    t = rng.integers(0, 10, 100)
    results = []
    for name, sizes, plain in (
        ("784-1000-10, sigmoid, SGD", (1000, 10), True),
        ("784-512-512-512-10, ReLU, dropout, Adam", (512, 512, 512, 10), False),
    ):
        steps = {
            "dzcore": _ours(sizes, plain, x, t),
            "DeZero": _dezero(sizes, plain, x, t),
            "PyTorch": _torch(sizes, plain, x, t),
        }
        results.append(compete(name, steps, ours="dzcore", units=1, rounds=rounds, seconds=0.2))
    return results


def _ours(sizes: tuple[int, ...], plain: bool, x: np.ndarray, t: np.ndarray) -> Callable[[], None]:
    dzcore.random.seed(0)
    model = MLP(sizes, activation=F.sigmoid if plain else F.relu, dropout=0.0 if plain else 0.2)
    optimizer = (optimizers.SGD(0.01) if plain else optimizers.Adam()).setup(model)

    def step() -> None:
        loss = F.softmax_cross_entropy(model(x), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()

    return step


class _DeZeroNet(dezero.Model):
    def __init__(self, sizes: tuple[int, ...], plain: bool) -> None:
        super().__init__()
        self.activation = DF.sigmoid if plain else DF.relu
        self.plain = plain
        self.links = [DL.Linear(size, dtype=np.float32) for size in sizes]
        for i, link in enumerate(self.links):
            setattr(self, f"l{i}", link)

    def forward(self, x: object) -> object:
        for link in self.links[:-1]:
            x = self.activation(link(x))
            if not self.plain:
                x = DF.dropout(x, 0.2)
        return self.links[-1](x)


def _dezero(sizes: tuple[int, ...], plain: bool, x: np.ndarray, t: np.ndarray) -> Callable[[], None]:
    model = _DeZeroNet(sizes, plain)
    model(x)
    for param in model.params():  # its default weights are float64, and so would be all that follows
        param.data = param.data.astype(np.float32)
    optimizer = (dezero.optimizers.SGD(0.01) if plain else dezero.optimizers.Adam()).setup(model)

    def step() -> None:
        loss = DF.softmax_cross_entropy(model(x), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()

    return step


def _torch(sizes: tuple[int, ...], plain: bool, x: np.ndarray, t: np.ndarray) -> Callable[[], None]:
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    width = x.shape[1]
    for size in sizes[:-1]:
        layers += [torch.nn.Linear(width, size), torch.nn.Sigmoid() if plain else torch.nn.ReLU()]
        if not plain:
            layers.append(torch.nn.Dropout(0.2))
        width = size
    model = torch.nn.Sequential(*layers, torch.nn.Linear(width, sizes[-1]))
    parameters = model.parameters()
    optimizer = torch.optim.SGD(parameters, 0.01) if plain else torch.optim.Adam(parameters)
    inputs, classes = torch.from_numpy(x), torch.from_numpy(t)

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(model(inputs), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
