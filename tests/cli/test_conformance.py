"""`dz conformance`: the table, and the exit status."""

import os
import re
import subprocess

from .run import COMMAND, Dz

ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": ""}


def conformance(*words: str, setup: str = "") -> tuple[int, str, str]:
    """Run `dz conformance` in a process of its own, for pytest does not like to run within itself."""
    python, flag, code = COMMAND
    path, rest = code.split("\n", 1)
    done = subprocess.run(
        [python, flag, f"{path}\n{setup}\n{rest}", "conformance", *words],
        capture_output=True, text=True, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


WRONG = """
from dzbackend_numpy import NumpyBackend
from dzcore.backend import register_backend
@register_backend
class Wrong(NumpyBackend):
    name, priority = "wrong", -1
    def index_add(self, size, index, values): return super().index_add(size, index, values) * 2
    known_failures = {"Primitives.test_index_add_of_many": "on purpose"}
@register_backend
class Absent(NumpyBackend):
    name, priority = "absent", -1
    @classmethod
    def why_unavailable(cls): return "no device was found"
@register_backend
class DoesNotOpen(NumpyBackend):
    name, priority = "does_not_open", -1
    def __init__(self, device=None):
        self.handle.open()
"""


def test_the_table() -> None:
    status, out, err = conformance("numpy", "--group", "Weights", "--group", "State")
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    weights, state = (int(row[1]) for row in rows[2:4])
    assert min(weights, state) > 5
    assert rows == [["numpy:"], ["passed", "failed", "skipped", "expected", "failures"],
                    ["Weights", str(weights), "0", "0", "0"], ["State", str(state), "0", "0", "0"],
                    ["total", str(weights + state), "0", "0", "0"]]  # fmt: skip


def test_a_failure() -> None:
    status, out, _ = conformance("wrong", "numpy", "--group", "Primitives", setup=WRONG)
    assert status == 1
    wrong, numpy = out.split("numpy:")
    assert "failed: Primitives.test_index_add[float32]: " in wrong
    assert "values differ" in wrong
    assert "expected: Primitives.test_index_add_of_many: on purpose" in wrong
    assert "failed:" not in numpy


def test_an_unusable_backend() -> None:
    status, out, _ = conformance("absent", "--group", "Weights", setup=WRONG)
    assert status == 1, "nothing has passed"
    skipped = re.search(r"Weights +0 +0 +(\d+) +0\n", out)
    assert skipped
    assert int(skipped[1]) > 5
    assert out.count("no device was found") == 1
    status, out, _ = conformance("absent", "--group", "Weights", "--require", setup=WRONG)
    assert status == 1
    assert re.search(rf"Weights +0 +{skipped[1]} +0 ", out)


def test_an_unusable_backend_beside_another() -> None:
    status, out, _ = conformance("absent", "numpy", "--group", "Weights", setup=WRONG)
    assert status == 0
    absent, numpy = out.split("numpy:")
    (skipped,) = re.findall(r"Weights +0 +0 +(\d+) +0\n", absent)
    assert re.search(rf"Weights +{skipped} +0 +0 ", numpy)


def test_a_backend_that_does_not_open() -> None:
    status, out, err = conformance("does_not_open", "--group", "Weights", setup=WRONG)
    assert (status, out) == (2, "")
    assert "has no attribute 'handle'" in err


def test_wrong_arguments(dz: Dz) -> None:
    assert "No backend 'nope'" in dz.fails("conformance", "nope")
    assert "incomplete" in dz.fails("conformance", "numpy:")
    assert "has one device" in dz.fails("conformance", "numpy:nonsense")
    assert "'transfer' is not one of Namespace, " in dz.fails("conformance", "numpy", "--group", "transfer")
