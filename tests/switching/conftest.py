"""The backends among which to switch."""

import pytest

from dzcore.backend import Backend, get_backend
from dzcore.errors import BackendUnavailableError
from tests.elsewhere import empty_registry as empty_registry
from tests.elsewhere import gpu as gpu
from tests.elsewhere import only_numpy as only_numpy


@pytest.fixture
def places(request: pytest.FixtureRequest, strict: str) -> list[Backend]:
    """The reference first, then those of `--dz-backend`, or of pyproject.toml, that can be used here."""
    option = request.config.getoption("--dz-backend") or ""
    specs = [spec for spec in option.split(",") if spec] or request.config.getini("dz_backends")
    found = {get_backend("numpy"): None}
    for spec in specs:
        try:
            found[get_backend(spec)] = None
        except BackendUnavailableError as error:
            if request.config.getoption("--dz-require"):
                pytest.fail(str(error), pytrace=False)
    if len(found) < 2:
        pytest.skip("there is only one backend at hand, and nothing to switch to")
    return list(found)
