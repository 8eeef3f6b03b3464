"""Files of arrays, whatever their format: what is opened, what may be in them, what is asked for."""

import os
import socket
import stat
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dzcore import HostArray, Parameter, Variable
from dzcore.backend import Backend
from dzcore.errors import FileError
from dzcore.io import Form, archive, open_archive, staging, tree, write_archive

SUFFIXES = [".npz", ".safetensors"]
ARRAYS = {
    "l0/W": np.arange(12, dtype=np.float32).reshape(3, 4),
    "z": np.float64(3),
    "none": np.zeros((0, 2), np.float16),
    "a": np.array([True, False]),
}


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"file{request.param}"


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return tmp_path / "file.npz"


def read(path: Path, names: list[str] | None = None, **options: Any) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    with open_archive(path, **options) as file:
        return {name: (x.dtype, x.shape, bytes(x.buffer)) for name, x in file.read(names)}


def want(arrays: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (x.dtype.name, x.shape, x.tobytes()) for name, x in arrays.items()}


@pytest.mark.parametrize("compress", [True, False])
def test_forms_come_before_data_and_in_the_order_of_writing(path: Path, compress: bool) -> None:
    write_archive(path, ARRAYS, compress=compress)
    with open_archive(path) as file:
        assert file.path == str(path)
        assert list(file.forms.items()) == [(name, Form(x.dtype.name, x.shape)) for name, x in ARRAYS.items()]
        assert file.structure is None
        assert [form.nbytes for form in file.forms.values()] == [x.nbytes for x in ARRAYS.values()]
        assert str(file.forms["l0/W"]) == "float32[3, 4]"
    assert read(path) == want(ARRAYS)


