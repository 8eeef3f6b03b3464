"""Scripts as a reader of the book writes them, of which nothing but the name of the import is dzcore's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .datasets.files import real_data

SCRIPTS = sorted((Path(__file__).parent / "dezero_scripts").glob("*.py"))


#: The one line more that a test needs: the same numbers in every run. The scripts' own np.random.seed is not dzcore's.
RUN = "import dzcore, runpy, sys; dzcore.random.seed(0); runpy.run_path(sys.argv[1], run_name='__main__')"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs(script: Path, tmp_path: Path) -> None:
    """Each asserts what it has found; and it runs on DeZero itself after `dzcore` is replaced by its name."""
    text = script.read_text()
    assert "dezero" not in text.lower()
    data = {"DZCORE_DATA": str(real_data())} if "MNIST" in text else {}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, str(script)],
        cwd=tmp_path, env=os.environ | data, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
