"""The loop that three of the texts train an MLP with, in one place."""

import time
from typing import Any

import dzcore
import dzcore.functions as F
from dzcore import DataLoader, optimizers
from dzcore.models import MLP


def prepare(batch_size: int = 100) -> tuple[Any, DataLoader, MLP, Any]:
    train_set = dzcore.datasets.MNIST(train=True)
    train_loader = DataLoader(train_set, batch_size)
    model = MLP((1000, 10))
    optimizer = optimizers.SGD().setup(model)
    return train_set, train_loader, model, optimizer


def train(train_set: Any, train_loader: DataLoader, model: MLP, optimizer: Any, max_epoch: int) -> list[float]:
    """Print a line an epoch, as the texts do, and return the seconds of each."""
    times = []
    for epoch in range(max_epoch):
        start = time.time()
        sum_loss = 0

        for x, t in train_loader:
            y = model(x)
            loss = F.softmax_cross_entropy(y, t)
            model.cleargrads()
            loss.backward()
            optimizer.update()
            sum_loss += float(loss.data) * (len(t) if hasattr(t, "__len__") else t.shape[0])  # strict arrays have none

        elapsed_time = time.time() - start
        times.append(elapsed_time)
        print(f"epoch: {epoch + 1}, loss: {sum_loss / len(train_set):.4f}, time: {elapsed_time:.4f}[sec]")
    return times


def losses(printed: str) -> list[float]:
    """Return the losses of the printed lines."""
    return [float(line.split("loss: ")[1].split(",")[0]) for line in printed.splitlines() if line.startswith("epoch")]
