"""The example backends, loaded from their files as a notebook's cell would define them."""

from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from dzcore.backend import register_backend, unregister_backend

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def counting() -> Iterator[type[Any]]:
    """A CountingBackend of its own for one test, registered at run time; its distribution may be installed or not."""
    spec = spec_from_file_location("cell", EXAMPLES / "dzbackend_counting" / "backend.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    register_backend(module.CountingBackend, replace=True)
    yield module.CountingBackend
    unregister_backend("counting")
