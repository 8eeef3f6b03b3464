"""Newton's method, x ← x - f'(x) / f''(x), against gradient descent on f(x) = x⁴ - 2x², until x is 1 to 12 digits."""

from options import options

import dzcore
from dzcore import Variable, hessian, no_grad, value_and_grad

START, GOAL, RATE = 2.0, 1.0, 0.01


def f(x: Variable) -> Variable:
    return x**4 - 2 * x**2


def descend(newton: bool, most: int) -> list[float]:
    """Return the places on the way from START."""
    x = dzcore.asarray(START, dtype="float64")
    places = [float(x)]
    while abs(places[-1] - GOAL) > 1e-12 and len(places) <= most:
        with no_grad():
            _, slope = value_and_grad(f, x)
            x = x - (slope / hessian(f, x) if newton else slope * RATE)
        places.append(float(x))
    return places


def draw(ways: dict[str, list[float]], file: str) -> None:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    xs = [-0.2 + i * 0.02 for i in range(115)]
    left.plot(xs, [float(f(dzcore.asarray(x))) for x in xs], color="gray")
    for (name, places), marker in zip(ways.items(), "o.", strict=True):
        left.plot(places, [float(f(dzcore.asarray(x))) for x in places], marker, label=name)
        right.semilogy([max(abs(x - GOAL), 1e-17) for x in places], f"{marker}-", label=name)
    left.set(xlabel="x", ylabel="f(x)")
    right.set(xlabel="step", ylabel="|x - 1|")
    right.legend()
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    most = 50 if args.small else 1000
    ways = {"Newton's method": descend(True, most), "gradient descent": descend(False, most)}
    for name, places in ways.items():
        print(f"{name}: {len(places) - 1} steps, x = {places[-1]:.15f}")
    if args.picture:
        draw(ways, args.picture)
