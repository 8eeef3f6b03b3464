"""Trainings that are killed, by SIGKILL at any moment, end with the bytes of one that was left alone.

And a save that is killed, or refused, at any of its system calls leaves the checkpoint before it.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .cli.run import COMMAND
from .traced import Outcome

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "DZCORE_BACKEND": "numpy", "PYTHONHASHSEED": "0"}


def run(module: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("kills", [12, pytest.param(120, marks=pytest.mark.slow)])
def test_a_training_killed_at_random_moments(tmp_path: Path, background: bool, kills: int) -> None:
    done = run("tests.killed", tmp_path, background, kills, kills + background)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] >= kills
    assert found["runs"] >= 1
    assert found["different"] == 0, found
    assert found["in a save"] > 0, "no kill hit a save; this shows less than it promises"
    if kills > 100:
        assert found["in a save"] > kills / 20, found
        assert found["before a checkpoint"] > 0, found


def without_times(path: Path) -> str:
    return re.sub(r'"rate": [^\n]*', "", path.read_text())


def newest(folder: Path) -> str:
    names = os.listdir(folder) if folder.is_dir() else []
    return max((name for name in names if name[0].isdigit()), default="")


def test_the_command_killed_and_resumed(tmp_path: Path) -> None:
    """Five kills, each some time after a new checkpoint has shown up."""
    words = ["train", "--epochs", "6", "--hidden", "30,20", "--dropout", "0.3", "--batch-size", "16"]
    assert subprocess.run([*COMMAND, *words], cwd=tmp_path, env=ENVIRONMENT, check=False).returncode == 0
    place = tmp_path / "killed"
    place.mkdir()
    words += ["--checkpoint", "saved", "--checkpoint-every", "7", "--resume"]
    draw = random.Random(5)
    for _ in range(5):
        before = newest(place / "saved")
        with subprocess.Popen([*COMMAND, *words], cwd=place, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
            while newest(place / "saved") == before:
                assert process.poll() is None
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.05))
            process.kill()
        assert process.returncode == -signal.SIGKILL
    assert not (place / "model.npz").exists()
    done = subprocess.run([*COMMAND, *words], cwd=place, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Going on after step \d+, in epoch \d of 6$", done.stdout, re.MULTILINE)
    assert (place / "model.npz").read_bytes() == (tmp_path / "model.npz").read_bytes()
    assert without_times(place / "model.npz.json") == without_times(tmp_path / "model.npz.json")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC"])
def test_a_save_that_is_hit_at_any_system_call(tmp_path: Path, fault: str) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    done = run("tests.traced", tmp_path, fault)
    if done.stderr.startswith("strace does not work here"):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    found = [Outcome(*each) for each in json.loads(done.stdout)]
    assert {each.call for each in found} >= {"openat", "mkdir", "write", "fsync", "rename", "unlink", "rmdir"}
    for each in found:
        if fault == "signal=KILL":
            assert (each.status, each.said) == (-signal.SIGKILL, "")
            assert each.step in (1, 2)
        elif each.said == "saved":
            assert each.step == 2, each
        else:
            assert "No space left on device" in each.said
            assert str(tmp_path) in each.said
            assert each.step in (1, 2)
    assert sum(each.step == 1 for each in found) > 10
    assert sum(each.step == 2 and each.said != "saved" for each in found) >= 3  # between the name and the end
