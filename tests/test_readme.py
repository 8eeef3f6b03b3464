"""What the README shows works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run all listings, one after the other, in a process and a folder of their own."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "readme.py").write_text("\n".join(BLOCKS))
    done = subprocess.run([sys.executable, "readme.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_training_script_learns(run: tuple[Path, str]) -> None:
    folder, output = run
    losses = [float(loss) for loss in re.findall(r"^epoch \d: loss of the last batch ([\d.]+)$", output, re.MULTILINE)]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    (accuracy,) = re.findall(r"^accuracy ([\d.]+)$", output, re.MULTILINE)
    assert float(accuracy) > 0.9
    assert (folder / "digits.npz").is_file()


def test_the_derivatives_are_those_it_states(run: tuple[Path, str]) -> None:
    (stated,) = re.findall(r"print\(ddy\)  # (.*)", "\n".join(BLOCKS))
    assert stated in run[1]


def test_lengths_are_as_promised() -> None:
    training = next(block for block in BLOCKS if "DataLoader" in block)
    loop = training[training.index("loader =") : training.index("x, t = next")]
    assert len(loop.strip().splitlines()) <= 10
    install = re.search(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    switch = next(block for block in BLOCKS if "class Mine" in block)
    assert install is not None
    assert len([line for line in (install[1] + switch).splitlines() if line.strip()]) == 15
    backend = next(block for block in BLOCKS if "class Strict" in block)
    assert len([line for line in backend.splitlines() if line.strip()]) <= 22


def test_the_numbers_of_a_switch_are_printed(run: tuple[Path, str]) -> None:
    losses = re.findall(r"^(numpy|mine) ([\d.]+)$", run[1], re.MULTILINE)
    assert [name for name, _ in losses] == ["numpy", "mine", "numpy"]
    assert float(losses[-1][1]) < float(losses[0][1])


def test_every_link_of_the_documents_leads_somewhere() -> None:
    folders = ("", "docs", "benchmarks", "examples", "examples/dzbackend_*", "dzbackend_*")
    for document in [file for folder in folders for file in ROOT.glob(f"{folder}/*.md".lstrip("/"))]:
        text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)  # no code
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
