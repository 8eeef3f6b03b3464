"""Three spiral arms, told apart by a small network: the book's first classification, and where it draws the borders."""

from options import options

import dzcore
import dzcore.functions as F
from dzcore import DataLoader, no_grad, optimizers, random
from dzcore.cuda import as_numpy
from dzcore.datasets import Spiral
from dzcore.models import MLP


def train(epochs: int) -> MLP:
    model = MLP((10, 3))
    optimizer = optimizers.SGD(lr=1.0).setup(model)
    loader = DataLoader(Spiral(), batch_size=30)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for x, t in loader:
            loss = F.softmax_cross_entropy(model(x), t)
            model.cleargrads()
            loss.backward()
            optimizer.update()
            total = total + loss.detach() * len(t)
        if epoch % max(1, epochs // 10) == 0:
            print(f"epoch {epoch}: loss {float(total) / loader.data_size:.3f}", flush=True)
    return model


def draw(model: MLP, file: str) -> None:
    import matplotlib.pyplot as plt

    steps = dzcore.linspace(-1.1, 1.1, 200)
    across, up = dzcore.meshgrid(steps, steps)
    with no_grad():
        scores = model(F.stack([F.reshape(across, -1), F.reshape(up, -1)], axis=1))
    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    regions = as_numpy(F.argmax(scores, axis=1)).reshape(200, 200)
    axes.contourf(as_numpy(across), as_numpy(up), regions, levels=2, alpha=0.3, colors=["C0", "C1", "C2"])
    data = Spiral()
    x, t = as_numpy(data.data), as_numpy(data.label)
    for arm, marker in enumerate("ox^"):
        axes.scatter(*x[t == arm].T, marker=marker, s=25, color=f"C{arm}")
    axes.set_aspect("equal")
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    random.seed(0)
    model = train(epochs=10 if args.small else 300)
    x, t = Spiral(train=False).batch(range(300))
    with no_grad():
        print(f"accuracy on new points: {float(F.accuracy(model(x), t)):.3f}")
    if args.picture:
        draw(model, args.picture)
