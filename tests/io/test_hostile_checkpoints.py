"""Checkpoints made to hurt: the newest is refused by name, the one before restored, and nothing else is touched."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from hashlib import sha256
from pathlib import Path

import pytest

from dzcore.errors import CheckpointError, CheckpointWarning, DamagedError
from dzcore.io import Saved

from .hostile import HUGE, little_memory, only_within
from .trainings import Training, state_at


@pytest.fixture
def run(tmp_path):
    """A folder with two checkpoints, of the steps 1 and 2."""
    for step in (1, 2):
        Training(tmp_path / "run").save(step)
    Training(tmp_path / "run").restore()
    with only_within(tmp_path), little_memory():
        yield tmp_path / "run"


def newest(run):
    return sorted(run.glob("0*"))[-1]


def damaged(run, reason=None):
    """Check that the newest checkpoint is refused by name, and that the one before is restored, with a warning."""
    path = newest(run)
    with pytest.raises(DamagedError, match=reason) as caught:
        Saved(path).verify()
    assert str(path) in str(caught.value)
    falls_back(run)


def falls_back(run):
    path = newest(run)
    training = Training(run, 7)
    with pytest.warns(CheckpointWarning, match=path.name):
        assert training.restore().step == 1
    assert training.state() == state_at(1)
    for other in run.glob("0*"):
        if other != path:
            shutil.rmtree(other)
    training.set(7)
    before = training.state()
    with pytest.warns(CheckpointWarning), pytest.raises(CheckpointError, match=path.name):
        training.restore()
    assert training.state() == before


def remade(path, change):
    """Change the content of a manifest, a dictionary or text, and make the digest right again."""
    manifest = path / "manifest.json"
    content = json.loads(manifest.read_bytes().partition(b'"content":')[2][:-2])
    changed = change(content)
    text = changed if isinstance(changed, bytes) else json.dumps(content).encode()
    manifest.write_bytes(b'{"sha256":"' + sha256(text).hexdigest().encode() + b'","content":' + text + b"}\n")


def test_every_file_of_a_checkpoint_cut_or_longer_or_missing(run):
    path = newest(run)
    for file in sorted(path.iterdir()):
        data = file.read_bytes()
        for length in {0, 1, len(data) // 2, len(data) - 1}:
            file.write_bytes(data[:length])
            with pytest.raises(DamagedError, match=file.name):
                Saved(path).verify()
        file.write_bytes(data + b"\n")
        with pytest.raises(DamagedError, match=file.name):
            Saved(path).verify()
        file.unlink()
        with pytest.raises(DamagedError, match=file.name):
            Saved(path).verify()
        file.write_bytes(data)
    Saved(path).verify()
    file.write_bytes(b"")
    damaged(run)


def test_files_of_one_checkpoint_that_are_swapped(run):
    files = sorted(newest(run).glob("*.bin"))
    data = [file.read_bytes() for file in files]
    for file, other in zip(files, data[1:] + data[:1], strict=True):
        file.write_bytes(other)
    damaged(run, "arrays-")


@pytest.mark.parametrize("name", ["arrays-0000.bin", "arrays-0001.bin", "manifest.json"])
def test_files_of_two_checkpoints_that_are_swapped(run, name):
    old, new = sorted(run.glob("0*"))
    data = (old / name).read_bytes(), (new / name).read_bytes()
    (new / name).write_bytes(data[0])
    damaged(run)


def test_folders_of_checkpoints_that_are_renamed(run):
    old, new = sorted(run.glob("0*"))
    old.rename(run / "x")
    new.rename(old)
    (run / "x").rename(new)
    training = Training(run, 7)
    before = training.state()
    with pytest.warns(CheckpointWarning), pytest.raises(CheckpointError, match=new.name):
        training.restore()
    assert training.state() == before


def test_an_old_checkpoint_under_a_new_name(run):
    shutil.rmtree(newest(run))
    newest(run).rename(run / "000009-step-9")
    with pytest.warns(CheckpointWarning, match="000009-step-9"), pytest.raises(CheckpointError):
        Training(run).restore()


@pytest.mark.parametrize("name", ["arrays-0000.bin", "manifest.json", ""], ids=["array", "manifest", "folder"])
@pytest.mark.parametrize("kind", ["link", "good link", "dangling link", "fifo", "device", "folder", "file"])
def test_what_is_no_regular_file(run, kind, name):
    path = newest(run) / name
    there = path.with_name("there") if name else run / "there"
    path.rename(there)
    match kind:
        case "link":
            path.symlink_to("/etc/passwd")
        case "good link":
            path.symlink_to(there)
        case "dangling link":
            path.symlink_to("nothing")
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "file":
            path.write_bytes(b"x" * 60)
    falls_back_quickly(run) if kind == "fifo" else falls_back(run)


def falls_back_quickly(run):
    """As `falls_back`, in another process that has a minute."""
    command = [sys.executable, "-c", "from tests.io.test_hostile_checkpoints import *; import pathlib, sys; "
               "falls_back(pathlib.Path(sys.argv[1]))", str(run)]  # fmt: skip
    done = subprocess.run(command, timeout=60, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name", ["../000001-step-1/arrays-0000.bin", "/etc/passwd", "arrays-0000.bin/../../x", "arrays-0001.bin", "", "."]
)
def test_manifests_that_name_other_files(run, name):
    remade(newest(run), lambda content: content["files"][0].update(name=name))
    damaged(run, "manifest.json")


CHANGES = {
    "a file of 400 GB": lambda c: c["files"][0].update(size=4 * HUGE),
    "an array of 400 GB": lambda c: first(c).update(shape=[HUGE], size=4 * HUGE),
    "a shape of 400 GB": lambda c: first(c).update(shape=[HUGE]),
    "an empty shape that is too large": lambda c: first(c).update(shape=[2**62, 0], size=0),
    "100 axes": lambda c: first(c).update(shape=[1] * 100),
    "a negative size": lambda c: first(c).update(size=-60),
    "a size that is no integer": lambda c: first(c).update(size=60.0),
    "an offset": lambda c: first(c).update(offset=4),
    "another file": lambda c: first(c).update(file=1),
    "no such file": lambda c: first(c).update(file=99),
    "a dtype": lambda c: first(c).update(dtype="complex64"),
    "a dtype that is no name": lambda c: first(c).update(dtype=["float32"]),
    "a digest": lambda c: first(c).update(sha256="0" * 64),
    "a digest that is none": lambda c: first(c).update(sha256=None),
    "no digest": lambda c: first(c).pop("sha256"),
    "a step": lambda c: c.update(step=3),
    "a step that is no number": lambda c: c.update(step="2"),
    "a serial number": lambda c: c.update(serial=7),
    "no format": lambda c: c.pop("format"),
    "another format": lambda c: c.update(format="x"),
    "version 0": lambda c: c.update(version=0),
    "version true": lambda c: c.update(version=True),
    "a byte order": lambda c: c.update(byte_order="middle"),
    "no files": lambda c: c.update(files=[]),
    "no arrays": lambda c: c.update(arrays={}),
    "arrays in a list": lambda c: c.update(arrays=[]),
    "a tree of nothing": lambda c: c.update(tree=None),
    "a tree with an array twice": lambda c: c.update(tree={"dict": {"model": {"array": next(iter(c["arrays"]))},
                                                                    "counter": {"array": next(iter(c["arrays"]))}}}),
    "a tree with an array that is not there": lambda c: c.update(tree={"dict": {"model": {"array": "x"}}}),
    "a tree that is deep": lambda c: c.update(tree=deep(200)),
    "metadata in a list": lambda c: c.update(metadata={"list": []}),
    "metadata with an array": lambda c: c.update(metadata={"array": next(iter(c["arrays"]))}),
    "a name twice": lambda c: json.dumps(c).encode().replace(b'{"format"', b'{"step": 2, "format"'),
    "a number that is none": lambda c: json.dumps(c).encode().replace(b'"step": 2', b'"step": NaN'),
    "a number of 5000 digits": lambda c: json.dumps(c).encode().replace(b'"step": 2', b'"step": ' + b"2" * 5000),
    "brackets": lambda c: b"[" * 1_000_000,
    "no JSON": lambda c: b"x",
    "nothing": lambda c: b"",
    "bytes": lambda c: b'"\xff\xfe"',
}  # fmt: skip


def first(content):
    return next(iter(content["arrays"].values()))


def deep(levels):
    return {"list": [deep(levels - 1)]} if levels else None


@pytest.mark.parametrize("change", CHANGES)
def test_manifests_with_a_right_digest_and_a_wrong_content(run, change):
    remade(newest(run), CHANGES[change])
    damaged(run) if change not in ("a step", "a serial number") else falls_back(run)


def test_a_manifest_of_a_newer_version_is_not_damage(run):
    """Nothing is passed over that a newer dzcore can read."""
    remade(newest(run), lambda content: content.update(version=2))
    training = Training(run, 7)
    before = training.state()
    with pytest.raises(CheckpointError, match="newer dzcore.*upgrade"):
        training.restore()
    assert training.state() == before


def test_a_manifest_that_is_too_long(run):
    with open(newest(run) / "manifest.json", "r+b") as file:
        file.truncate(400 << 30)  # a hole
    damaged(run, "manifest.json.*429496729600 bytes")


def test_what_lies_beside_checkpoints_is_left_alone(run):
    beside = {"notes.txt": b"mine", "000003-step": b"", ".tmp-mine": b"", "x000003-step-3": b"", "1-step-1": b""}
    (newest(run) / "notes.txt").write_bytes(b"mine")
    for name, data in beside.items():
        (run / name).write_bytes(data)
    training = Training(run, keep=1)
    assert training.restore().step == 2
    training.save(3)
    assert {name: (run / name).read_bytes() for name in beside} == beside


def test_a_hostile_folder_of_checkpoints(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "manifest.json").write_bytes(b"mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".tmp-000001-step-1").symlink_to(outside)  # to be swept
    (run / "000001-step-1").symlink_to(outside)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        with pytest.raises(CheckpointError, match="link"):
            Training(run).restore()
    assert (outside / "manifest.json").read_bytes() == b"mine"
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(outside / "manifest.json")
    with pytest.raises(OSError, match="symbolic links"):
        Training(run).open()
    assert (outside / "manifest.json").read_bytes() == b"mine"
