"""The pytest plugin and the kit as a third party uses them: in a folder of their own, with their own configuration."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BACKENDS = """
from dzbackend_numpy import NumpyBackend
from dzcore.backend import register_backend

@register_backend
class Mine(NumpyBackend):
    name = "mine"
    priority = -1
    known_failures = {known}

    def cross_entropy(self, x, t):
        return x.sum()

@register_backend
class Absent(NumpyBackend):
    name = "absent"
    priority = -1

    @classmethod
    def why_unavailable(cls):
        return "no device was found"

@register_backend
class DoesNotOpen(NumpyBackend):
    name = "does_not_open"
    priority = -1

    def __init__(self, device=None):
        super().__init__(device)
        self.handle.open()

@register_backend
class RaisesWhenAsked(NumpyBackend):
    name = "raises_when_asked"
    priority = -1

    @classmethod
    def why_unavailable(cls):
        raise OSError("the driver does not answer")
"""

#: What a backend with this cross_entropy fails, of the groups below.
FAILS = "Primitives.test_own_functions[cross_entropy]"


class Folder:
    """A project of somebody's own, and pytest in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, "utf-8")

    def pytest(self, *options: str, plugin: bool = True) -> tuple[int, str]:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rsxXfE",
            *(("-p", "dzcore.testing.plugin") if plugin else ()),
        ]
        done = subprocess.run(
            [*command, *options], cwd=self.path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    found = Folder(tmp_path)
    found.write("conftest.py", BACKENDS.replace("{known}", "{}"))
    found.write("pytest.ini", "[pytest]\nfilterwarnings = error\naddopts = --strict-markers --strict-config\n")
    return found


def own(folder: Folder, bases: str, body: str) -> None:
    folder.write("test_mine.py", f"from dzcore.testing.conformance import *\n\nclass TestMine({bases}):\n    {body}\n")


def test_the_command_of_the_documentation(folder: Folder) -> None:
    folder.write("conftest.py", "")
    status, out = folder.pytest("--dz-backend=numpy", "--pyargs", "dzcore.testing.conformance", "-k", "State")
    assert status == 0, out
    assert "11 passed" in out
    assert "deselected" in out


def test_a_file_of_ones_own(folder: Folder) -> None:
    own(folder, "Weights", 'backends = ["mine"]')
    status, out = folder.pytest()
    assert (status, "14 passed" in out) == (0, True), out


def test_a_failure_is_explained(folder: Folder) -> None:
    own(folder, "Primitives", 'backends = ["mine"]')
    status, out = folder.pytest("-k", "own_functions")
    assert status == 1
    assert "values differ" in out
    assert "1 failed" in out


def test_with_xdist(folder: Folder) -> None:
    pytest.importorskip("xdist")
    own(folder, "Weights", 'backends = ["mine"]')
    status, out = folder.pytest("-n", "2")
    assert (status, "14 passed" in out) == (0, True), out


def test_the_class_names_expected_failures(folder: Folder) -> None:
    own(folder, "Primitives", f'backends = ["mine"]\n    known_failures = {{"{FAILS}": "a sum is no mean"}}')
    status, out = folder.pytest("-k", "own_functions")
    assert (status, "1 xfailed" in out) == (0, True), out
    assert "a sum is no mean" in out


def test_the_backend_names_expected_failures(folder: Folder) -> None:
    folder.write(
        "conftest.py", BACKENDS.replace("{known}", repr({FAILS.replace("own_functions", "*"): "a sum is no mean"}))
    )
    own(folder, "Primitives", 'backends = ["mine"]')
    status, out = folder.pytest("-k", "own_functions")
    assert (status, "1 xfailed" in out) == (0, True), out


def test_an_unexpected_pass_fails(folder: Folder) -> None:
    own(folder, "Primitives", 'backends = ["mine"]\n    known_failures = {"Primitives.test_own_functions*": "all"}')
    status, out = folder.pytest("-k", "own_functions")
    assert status == 1
    assert "XPASS(strict)" in out
    assert "1 xfailed" in out


def test_a_pattern_without_a_test_is_an_error(folder: Folder) -> None:
    own(folder, "Primitives", 'backends = ["mine"]\n    known_failures = {"Primitives.test_sums": "gone"}')
    status, out = folder.pytest()
    assert status == pytest.ExitCode.USAGE_ERROR, out
    assert "'Primitives.test_sums' matches no test" in out


def test_a_choice_of_tests_does_not_break_patterns(folder: Folder) -> None:
    own(folder, "Primitives", f'backends = ["mine"]\n    known_failures = {{"{FAILS}": "a sum is no mean"}}')
    status, out = folder.pytest("test_mine.py::TestMine::test_synchronize")
    assert (status, "1 passed" in out) == (0, True), out


def test_an_unusable_backend_is_skipped_with_its_reason(folder: Folder) -> None:
    own(folder, "Weights", 'backends = ["absent"]')
    status, out = folder.pytest()
    assert (status, "14 skipped" in out) == (0, True), out
    assert "no device was found" in out


def test_unless_it_is_required(folder: Folder) -> None:
    own(folder, "Weights", 'backends = ["absent"]')
    status, out = folder.pytest("--dz-require")
    assert status == 1
    assert "no device was found" in out
    assert "14 errors" in out


def test_an_unknown_backend_is_an_error(folder: Folder) -> None:
    own(folder, "Weights", 'backends = ["nope"]')
    status, out = folder.pytest()
    assert status == 1
    assert "14 errors" in out
    assert "No backend 'nope'" in out


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("does_not_open", "has no attribute 'handle'"),
        ("raises_when_asked", "the driver does not answer"),
        ("numpy:nonsense", "backend numpy has one device"),
    ],
)
def test_what_does_not_open_is_an_error(spec: str, says: str, folder: Folder) -> None:
    own(folder, "Weights", f'backends = ["{spec}"]')
    status, out = folder.pytest()
    assert (status, "14 errors" in out) == (1, True), out
    assert says in out
    assert "skipped" not in out


def test_a_plugin_that_fails_to_import_is_an_error(folder: Folder) -> None:
    folder.write("conftest.py", "")
    folder.write("dzbackend_broken.py", "import no_such_library\n")
    info = folder.path / "dzbackend_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dzbackend-broken\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[dzcore.backends]\nbroken = dzbackend_broken:Broken\n", "utf-8")
    own(folder, "Weights", 'backends = ["broken"]')
    status, out = folder.pytest()
    assert (status, "14 errors" in out) == (1, True), out
    assert "Backend 'broken' of dzbackend-broken 1.0 fails to import" in out
    assert "No module named 'no_such_library'" in out


def test_no_backend_is_an_error(folder: Folder) -> None:
    own(folder, "Weights", "pass")
    status, out = folder.pytest()
    assert status != 0
    assert "no backend to test; say --dz-backend=NAME" in out


def test_a_leak_is_an_error_of_the_test_that_leaks(folder: Folder) -> None:
    own(folder, "Group", 'backends = ["mine"]\n\n    def test_leaks(self, backend):\n'
        "        from dzcore import Config\n        Config.train = False\n\n"
        "    def test_after_it(self, backend):\n"
        "        from dzcore import Config\n        assert Config.train")  # fmt: skip
    status, out = folder.pytest()
    assert status == 1
    assert "the test has changed training" in out
    assert "2 passed, 1 error" in out
