"""Where does a network look? Grad-CAM (Selvaraju et al., 2017).

The pictures are sheets of four digits, and the network is told which digits are on a sheet, but never where. The
gradient of the score of a class with respect to the last feature maps tells how much each map speaks for that class;
the sum of the maps with these weights is a heat map of the places that do.

With MNIST where DZCORE_DATA names the folder that has it, with the small Digits otherwise.
"""

import os
from itertools import chain, repeat

from options import options

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import DataLoader, Dataset, Variable, datasets, optimizers, random
from dzcore.cuda import as_numpy
from dzcore.models import Model, Sequential

BATCH, RATE, SHOWN = 64, 0.002, 4


class Net(Model):
    def __init__(self) -> None:
        self.features = Sequential(
            *(L.Conv2d(16, 5, stride=2, pad=2), L.BatchNorm(), F.relu),
            *(L.Conv2d(32, 5, pad=2), L.BatchNorm(), F.relu, L.Pool(2, 2)),
            *(L.Conv2d(64, 3, pad=1), L.BatchNorm(), F.relu),
        )
        self.classify = Sequential(L.GlobalAveragePool(), L.Linear(64), F.relu, L.Linear(10))

    def forward(self, x: Variable) -> Variable:
        return self.classify(self.features(x))


def sheets(x: Variable, t: Variable) -> tuple[Variable, Variable]:
    """Lay out digits (4n, 1, h, w) in sheets (n, 1, 2h, 2w), and their classes as (n, 4)."""
    height, width = x.shape[2:]
    cells = F.permute_dims(F.reshape(x, (-1, 2, 2, height, width)), (0, 1, 3, 2, 4))
    return F.reshape(cells, (-1, 1, 2 * height, 2 * width)), F.reshape(t, (-1, 4))


def present(t: Variable) -> Variable:
    """Return which of the classes are on each sheet, 1.0 or 0.0: (n, 10)."""
    return F.astype(F.any(t[:, :, None] == F.arange(10), axis=1), dzcore.float32)


def train(data: Dataset, steps: int) -> Net:
    model = Net()
    optimizer = optimizers.Adam(RATE).setup(model)
    losses = []
    batches = chain.from_iterable(repeat(DataLoader(data, 4 * BATCH, drop_last=True)))
    for step, digits in zip(range(1, steps + 1), batches, strict=False):
        x, t = sheets(*digits)
        loss = F.sigmoid_cross_entropy(model(x), present(t))
        model.cleargrads()
        loss.backward()
        optimizer.update()
        losses.append(loss.detach())
        if step % (steps // 5) == 0:
            print(f"step {step}: loss {float(F.mean(F.stack(losses))):.3f}", flush=True)
            losses.clear()
    return model


def grad_cam(model: Net, x: Variable, t: Variable) -> Variable:
    """Return heat maps (n, h, w): where each picture x speaks for its class t (n,)."""
    maps = model.features(x)
    scores = F.take_along_axis(model.classify(maps), t[:, None], axis=1)
    (slopes,) = dzcore.grad(scores, maps)
    return F.relu(F.sum(F.mean(slopes, axis=(2, 3), keepdims=True) * maps, axis=1))


def hits(heat: Variable, t: Variable, k: int) -> float:
    """Return how often the hottest place lies on a digit of the class t[:, k] on sheets with the classes t (n, 4)."""
    height, width = heat.shape[1:]
    place = F.argmax(F.reshape(heat, (len(heat), -1)), axis=1)
    cell = (place // width) // (height // 2) * 2 + (place % width) // (width // 2)
    found = F.take_along_axis(t, cell[:, None], axis=1)[:, 0] == t[:, k]
    return float(F.mean(F.astype(found, dzcore.float32)))


def draw(x: Variable, t: Variable, heats: list[Variable], file: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(SHOWN, 5, figsize=(7, 5.8), layout="constrained")
    pictures, *maps = (as_numpy(each) for each in (x[:, 0, :, :], *heats))
    for i, row in enumerate(axes):
        for k, axis in enumerate(row):
            axis.imshow(pictures[i, ...], "gray", extent=(0, 1, 0, 1))
            axis.set(xticks=[], yticks=[])
            if k:
                axis.imshow(maps[k - 1][i, ...], "inferno", extent=(0, 1, 0, 1), alpha=0.6, interpolation="bilinear")
                axis.set(title=f"where is the {int(t[i, k - 1])}?")
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    random.seed(0)
    kind = datasets.MNIST if "DZCORE_DATA" in os.environ and not args.small else datasets.Digits
    model = train(kind(flat=False), steps=40 if args.small else 300)
    test = kind(train=False, flat=False)
    x, t = sheets(*next(DataLoader(test, min(len(test) // 4 * 4, 1200))))
    with dzcore.test_mode():
        heats = [grad_cam(model, x, t[:, k]) for k in range(4)]
    share = sum(hits(heat, t, k) for k, heat in enumerate(heats)) / 4
    print(f"the hottest place is on a digit of the class asked for in {share:.1%} of the heat maps")
    if args.picture:
        draw(x, t, heats, args.picture)
