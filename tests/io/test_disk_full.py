"""The disk is full, for real: what was saved before is there, and nothing is left of what did not fit."""

import errno
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

KINDS = ["npz", "safetensors", "checkpoint"]
ROOT = Path(__file__).parents[2]


@cache
def namespace() -> tuple[str, ...]:
    """Return the command that runs another one where it may mount file systems of its own."""
    if not (shutil.which("unshare") and shutil.which("mount")):
        pytest.skip("needs unshare and mount")
    for options in ("-m", "-rm"):
        command = ("unshare", options)
        probe = [*command, "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"]
        if subprocess.run(probe, capture_output=True).returncode == 0:
            return command
    pytest.skip("needs the right to mount a file system")


def run(how: str, kind: str, folder: Path, before: tuple[str, ...] = ()) -> list[list[object]]:
    folder.mkdir()
    command = [*before, sys.executable, "-m", "tests.io.full_disk", how, kind, str(folder)]
    environment = {**os.environ, "DZCORE_BACKEND": "numpy"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(outcomes, code):
    failed = [outcome for outcome in outcomes if outcome[1]]
    assert 3 <= len(failed) < len(outcomes), "some do not fit, some do"
    for size, error, named, there, left in outcomes:
        assert (error, there) in ((code, "old"), (0, "new")), size
        assert named == bool(error), size
        assert left == [], size


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_system_without_room(tmp_path, kind):
    check(run("tmpfs", kind, tmp_path / "disk", namespace()), errno.ENOSPC)


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_may_not_grow(tmp_path, kind):
    check(run("limit", kind, tmp_path / "disk"), errno.EFBIG)
