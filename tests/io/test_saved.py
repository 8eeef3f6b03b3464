"""One checkpoint on the disk: its format, and every byte of it under a digest."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dzcore.backend import Backend, HostArray
from dzcore.errors import CheckpointError, DamagedError, FileError
from dzcore.io import disk, tree
from dzcore.io.saved import Saved, discard, write_checkpoint

from .golden import make as golden
from .golden.content import FOLDER as GOLDEN
from .golden.content import hosts, write

DOCS = Path(__file__).parents[2] / "docs"
ORDERS = ("little", "big")


def as_bytes(x: Any) -> Any:
    return tree.over(x, lambda host: (host.dtype, host.shape, bytes(host.buffer)))


def expected(part: str) -> Any:
    arrays = dict(hosts())
    return as_bytes(tree.join(golden.TREE["dict"][part], arrays.__getitem__))


# The format -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_golden_checkpoints_of_version_1_are_read(order: str) -> None:
    saved = Saved(GOLDEN / f"version-1-{order}" / golden.NAME)
    assert (saved.step, saved.serial, saved.made) == (golden.STEP, golden.SERIAL, golden.MADE)
    assert saved.parts == ["model", "counts", "random"]
    for part in saved.parts:
        assert as_bytes(saved.host_state(part)) == expected(part)
    assert [(name, *host[:2], bytes(host.buffer)) for name, host in saved.read()] == [
        (name, *host[:2], host.buffer) for name, host in hosts()
    ]
    metadata = saved.metadata
    assert repr(metadata.pop("loss")) == "nan"
    assert metadata == {
        "accuracy": 0.9375, "bounds": [-float("inf"), float("inf"), 0.0], "big": 0x123456789ABCDEF0123456789ABCDEF,
        "names": ("Élise", "\ud800", "", None, True, {"": []}),
    }  # fmt: skip
    assert str(metadata["bounds"][2]) == "-0.0"


def test_the_golden_files_are_those_of_the_script() -> None:
    for order in ORDERS:
        folder = GOLDEN / f"version-1-{order}" / golden.NAME
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == golden.files(order)


def test_what_is_written_is_the_golden_checkpoint(small: Path) -> None:
    assert {path.name: path.read_bytes() for path in small.iterdir()} == golden.files(sys.byteorder)


def reader() -> Callable[[Path], tuple[int, Any, Any]]:
    """The reader in the documentation."""
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "checkpoint-format.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["read"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("order", ORDERS)
def test_the_reader_in_the_documentation(order: str) -> None:
    step, metadata, parts = reader()(GOLDEN / f"version-1-{order}" / golden.NAME)
    saved = Saved(GOLDEN / f"version-1-{order}" / golden.NAME)
    assert step == golden.STEP
    assert repr(metadata) == repr(saved.metadata)  # nan, -0.0

    def native(x: Any) -> tuple[str, tuple[int, ...], bytes]:
        return x.dtype.name, x.shape, x.astype(x.dtype.newbyteorder("=")).tobytes()

    def of_numpy(x: HostArray) -> tuple[str, tuple[int, ...], bytes]:
        return x.dtype.replace("bfloat16", "uint16"), x.shape, bytes(x.buffer)

    for part in saved.parts:
        assert tree.over(parts[part], native) == tree.over(saved.host_state(part), of_numpy)


def test_the_reader_in_the_documentation_checks(small: Path) -> None:
    for name, i, cause in (("manifest.json", 99, "the manifest"), ("arrays-0001.bin", 0, "counts/1/1")):
        content = bytearray((small / name).read_bytes())
        content[i] ^= 1
        (small / name).write_bytes(content)
        with pytest.raises(AssertionError, match=f"{cause} is damaged"):
            reader()(small)
        content[i] ^= 1
        (small / name).write_bytes(content)


def test_parts_are_loaded_as_arrays_of_the_current_backend(backend: Backend, tmp_path: Path) -> None:
    xp = backend.xp
    x = xp.asarray([[1.5, -2.0]], dtype=xp.float32, device=backend.device)
    structure, arrays = tree.split({"p": {"x": x, "n": 3}})
    saved = write_checkpoint(
        str(tmp_path / "c"), ((n, tree.host_array(a)) for n, a in arrays.items()), structure,
        step=0, serial=1, metadata={"dict": {}}, made=None, file_size=100,
    )  # fmt: skip
    state = saved.load("p")
    assert backend.owns(state["x"])
    assert bytes(backend.to_host(state["x"]).buffer) == bytes(backend.to_host(x).buffer)
    assert state["n"] == 3
    with pytest.raises(CheckpointError, match="has no part 'q'; it has 'p'"):
        saved.load("q")


@example([("uint8", [4]), ("uint8", [4])], 8)
@example([("uint8", [4]), ("uint8", [5])], 8)
@given(
    st.lists(st.tuples(st.sampled_from(["uint8", "float32", "int64"]), st.lists(st.integers(0, 5), max_size=3))),
    st.integers(1, 300),
)
def test_arrays_come_back_from_files_of_a_size(forms: list[tuple[str, list[int]]], file_size: int) -> None:
    import tempfile

    rng = np.random.default_rng(0)
    arrays = {}
    for i, (dtype, shape) in enumerate(forms):
        arrays[str(i)] = HostArray(dtype, tuple(shape), rng.integers(0, 100, shape).astype(dtype).tobytes())
    structure = {"dict": {"p": {"list": [{"array": name} for name in arrays]}}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c")
        saved = write_checkpoint(
            str(path), arrays.items(), structure, step=1, serial=1, metadata={"dict": {}}, made=None,
            file_size=file_size,
        )  # fmt: skip
        assert {name: (*host[:2], bytes(host.buffer)) for name, host in saved.read()} == arrays
        assert as_bytes(saved.host_state("p")) == list(map(tuple, arrays.values()))
        assert list(saved.forms) == list(arrays)
        sizes = [file.stat().st_size for file in sorted(path.glob("arrays-*"))]
        full: list[int] = []
        for host in arrays.values():
            if not full or (full[-1] and full[-1] + len(host.buffer) > file_size):
                full.append(0)
            full[-1] += len(host.buffer)
        assert sizes == full


@pytest.mark.parametrize(
    ("host", "cause"),
    [
        (HostArray("complex64", (1,), bytes(8)), "array 'x' has dtype 'complex64'; checkpoints hold bool"),
        (HostArray("float32", (2,), bytes(7)), "array 'x': .* has 8 bytes, its buffer 7"),
    ],
)
def test_arrays_that_cannot_be_written(host: HostArray, cause: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=cause):
        write_checkpoint(
            str(tmp_path / "c"), [("x", host)], {"dict": {"x": {"array": "x"}}}, step=1, serial=1,
            metadata={"dict": {}}, made=None, file_size=100,
        )  # fmt: skip


# Every byte -----------------------------------------------------------------------------------------------------------


def array_at(name: str, offset: int) -> str:
    """The array to which a byte belongs."""
    content = json.loads(golden.files(sys.byteorder)["manifest.json"])["content"]
    for array, entry in content["arrays"].items():
        inside = entry["offset"] <= offset < entry["offset"] + entry["size"]
        if content["files"][entry["file"]]["name"] == name and inside:
            return str(array)
    raise AssertionError(f"byte {offset} of {name} is in no array")


@pytest.mark.parametrize("name", ["manifest.json", "arrays-0000.bin", "arrays-0001.bin"])
def test_any_flipped_byte_is_found_and_named(small: Path, name: str) -> None:
    path, whole = small / name, (small / name).read_bytes()
    with open(path, "r+b", buffering=0) as file:
        for i, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << i % 8]), i)
            with pytest.raises(DamagedError) as e:
                Saved(small).verify()
            assert repr(str(path)) in str(e.value)
            if name != "manifest.json":
                assert f"array {array_at(name, i)!r}" in str(e.value)
            os.pwrite(file.fileno(), bytes([byte]), i)
    Saved(small).verify()


@pytest.mark.parametrize("name", ["manifest.json", "arrays-0000.bin", "arrays-0001.bin"])
def test_any_other_length_is_found_and_named(small: Path, name: str) -> None:
    path, whole = small / name, (small / name).read_bytes()
    for more in (b"\n", b"\0", whole):
        path.write_bytes(whole + more)
        with pytest.raises(DamagedError, match=re.escape(repr(str(path)))):
            Saved(small).verify()
    for size in reversed(range(len(whole))):
        os.truncate(path, size)
        with pytest.raises(DamagedError, match=re.escape(repr(str(path)))):
            Saved(small).verify()


def test_only_what_is_asked_for_is_read(small: Path) -> None:
    saved, path = Saved(small), small / "arrays-0000.bin"
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])  # of the first array
    os.remove(small / "arrays-0001.bin")
    ((name, host),) = saved.read(["model/weights/l1/b"])
    assert (name, bytes(host.buffer)) == ("model/weights/l1/b", golden.packed(name, sys.byteorder))
    with pytest.raises(DamagedError, match="arrays-0000.bin.*array 'model/weights/l1/W'"):
        saved.load("model")
    with pytest.raises(DamagedError, match="arrays-0001.bin.*it is not there"):
        list(saved.read(["counts/3"]))
    with pytest.raises(FileError, match="has no array 'nobody'"):
        list(saved.read(["nobody"]))


def test_a_file_that_shrinks_while_it_is_read(small: Path) -> None:
    saved = Saved(small)
    with open(small / "arrays-0000.bin", "r+b") as file:
        file.truncate(10)
    with pytest.raises(DamagedError, match="arrays-0000.bin.*array 'model/weights/l1/W': it ends at byte 10"):
        saved.verify()


def test_a_checkpoint_that_is_removed_while_it_is_read(small: Path) -> None:
    saved = Saved(small)
    shutil.rmtree(small)
    with pytest.raises(CheckpointError, match="is not there, or not any more") as e:
        saved.load("model")
    assert not isinstance(e.value, DamagedError)


def test_what_is_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses a bit of any one write."""
    real, count, victim = disk.write, 0, -1

    def write_badly(file: Any, data: Any) -> None:
        nonlocal count
        content = bytearray(data)
        if count == victim:
            content[len(content) // 2] ^= 1
        count += 1
        real(file, content)

    monkeypatch.setattr(disk, "write", write_badly)
    write(tmp_path / "good")
    assert count == 1 + sum(1 for _, host in hosts() if host.buffer)
    for victim in range(count):
        count = 0
        with pytest.raises(DamagedError):
            write(tmp_path / str(victim))


def test_a_manifest_that_nobody_would_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dzcore.io.saved.LONGEST", 300)
    with pytest.raises(CheckpointError, match=r"the manifest would have \d+ bytes, and 300 are .* put long lists"):
        write(tmp_path / "0")
    assert not (tmp_path / "0" / "manifest.json").exists()


def test_a_manifest_that_comes_back_as_another_good_one(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, other = disk.write, (small / "manifest.json").read_bytes()

    def write_another(file: Any, data: Any) -> None:
        real(file, other if file.name.endswith("manifest.json") else data)

    monkeypatch.setattr(disk, "write", write_another)
    with pytest.raises(DamagedError, match="what was read back is not what was written"):
        write_checkpoint(
            str(small.parent / "c"), hosts(), golden.TREE, step=121, serial=8, metadata=golden.METADATA,
            made=golden.MADE, file_size=golden.FILE_SIZE,
        )  # fmt: skip


def test_discard_removes_the_manifest_first(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []
    real = disk.remove
    monkeypatch.setattr(disk, "remove", lambda path: (removed.append(os.path.basename(path)), real(path)))
    discard(str(small))
    assert removed[0] == "manifest.json"
    assert not small.exists()


def test_discard_does_not_follow_links(small: Path) -> None:
    link = small.parent / "link"
    link.symlink_to(small)
    discard(str(link))
    assert not link.is_symlink()
    Saved(small).verify()
