"""What the listings of the five texts expect to find: MNIST, a folder to write to, and an accelerator."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dzcore
from dzcore import random
from dzcore.backend import Backend, get_backend, register_backend

from ..backend.conftest import empty_registry as empty_registry
from ..cupy_backend import usable
from ..datasets.files import real_data
from ..elsewhere import Accelerator
from ..elsewhere import only_numpy as only_numpy


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let `dzcore.datasets.MNIST` be its first 1,000 images, so that an epoch takes no time; return how many."""
    monkeypatch.setenv("DZCORE_DATA", str(real_data()))

    class Few(dzcore.datasets.MNIST):
        def prepare(self) -> None:
            super().prepare()
            self.data, self.label = self.data[:1000], self.label[:1000]

    monkeypatch.setattr(dzcore.datasets, "MNIST", Few)
    random.seed(0)
    return 1000


@pytest.fixture(params=["strict", "cupy"])
def gpu(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """An accelerator to all appearances, and CuPy where it works: on a GPU, or emulated."""
    if request.param == "cupy":
        if usable.reason:
            pytest.skip(f"backend cupy: {usable.reason}")
        yield get_backend("cupy")
    else:
        request.getfixturevalue("only_numpy")
        register_backend(Accelerator)
        yield get_backend("accelerator")


@dataclasses.dataclass
class Libraries:
    """What the texts call np and cp."""

    np: Any
    cp: Any


@pytest.fixture
def libraries() -> Libraries:
    import numpy

    return Libraries(numpy, usable.cupy_or_skip())
