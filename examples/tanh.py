"""The derivatives of tanh, up to the eighth: each is the gradient of the one before.

The picture shows the curves; beside it, in a file that ends in _graph.svg, is the graph of the second derivative
(if graphviz is installed).
"""

import os
import shutil

from options import options

import dzcore
import dzcore.functions as F
from dzcore import Variable, grad
from dzcore.cuda import as_numpy
from dzcore.utils import plot_dot_graph


def derivatives(x: Variable, orders: int) -> list[Variable]:
    """Return tanh(x) and its derivatives."""
    y = F.tanh(x)
    y.name = "y"
    found = [y]
    for order in range(1, orders + 1):
        (gx,) = grad(found[-1], x, create_graph=True)
        gx.name = f"gx{order}"
        found.append(gx)
    return found


def draw(x: Variable, ys: list[Variable], file: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 3, figsize=(9, 6), sharex=True, layout="constrained")
    for order, (y, axis) in enumerate(zip(ys, axes.flat, strict=False)):
        axis.plot(as_numpy(x), as_numpy(y))
        axis.set_title("tanh" if order == 0 else f"derivative {order}", fontsize=10)
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    orders = 4 if args.small else 8
    zero = Variable(0.0, name="x", dtype="float64")
    for order, y in enumerate(derivatives(zero, orders)):
        print(f"derivative {order} at 0: {float(y):.0f}")
    if args.picture:
        x = Variable(dzcore.linspace(-4, 4, 201, dtype="float64"))
        draw(x, derivatives(x, orders), args.picture)
        if shutil.which("dot"):
            stem, _ = os.path.splitext(args.picture)
            plot_dot_graph(derivatives(zero, 2)[2], verbose=False, to_file=f"{stem}_graph.svg")
