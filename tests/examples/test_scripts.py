"""Every example script runs, on a small scale, and draws its picture."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "options")


NEEDS = {"sunspots": "statsmodels"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the pictures need matplotlib: pip install 'dzcore[cli]'")
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="the numbers come with statsmodels: pip install 'dzcore[series]'")
    picture = tmp_path / f"{name}.png"
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), "--small", "--picture", str(picture)]
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout, "an example says what it found"
    assert picture.read_bytes().startswith(b"\x89PNG")
