"""Handwritten digits by a multi-layer perceptron, the network of the book: loss and accuracy over the epochs.

Of MNIST where DZCORE_DATA names the folder that has it, of the small Digits otherwise.
"""

import os
from typing import Any

from options import options

import dzcore
import dzcore.functions as F
from dzcore import DataLoader, datasets, optimizers, random
from dzcore.models import MLP

BATCH, HIDDEN = 100, 1000


def epoch(model: MLP, loader: DataLoader, optimizer: Any = None) -> tuple[float, float]:
    """Return mean loss and accuracy of an epoch; learn if there is an optimizer."""
    losses, hits = [], []
    for x, t in loader:
        y = model(x)
        loss = F.softmax_cross_entropy(y, t)
        losses.append(loss.detach() * float(len(t)))
        hits.append(F.accuracy(y, t) * float(len(t)))
        if optimizer is not None:
            model.cleargrads()
            loss.backward()
            optimizer.update()
    return tuple(float(F.sum(F.stack(each))) / loader.data_size for each in (losses, hits))  # read once, at the end


def train(kind: Any, epochs: int) -> list[tuple[float, ...]]:
    """Return loss, accuracy, test loss and test accuracy of each epoch."""
    model = MLP((HIDDEN, 10), activation=F.relu)
    optimizer = optimizers.Adam().setup(model)
    loader, test = DataLoader(kind(), BATCH), DataLoader(kind(train=False), 1000, shuffle=False)
    history = []
    for number in range(1, epochs + 1):
        learned = epoch(model, loader, optimizer)
        with dzcore.no_grad(), dzcore.test_mode():
            history.append((*learned, *epoch(model, test)))
        text = "loss {:.4f}, accuracy {:.4f}, test loss {:.4f}, test accuracy {:.4f}".format(*history[-1])
        print(f"epoch {number}: {text}", flush=True)
    return history


def draw(history: list[tuple[float, ...]], file: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, name, columns in zip(axes, ("loss", "accuracy"), ((0, 2), (1, 3)), strict=True):
        for label, column in zip(("training", "test"), columns, strict=True):
            axis.plot(range(1, len(history) + 1), [row[column] for row in history], marker=".", label=label)
        axis.set(xlabel="epoch", ylabel=name)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    random.seed(0)
    kind = datasets.MNIST if "DZCORE_DATA" in os.environ and not args.small else datasets.Digits
    history = train(kind, epochs=2 if args.small else 5)
    if args.picture:
        draw(history, args.picture)
