"""Running the conformance kit from Python: what `dz conformance` does.

It stands outside of the kit's package, which pytest has to import first in order to explain its assertions.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from ..errors import DzcoreError

__all__ = ["GROUP_NAMES", "KitError", "Outcome", "run"]

#: What `GROUPS` of the kit's package are called.
GROUP_NAMES = (
    "Namespace", "Dtypes", "Transfer", "Primitives", "RandomStream", "Operations", "Dropout", "Layers", "Weights",
    "State",
)  # fmt: skip
PACKAGE = f"{__package__}.conformance"
Watch = Callable[["Outcome", int, int], None]


class KitError(DzcoreError, RuntimeError):
    """pytest would not run the kit."""


class Outcome(NamedTuple):
    """What became of one test."""

    backend: str
    group: str
    test: str  #: test_name[parameter]
    result: str  #: "passed", "failed", "skipped" or "expected" (a failure that was expected)
    message: str  #: why not


class _Results:
    """A pytest plugin that collects the tests of some groups only, and keeps what becomes of them."""

    def __init__(self, groups: Sequence[str], watch: Watch | None) -> None:
        self.groups = set(groups)
        self.watch = watch
        self.names: dict[str, tuple[str, str, str]] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.errors: list[str] = []

    def pytest_pycollect_makeitem(self, collector: Any, name: str) -> list[Any] | None:
        cls: Any = getattr(collector, "obj", None)
        if self.groups and name.startswith("test_") and hasattr(cls, "group_of"):
            return None if cls.group_of(name) in self.groups else []
        return None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        from .plugin import name_in_kit

        for item in items:
            named = name_in_kit(item)
            if named is not None:
                self.names[item.nodeid] = (str(item.callspec.params["backend"]), *named)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(_message(report))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "wasxfail") and report.skipped:
            result, message = "expected", report.wasxfail
        elif report.skipped:
            result, message = "skipped", _reason(report)
        elif report.failed:
            result, message = "failed", _message(report)
        else:
            result, message = "passed", ""
        known = self.outcomes.get(report.nodeid)
        if known is None or known.result == "passed":  # of setup, call and teardown the first that went wrong counts
            self.outcomes[report.nodeid] = Outcome(*self.names[report.nodeid], result, message)
        if self.watch is not None and report.when == "teardown":
            self.watch(self.outcomes[report.nodeid], len(self.outcomes), len(self.names))


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _message(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr)


def run(
    backends: Sequence[str],
    groups: Sequence[str] = (),
    *,
    require: bool = False,
    maxfail: int = 0,
    watch: Watch | None = None,
) -> list[Outcome]:
    """Run the kit, or some groups of it, on some backends, in this process, and return what became of each test.

    `watch(outcome, done, of)` is called after each. With `require`, a backend that cannot be used here fails; after
    `maxfail` failures, if that is not 0, the rest is left out.

    Raises:
        KitError: pytest would not run it: a pattern of expected failures fits no test, or a module does not import.
    """
    results = _Results(groups, watch)
    options = ["--dz-require"] if require else []
    arguments = [
        "-p", "dzcore.testing.plugin", f"--dz-backend={','.join(backends)}", f"--maxfail={maxfail}", *options,
        # nothing of the folder that we are in: no configuration, no conftest, no cache, and no report of pytest's own
        "-c", os.devnull, f"--rootdir={os.path.dirname(__file__)}", "--noconftest", "-p", "no:cacheprovider",
        "-p", "no:terminal", "--pyargs", PACKAGE,
    ]  # fmt: skip
    status = pytest.main(arguments, plugins=[results])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or results.errors:
        raise KitError("; ".join(results.errors) or f"pytest ended with {pytest.ExitCode(status).name}")
    return list(results.outcomes.values())
