"""Handwritten digits by a convolutional network (LeNet; LeCun et al., 1998): what its first layer looks for, and which
digits it takes for others.

Of MNIST where DZCORE_DATA names the folder that has it, of the small Digits, enlarged, otherwise.
"""

import os
from typing import Any

from options import options

import dzcore
import dzcore.functions as F
from dzcore import DataLoader, Dataset, Variable, datasets, optimizers, random
from dzcore.cuda import as_numpy
from dzcore.models import LeNet

BATCH, SHOWN = 100, 10


def enlarged(x: Any) -> Variable:
    """Make 16×16 pixels of 8×8; larger pictures stay as they are."""
    times = -(-16 // x.shape[-1])
    return F.repeat(F.repeat(dzcore.as_variable(x), times, axis=2), times, axis=3)


def train(model: LeNet, data: Dataset, test: Dataset, epochs: int) -> list[tuple[Any, int]]:
    """Train, and return the test pictures that are taken for something else, with what they are taken for."""
    optimizer = optimizers.Adam().setup(model)
    loader = DataLoader(data, BATCH)
    for epoch in range(epochs):
        losses = []
        for x, t in loader:
            loss = F.softmax_cross_entropy(model(enlarged(x)), t)
            model.cleargrads()
            loss.backward()
            optimizer.update()
            losses.append(loss.detach())
        wrong = mistakes(model, test)
        accuracy = 1 - len(wrong) / len(test)
        print(f"epoch {epoch + 1}: loss {float(F.mean(F.stack(losses))):.4f}, test accuracy {accuracy:.4f}", flush=True)
    return wrong


def mistakes(model: LeNet, test: Dataset) -> list[tuple[Any, int]]:
    found = []
    with dzcore.no_grad(), dzcore.test_mode():
        for x, t in DataLoader(test, 500, shuffle=False):
            x, y = enlarged(x), F.argmax(model(enlarged(x)), axis=1)
            guesses, right = as_numpy(y), as_numpy(t)
            found += [(as_numpy(x)[i, 0], int(guesses[i])) for i in (guesses != right).nonzero()[0]]
    return found


def draw(model: LeNet, wrong: list[tuple[Any, int]], file: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, SHOWN, figsize=(SHOWN, 4.6), layout="constrained")
    figure.suptitle("What the first layer looks for, and test pictures with what they are taken for")
    filters = as_numpy(model.conv1.W)[:, 0]
    for axis, pattern in zip(axes[:2].flat, filters, strict=True):
        axis.imshow(pattern, cmap="gray")
    for axis, (picture, guess) in zip(axes[2:].flat, wrong, strict=False):
        axis.imshow(picture, cmap="gray")
        axis.set_title(str(guess), fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    random.seed(0)
    kind = datasets.MNIST if "DZCORE_DATA" in os.environ and not args.small else datasets.Digits
    model = LeNet(dropout=0.5)
    wrong = train(model, kind(flat=False), kind(train=False, flat=False), epochs=1 if args.small else 2)
    if args.picture:
        draw(model, wrong, args.picture)
