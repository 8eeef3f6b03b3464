"""Sunspots: a GRU learns the yearly numbers of 1700 to 1949, and foretells those of 1950 to 2008.

One year ahead, knowing all years before; and all years at once, going on from its own forecasts. The measure is what
everybody can foretell: next year is as this year was (persistence), and all years are as the mean was.
"""

from options import options

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable, no_grad, optimizers, random
from dzcore.cuda import as_numpy
from dzcore.datasets import Sunspots

HIDDEN, RATE, DECAY = 16, 0.01, 1e-3


def train(xs: Variable, ts: Variable, epochs: int) -> L.Stacked:
    """Learn the whole series, (years, 1, 1), as one sequence, an epoch a step."""
    model = L.Stacked(L.GRU(HIDDEN), L.Linear(1))
    optimizer = optimizers.AdamW(RATE, weight_decay=DECAY).setup(model)
    for epoch in range(1, epochs + 1):
        model.reset_state()
        loss = F.mean_squared_error(model.sequence(xs), ts)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        if epoch % max(1, epochs // 10) == 0:
            print(f"epoch {epoch}: {100 * float(loss) ** 0.5:.1f} off (root mean square)", flush=True)
    return model


def go_on(model: L.Stacked, x: Variable, steps: int) -> Variable:
    """Let the model foretell as many years, each from its own forecast of the one before."""
    ys = []
    for _ in range(steps):
        x = model(x)
        ys.append(x)
    return F.stack(ys)


def off(ys: Variable, ts: Variable) -> float:
    """Return the root of the mean squared error, in sunspots."""
    return 100 * float(F.mean((ys - ts) ** 2)) ** 0.5


def draw(known: Sunspots, later: Sunspots, ahead: Variable, free: Variable, file: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
    axes.plot(known.years[-80:], 100 * as_numpy(known.label)[-80:], color="gray")
    axes.plot(later.years, 100 * as_numpy(later.label), "k", label="sunspots")
    axes.plot(later.years, 100 * as_numpy(ahead)[:, 0], ".-", label="one year ahead")
    axes.plot(later.years, 100 * as_numpy(free)[:, 0], "--", label="all years at once")
    axes.set(xlabel="year", ylabel="sunspot number")
    axes.legend()
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    random.seed(0)
    known, later = Sunspots(), Sunspots(train=False)
    xs, ts = (F.expand_dims(each, 1) for each in (known.data, known.label))
    new_xs, new_ts = (F.expand_dims(each, 1) for each in (later.data, later.label))
    model = train(xs, ts, epochs=10 if args.small else 300)
    with no_grad():
        model.reset_state()
        model.sequence(xs)
        ahead = model.sequence(new_xs)
        model.reset_state()
        model.sequence(xs)
        free = go_on(model, new_xs[0], len(later))
    print(f"one year ahead: GRU {off(ahead, new_ts):.1f} off, persistence {off(new_xs, new_ts):.1f}")
    print(f"all years at once: GRU {off(free, new_ts):.1f} off, the mean {off(F.mean(ts), new_ts):.1f}")
    if args.picture:
        draw(known, later, ahead, free, args.picture)
