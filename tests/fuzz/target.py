"""The fuzz target: damage valid files in one of many ways, load them, and say what came of it.

What may come of it: `equal`, the content is that of the original; `refused`, one of dzcore's own errors; `foreign`,
another content, but only after a mutation that can make another valid file. Everything else is a finding.
"""

import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import dzcore as dz
from dzcore.backend import HostArray, use_backend
from dzcore.errors import CheckpointWarning, FileError, StateError
from dzcore.io import Checkpoint
from dzcore.io.tree import host_array, over

from .formats import Files, mutate_checkpoint, mutate_npz, mutate_safetensors
from .mutations import mutate_bytes

__all__ = ["FORMATS", "Outcome", "try_one"]

MOST_MEMORY = 400 << 20  #: bytes that loading one of these files, which have a few KiB, may take
MOST_SECONDS = 60


class Outcome(NamedTuple):
    """What came of one mutation."""

    kind: str  #: "equal", "refused", "foreign" or "finding"
    mutation: str
    detail: str


class Case(NamedTuple):
    """A valid file, or the files of a folder, and what is in it."""

    files: Files
    content: Any


# Contents ------------------------------------------------------------------------------------------------------------


class Part:
    """A part of a checkpoint that is what was loaded."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


def _tree(seed: int) -> Any:
    generator = dz.random.Generator(seed)
    W, b = generator.normal((3, 5)), generator.normal((7,))
    return [
        {"l1/W": W, "l1/b": b},
        {"l1/W": b, "l1/b": W, "steps": dz.asarray([1, 2, 3]), "on": dz.asarray([True, False])},
        [W, (b, None, {"x": dz.asarray(2.5), "y": "text", "z": [1, -0.0, float("nan"), 2**70, True]}), []],
        {"": dz.astype(W, "float16"), "é/~2": dz.zeros((0, 3)), "m": {"é": b, "é/~2": W}, "big": dz.zeros((40, 40))},
    ][seed % 4]


def _plain(tree: Any) -> Any:
    """Return a tree in a form that compares by kinds, bits and order."""

    def plain(x: Any) -> Any:
        if isinstance(x, dict):
            return "dict", [(key, plain(value)) for key, value in x.items()]
        if isinstance(x, list | tuple):
            if type(x) is HostArray:
                return "array", x.dtype, tuple(x.shape), bytes(memoryview(x.buffer))
            return type(x).__name__, [plain(value) for value in x]
        return type(x).__name__, repr(x)

    return plain(over(tree, host_array))


@cache
def cases(name: str) -> list[Case]:
    """Return the valid files from which the mutations of a format start."""
    from tempfile import TemporaryDirectory

    made = []
    with TemporaryDirectory() as folder, use_backend("numpy"):
        if name == "checkpoint":
            for first in (0, 2):
                run = Path(folder) / f"run{first}"
                part = Part(None)
                with Checkpoint(run, part=part, file_size=60, keep=None) as checkpoint:
                    for i in (0, 1):
                        part.state = {"state": _tree(first + i)}
                        checkpoint.save(10 * (first + i + 1), {"loss": 0.5 + i})
                contents = [_plain({"state": _tree(first + i)}) for i in (0, 1)]
                made.append(Case(_read_folder(run), contents))
            return made
        for seed in range(8):
            path = Path(folder) / f"{seed}.{name}"
            dz.save(path, _tree(seed), **({"compress": seed < 4} if name == "npz" else {}))
            made.append(Case({f"x.{name}": path.read_bytes()}, _plain(_tree(seed))))
    return made


def _read_folder(folder: Path) -> Files:
    files: Files = {}
    for path in sorted(folder.rglob("*")):
        if path.name != ".lock":
            files[str(path.relative_to(folder))] = None if path.is_dir() else path.read_bytes()
    return files


def _write_folder(folder: Path, files: Files) -> None:
    for name, data in files.items():
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)


# Trying --------------------------------------------------------------------------------------------------------------


def mutated(name: str, rng: Random) -> tuple[str, Case, Files, bool]:
    """Return the name of a mutation, the case it changes, what it makes of it, and whether that may be valid."""
    case = rng.choice(cases(name))
    of_headers = rng.random() < 0.5
    if name == "checkpoint":
        if of_headers:
            kind, files = mutate_checkpoint(rng, case.files)
            return kind, case, files, kind in ("manifest", "data")
        newest = max(name for name, data in case.files.items() if data is None)
        path = rng.choice([name for name in case.files if name.startswith(f"{newest}/")])
        other = rng.choice([data for data in rng.choice(cases(name)).files.values() if data])
        kind, data = mutate_bytes(rng, case.files[path] or b"", other)
        return f"bytes: {kind}", case, {**case.files, path: data}, False
    ((path, data),) = case.files.items()
    assert data is not None
    if of_headers:
        kind, new = (mutate_npz if name == "npz" else mutate_safetensors)(rng, data)
        return kind, case, {path: new}, True
    other = next(iter(rng.choice(cases(name)).files.values())) or b""
    kind, new = mutate_bytes(rng, data, other)
    return f"bytes: {kind}", case, {path: new}, other in new and other != data


def try_one(name: str, seed: str, folder: Path) -> Outcome:
    """Try one mutation of a format, which follows from the seed, in an empty folder, which is empty afterwards."""
    mutation, case, files, may_be_valid = mutated(name, Random(seed))
    same = files == case.files
    _write_folder(folder, files)
    try:
        with _bounded(), use_backend("numpy"):
            content = LOAD[name](folder, files)
    except (FileError, StateError) as e:
        message = str(e)
        if str(folder) not in message and not isinstance(e, StateError):
            return Outcome("finding", mutation, f"an error that does not name the file: {message}")
        return (
            Outcome("refused", mutation, message) if not same else Outcome("finding", mutation, f"refused: {message}")
        )
    except Exception as e:
        return Outcome("finding", mutation, f"{type(e).__name__}: {e}")
    finally:
        _clear(folder, files)
    allowed = case.content if name == "checkpoint" else [case.content]
    if content in allowed:
        return Outcome("equal", mutation, "")
    return Outcome("foreign" if may_be_valid else "finding", mutation, f"another content: {content!r:.300}")


def _load_file(folder: Path, files: Files) -> Any:
    ((name, _),) = files.items()
    return _plain(dz.load(folder / name))


def _load_checkpoint(folder: Path, files: Files) -> Any:
    part, stream = Part(None), dz.random.get_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        with Checkpoint(folder, part=part) as checkpoint:
            try:
                checkpoint.restore()
            except Exception:
                if part.state is not None or dz.random.get_state() != stream:
                    raise AssertionError("refused, and a part of it was restored") from None
                raise
    dz.random.set_state(stream)
    return _plain(part.state)


LOAD: dict[str, Callable[[Path, Files], Any]] = {
    "npz": _load_file,
    "safetensors": _load_file,
    "checkpoint": _load_checkpoint,
}
FORMATS = tuple(LOAD)


def _clear(folder: Path, files: Files) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise for what takes too long or too much memory."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {MOST_SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    old = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if grown > MOST_MEMORY:
        raise MemoryError(f"it took {grown >> 20} MiB")
