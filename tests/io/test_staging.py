"""Memory for arrays, and reading and writing with a check beside."""

import hashlib
import mmap
import os
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from dzcore.io import disk, staging
from dzcore.io.staging import Crc32, Memory, read_checked, write_checked

SIZES = [0, 1, staging.PIECE, staging.MANY - 1, staging.MANY, 3 * staging.PORTION + 17]


def content(size: int) -> bytes:
    return hashlib.shake_128(str(size).encode()).digest(size)


@pytest.mark.parametrize("system", ["with huge pages", "with none in the kernel", "without mmap's advice"])
@pytest.mark.parametrize("block", [1, 200, 1 << 26])
def test_memory_is_nobody_else_s(monkeypatch: pytest.MonkeyPatch, system: str, block: int) -> None:
    if system == "without mmap's advice":
        monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    elif system == "with none in the kernel":
        monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 12345, raising=False)
    monkeypatch.setattr(staging, "BLOCK", block)
    sizes = [5, 0, 1 << 22, 64, 65, 1]
    memory = Memory(sizes)
    views = [memory.take(size) for size in sizes]
    assert [len(view) for view in views] == sizes
    for i, view in enumerate(views):
        view[:] = bytes([i + 1]) * len(view)
    for i, view in enumerate(views):
        assert bytes(view) == bytes([i + 1]) * len(view)


def test_a_block_holds_many_and_no_more_than_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = staging._memory
    monkeypatch.setattr(staging, "_memory", lambda size: made.append(size) or real(size))
    memory = Memory([100] * 10)
    for _ in range(10):
        memory.take(100)
    assert made == [1280]
    monkeypatch.setattr(staging, "BLOCK", 300)
    memory = Memory([100, 1000, 100, 100])
    for size in (100, 1000, 100, 100):
        memory.take(size)
    assert made[1:] == [300, 1024, 256]


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="memory is a bytearray here, which raises by itself")
def test_more_than_there_is() -> None:
    for size in (1 << 60, 1 << 70):
        with pytest.raises(MemoryError, match=f"{size} bytes are more than there is memory"):
            Memory([size]).take(size)


def test_crc32() -> None:
    crc = Crc32(b"12345")
    crc.update(memoryview(b"6789"))
    assert crc.hexdigest() == "cbf43926"  # the check value of CRC-32/ISO-HDLC
    assert Crc32(b"\x00\x01\x02\x03\x04\xff\x2d").hexdigest() == f"{zlib.crc32(bytes([0, 1, 2, 3, 4, 255, 45])):08x}"
    assert len(Crc32().hexdigest()) == 8


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("preadv", [True, False])
def test_what_is_written_is_read_and_both_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, preadv: bool
) -> None:
    if not preadv:
        monkeypatch.delattr(os, "preadv", raising=False)
    data, sha, crc = content(size), hashlib.sha256(), Crc32()
    with disk.create(tmp_path / "file") as file:
        disk.write(file, b"before")
        write_checked(file, memoryview(data), sha.update)
        disk.write(file, b"behind")
    assert sha.digest() == hashlib.sha256(data).digest()
    assert (tmp_path / "file").read_bytes() == b"before" + data + b"behind"
    with open(tmp_path / "file", "rb") as opened:
        view = Memory([size]).take(size)
        read_checked(opened, 6, view, crc.update)
    assert bytes(view) == data
    assert crc.value == zlib.crc32(data)


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_file_that_ends_early(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(content(size)[:-1])
    threads = threading.active_count()
    with open(tmp_path / "file", "rb") as file, pytest.raises(EOFError, match=f"ends at byte {size - 1}, and 1 more"):
        read_checked(file, 0, Memory([size]).take(size), Crc32().update)
    assert threading.active_count() == threads


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_check_that_fails_is_not_lost(tmp_path: Path, size: int) -> None:
    def update(view: memoryview) -> None:
        raise ZeroDivisionError("in the check")

    (tmp_path / "file").write_bytes(content(size))
    with open(tmp_path / "file", "rb") as file, pytest.raises(ZeroDivisionError):
        read_checked(file, 0, Memory([size]).take(size), update)
    with disk.create(tmp_path / "new") as new, pytest.raises(ZeroDivisionError):
        write_checked(new, memoryview(content(size)), update)


def test_no_more_than_two_calls_are_outstanding() -> None:
    """What they were given is memory in use."""
    gate, given = threading.Event(), threading.Semaphore(0)

    def give() -> None:
        with staging.beside(lambda item: gate.wait(60), staging.MANY) as call:
            for item in range(5):
                call(item)
                given.release()

    thread = threading.Thread(target=give)
    thread.start()
    try:
        assert given.acquire(timeout=60)
        assert given.acquire(timeout=60)
        assert not given.acquire(timeout=0.2)
    finally:
        gate.set()
        thread.join(60)
    assert not thread.is_alive()


def test_a_disk_that_is_full_in_the_middle(tmp_path: Path, full: Any) -> None:
    full(1)
    threads = threading.active_count()
    with disk.create(tmp_path / "file") as file, pytest.raises(OSError, match="No space left"):
        write_checked(file, memoryview(content(2 * staging.PORTION)), Crc32().update)
    assert threading.active_count() == threads
