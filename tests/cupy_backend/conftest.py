"""Fixtures for the tests of the CuPy backend: the backend itself, and what needs a real device."""

import pytest

from dzbackend_cupy import report
from dzcore.backend import Backend, get_backend

from . import usable


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the tests ran on. A header would not do: this file is read after it, unless it is named."""
    if usable.reason is None or config.getoption("--dz-require"):
        terminalreporter.section("CuPy")
        terminalreporter.write_line(report.machine())


@pytest.fixture
def on_cupy() -> Backend:
    """The backend, whatever others the run is for; a fixture `backend` would stand for those."""
    if usable.reason:
        pytest.skip(f"backend cupy: {usable.reason}")
    return get_backend("cupy")


@pytest.fixture(autouse=True)
def real_device(request: pytest.FixtureRequest) -> None:
    """Skip what is marked `gpu` where CuPy runs on the emulator or not at all."""
    if request.node.get_closest_marker("gpu") and (usable.reason or usable.emulated):
        pytest.skip(usable.reason or "CuPy is emulated here, and this shows on a GPU only")
