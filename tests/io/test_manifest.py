"""What no checkpoint is: manifests that are wrong under a right digest, and files that are no files."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dzcore.errors import CheckpointError, DamagedError
from dzcore.io.saved import Saved

from .checkpoints import edit, seal


def put(*keys: Any) -> Callable[[dict[str, Any]], None]:
    """Set an entry of nested dictionaries: the keys, and the value."""

    def change(content: Any) -> None:
        *path, last, value = keys
        for key in path:
            content = content[key]
        content[last] = value

    return change


def empty_last(arrays: dict[str, Any]) -> None:
    """Put an array without elements behind those of the second file, at the end of the first one."""
    entry = arrays.pop("model/weights/none")
    end = max(other["offset"] + other["size"] for other in arrays.values() if other["file"] == 0)
    arrays["model/weights/none"] = {**entry, "offset": end}


W = ("arrays", "model/weights/l1/W")
HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "format": (put("format", "other"), "its format is 'other'"),
    "version 0": (put("version", 0), "its version is 0"),
    "version true": (put("version", True), "its version is True"),
    "no step": (lambda c: c.pop("step"), "it lacks 'step'"),
    "step": (put("step", -1), "its step is -1"),
    "step 1.0": (put("step", 1.0), "its step is 1.0"),
    "serial": (put("serial", 1 << 63), "its serial is 9223372036854775808"),
    "byte order": (put("byte_order", "middle"), "its byte_order is 'middle'"),
    "files": (put("files", {}), "its files is {}"),
    "a file": (put("files", 0, 3), "."),
    "name outside": (put("files", 0, "name", "../arrays-0000.bin"), "its files have the names"),
    "absolute name": (put("files", 0, "name", "/etc/passwd"), "its files have the names"),
    "same name": (put("files", 1, "name", "arrays-0000.bin"), "its files have the names"),
    "manifest as a file": (put("files", 0, "name", "manifest.json"), "its files have the names"),
    "size": (put("files", 0, "size", 10), "its arrays and its files have different sizes"),
    "400 GB": (put("files", 0, "size", 400 << 30), "its arrays and its files have different sizes"),
    "arrays": (put("arrays", []), "its arrays is"),
    "an array": (put(*W, []), "."),
    "an array's size": (put(*W, "size", 400 << 30), "has size 429496729600"),
    "dtype": (put(*W, "dtype", "object"), "has dtype 'object'"),
    "list as dtype": (put(*W, "dtype", []), "."),
    "shape": (put(*W, "shape", [-2, -3]), "has no proper shape"),
    "shape of text": (put(*W, "shape", "ab"), "has no proper shape"),
    "shape of a bool": (put(*W, "shape", [6, True]), "has no proper shape"),
    "great shape": (put(*W, "shape", [1 << 40, 1 << 40]), "has no proper shape"),
    "offset": (put(*W, "offset", 4), "does not follow the one before"),
    "overlap": (put("arrays", "model/weights/l1/b", "offset", 0), "does not follow the one before"),
    "file number": (put(*W, "file", 7), "does not follow the one before"),
    "back to a file": (lambda c: empty_last(c["arrays"]), "array 'model/weights/none' does not follow"),
    "no files": (put("files", []), "does not follow the one before"),
    "another file": (lambda c: c["files"].append({"name": "arrays-0002.bin", "size": 5}), "different sizes"),
    "hole": (lambda c: c["arrays"].pop("model/weights/l1/W"), "does not follow the one before"),
    "digest": (put(*W, "sha256", None), "its bytes are not those that were written"),
    "no digest": (lambda c: c["arrays"]["counts/3"].pop("sha256"), "it lacks 'sha256'"),
    "array in no part": (
        lambda c: c["tree"]["dict"].pop("model"),
        "its structure has 9 arrays, not each of the file's 15 once",
    ),
    "array in two parts": (put("tree", "dict", "more", {"array": "counts/3"}), "not each of the file's"),
    "unknown array": (put("tree", "dict", "more", {"array": "more"}), "not each of the file's"),
    "tree": (put("tree", {"list": []}), "it lacks 'dict'"),
    "tree of nothing": (put("tree", None), "its tree is None"),
    "node": (put("tree", "dict", "more", {"set": []}), "its structure is damaged"),
    "array in metadata": (put("metadata", "dict", "x", {"array": "counts/3"}), "not each of the file's"),
    "metadata": (put("metadata", [1]), "its metadata is"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_manifests_that_are_wrong_inside(small: Path, case: str) -> None:
    change, cause = HOSTILE[case]
    edit(small, change)
    with pytest.raises(DamagedError, match=f"manifest.json' is damaged: .*{cause}|arrays-0000.bin.*{cause}"):
        Saved(small).verify()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[]", "its content is no dictionary"),
        ("{", "Expecting property name"),
        ('{"step": 1, "step": 2}', "a name occurs twice"),
        ('{"step": NaN}', "NaN is no number in JSON"),
        ('{"format": "dzcore checkpoint", "version": ' + "9" * 5000 + "}", "digits"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "Expecting value"),
    ],
)
def test_manifests_that_are_wrong_outside(small: Path, text: str, cause: str) -> None:
    seal(small / "manifest.json", text)
    with pytest.raises(DamagedError, match=f"manifest.json' is damaged: .*{cause}"):
        Saved(small)


def test_a_manifest_that_is_too_long_is_not_read(small: Path) -> None:
    with open(small / "manifest.json", "r+b") as file:
        file.truncate(400 << 30)  # a hole
    with pytest.raises(DamagedError, match="it has 429496729600 bytes; a manifest has up to 67108864"):
        Saved(small)


def test_a_newer_version_is_not_damaged(small: Path) -> None:
    edit(small, lambda content: (content.clear(), content.update(format="dzcore checkpoint", version=2)))
    with pytest.raises(CheckpointError, match="small': it was written by a newer dzcore, in version 2") as e:
        Saved(small)
    assert not isinstance(e.value, DamagedError)


@pytest.mark.parametrize("name", ["manifest.json", "arrays-0001.bin"])
@pytest.mark.parametrize("kind", ["missing", "link", "dangling link", "fifo", "folder"])
def test_anything_but_regular_files_is_refused(small: Path, name: str, kind: str) -> None:
    path = small / name
    other = path.rename(small.parent / "elsewhere")
    match kind:
        case "link":
            path.symlink_to(other)
        case "dangling link":
            path.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
    with pytest.raises(DamagedError, match=f"{re.escape(repr(str(path)))} is damaged"):
        Saved(small).verify()


def test_a_path_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere' is not there"):
        Saved(tmp_path / "nowhere")
    with pytest.raises(DamagedError, match="manifest.json' is damaged: it is not there"):
        Saved(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(DamagedError, match="file"):
        Saved(tmp_path / "file")


def test_the_system_s_refusals_are_no_damage(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied", str(small / "manifest.json"))

    monkeypatch.setattr("dzcore.io.saved.open_regular", refuse)
    with pytest.raises(PermissionError, match="manifest.json"):
        Saved(small)


def test_an_error_of_the_disk_is_damage(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Saved(small)

    def fail(*arguments: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("dzcore.io.saved.read_checked", fail)
    with pytest.raises(DamagedError, match="arrays-0000.bin.*array 'model/weights/l1/W'.*Input/output error"):
        saved.verify()
