"""`dz conformance`: the conformance kit on backends of your choice, as a table."""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
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
    """Run the kit and print a row for each group, and a line for each failure.

    The status is 1 if anything failed, and if nothing passed: what was skipped has shown nothing.
    """
    for module in ("pytest", "hypothesis"):
        if find_spec(module) is None:
            raise DzcoreError(f"{module} is not installed; the kit needs it: pip install 'dzcore[testing]'")
    from ..testing.kit import GROUP_NAMES, run  # not the kit itself, which pytest has to import for its explanations

    for spec in arguments.names:
        _open(spec)
    for group in arguments.group or ():
        if group not in GROUP_NAMES:
            raise UsageError(f"argument --group: {group!r} is not one of {', '.join(GROUP_NAMES)}")
    outcomes = run(
        arguments.names, arguments.group or (), require=arguments.require, watch=_show if sys.stderr.isatty() else None
    )
    if sys.stderr.isatty():
        print(end="\r\033[K", file=sys.stderr)
    for spec in arguments.names:
        _print(spec, [outcome for outcome in outcomes if outcome.backend == spec], GROUP_NAMES)
    results = {outcome.result for outcome in outcomes}
    return 1 if "failed" in results or "passed" not in results else 0


def _open(spec: str) -> None:
    """Open a backend, so that what is wrong with its name is said once, and not by every test."""
    from ..testing.usable import stated_reason

    try:
        get_backend(spec)
    except (BackendError, ValueError) as error:
        if isinstance(error, BackendUnavailableError) and stated_reason(spec) is not None:
            return  # is skipped with its reason, or fails with --require
        raise UsageError(f"argument NAME: {error} See dz backends.") from error


def _show(outcome: "Outcome", done: int, of: int) -> None:
    print(f"\r\033[K{done}/{of} {outcome.backend} {outcome.group}", end="", file=sys.stderr, flush=True)


def _print(spec: str, outcomes: "list[Outcome]", groups: Sequence[str]) -> None:
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
