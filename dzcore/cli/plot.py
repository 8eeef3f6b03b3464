"""The curves of a training, as a picture."""

import os
from collections.abc import Sequence

from .parser import UsageError
from .progress import Epoch
from .train import check_writable

__all__ = ["check_plot", "draw"]


def check_plot(path: str) -> None:
    """Find out whether the picture can be drawn, before the work is done."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise UsageError("argument --plot: matplotlib is not installed; pip install 'dzcore[cli]'") from None
    kinds = FigureCanvasAgg.get_supported_filetypes()
    kind = os.path.splitext(path)[1].lstrip(".").lower()
    if kind not in kinds:
        raise UsageError(
            f"argument --plot: {path!r} ends in none of {', '.join(sorted(kinds))}; give one such as curve.png"
        )
    check_writable(path, "--plot")


def draw(history: Sequence[Epoch], path: str) -> None:
    """Draw loss and accuracy, of training and test data, over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")  # no pyplot: no window, no global state
    numbers = [epoch.number for epoch in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(numbers, [getattr(epoch, name) for epoch in history], marker=".", label="training")
        axes.plot(numbers, [getattr(epoch, f"test_{name}") for epoch in history], marker=".", label="test")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
