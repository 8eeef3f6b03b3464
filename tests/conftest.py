"""Fixtures for all tests: the backends, and a watch over the state that a test may leave behind."""

from collections.abc import Iterator

import hypothesis
import pytest

from dzcore import random
from dzcore.backend import Backend, get_backend, register_backend, registry, select, unregister_backend
from dzcore.graph import modes

from .strict_backend import StrictBackend

hypothesis.settings.register_profile(
    "dzcore",
    derandomize=True,
    deadline=None,
    max_examples=50,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],  # it looks at the clock
)
hypothesis.settings.load_profile("dzcore")


@pytest.fixture
def strict() -> Iterator[str]:
    """The strict backend under its name, for one test."""
    register_backend(StrictBackend)
    yield "strict"
    unregister_backend("strict")


@pytest.fixture
def backend(strict: str, backend: Backend) -> Backend:
    """Every backend of `--dz-backend`, by default of pyproject.toml, in turn, as the current one."""
    return backend


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves modes, backends or the default generator other than it found them."""

    def state() -> dict[str, object]:
        return {
            "recording": modes.recording.get(),
            "training": modes.training.get(),
            "use_backend": select._scoped.get(),
            "default backend": select._default,
            "registered backends": dict(registry._registered),
        }

    before, stream = state(), random.get_state()
    yield
    assert state() == before
    random.set_state(stream)


@pytest.fixture
def numpy_backend() -> Backend:
    return get_backend("numpy")
