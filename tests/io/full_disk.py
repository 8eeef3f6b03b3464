"""Save on disks that are full at some point, real ones; print what came out as JSON. Run by test_disk_full.py.

    python -m tests.io.full_disk (tmpfs | limit) (npz | safetensors | checkpoint) FOLDER

tmpfs: small file systems mounted on FOLDER, which needs a mount namespace of its own. limit: no file that this process
writes grows beyond a size, as with a quota.
"""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dzcore as dz
from dzcore.io import Checkpoint
from dzcore.io.tree import host_array

#: From what the small state needs to more than the large one can.
SIZES = range(24_576, 262_145, 8192)
SMALL, LARGE = 500, 12_000  # numbers of 4 bytes that do not compress


class Part:
    def __init__(self, count: int) -> None:
        self.state = {"x": numbers(count), "y": numbers(count)}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def numbers(count: int) -> dz.Variable:
    return dz.random.Generator(count).normal((count,))


def save(kind: str, folder: Path, step: int, count: int) -> None:
    if kind == "checkpoint":
        part = Part(1)
        with Checkpoint(folder / "run", part=part, file_size=40_000) as checkpoint:
            checkpoint.restore()
            part.state = Part(count).state
            checkpoint.save(step)
    else:
        dz.save(folder / f"w.{kind}", Part(count).state)


def load(kind: str, folder: Path) -> dict[str, Any]:
    if kind == "checkpoint":
        part = Part(1)
        with Checkpoint(folder / "run", part=part) as checkpoint:
            assert checkpoint.restore()
        return part.state
    return dz.load(folder / f"w.{kind}")


def holds(kind: str, folder: Path, count: int) -> bool:
    there, wanted = load(kind, folder), Part(count).state
    return {name: host_array(x) for name, x in there.items()} == {name: host_array(x) for name, x in wanted.items()}


def files(folder: Path) -> list[str]:
    """List what lies in a folder, but the lock."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".lock")


@contextlib.contextmanager
def room(how: str, folder: Path, size: int) -> Iterator[None]:
    """Leave room for so many bytes: in the folder, or in each file."""
    if how == "limit":
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        shutil.rmtree(folder)
        folder.mkdir()
    else:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
        yield
        subprocess.run(["umount", folder], check=True)


def try_at(how: str, kind: str, folder: Path, size: int) -> list[Any]:
    """Return [size, errno or 0, whether the error names the file, what is there: "old" or "new", what is left]."""
    with room(how, folder, size):
        save(kind, folder, 0, SMALL)
        before = files(folder)
        try:
            save(kind, folder, 1, LARGE)
            error = None
        except OSError as e:
            error = e
        there = "old" if holds(kind, folder, SMALL) else "new" if holds(kind, folder, LARGE) else "neither"
        left = sorted(set(files(folder)) - set(before)) if error else []
        if error:
            save(kind, folder, 2, SMALL)  # there is room again
            assert holds(kind, folder, SMALL)
        return [size, error.errno if error else 0, str(folder) in str(error), there, left]


if __name__ == "__main__":
    how, kind, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    print(json.dumps([try_at(how, kind, folder, size) for size in SIZES]))
    sys.stdout.flush()
    os._exit(0)
