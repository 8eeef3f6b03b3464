"""Learning to learn (MAML; Finn, Abbeel and Levine, 2017): initial weights from which one gradient step fits a sine.

The loss after the step is differentiated through the step, so the second derivative takes part; the first-order method
leaves it out. All tasks of a batch take their steps at once: every one has its own copy of the weights.
"""

from itertools import pairwise
from math import pi, sqrt

from options import options

import dzcore
import dzcore.functions as F
from dzcore import Parameter, Variable, optimizers, random

TASKS, SHOTS, RATE, SIZES = 25, 10, 0.01, (1, 40, 40, 1)


def start() -> list[Parameter]:
    params = []
    for n, m in pairwise(SIZES):
        params += [Parameter(random.normal((n, m), std=sqrt(2 / n))), Parameter(F.zeros((1, m)))]
    return params


def model(params: list[Variable], x: Variable) -> Variable:
    *hidden, (W, b) = zip(params[::2], params[1::2], strict=True)
    for V, c in hidden:
        x = F.relu(x @ V + c)
    return x @ W + b


def adapt(params: list[Variable], x: Variable, t: Variable, second_order: bool) -> list[Variable]:
    """Take one step on the points of each task: x, t (tasks, shots, 1)."""
    own = [F.broadcast_to(p, (x.shape[0], *p.shape)) for p in params]
    losses = F.mean((model(own, x) - t) ** 2, axis=(1, 2))
    return [p - RATE * g for p, g in zip(own, dzcore.grad(losses, own, create_graph=second_order), strict=True)]


def sines(count: int) -> tuple[Variable, Variable, Variable, Variable]:
    """Draw tasks, amplitude · sin(x + phase), with points to adapt to and points to test on."""
    amplitude = F.asarray(random.uniform((count, 1, 1), 0.1, 5.0))
    phase = F.asarray(random.uniform((count, 1, 1), 0.0, pi))
    x, z = (F.asarray(random.uniform((count, SHOTS, 1), -5.0, 5.0)) for _ in range(2))
    return x, amplitude * F.sin(x + phase), z, amplitude * F.sin(z + phase)


def train(steps: int, second_order: bool) -> list[Parameter]:
    random.seed(0)
    params = start()
    optimizer = optimizers.Adam(0.003).setup(params)
    for _ in range(steps):
        x, t, z, goal = sines(TASKS)
        loss = F.mean((model(adapt(params, x, t, second_order), z) - goal) ** 2)
        for p in params:
            p.cleargrad()
        loss.backward()
        optimizer.update()
    return params


def error(params: list[Parameter]) -> tuple[float, float]:
    """Return the mean squared errors on new tasks before and after the step."""
    random.seed(1)
    x, t, z, goal = sines(400)
    before, after = model(params, z), model(adapt(params, x, t, False), z)
    return float(F.mean((before - goal) ** 2)), float(F.mean((after - goal) ** 2))


def draw(ways: dict[str, list[Parameter]], file: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(ways), figsize=(9, 3.5), sharey=True, layout="constrained")
    xs = [-5 + i * 0.1 for i in range(101)]
    z = F.reshape(F.asarray(xs), (1, -1, 1))
    for axis, (name, params) in zip(axes, ways.items(), strict=True):
        random.seed(5)
        x = F.asarray(random.uniform((1, SHOTS, 1), -5.0, 5.0))
        t = 4.0 * F.sin(x + 1.0)
        for label, weights in (("before", params), ("after one step", adapt(params, x, t, False))):
            axis.plot(xs, [float(y) for y in F.flatten(model(weights, z))[0]], label=label)
        axis.plot(xs, [float(y) for y in F.flatten(4.0 * F.sin(z + 1.0))[0]], color="gray", label="the sine")
        axis.plot([float(a) for a in F.flatten(x)[0]], [float(a) for a in F.flatten(t)[0]], "k.")
        axis.set(title=name)
    axes[0].legend()
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    steps = 20 if args.small else 6000
    ways = {"second order": train(steps, True), "first order": train(steps, False)}
    for name, params in ways.items():
        before, after = error(params)
        print(f"{name}: error {before:.2f} before, {after:.3f} after one step on {SHOTS} points")
    if args.picture:
        draw(ways, args.picture)
