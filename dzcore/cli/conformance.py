"""`dz conformance`: the conformance kit on backends of your choice, as a table."""

import sys
from argparse import Namespace
from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..backend import get_backend
from ..errors import BackendError, BackendUnavailableError, DzcoreError
from .parser import UsageError

if TYPE_CHECKING:
    from ..testing.kit import Outcome

__all__ = ["conformance"]

COLUMNS = {"passed": "passed", "failed": "failed", "skipped": "skipped", "expected": "expected failures"}


def conformance(arguments: Namespace) -> int:
    """Run the kit and print a row for each group, and a line for each failure. The status is 1 if anything failed."""
    for module in ("pytest", "hypothesis"):
        if find_spec(module) is None:
            raise DzcoreError(f"{module} is not installed; the kit needs it: pip install 'dzcore[testing]'")
    for spec in arguments.names:
        try:
            get_backend(spec)
        except BackendUnavailableError:
            pass  # is skipped with its reason, or fails with --require
        except (BackendError, ValueError) as error:
            raise UsageError(f"argument NAME: {error} See dz backends.") from error
    from ..testing.kit import run  # before the kit itself, which pytest has to import for its explanations

    known = _groups()
    for group in arguments.group or ():
        if group not in known:
            raise UsageError(f"argument --group: {group!r} is not one of {', '.join(known)}")
    outcomes = run(
        arguments.names, arguments.group or (), require=arguments.require, watch=_show if sys.stderr.isatty() else None
    )
    if sys.stderr.isatty():
        print(end="\r\033[K", file=sys.stderr)
    for spec in arguments.names:
        _print(spec, [outcome for outcome in outcomes if outcome.backend == spec], known)
    return 1 if not outcomes or any(outcome.result == "failed" for outcome in outcomes) else 0


def _groups() -> list[str]:
    """Read the names of the groups off the kit's files, without importing them."""
    import ast

    spec = find_spec("dzcore.testing.conformance")
    assert spec is not None
    assert spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    return next([base.id for base in node.bases if isinstance(base, ast.Name)]
                for node in tree.body if isinstance(node, ast.ClassDef))  # fmt: skip


def _show(outcome: "Outcome", done: int, of: int) -> None:
    print(f"\r\033[K{done}/{of} {outcome.backend} {outcome.group}", end="", file=sys.stderr, flush=True)


def _print(spec: str, outcomes: "list[Outcome]", groups: list[str]) -> None:
    """Print one backend's table."""
    rows = [("", *COLUMNS.values())]
    for group in groups:
        counts = Counter(outcome.result for outcome in outcomes if outcome.group == group)
        if counts:
            rows.append((group, *(str(counts[result]) for result in COLUMNS)))
    total = Counter(outcome.result for outcome in outcomes)
    rows.append(("total", *(str(total[result]) for result in COLUMNS)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"{spec}:")
    for head, *cells in rows:
        print(
            "  ".join([head.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))]).rstrip()
        )
    said: set[str] = set()
    for outcome in outcomes:
        message = " ".join(outcome.message.split())
        if outcome.result == "failed":
            print(f"failed: {outcome.group}.{outcome.test}: {message}")
        elif outcome.result == "expected":
            print(f"expected: {outcome.group}.{outcome.test}: {message}")
        elif outcome.result == "skipped" and message not in said:
            said.add(message)
            print(f"skipped: {message}")
