"""An empty folder to work in, and a network trained in it once."""

import os
import shutil
from pathlib import Path

import pytest

from dzcore import random
from dzcore.cli import main

from .run import Dz


@pytest.fixture
def dz(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Dz:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DZCORE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    return Dz(capsys)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, before, stream = tmp_path_factory.mktemp("trained"), os.getcwd(), random.get_state()
    os.chdir(folder)
    try:
        assert main(["train"]) == 0
    finally:
        os.chdir(before)
        random.set_state(stream)
    return folder


@pytest.fixture
def trained(dz: Dz, trained_once: Path, tmp_path: Path) -> Path:
    """`dz train` with its defaults has been here: model.npz and model.npz.json."""
    for file in trained_once.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path
