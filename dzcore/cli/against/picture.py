"""The ratios as bars, with the targets as marks."""

from .contest import Contest

__all__ = ["draw"]


def draw(contests: list[Contest], path: str) -> None:
    """Draw a bar for each peer of each row on a logarithmic axis; left of 1, dzcore is faster."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    bars = [(contest, label) for contest in contests for label in contest.peers]
    names = list(dict.fromkeys(label.split()[0] for _, label in bars))
    figure = Figure(figsize=(9, 1.2 + 0.24 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for i, (contest, label) in enumerate(bars):
        low, median, high = contest.ratio(label)
        color = f"C{names.index(label.split()[0])}"
        axes.barh(i, median - 1, left=1, color=color, height=0.8, alpha=0.8)
        axes.plot([low, high], [i, i], color="black", linewidth=0.8)
        if contest.target is not None and label == contest.row.reference:
            axes.plot(contest.target, i, marker="|", color="black", markersize=12, markeredgewidth=2)
    axes.set_yticks(range(len(bars)), [f"{contest.row.name}: {label}" for contest, label in bars])
    axes.set(xscale="log", xlabel="time of dzcore / time of the other; the mark is the target")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.axvline(1.0, color="black", linewidth=1)
    axes.grid(axis="x", alpha=0.3)
    axes.invert_yaxis()
    figure.savefig(path, dpi=120)
