"""The script of docs/checkpoints.md, killed and started again, is as exact as the page says."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "checkpoints.md").read_text()
(SCRIPT,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def start(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "DZCORE_BACKEND": "numpy"}
    return subprocess.Popen(
        [sys.executable, "script.py"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )


def test_the_script_killed_and_started_again(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with start(whole) as process:
        assert process.communicate()[0] == ""
    assert process.returncode == 0
    with start(cut) as process:
        while not list(cut.glob("saved/[0-9]*-step-*")):
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
    assert not (cut / "digits.npz").exists()
    with start(cut) as process:
        assert re.fullmatch(r"going on after step (50|100|150|200), in epoch [1-4]\n", process.communicate()[0])
    assert (cut / "digits.npz").read_bytes() == (whole / "digits.npz").read_bytes()
