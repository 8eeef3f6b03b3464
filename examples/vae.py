"""Digits from two numbers: a variational autoencoder (Kingma and Welling, Auto-Encoding Variational Bayes, 2014).

The encoder makes of a picture x a normal distribution q over a plane, the decoder of a point z of the plane the
probability that each pixel is white. Together they raise a lower bound of log p(x), E[log p(x|z)] - KL(q || N(0, 1)).
A random z is written as mean + deviation · noise, so that the gradient passes through it.

Of MNIST where DZCORE_DATA names the folder that has it, of the small Digits otherwise.
"""

import os
from statistics import NormalDist

from options import options

import dzcore
import dzcore.functions as F
from dzcore import DataLoader, Dataset, Variable, datasets, optimizers, random
from dzcore.cuda import as_numpy
from dzcore.models import MLP, Model

LATENT, HIDDEN, BATCH, RATE = 2, 256, 100, 0.001


class VAE(Model):
    def __init__(self, pixels: int) -> None:
        self.encoder = MLP((HIDDEN, HIDDEN, 2 * LATENT), activation=F.relu)
        self.decoder = MLP((HIDDEN, HIDDEN, pixels), activation=F.relu)

    def encode(self, x: Variable) -> tuple[Variable, Variable]:
        """Return the means and the logarithms of the variances of q, each (n, LATENT)."""
        y = self.encoder(x)
        return y[:, :LATENT], y[:, LATENT:]

    def forward(self, x: Variable) -> tuple[Variable, Variable]:
        """Return -log p(x|z) at a random z, and the divergence of q, both as means over the pictures."""
        mean, log_variance = self.encode(x)
        z = mean + F.exp(0.5 * log_variance) * random.normal(mean.shape)
        divergence = 0.5 * F.sum(mean**2 + F.exp(log_variance) - 1.0 - log_variance) / x.shape[0]
        return F.sigmoid_cross_entropy(self.decoder(z), x), divergence


def train(data: Dataset, epochs: int) -> VAE:
    model = VAE(data[0][0].size)
    optimizer = optimizers.Adam(RATE).setup(model)
    loader = DataLoader(data, BATCH, drop_last=True)
    for epoch in range(1, epochs + 1):
        parts = []
        for x, _ in loader:
            error, divergence = model(x)
            model.cleargrads()
            (error + divergence).backward()
            optimizer.update()
            parts.append(F.stack([error.detach(), divergence.detach()]))
        error, divergence = map(float, F.mean(F.stack(parts), axis=0))
        print(f"epoch {epoch}: error {error:.2f} + divergence {divergence:.2f} = {error + divergence:.2f}", flush=True)
    return model


def draw(model: VAE, data: datasets.Digits | datasets.MNIST, file: str) -> None:
    """Draw what the decoder makes of places all over the plane, and where the encoder puts unseen digits."""
    import matplotlib.pyplot as plt

    n, (height, width) = 20, data.size
    places = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]  # as many in between as z has probability there
    with dzcore.no_grad():
        pictures = F.sigmoid(model.decoder(F.asarray([[x, y] for y in reversed(places) for x in places])))
        x, t = next(DataLoader(data, 2000))
        mean = as_numpy(model.encode(x)[0])
    sheet = F.permute_dims(pictures.reshape(n, n, height, width), (0, 2, 1, 3)).reshape(n * height, n * width)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    left.imshow(as_numpy(sheet), cmap="gray")
    left.set(title="the plane, decoded", xticks=[], yticks=[])
    dots = right.scatter(mean[:, 0], mean[:, 1], 6, as_numpy(t), cmap="tab10", vmin=-0.5, vmax=9.5)
    right.set(title="unseen digits, encoded", aspect="equal", xlim=(-3.5, 3.5), ylim=(-3.5, 3.5))
    figure.colorbar(dots, ticks=range(10))
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    random.seed(0)
    kind = datasets.MNIST if "DZCORE_DATA" in os.environ and not args.small else datasets.Digits
    model = train(kind(), epochs=3 if args.small else 10)
    if args.picture:
        draw(model, kind(train=False), args.picture)
