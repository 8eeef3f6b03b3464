"""Backends of a single test, and machines with known ones: import the fixtures where they are wanted.

Once opened, a backend stays so; on a device of their own, its arrays are nobody else's in the tests that follow.
"""

from functools import cached_property
from typing import Any

import array_api_strict
import pytest

from dzbackend_numpy import NumpyBackend
from dzcore.backend import Backend, get_backend, register_backend

from .backend.conftest import empty_registry
from .strict_backend import StrictBackend

__all__ = ["Accelerator", "Elsewhere", "empty_registry", "gpu", "only_numpy"]


class Elsewhere(StrictBackend):
    """array-api-strict on its last device."""

    @cached_property
    def device(self) -> Any:
        return array_api_strict.Device(self.device_name or "device2")


class Accelerator(Elsewhere):
    """An accelerator to all appearances."""

    name = "accelerator"
    accelerator = True


@pytest.fixture
def only_numpy(empty_registry: None) -> Backend:
    """NumPy, on a machine that has nothing else."""
    register_backend(NumpyBackend)
    return get_backend("numpy")


@pytest.fixture
def gpu(only_numpy: Backend) -> Backend:
    """The one accelerator of a machine that has NumPy and this."""
    register_backend(Accelerator)
    return get_backend("accelerator")
