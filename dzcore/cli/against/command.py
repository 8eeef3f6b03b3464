"""`dz bench --against`: who takes part, in which rows, and where the results go."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ...backend import Backend, use_backend
from ...io import atomic_write
from ..measure import open_backend
from ..parser import UsageError
from ..train import check_writable
from .contest import Contest, Settings, hold
from .machine import describe
from .report import HEAD, RULE, between_marks, lines, markdown, verdict
from .table import OWN, Row, Table

__all__ = ["against"]


def against(arguments: Namespace) -> int:
    """Run the table and print its lines as they come; the status is 1 if a result is wrong."""
    _check(arguments)
    with confined(arguments.threads) as threads:  # before any library is loaded and makes its threads
        table = Table(arguments.table)
        rows = table.choose(arguments.rows)
        backend = open_backend(arguments.backends[0] if arguments.backends else None, "--backends")
        return _run(arguments, table, rows, backend, threads)


def _run(arguments: Namespace, table: Table, rows: list[Row], backend: Backend, threads: int) -> int:
    with use_backend(backend):
        frameworks, absent = _frameworks(table, rows, arguments.against, threads)
        about = describe(frameworks.values(), threads)
        settings = _settings(arguments, threads, backend)
        for name, value in about.items():
            print(f"{name}: {value}")
        for name, reason in absent.items():
            print(f"{name}: left out, {reason}")
        print(f"\n{HEAD}\n{RULE}")
        contests = list(_hold(table, rows, frameworks, arguments.against, settings))
    print(f"\n{verdict(contests)}")
    _write(arguments, contests, {**about, **{name: f"left out, {reason}" for name, reason in absent.items()}}, settings)
    return 1 if any(contest.wrong for contest in contests) else 0


def _settings(arguments: Namespace, threads: int, backend: Backend) -> Settings:
    rounds, seconds = (3, 0.005) if arguments.quick else (20, 0.2)
    return Settings(
        arguments.rounds or rounds, arguments.seconds or seconds, arguments.limit or 60.0, threads, str(backend),
        arguments.slack or 1.0, arguments.quick, not arguments.no_memory,
    )  # fmt: skip


def _check(arguments: Namespace) -> None:
    """Find out what is wrong with the arguments before the work is done."""
    if arguments.backends is not None and len(arguments.backends) > 1:
        raise UsageError("argument --backends: with --against it is one; the table is dzcore's on that backend")
    for name in ("json", "markdown"):
        if getattr(arguments, name) is not None:
            check_writable(getattr(arguments, name), f"--{name}")
    if arguments.plot is not None:
        from ..plot import check_plot

        check_plot(arguments.plot)


def _frameworks(
    table: Table, rows: list[Row], asked: list[str], threads: int
) -> tuple[dict[str, ModuleType], dict[str, str]]:
    """Load dzcore's part, those asked for, and those that the rows' targets speak of; and why some cannot be used."""
    frameworks, absent = {}, {}
    for name in dict.fromkeys([OWN, *asked, *(row.reference.split()[0] for row in rows)]):
        try:
            frameworks[name] = table.framework(name, threads)
        except ImportError as error:
            if name == OWN:
                raise
            absent[name] = " ".join(str(error).split())
    return frameworks, absent


def _hold(
    table: Table, rows: list[Row], frameworks: dict[str, ModuleType], asked: list[str], settings: Settings
) -> Iterator[Contest]:
    for row in rows:
        taking_part = {OWN, *asked, row.reference.split()[0]}
        contest = hold(table, row, {n: module for n, module in frameworks.items() if n in taking_part}, settings)
        if contest is None:
            print(f"{row.name}: nobody to compare with", file=sys.stderr)
            continue
        for line in lines(contest):
            print(line, flush=True)
        for label, share in contest.wrong.items():
            message = f"{row.name}: {label} differs from {OWN} by {share:.1e} of the largest number"
            print(f"dz bench: warning: {message}; one of them computes something else", file=sys.stderr)
        yield contest


def _write(arguments: Namespace, contests: list[Contest], about: dict[str, str], settings: Settings) -> None:
    if arguments.json is not None:
        content = {"about": about, "settings": vars(settings), "rows": [contest.as_dict() for contest in contests]}
        with atomic_write(arguments.json) as file:
            file.write(json.dumps(content, indent=1).encode() + b"\n")
    if arguments.markdown is not None:
        text = between_marks(arguments.markdown, markdown(contests, about, settings))
        with atomic_write(arguments.markdown) as file:
            file.write(text.encode())
    if arguments.plot is not None:
        from .picture import draw

        draw(contests, arguments.plot)
        print(f"Picture in {arguments.plot}")


@contextmanager
def confined(threads: int | None) -> Iterator[int]:
    """Confine the process to as many processors as threads are asked for; yield the number, which holds for everybody.

    What is loaded in here takes no more threads than there are processors, whatever it calls them.
    """
    if not hasattr(os, "sched_setaffinity"):  # not on Linux: each framework is told the number, and that is all
        yield threads or os.cpu_count() or 1
        return
    before = os.sched_getaffinity(0)
    if threads is not None and threads > len(before):
        raise UsageError(f"argument --threads: {threads} is more than the {len(before)} processors; give fewer")
    chosen = sorted(before)[: threads or len(before)]
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, before)
