"""The results as text: one line for each peer of each row."""

from pathlib import Path

from .contest import Contest, Settings
from .table import OWN

__all__ = ["HEAD", "RULE", "between_marks", "lines", "markdown", "verdict"]

COLUMNS = (
    "work",
    "against",
    f"{OWN}, ms",
    "its, ms",
    "ratio (quartiles)",
    "target",
    "memory, MB",
    "whole, MB",
)
HEAD = f"| {' | '.join(COLUMNS)} |"
RULE = f"| --- | --- |{' ---: |' * (len(COLUMNS) - 2)}"
BEGIN, END = "<!-- dz bench -->", "<!-- end of dz bench -->"


def lines(contest: Contest) -> list[str]:
    """Return the lines of a row, in Markdown."""
    found: list[str] = []
    for label in contest.peers:
        ratio = contest.ratio(label)
        cells = [
            contest.row.title if not found else "", label, _time(contest, OWN), _time(contest, label),
            f"**{ratio.median:.2f}** ({ratio.low:.2f} to {ratio.high:.2f})",
            _target(contest, label), *_memory(contest, label),
        ]  # fmt: skip
        found.append(f"| {' | '.join(cells)} |")
    return found


def _time(contest: Contest, label: str) -> str:
    value = contest.milliseconds(label)
    return f"{value:,.{2 if value < 100 else 0}f}"


def _target(contest: Contest, label: str) -> str:
    if label in contest.wrong:
        return "differs"
    reached = contest.reached(label)
    return "" if reached is None else f"{contest.target:.2f} {'reached' if reached else '**missed**'}"


def _memory(contest: Contest, label: str) -> tuple[str, str]:
    """Return dzcore's and the other's megabytes, above the tiny run and as a whole."""
    ours, theirs = contest.memory.get(OWN), contest.memory.get(label)
    if ours is None or theirs is None:
        return "", ""
    return f"{ours.settled:,.0f} / {theirs.settled:,.0f}", f"{ours.whole:,.0f} / {theirs.whole:,.0f}"


def verdict(contests: list[Contest]) -> str:
    """Say how many targets are reached, and which are not."""
    judged = {c.row.name: c.reached(c.row.reference) for c in contests if c.row.reference in c.times}
    judged = {name: reached for name, reached in judged.items() if reached is not None}
    missed = [name for name, reached in judged.items() if not reached]
    return f"{len(judged) - len(missed)} of {len(judged)} targets reached" + (
        f"; missed: {', '.join(missed)}" if missed else ""
    )


def markdown(contests: list[Contest], about: dict[str, str], settings: Settings) -> str:
    """Return everything, with how it was measured."""
    each = f"{settings.rounds} rounds at most, {settings.limit:.0f} s a row, blocks of {settings.seconds} s"
    said = [
        f"- {name}: {value}" for name, value in about.items()
    ] + [
        f"- {each}, each after {settings.seconds / 4} s uncounted; the contenders of a row take turns, in processes of "
        "their own: neither threads nor what one sets for the whole process touch another.",
        "- Times are medians of the rounds. A ratio is that of two neighboring blocks; given are its median and its "
        "quartiles, below 1 meaning that dzcore is faster, and the target is for the median.",
    ]  # fmt: skip
    if settings.quick:
        said.append("- With tiny sizes, to see that all works: the numbers mean nothing.")
    if settings.slack != 1.0:
        said.append(f"- All targets are {settings.slack} times the table's.")
    if any(contest.memory for contest in contests):
        said.append(
            "- Memory, dzcore's / the other's: the most that a process of its own held while it took ten steps, "
            "five steps after the first (the system's VmHWM, set back), above what it held when the numbers were there "
            "and a tiny run had loaded code and started threads; and as a whole, libraries included."
        )
    rows = [line for contest in contests for line in lines(contest)]
    return "\n".join([*said, "", HEAD, RULE, *rows, "", f"{verdict(contests)}.", ""])


def between_marks(path: str, text: str) -> str:
    """Return what is to be in the file: the text alone, or what is there with the text between the two marks."""
    body = f"{BEGIN}\n\n{text}\n{END}"
    old = Path(path).read_text("utf-8") if Path(path).exists() else ""
    if BEGIN in old and END in old:
        return old[: old.index(BEGIN)] + body + old[old.index(END) + len(END) :]
    return f"{body}\n"
