"""How far apart are two circles? A critic with a gradient penalty (Gulrajani et al., 2017) measures it.

Points of radius 1 must move by 2 to become those of radius 3. The critic D grows from the one to the other as fast as
it may, and the penalty (|∇D| - 1)² between them holds its slope near 1: training differentiates a gradient. Without
that second derivative the penalty is a constant, and the slope is free.

What a steeper slope s gains, 2 s, is balanced by the penalty WEIGHT (s - 1)² at s = 1 + 1 / WEIGHT.
"""

from math import tau
from typing import Any

from options import options

import dzcore
import dzcore.functions as F
from dzcore import Variable, optimizers, random
from dzcore.models import MLP

INNER, OUTER, WEIGHT, BATCH = 1.0, 3.0, 10.0, 64


def circle(radius: float) -> Variable:
    angle = F.asarray(random.uniform((BATCH, 1), 0.0, tau))
    return F.concat([F.cos(angle), F.sin(angle)], axis=1) * radius


def train(steps: int, second_order: bool) -> tuple[MLP, list[tuple[float, float]]]:
    """Return the critic, and the distance and mean slope at each step."""
    random.seed(0)
    critic = MLP((64, 64, 1), activation=F.tanh)
    optimizer = optimizers.Adam(0.002, beta1=0.5).setup(critic)
    history = []
    for _ in range(steps):
        inner, outer = circle(INNER), circle(OUTER)
        share = F.asarray(random.uniform((BATCH, 1)))
        between = Variable((share * inner + (1.0 - share) * outer).data)
        (gx,) = dzcore.grad(critic(between), between, create_graph=second_order)
        slope = F.sqrt(F.sum(gx * gx, axis=1) + 1e-12)
        distance = F.mean(critic(outer)) - F.mean(critic(inner))
        loss = WEIGHT * F.mean((slope - 1.0) ** 2) - distance
        critic.cleargrads()
        loss.backward()
        optimizer.update()
        history.append((float(distance), float(F.mean(slope))))
    return critic, history


def draw(critic: MLP, histories: dict[str, list[tuple[float, float]]], file: str) -> None:
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    axis = [-4 + 8 * i / 60 for i in range(61)]
    with dzcore.no_grad():
        heights = critic(F.asarray([[x, y] for y in axis for x in axis])).reshape(61, 61)
    left.contour(axis, axis, [[float(h) for h in row] for row in heights], 20)
    for radius in (INNER, OUTER):
        left.add_patch(plt.Circle((0, 0), radius, fill=False, linewidth=2))
    left.set(aspect="equal", title="the critic's height")
    for (name, history), style in zip(histories.items(), ("-", "--"), strict=True):
        middle.plot([slope for _, slope in history], style, label=name)
        right.plot([distance / slope for distance, slope in history], style, label=name)
    middle.axhline(1 + 1 / WEIGHT, color="gray", linewidth=1)
    middle.set(xlabel="step", title="mean slope", yscale="log")
    right.axhline(OUTER - INNER, color="gray", linewidth=1, label="exact")
    right.set(xlabel="step", title="distance by slope", ylim=(-1, 2 * (OUTER - INNER)))
    right.legend()
    figure.savefig(file, dpi=80)


def mean(numbers: list[Any]) -> float:
    return sum(numbers) / len(numbers)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    steps = 20 if args.small else 1500
    critic, history = train(steps, second_order=True)
    histories = {"with the second derivative": history, "without": train(steps, second_order=False)[1]}
    for name, history in histories.items():
        distance, slope = (mean(last) for last in zip(*history[-100:], strict=True))
        print(f"{name}: slope {slope:.2f}, distance by slope {distance / slope:.2f} (exact: {OUTER - INNER})")
    if args.picture:
        draw(critic, histories, args.picture)