def test_only_what_is_asked_for_is_read(path: Path) -> None:
    write_archive(path, ARRAYS, compress=False)
    content = bytearray(path.read_bytes())
    content[content.index(ARRAYS["l0/W"].tobytes())] ^= 1
    path.write_bytes(content)
    assert list(read(path, ["a", "z"])) == ["a", "z"]
    assert read(path, []) == {}
    with pytest.raises(FileError, match="l0/W.* is "):
        read(path, ["a", "l0/W"])
    with pytest.raises(FileError, match="has no array 'other'; it has l0/W, z, none, a"), open_archive(path) as file:
        list(file.read(["a", "other"]))


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_large_arrays_pass_through_memory_that_is_used_again(path: Path, compress: bool, count: int) -> None:
    size = staging.MANY + 12345
    part = np.random.default_rng(0).integers(0, 4, size // count + 1, dtype=np.uint8)
    arrays = {str(i): part + np.uint8(i) for i in range(count)}
    write_archive(path, arrays, compress=compress)
    assert read(path) == want(arrays)
    with open_archive(path) as file:
        for i, (name, x) in enumerate(file.read()):  # good until the next one is asked for
            assert name == str(i)
            assert bytes(x.buffer) == arrays[name].tobytes()
    with np.load(path) if path.suffix == ".npz" else open(os.devnull) as found:
        assert all(np.array_equal(found[name], x) for name, x in arrays.items() if path.suffix == ".npz")


@pytest.mark.parametrize("compress", [True, False])
def test_a_damaged_array_in_the_middle_of_large_ones_is_named(path: Path, compress: bool) -> None:
    arrays = {name: np.random.default_rng(1).random(1 << 18) for name in "abc"}
    write_archive(path, arrays, compress=compress)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    seen = []
    with open_archive(path) as file, pytest.raises(FileError, match=r"'b(\.npy)?' is not "):
        seen.extend(name for name, _ in file.read())
    assert "c" not in seen


def test_live_arrays_of_every_backend_are_written_and_stay(path: Path, backend: Backend) -> None:
    raw = backend.from_host(HostArray("float32", (2, 3), np.arange(6, dtype=np.float32).tobytes()))
    write_archive(path, {"raw": raw, "variable": Variable(raw), "parameter": Parameter(raw)})
    assert backend.owns(raw)
    assert set(read(path).values()) == {("float32", (2, 3), np.arange(6, dtype=np.float32).tobytes())}


def test_one_array_at_a_time_is_on_the_host(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Distant:
        """An array that has to be copied out of its device."""

        copies = 0
        data = object()

        def to_host(self) -> HostArray:
            Distant.copies += 1
            return HostArray("float32", (1 << 18,), bytes(1 << 20))

    monkeypatch.setattr(tree, "form", lambda x: Form("float32", (1 << 18,)))
    tracemalloc.start()
    write_archive(path, {str(i): Distant() for i in range(20)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Distant.copies == 20
    assert peak < 8 << 20


# Paths ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["weights", "weights.npy", "weights.npz.bak", "weights.NPZ", "npz", ".pt"])
def test_other_suffixes_are_refused_before_anything_happens(tmp_path: Path, name: str) -> None:
    for use in (lambda p: write_archive(p, ARRAYS), open_archive):
        with pytest.raises(
            FileError, match=rf"^path='.*{name}' must end in .npz or .safetensors, which says the format"
        ):
            use(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_missing_file_and_a_folder_are_the_system_s_errors(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=path.name):
        open_archive(path)
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=path.name):
        open_archive(path)
    with pytest.raises(IsADirectoryError, match=path.name):
        write_archive(path, ARRAYS)


def test_a_fifo_makes_nobody_wait(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(FileError, match=r"is no regular file \(prw"):
        open_archive(path)
    with pytest.raises(FileExistsError):
        write_archive(path, ARRAYS)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_devices_and_sockets_are_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.symlink_to("/dev/zero")
    with pytest.raises(FileError, match=r"is no regular file \(crw"):
        open_archive(path)
    path.unlink()
    monkeypatch.chdir(path.parent)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
        with pytest.raises(OSError, match=path.name):
            open_archive(path)


def test_links_are_followed_unless_somebody_objects(path: Path, tmp_path: Path) -> None:
    write_archive(path, ARRAYS)
    link = tmp_path / f"link{path.suffix}"
    link.symlink_to(path)
    assert read(link) == want(ARRAYS)
    with pytest.raises(OSError, match="link"):
        archive.open_regular(link, follow=False)
    with archive.open_regular(path, follow=False) as file:
        assert file.readable()
        assert not file.writable()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\5\6"])
def test_a_file_that_cannot_be_opened_does_not_stay_open(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    before = os.listdir("/dev/fd") if os.path.isdir("/dev/fd") else []
    for _ in range(3):
        with pytest.raises(FileError, match=path.name):
            open_archive(path)
    assert not before or len(os.listdir("/dev/fd")) == len(before)


# How much ------------------------------------------------------------------------------------------------------------


def bomb(path: Path, size: int) -> None:
    """Write an archive of zeros as NumPy would."""
    np.savez_compressed(path, a=np.zeros(size, np.uint8))


def test_more_than_the_limit_is_refused_before_memory_is_taken(npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FREELY", 1 << 20)
    bomb(npz, 64 << 20)
    most = (1 << 20) + 100 * npz.stat().st_size
    tracemalloc.start()
    with pytest.raises(FileError, match=f"it holds 67108992 bytes, and the limit is {most}; trust it with limit=6710"):
        open_archive(npz)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    with open_archive(npz, limit=67108992) as file:
        assert [x.shape for _, x in file.read()] == [(64 << 20,)]


def test_the_limit_is_one_for_all_arrays_together(path: Path) -> None:
    arrays = {str(i): np.zeros(1000, np.uint8) for i in range(10)}
    write_archive(path, arrays)
    with pytest.raises(FileError, match="the limit is 9999"):
        open_archive(path, limit=9999)
    assert len(read(path, limit=20_000)) == 10


def test_by_default_a_gigabyte_and_a_hundred_times_the_file() -> None:
    assert archive.default_limit(0) == 1 << 30
    assert archive.default_limit(1 << 30) == 101 << 30


@pytest.mark.parametrize("arrays", [1, 5, 300])
def test_what_is_written_can_always_be_read(npz: Path, monkeypatch: pytest.MonkeyPatch, arrays: int) -> None:
    """Zeros compress a thousandfold; what would look like a bomb is not compressed."""
    monkeypatch.setattr(archive, "FREELY", 1 << 20)
    noise = np.random.default_rng(0).bytes(1000)
    parts = {str(i): np.zeros((6 << 20) // arrays, np.uint8) for i in range(arrays)} | {"n": np.frombuffer(noise, "u1")}
    write_archive(npz, parts)
    assert read(npz) == want(parts)
    with zipfile.ZipFile(npz) as file:
        methods = {info.compress_type for info in file.infolist()}
        assert file.testzip() is None
    assert methods == {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} if arrays > 1 else zipfile.ZIP_STORED in methods


def test_what_compresses_well_is_compressed(npz: Path) -> None:
    write_archive(npz, {"a": np.zeros(64 << 20, np.uint8)})
    assert npz.stat().st_size < 1 << 17
    write_archive(npz, {"a": np.zeros(1 << 20, np.uint8)}, compress=False)
    assert npz.stat().st_size > 1 << 20


def test_equal_arrays_make_equal_files(path: Path) -> None:
    write_archive(path, ARRAYS, {"list": [{"array": name} for name in ARRAYS]})
    first = path.read_bytes()
    write_archive(path, ARRAYS, {"list": [{"array": name} for name in ARRAYS]})
    assert path.read_bytes() == first
