"""docs/write-a-backend.md works as it stands: its files and commands, one after the other, in an empty environment."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "write-a-backend.md").read_text("utf-8")


class Block(NamedTuple):
    language: str
    body: str


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]
FILES = [block for block in BLOCKS if block.language in ("toml", "python")]


def commands(body: str) -> list[tuple[str, str]]:
    """Split a console block into commands and what each is said to print."""
    found: list[tuple[str, str]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            command, output = found.pop()
            found.append((command, f"{output}{line}\n"))
    return found


def matches(shown: str, printed: str) -> bool:
    """Tell whether an output is as shown, where … stands for anything and runs of blanks are one."""
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in shown.split("…"))
    return re.fullmatch(pattern, " ".join(printed.split()), re.DOTALL) is not None


def write(block: Block, folder: Path) -> None:
    """Write a block to the file that its first line names, or at its end."""
    first, _, rest = block.body.partition("\n")
    name, _, continued = first.removeprefix("# ").partition(", ")
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    if continued:
        assert continued == "continued"
        rest = file.read_text("utf-8") + rest
    file.write_text(rest, "utf-8")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("", "", True),
        ("1 passed in …", "1 passed in 0.2s\n", True),
        ("…\n1 passed\n", "first\nsecond  \n 1  passed\n", True),
        ("1 passed", "21 passed", False),
        ("…\n1 passed\n", "1 failed\n", False),
        ("a.b", "axb", False),
    ],
)
def test_the_comparison_of_outputs(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


def test_every_block_is_run() -> None:
    assert {block.language for block in BLOCKS} == {"toml", "python", "console"}
    assert TEXT.count("```") == 2 * len(BLOCKS)
    assert all(re.match(r"# [\w./-]+\.(toml|py)(, continued)?\n", block.body) for block in FILES)
    assert all(block.body.startswith("$ ") for block in BLOCKS if block.language == "console")


def test_the_required_members_are_as_short_as_promised() -> None:
    lines = next(block for block in FILES if "class StrictBackend" in block.body).body.splitlines()
    assert len([line for line in lines if line.strip()]) <= 35


class Environment:
    """An empty folder, and a virtual environment in which nothing is installed but what the page asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bin_ = folder / ".venv" / ("Scripts" if os.name == "nt" else "bin")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("DZCORE_", "PYTHON", "PYTEST"))}
        self.variables = clean | {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}

    def __call__(self, command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, shell=True, cwd=self.folder, env=self.variables, text=True, timeout=900, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """With dzcore of this checkout, where the page would take that of the index."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / ".venv"], check=True)
    environment = Environment(tmp_path)
    others = environment("pip install -q array-api-compat 'numpy>=2' pytest hypothesis array-api-strict hatchling")
    if others.returncode:
        pytest.skip(f"the libraries cannot be installed here: {others.stdout.strip().splitlines()[-1]}")
    own = environment(f"pip install -q '{ROOT}/dzcore[testing]' '{ROOT}/dzbackend_numpy'")
    assert own.returncode == 0, own.stdout
    return environment


@pytest.mark.slow
def test_the_page_from_an_empty_folder_to_a_package(environment: Environment) -> None:
    for block in BLOCKS:
        if block.language != "console":
            write(block, environment.folder)
            continue
        for command, shown in commands(block.body):
            done = environment(command)
            assert done.returncode == 0, f"$ {command}\n{done.stdout[-5000:]}"
            assert not shown or matches(shown, done.stdout), f"$ {command}\n{done.stdout[-5000:]}"
    assert {file.suffix for file in (environment.folder / "dist").iterdir()} == {".gz", ".whl"}
