"""Any call to the file system fails, or is the last one: what was good before is good after, and nothing half is seen.

Every test goes through all calls of a save, and lets each of them meet the fault.
"""

import errno
import os
import shutil
import warnings
from ast import literal_eval
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

import dzcore as dz
from dzcore.errors import CheckpointWarning, FileError
from dzcore.io import Saved, archive, atomic_write, npz, staging

from .faults import DONE_FIRST, FAULTS, KILLS, LASTING, calls_of, opened, struck
from .trainings import Training, state_at

OLD = {"l1/W": [[1.0, 2.0], [3.0, 4.0]], "l1/b": [5.0], "n": [6.0, 7.0]}
NEW = {"l1/W": [[8.0, 9.0], [10.0, 11.0]], "l1/b": [12.0], "n": [13.0] * 300}
LEFTOVER = ".w.tmp-0123456789abcdef"


def save_tree(path, values):
    dz.save(path, {name: dz.asarray(value) for name, value in values.items()})


def load_tree(path):
    return {name: x.data.tolist() for name, x in dz.load(path).items()}


def save_large(path, values):
    """As a large .npz is saved: a thread writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(npz, "_SMALL", 0)
        patch.setattr(npz, "_PAGE", 100)
        patch.setattr(staging, "MANY", 0)
        save_tree(path, values)


def save_bytes(path, values):
    text = repr(values).encode()
    with atomic_write(path) as file:
        file.write(text[:20])
        file.write(text[20:])


def load_bytes(path):
    return literal_eval(path.read_text())


FORMATS = {
    "bin": (save_bytes, load_bytes),
    "npz": (save_tree, load_tree),
    "large.npz": (save_large, load_tree),
    "safetensors": (save_tree, load_tree),
}


def visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("existed", [True, False], ids=["replaced", "new"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_save_that_meets_a_fault(quick_path, suffix, existed, fault):
    save, load = FORMATS[suffix]
    origin, folder = quick_path / "origin", quick_path / "folder"
    path = folder / f"w.{suffix}"
    origin.mkdir()
    if existed:
        save(origin / path.name, OLD)
    (origin / f".{path.name}.tmp-0123456789abcdef").write_bytes(b"left by a killed writer")

    def again() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(origin, folder)

    again()
    calls = [name for name, _ in calls_of(lambda: save(path, NEW))]
    assert {"remove", "create", "write", "flush", "rename", "flush_folder"} <= set(calls)
    assert ("permit" in calls) == existed

    for at, operation in enumerate(calls):
        again()
        error = struck(lambda: save(path, NEW), at, fault)
        if isinstance(error, OSError):
            assert str(folder) in str(error)
            assert os.strerror(error.errno) in str(error)
        swept = operation == "remove"  # what was left before; that may fail without a word
        assert error or swept or fault in KILLS
        renamed = calls.index("rename")
        done = (
            at > renamed or (at == renamed and fault in DONE_FIRST) or (swept and error is None and fault not in KILLS)
        )
        if existed or done:
            assert load(path) == (NEW if done else OLD), (at, operation)
        assert visible(folder) == [path.name] * (existed or done)
        if fault not in KILLS | LASTING and not swept and not (operation == "create" and fault in DONE_FIRST):
            assert os.listdir(folder) == visible(folder), "a save that fails clears up"
        save(path, OLD)
        assert load(path) == OLD
        assert os.listdir(folder) == [path.name], "the next save sweeps what was left"


# Checkpoints ---------------------------------------------------------------------------------------------------------

#: The steps that were saved before, and the options of the Checkpoint.
SCENES = {
    "first": ([], {}),
    "second": ([1], {}),
    "removing an old one": ([1, 2], {"keep": 1}),
    "removing but the best": ([1, 2, 3], {"keep": 1, "best": 1, "metric": "loss", "mode": "max"}),
    "in the background": ([1, 2], {"keep": 1, "background": True}),
}


def prepared(folder: Path, steps: list[int], options: dict[str, object]) -> None:
    for step in steps:
        Training(folder, **{**options, "keep": None}).save(step)
    leftover = folder / ".tmp-000099-step-99"
    leftover.mkdir(parents=True)
    (leftover / "manifest.json").write_bytes(b"half")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scene", SCENES)
def test_a_checkpoint_that_meets_a_fault(quick_path, scene, fault):
    steps, options = SCENES[scene]
    new, last = 10, max(steps, default=None)
    origin, folder = quick_path / "origin", quick_path / "run"
    prepared(origin, steps, options)

    def again() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(origin, folder)

    again()
    calls = [name for name, _ in calls_of(lambda: Training(folder, **options).save(new))]
    assert calls.count("create") >= 5, "several files"
    assert {"make_folder", "write", "flush", "flush_folder", "rename", "remove", "remove_folder"} <= set(calls)

    for at, operation in enumerate(calls):
        again()
        error = struck(lambda: Training(folder, **options).save(new), at, fault)
        if isinstance(error, OSError):
            assert str(folder) in str(error), (at, operation)
            assert os.strerror(error.errno) in str(error)
        harmless = fault == "no space for long" and operation.startswith("remove")
        assert error or fault in KILLS or harmless, (at, operation)
        if fault not in KILLS | LASTING:
            assert not list(folder.glob(f".tmp-*-step-{new}")), "a save that fails clears up"
        for name in visible(folder):
            Saved(folder / name).verify()  # nothing half is seen
        training = Training(folder, **options)
        before = training.state()
        saved = training.restore()
        if saved is None:
            assert last is None, (at, operation)
            assert training.state() == before
        else:
            assert saved.step in (last, new), (at, operation)
            assert training.state() == state_at(saved.step), (at, operation)
        assert os.listdir(folder).count(".lock") == 1
        assert [name for name in os.listdir(folder) if name.startswith(".tmp")] == [], "swept at the next start"
        Training(folder, **options).save(new + 1)
        assert Training(folder, **options).restore().step == new + 1


def test_a_fault_in_the_background_comes_up_once(quick_path):
    training = Training(quick_path / "run", background=True)
    training.save(1)
    with opened(None) as door:
        training.save(2)
    writes = [i for i, (name, _) in enumerate(door.calls) if name == "write"]
    with opened(writes[-2], FAULTS["no space"]), training.open() as checkpoint:
        checkpoint.restore()
        checkpoint.save(3)
        with pytest.raises(OSError, match="step 3.*No space left on device"):
            checkpoint.save(4)
        checkpoint.save(5)
    assert Training(quick_path / "run").restore().step == 5


# Reading -------------------------------------------------------------------------------------------------------------


class ReadFile(FileIO):
    def __init__(self, reading: "Reading", *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.reading = reading

    def read(self, size: int | None = -1) -> bytes | None:
        return self.reading("read", super().read, size)


class Reading:
    """Stands between dzcore and the system's calls for reading; the n-th fails, or gives too little."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None, code: int) -> None:
        self.count, self.at, self.code = 0, at, code
        for name in ("open", "fstat", "listdir", "preadv"):
            monkeypatch.setattr(os, name, partial(self, name, getattr(os, name)))
        monkeypatch.setattr(archive, "FileIO", partial(ReadFile, self))

    def __call__(self, name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.count += 1
        if self.count - 1 == self.at:
            if self.code:
                raise OSError(self.code, os.strerror(self.code))
            if name in ("preadv", "read"):
                return 0 if name == "preadv" else b""  # the file has become shorter
        if name == "preadv" and not self.code:
            args = args[0], [args[1][0][:7]], args[2]  # the system gives a part of what was asked for
        return function(*args, **options)


ENDINGS = [errno.EIO, errno.EACCES, errno.EMFILE, errno.ENOMEM, 0]


@pytest.mark.parametrize("code", ENDINGS, ids=lambda code: errno.errorcode.get(code, "short"))
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_weights_whose_reading_fails_change_nothing(quick_path, monkeypatch, suffix, code):
    path = quick_path / f"w.{suffix}"
    training = Training(quick_path, 1)
    training.model.save_weights(path)
    training.set(2)
    before = training.state()

    def load(at: int | None) -> tuple[int, Exception | None]:
        with monkeypatch.context() as patch:
            reading = Reading(patch, at, code)
            try:
                training.model.load_weights(path)
            except (OSError, FileError) as e:
                return reading.count, e
            return reading.count, None

    count, error = load(None)
    assert error is None
    assert count >= 3
    failed = 0
    for at in range(count):
        training.set(2)
        _, error = load(at)
        assert (training.state() == before) == (error is not None)
        failed += error is not None
    assert failed >= (2 if code else 1)


@pytest.mark.parametrize("code", ENDINGS, ids=lambda code: errno.errorcode.get(code, "short"))
def test_a_restore_whose_reading_fails_restores_all_or_nothing(quick_path, monkeypatch, code):
    for step in (1, 2):
        Training(quick_path / "run").save(step)
    training = Training(quick_path / "run", 7)
    before = training.state()

    def restore(at: int | None) -> tuple[int, int | None]:
        """Return the number of calls, and the step that was restored."""
        with training.open() as checkpoint, monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", CheckpointWarning)
            reading = Reading(patch, at, code)
            try:
                saved = checkpoint.restore()
            except (OSError, FileError):
                return reading.count, None
            return reading.count, saved and saved.step

    count, step = restore(None)
    assert step == 2
    came = set()
    for at in range(count):
        training.set(7)
        _, step = restore(at)
        assert training.state() == (before if step is None else state_at(step))
        came.add(step)
    if code in (0, errno.EIO):
        assert {1} < came, "a disk that fails, and a file that is short, are damage: the one before is taken"
    else:
        assert came == {None}, "a checkpoint is not passed over for what may be better the next time"
