"""The power goes at any moment: what was promised is there, and nothing half is."""

import os
import warnings

import pytest

import dzcore as dz
from dzcore.errors import CheckpointError, CheckpointWarning
from dzcore.io import atomic_write
from dzcore.io.tree import host_array, over

from .power import Disk, recorded
from .trainings import Training, state_at

OLD, NEW, NEWER = b"the old content", b"what is new", b"newer still, and longer than both"


def write(path, *pieces):
    with atomic_write(path) as file:
        for piece in pieces:
            file.write(piece)


def what_remains(record: Disk, quick_path, read, limit=64):
    """Return all that is wrong in what may remain: `read(folder, promise)` says what, or None."""
    place = quick_path / "after"
    count, wrong = 0, []
    for which, promise, lay_out in record.remains(limit):
        lay_out(place)
        count += 1
        if problem := read(place, promise):
            wrong.append(f"{which}: {problem}")
    assert count > len(record.moments)
    return wrong


def three_contents(quick_path, forgets=()):
    """Write a file that is there, twice; return what can be wrong with it after a power loss."""
    folder = quick_path / "before"
    folder.mkdir()
    (folder / "w.bin").write_bytes(OLD)
    (folder / "other.bin").write_bytes(b"other")
    with recorded(folder, forgets) as record:
        record.promised(OLD)
        write(folder / "w.bin", NEW[:4], NEW[4:])
        record.promised(NEW)
        write(folder / "w.bin", NEWER)
        record.promised(NEWER)
    contents = [OLD, NEW, NEWER]

    def read(place, promise):
        if (place / "other.bin").read_bytes() != b"other":
            return "the file beside it is another"
        there = (place / "w.bin").read_bytes()
        allowed = [] if promise is None else contents[contents.index(promise) :]
        if promise is not None and there not in allowed:
            return f"{there!r} where {promise!r} was promised"
        write(place / "w.bin", b"next")  # sweeps what was left
        return None if sorted(os.listdir(place)) == ["other.bin", "w.bin"] else f"left: {os.listdir(place)}"

    return what_remains(record, quick_path, read)


def test_a_file_is_the_old_or_the_new_one(quick_path):
    assert three_contents(quick_path) == []


@pytest.mark.parametrize("forgets", ["flush", "flush_folder"])
def test_without_flushing_it_would_not_be(quick_path, forgets):
    """The model has teeth."""
    assert three_contents(quick_path, (forgets,))


def test_a_first_file_is_missing_or_whole(quick_path):
    folder = quick_path / "before"
    folder.mkdir()
    with recorded(folder) as record:
        write(folder / "w.bin", NEW)
        record.promised(NEW)

    def read(place, promise):
        there = (place / "w.bin").read_bytes() if (place / "w.bin").exists() else None
        return None if there == NEW or (there is None and promise is None) else repr(there)

    assert what_remains(record, quick_path, read) == []


# Archives and checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_weights_are_the_old_or_the_new_ones(quick_path, suffix):
    folder = quick_path / "before"
    folder.mkdir()
    training = Training(folder, 1)
    path = f"w.{suffix}"
    states = {}
    with recorded(folder) as record:
        for step in (1, 2, 3):
            training.set(step)
            states[step] = repr(over(training.model.state_dict(), host_bytes))
            training.model.save_weights(folder / path)
            record.promised(step)

    def read(place, promise):
        if not (place / path).exists():
            return "nothing" if promise else None
        there = repr(over(dz.load(place / path), host_bytes))
        found = [step for step, state in states.items() if state == there]
        return None if found and found[0] >= (promise or 0) else f"{found} where {promise} was promised"

    assert what_remains(record, quick_path, read) == []


def host_bytes(x):
    return bytes(host_array(x).buffer)


def checkpoints(path, forgets=(), **options):
    """Save four times, and restore what may remain; return what can be wrong."""
    folder = path / "before"
    folder.mkdir()
    with recorded(folder, forgets) as record:
        for step in (1, 2, 3, 4):
            Training(folder / "run", keep=2, **options).save(step)
            record.promised(step)

    def read(place, promise):
        training = Training(place / "run")
        with warnings.catch_warnings():
            warnings.simplefilter("error", CheckpointWarning)  # nothing half may be seen at all
            try:
                saved = training.restore()
            except (CheckpointError, CheckpointWarning) as e:
                return f"{type(e).__name__}: {e}"
        if saved is None:
            return "nothing" if promise else None
        if training.state() != state_at(saved.step):
            return "the states are not those of the step"
        if any(name.startswith(".tmp") for name in os.listdir(place / "run")):
            return "leftovers"
        return None if saved.step >= (promise or 0) else f"step {saved.step} where {promise} was promised"

    return what_remains(record, path, read, limit=16)


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_a_checkpoint_that_was_saved_is_restored(quick_path, background):
    assert checkpoints(quick_path, background=background) == []


@pytest.mark.parametrize("forgets", ["flush", "flush_folder"])
def test_without_flushing_checkpoints_would_be_lost(quick_path, forgets):
    """The model has teeth."""
    assert checkpoints(quick_path, (forgets,))
