"""What the tests of hostile files need: bounds on memory, a watch over every path that is touched, bad archives."""

import os
import resource
import stat
import struct
import sys
import sysconfig
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import dzcore as dz
from dzcore.errors import FileError
from dzcore.io.tree import host_array

__all__ = ["HUGE", "entry", "good", "little_memory", "npy", "only_within", "raw_zip", "refused", "write"]

HUGE = 100_000_000_000  #: elements: 400 GB of float32


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def good(folder: Path, suffix: str, values: Sequence[float] = (1.0, 2.0, 3.0)) -> bytes:
    """Return the bytes of a good file."""
    path = folder / f"x.{suffix}"
    dz.save(path, {"W": dz.asarray(list(values)), "b": dz.asarray([4.0])})
    data = path.read_bytes()
    path.unlink()
    return data


def refused(path: Path, reason: str | None = None) -> None:
    """Check that a file is refused by all that reads it, in few words, and why."""
    with pytest.raises(FileError, match=reason) as caught:
        dz.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000 + len(str(path))
    model = dz.layers.Linear(2, in_size=2)
    before = host_array(model.W)
    with pytest.raises(FileError):
        model.load_weights(path)
    assert host_array(model.W) == before


@contextmanager
def little_memory(size: int = 300 << 20) -> Iterator[None]:
    """Let this process have no more than `size` bytes of memory beyond what it has."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# What is touched -----------------------------------------------------------------------------------------------------

_events: list[tuple[str, Any, int]] | None = None
_PATHS = {"os.rename": 2, "os.link": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 1, "os.truncate": 1, "os.chmod": 1,
          "os.chown": 1, "os.utime": 1}  #: how many paths each has  # fmt: skip


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _events is None:
        return
    if event == "open":
        _events.append((event, args[0], args[2]))
    elif event == "os.symlink":
        _events.append((event, args[1], 0))
    elif event in _PATHS and (event == "os.truncate" or -1 in args):  # -1: not relative to an open folder
        _events.extend((event, path, 0) for path in args[: _PATHS[event]])


sys.addaudithook(_hook)


@contextmanager
def only_within(folder: Path) -> Iterator[None]:
    """Fail if a path outside the folder is changed or opened; to read Python's own files is no offense."""
    global _events
    events: list[tuple[str, Any, int]] = []
    _events = events
    try:
        yield
    finally:
        _events = None
    own = (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), str(Path(__file__).parents[2]), "/proc/self")
    for event, path, flags in events:
        if not isinstance(path, str | bytes | os.PathLike):
            continue  # a descriptor
        name = os.path.abspath(os.fsdecode(path))
        reads = event == "open" and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        assert name.startswith(str(folder)) or (reads and name.startswith(own)), f"{event} of {name}"


# Zip archives that no library writes ---------------------------------------------------------------------------------


def npy(shape: str = "(2,)", descr: str = "'<f4'", data: bytes = bytes(8), order: str = "False") -> bytes:
    """Return a .npy file with any texts in its header."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n" + data


def entry(name: str, data: bytes, **fields: Any) -> dict[str, Any]:
    """Return a member of a raw zip: stored, and right, except for the fields that are given.

    With `deflate`, compressed; `local` overrides fields of its local header only.
    """
    packed = data
    method = 0
    if fields.pop("deflate", False):
        stream = zlib.compressobj(wbits=-15)
        packed, method = stream.compress(data) + stream.flush(), 8
    known = {"name": name.encode(), "flags": 0, "method": method, "crc": zlib.crc32(data), "packed": len(packed),
             "size": len(data), "mode": stat.S_IFREG | 0o644, "start": None, "local": {}, "data": packed}  # fmt: skip
    assert not set(fields) - set(known)
    return known | fields


def raw_zip(*entries: dict[str, Any], comment: bytes = b"") -> bytes:
    """Return an archive as it is told; an entry with a `start` has no data of its own."""
    body, table = b"", b""
    for member in entries:
        start = member["start"]
        if start is None:
            start, local = len(body), member | member["local"]
            body += struct.pack(
                "<4s5H3I2H", b"PK\3\4", 45, local["flags"], local["method"], 0, 33, local["crc"],
                local["packed"], local["size"], len(local["name"]), 0,
            ) + local["name"] + local["data"]  # fmt: skip
        table += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 45 | 3 << 8, 45, member["flags"], member["method"], 0, 33, member["crc"],
            member["packed"], member["size"], len(member["name"]), 0, 0, 0, 0, member["mode"] << 16, start,
        ) + member["name"]  # fmt: skip
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(entries), len(entries), len(table), len(body), len(comment))
    return body + table + end + comment
