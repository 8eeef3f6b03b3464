"""The pytest plugin: `pytest -p dzcore.testing.plugin --dz-backend=NAME[,NAME]` runs tests on backends of your choice.

Every test that takes the fixture `backend` runs once on each, as the current one. A backend that cannot be used here
is skipped with its reason, or fails with `--dz-require`; one that does not exist or fails to import is an error.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from ..backend import Backend, get_backend, use_backend
from ..errors import BackendUnavailableError

__all__ = ["backend"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dzcore")
    group.addoption(
        "--dz-backend", metavar="NAME[,NAME]", help="backends to test, also NAME:DEVICE; default: the ini's dz_backends"
    )
    group.addoption(
        "--dz-require", action="store_true", help="fail where a backend cannot be used here, instead of skipping"
    )
    parser.addini("dz_backends", "backends to test where --dz-backend is not given", type="args", default=[])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what takes the fixture `backend` on each of them: the class's own, those of the option, those of the ini."""
    if "backend" not in metafunc.fixturenames:
        return
    option = metafunc.config.getoption("--dz-backend")
    chosen: Any = getattr(metafunc.cls, "backends", None) or (option or "").split(",")
    specs = [spec for spec in chosen if spec] or metafunc.config.getini("dz_backends")
    if not specs:
        raise pytest.UsageError("no backend to test; say --dz-backend=NAME, such as one that `dz backends` lists")
    metafunc.parametrize("backend", specs, indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Every backend in turn, as the current one."""
    try:
        opened = get_backend(request.param)
    except BackendUnavailableError as error:
        if request.config.getoption("--dz-require"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    with use_backend(opened):
        yield opened
