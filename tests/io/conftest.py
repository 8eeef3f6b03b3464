"""Fixtures for the tests of files."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import dzcore as dz
from dzcore.io import disk

from .golden import content
from .hostile import little_memory, only_within


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A temporary folder in memory, where there is one: these tests flush thousands of times."""
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield Path(os.path.realpath(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that alone may be touched, with little memory to do it."""
    for name in ("x.npz", "x.safetensors"):  # what is imported for them is imported now
        dz.save(tmp_path / name, {"x": dz.asarray([1.0])})
        dz.load(tmp_path / name)
        os.unlink(tmp_path / name)
    with only_within(tmp_path), little_memory():
        yield tmp_path


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """A disk that takes so many writes, and is full then."""
    real, left = disk.write, 1 << 30

    def write(file: Any, data: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, data)

    def fill(writes: int) -> None:
        nonlocal left
        left = writes

    monkeypatch.setattr(disk, "write", write)
    return fill


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """An event that all writing of checkpoints waits for; set at the end, lest a test waits for ever."""
    event, real = threading.Event(), disk.make_folder

    def wait(path: Any) -> None:
        if ".tmp-" in str(path):
            assert event.wait(60)
        real(path)

    monkeypatch.setattr(disk, "make_folder", wait)
    yield event
    event.set()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A checkpoint in two files."""
    content.write(tmp_path / "small")
    return tmp_path / "small"
