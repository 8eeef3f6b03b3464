"""The next value of a curve: an LSTM learns it from a sine with noise, and foretells a cosine without.

Truncated back-propagation through time: 30 rows read the sine, each a 30th of it; after every 30 steps the gradients
are taken and the graph is cut. The state lives on.
"""

from options import options

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import no_grad, optimizers, random
from dzcore.cuda import as_numpy
from dzcore.dataloaders import SeqDataLoader
from dzcore.datasets import SinCurve

HIDDEN, ROWS, STEPS = 100, 30, 30


def train(epochs: int) -> L.Stacked:
    model = L.Stacked(L.LSTM(HIDDEN), L.Linear(1))
    optimizer = optimizers.Adam().setup(model)
    loader = SeqDataLoader(SinCurve(train=True), ROWS)
    for epoch in range(1, epochs + 1):
        model.reset_state()
        loss, total = 0.0, 0.0
        for count, (x, t) in enumerate(loader, 1):
            loss = loss + F.mean_squared_error(model(x), t)
            if count % STEPS == 0 or count == len(loader):
                model.cleargrads()
                loss.backward()
                loss.unchain_backward()
                optimizer.update()
                loss, total = 0.0, total + loss.detach()
        if epoch % max(1, epochs // 10) == 0:
            print(f"epoch {epoch}: mean squared error {float(total) / len(loader):.5f}", flush=True)
    return model


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    random.seed(0)
    model = train(epochs=3 if args.small else 100)
    x, t = SinCurve(train=False).batch(range(999))
    model.reset_state()
    with no_grad():
        y = model.sequence(F.expand_dims(x, 1))[:, 0]
    print(f"the cosine's next value, foretold: {float(F.mean_squared_error(y, t)) ** 0.5:.3f} off (root mean square)")
    if args.picture:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
        axes.plot(as_numpy(SinCurve(train=True).data)[:, 0], color="lightgray", label="learnt from")
        axes.plot(as_numpy(t)[:, 0], "k", linewidth=4, alpha=0.25, label="cos")
        axes.plot(as_numpy(y)[:, 0], label="foretold from all before")
        axes.legend()
        figure.savefig(args.picture, dpi=100)
