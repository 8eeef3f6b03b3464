"""Fixtures of the backend tests: a bare site for subprocesses, an empty registry for this process."""

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from dzbackend_numpy.compiled import loops
from dzcore.backend import discovery, registry, select

from .plugins import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process forget every backend for one test."""
    for module, states in {
        discovery: {"_installed": (), "_loaded": {}},
        registry: {"_registered": {}, "_instances": {}, "_reasons": {}, "_by_spec": {}},
        select: {"_default": None, "_automatic": None, "_environment": None},
    }.items():
        for name, value in states.items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.delenv("DZCORE_BACKEND", raising=False)
    token = select._scoped.set(None)
    yield
    select._scoped.reset(token)


@pytest.fixture(scope="module", params=["small", "large"])
def each_size(request: pytest.FixtureRequest) -> Iterator[None]:
    """Loops as they are for small arrays, and as for those that are worth several threads."""
    with mock.patch.object(loops, "WORTH", loops.WORTH if request.param == "small" else 0.001):
        yield
