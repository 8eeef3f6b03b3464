"""Digits from noise: two networks that play against each other (GAN; Goodfellow et al., 2014), in the form of DCGAN
(Radford et al., 2016).

The discriminator D gives a picture x the probability sigmoid(D(x)) of being real; the generator G makes pictures of
noise that D takes for real ones. D lowers -log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))), and G lowers
-log sigmoid(D(G(z))), where -log sigmoid(y) = softplus(-y) and -log(1 - sigmoid(y)) = softplus(y).

Of MNIST where DZCORE_DATA names the folder that has it, of the small Digits otherwise.
"""

import os
from itertools import chain, repeat
from typing import Any

from options import options

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import DataLoader, Dataset, Variable, datasets, optimizers, random
from dzcore.cuda import as_numpy
from dzcore.models import Sequential

NOISE, CHANNELS, BATCH, RATE, SHOWN = 32, 16, 64, 0.001, 10


def generator(side: int) -> Sequential:
    """Make pictures (n, 1, side, side) of noise (n, NOISE); each deconvolution doubles the side."""
    return Sequential(
        *(L.Linear(2 * CHANNELS * (side // 4) ** 2), L.BatchNorm(), F.relu),
        lambda x: x.reshape(-1, 2 * CHANNELS, side // 4, side // 4),
        *(L.Deconv2d(CHANNELS, 4, stride=2, pad=1), L.BatchNorm(), F.relu),
        *(L.Deconv2d(1, 4, stride=2, pad=1), F.sigmoid),
    )


def discriminator() -> Sequential:
    """Score pictures (n, 1, side, side): (n, 1), positive for real ones."""
    return Sequential(
        *(L.Conv2d(CHANNELS, 4, stride=2, pad=1), F.leaky_relu),
        *(L.Conv2d(2 * CHANNELS, 4, stride=2, pad=1), L.BatchNorm(), F.leaky_relu),
        *(F.flatten, L.Linear(1)),
    )


def train(data: Dataset, side: int, steps: int) -> dict[int, Variable]:
    """Return what G makes of the same noise after a sixteenth, a quarter, and all of the steps."""
    G, D = generator(side), discriminator()
    optimizer_g, optimizer_d = (optimizers.Adam(RATE, beta1=0.5).setup(model) for model in (G, D))
    noise, losses, sheets = random.normal((SHOWN**2, NOISE)), [], {}
    batches = chain.from_iterable(repeat(DataLoader(data, BATCH, drop_last=True)))
    for step, (x, _) in zip(range(1, steps + 1), batches, strict=False):
        fake = G(random.normal((BATCH, NOISE)))
        loss_d = F.mean(F.softplus(-D(x))) + F.mean(F.softplus(D(fake.detach())))
        D.cleargrads()
        loss_d.backward()
        optimizer_d.update()
        loss_g = F.mean(F.softplus(-D(fake)))
        G.cleargrads()
        loss_g.backward()  # what it leaves at D is cleared before D learns again
        optimizer_g.update()
        losses.append(F.stack([loss_d.detach(), loss_g.detach()]))
        if step in (steps // 16, steps // 4, steps):
            loss_d, loss_g = F.mean(F.stack(losses), axis=0)
            print(f"step {step}: loss of D {float(loss_d):.2f} (guessing: 1.39), of G {float(loss_g):.2f}", flush=True)
            losses.clear()
            sheets[step] = sheet(G, noise)
    return sheets


def sheet(G: Sequential, noise: Any) -> Variable:
    """Return the pictures of SHOWN² rows of noise side by side."""
    with dzcore.no_grad(), dzcore.test_mode():
        x = G(noise)
    side = x.shape[-1]
    return F.permute_dims(x.reshape(SHOWN, SHOWN, side, side), (0, 2, 1, 3)).reshape(SHOWN * side, SHOWN * side)


def draw(sheets: dict[int, Variable], file: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(sheets), figsize=(12, 4.3), layout="constrained")
    for axis, (step, pictures) in zip(axes, sheets.items(), strict=True):
        axis.imshow(as_numpy(pictures), cmap="gray")
        axis.set(title=f"step {step}", xticks=[], yticks=[])
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    random.seed(0)
    kind = datasets.MNIST if "DZCORE_DATA" in os.environ and not args.small else datasets.Digits
    sheets = train(kind(flat=False), kind.size[0], steps=32 if args.small else 2000)
    if args.picture:
        draw(sheets, args.picture)
