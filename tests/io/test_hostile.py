"""Files made to hurt: refused with dzcore's own error that names them, in little memory; nothing else is touched."""

import os
import socket
import subprocess
import sys

import pytest

import dzcore as dz
from dzcore.errors import FileError
from dzcore.io import atomic_write, open_archive, staging
from dzcore.io.tree import host_array

from .hostile import good, little_memory, npy, only_within, refused, write

SUFFIXES = ["npz", "safetensors"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file(folder, suffix):
    refused(write(folder / f"x.{suffix}", b""))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_truncation(folder, suffix):
    data = good(folder, suffix)
    for length in range(len(data)):
        with pytest.raises(FileError, match=rf"x\.{suffix}"):
            dz.load(write(folder / f"x.{suffix}", data[:length]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_flipped_bit_is_noticed_or_means_nothing(folder, suffix):
    data = good(folder, suffix)
    wanted = repr(contents(dz.load(write(folder / f"x.{suffix}", data)).items()))
    noticed = 0
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        path = write(folder / f"x.{suffix}", bytes(damaged))
        try:
            assert repr(contents(dz.load(path).items())) == wanted
        except FileError as e:
            noticed += 1
            if str(path) not in str(e):
                raise
    assert noticed > 0.7 * 8 * len(data)


def contents(x):
    return {name: (host.dtype, tuple(host.shape), bytes(host.buffer)) for name, a in x for host in [host_array(a)]}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html>Not found</html>",
        b"\x80\x04\x95pickle",
        npy(),
        bytes(10_000),
        b"PK\x05\x06" + bytes(18)[:17],
        b"\xff" * 500,
        b"version https://git-lfs.github.com/spec/v1",
    ],
    ids=["html", "pickle", "npy", "zeros", "half an end", "ones", "git-lfs"],
)
def test_something_else(folder, suffix, data):
    refused(write(folder / f"x.{suffix}", data))


def test_the_wrong_extension(folder):
    refused(write(folder / "x.npz", good(folder, "safetensors")), "not .*npz")
    refused(write(folder / "x.safetensors", good(folder, "npz")), "not .*safetensors")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder(folder, suffix):
    (folder / f"x.{suffix}").mkdir()
    with pytest.raises(IsADirectoryError, match=f"x.{suffix}"):
        dz.load(folder / f"x.{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing(folder, suffix):
    with pytest.raises(FileNotFoundError, match=f"x.{suffix}"):
        dz.load(folder / f"x.{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_symbolic_links(folder, suffix):
    write(folder / f"x.{suffix}", good(folder, suffix))
    for name, target in {"good": "x", "missing": "nothing", "round": "round"}.items():
        (folder / f"{name}.{suffix}").symlink_to(f"{target}.{suffix}")
    assert list(dz.load(folder / f"good.{suffix}")) == ["W", "b"]  # the user named it
    with pytest.raises(FileNotFoundError):
        dz.load(folder / f"missing.{suffix}")
    with pytest.raises(OSError, match="symbolic links"):
        dz.load(folder / f"round.{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_device_and_a_socket(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    os.symlink("/dev/zero", f"zero.{suffix}")
    with little_memory(), pytest.raises(FileError, match=f"zero.{suffix}.*no regular file"):
        dz.load(f"zero.{suffix}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"s.{suffix}")
        with pytest.raises(OSError, match=f"s.{suffix}"):
            dz.load(f"s.{suffix}")


READS = """
import sys, dzcore, dzcore.io
path = sys.argv[1]
model = dzcore.layers.Linear(1, in_size=1)
for read in dzcore.load, dzcore.io.open_archive, model.load_weights:
    try:
        read(path)
    except dzcore.errors.FileError as e:
        assert path in str(e) and "no regular file" in str(e), e
    else:
        sys.exit("not refused")
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_fifo_does_not_make_anybody_wait(tmp_path, suffix):
    os.mkfifo(tmp_path / f"x.{suffix}")
    subprocess.run([sys.executable, "-c", READS, str(tmp_path / f"x.{suffix}")], check=True, timeout=60)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_shrinks_after_it_was_opened(folder, suffix):
    data = good(folder, suffix, [float(n) for n in range(5000)])
    path = write(folder / f"x.{suffix}", data)
    wanted, noticed = repr(contents(dz.load(path).items())), 0
    for length in range(0, len(data), len(data) // 50):
        write(path, data)
        try:
            with open_archive(path) as archive:
                os.truncate(path, length)
                assert repr(contents(archive.read())) == wanted  # it was read before
        except FileError as e:
            noticed += 1
            if str(path) not in str(e):
                raise
    assert noticed > 40


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_shrinks_while_it_is_read(folder, monkeypatch, suffix):
    path = folder / f"x.{suffix}"
    dz.save(path, {"W": dz.asarray([float(n) for n in range(5000)])}, compress=False)
    preadv = os.preadv

    def shrinking(descriptor, buffers, offset):
        os.truncate(path, offset + 5)
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", shrinking)
    refused(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_grows_while_it_is_read(folder, suffix):
    data = good(folder, suffix)
    path = write(folder / f"x.{suffix}", data)
    wanted = repr(contents(dz.load(path).items()))
    with open_archive(path) as archive:
        write(path, data + bytes(1000))
        assert repr(contents(archive.read())) == wanted
    refused(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "..\\evil", "a/../../evil", "C:evil", "evil\n"])
def test_names_that_look_like_paths_are_names(folder, suffix, name):
    """They are keys of a dictionary, and never paths: nothing is extracted."""
    dz.save(folder / f"x.{suffix}", {name: dz.asarray([1.0])})
    assert list(dz.load(folder / f"x.{suffix}")) == [name]
    assert os.listdir(folder) == [f"x.{suffix}"]


# The watch itself ----------------------------------------------------------------------------------------------------


def test_the_watch_sees_what_is_touched(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    for action in (
        lambda: (outside / "x").write_bytes(b""),
        lambda: (outside / "x").read_bytes(),
        lambda: (outside / "x").rename(inside / "x"),
        lambda: os.mkdir(outside / "y"),
        lambda: os.rmdir(outside / "y"),
        lambda: os.symlink("a", outside / "l"),
    ):
        try:
            with only_within(inside):
                action()
        except AssertionError:
            continue
        pytest.fail("not seen")


def test_the_bound_on_memory_is_one():
    with little_memory(100 << 20), pytest.raises(MemoryError):
        staging.Memory([200 << 20]).take(200 << 20)


def test_atomic_write_touches_its_folder_alone(tmp_path):
    with only_within(tmp_path), atomic_write(tmp_path / "x") as file:
        file.write(b"x")
