"""Running `dz` in this process and in others."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from dzcore.cli import main

ROOT = Path(__file__).parents[2]
COMMAND = [
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom dzcore.cli import main\nsys.exit(main())",
]


class Done(NamedTuple):
    status: int
    out: str
    err: str


class Dz:
    """`dz("train", "--epochs", 2)` in this process, in a folder of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: object) -> Done:
        self.capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as error:  # --help and --version
            status = int(error.code or 0)
        return Done(status, *self.capsys.readouterr())

    def fails(self, *words: object, status: int = 2) -> str:
        """Run what goes wrong, and return its one line."""
        done = self(*words)
        assert done.status == status, done
        assert "Traceback" not in done.err
        assert done.err.count("\n") == 1, done.err
        return done.err
