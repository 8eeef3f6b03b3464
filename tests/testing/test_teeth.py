"""The kit has teeth: every backend that is wrong on purpose is caught, by the group that should catch it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dzcore.testing.conformance import GROUPS

from .wrong_backends import WRONG

ROOT = Path(__file__).parents[2]
#: What a wrong backend is not to be caught by: its own mistakes in Python.
CRASHES = ("TypeError", "AttributeError", "NameError", "KeyError", "ImportError")


@pytest.fixture(scope="module")
def findings() -> dict[str, Any]:
    """What the groups say of the wrong backends, all of them in one process of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.testing.wrong_backends"],
        cwd=ROOT, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["backend"]: line for line in lines}


@pytest.mark.parametrize("name", WRONG)
def test_it_is_caught(name: str, findings: dict[str, Any]) -> None:
    found = findings[name]
    assert found["group"] == WRONG[name][1]
    assert found["caught"], f"{found['ran']} tests of {found['group']} passed for {name}"
    for test, message in found["caught"].items():
        assert not message.startswith(CRASHES), f"{name} does not give a wrong answer, it crashes: {test}: {message}"
        print(f"{name}: {found['group']}.{test}: {message}")


def test_there_are_enough() -> None:
    assert len(WRONG) >= 12
    assert {group for _, group in WRONG.values()} == {group.__name__ for group in GROUPS}, (
        "a group has nothing to catch"
    )
