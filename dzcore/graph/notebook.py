"""What a notebook shows of values and tables, as HTML."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .variable import Variable

__all__ = ["printable", "table", "variable"]

#: Characters of values that are shown.
LONGEST = 2000


def variable(x: "Variable") -> str:
    """Show name, shape, dtype, backend and values of a Variable, and whether its gradient is known."""
    rows: list[tuple[str, Any]] = [] if x.name is None else [("name", x.name)]
    if x._data is None:
        return table(type(x).__name__.lower(), (), [*rows, ("data", "none yet")])
    grad = "this is a constant" if x.node is None else "none yet" if x.grad is None else "known"
    rows += [("shape", x.shape), ("dtype", x.backend.dtype_name(x.dtype)), ("backend", x.backend), ("gradient", grad)]
    try:
        values = str(x._data)
    except Exception as error:  # whatever the library has against it, a cell must show something
        values = f"the values cannot be shown: {error}"
    if len(values) > LONGEST:
        values = f"{values[:LONGEST]} …"
    return f"<div>{table(type(x).__name__.lower(), (), rows)}<pre>{_escaped(values)}</pre></div>"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write an HTML table; without `head`, the first column is one."""

    def row(tags: Sequence[str], cells: Sequence[Any]) -> str:
        pairs = zip(tags, cells, strict=True)
        return f"<tr>{''.join(f'<{tag}>{_escaped(str(cell))}</{tag}>' for tag, cell in pairs)}</tr>"

    lines = [row(["th"] * len(head), head)] if head else []
    for cells in rows:
        lines.append(row([*([] if head else ["th"]), *["td"] * (len(cells) - (not head))], cells))
    return f"<table><caption>{_escaped(caption)}</caption>{''.join(lines)}</table>"


def printable(text: str) -> str:
    """Write out the characters that cannot be seen, but for the ends of lines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _escaped(text: str) -> str:
    from html import escape

    return escape(printable(text))
