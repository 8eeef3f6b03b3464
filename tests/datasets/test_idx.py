"""The IDX parser: right or refused, never half right."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dzcore.datasets.idx import read_idx
from dzcore.errors import DataError

from .files import idx, labels, pictures


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # the same bytes, and so the same test ids, in every run


@pytest.mark.parametrize("pack", [packed, bytes])
def test_a_good_file(tmp_path: Path, pack: object) -> None:
    (tmp_path / "f").write_bytes(pack(pictures(3, (2, 4))))  # type: ignore[operator]
    host = read_idx(tmp_path / "f")
    assert (host.dtype, host.shape) == ("uint8", (3, 2, 4))
    assert bytes(host.buffer) == bytes(k * 7 % 256 for k in range(24))


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(8, "uint8"), (9, "int8"), (0xB, "int16"), (0xC, "int32"), (0xD, "float32"), (0xE, "float64")],
)
def test_every_type_is_big_endian(tmp_path: Path, code: int, dtype: str) -> None:
    want = np.array([[1, 2, 100], [-3 if dtype != "uint8" else 3, 4, 5]], dtype)
    (tmp_path / "f").write_bytes(idx((2, 3), want.astype(want.dtype.newbyteorder(">")).tobytes(), code))
    host = read_idx(tmp_path / "f")
    np.testing.assert_array_equal(np.ndarray(host.shape, host.dtype, host.buffer), want)


GOOD = labels(6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is truncated: the header has 0 bytes of 4"),
        (GOOD[:3], "is truncated: the header has 3 bytes of 4"),
        (GOOD[:6], "is truncated: the header has 6 bytes of 8"),
        (b"\0\1" + GOOD[2:], "is no IDX file: it begins with 00 01"),
        (b"<html>", "is no IDX file"),
        (GOOD[:2] + b"\x0a" + GOOD[3:], "0x0a is no type code"),
        (GOOD[:3] + b"\0" + GOOD[4:], "no axes"),
        (GOOD[:-1], r"is truncated: 5 bytes of data, and uint8\[6\] takes 6"),
        (GOOD + b"\0", "goes on after the 6 bytes"),
        (packed(GOOD)[:-3], "is truncated: its compressed data ends early"),
        (packed(GOOD)[:12], "is truncated"),
        (packed(GOOD)[:-8] + b"12345678", "is damaged: CRC check failed"),
        (packed(GOOD) + b"rest", "is damaged"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\3" + b"\xff" * 20, "is damaged"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "broken-idx1").write_bytes(content)
    with pytest.raises(DataError, match=f"broken-idx1' .*{message}"):
        read_idx(tmp_path / "broken-idx1")


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_idx(tmp_path / "none")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)


def test_a_header_that_claims_terabytes_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(idx((2**32 - 1,) * 3, b"abc"))
    tracemalloc.start()
    with pytest.raises(DataError, match="is truncated: 3 bytes of data"):
        read_idx(tmp_path / "f")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


@given(data=st.data())
def test_damage_is_never_accepted(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is cut off, added or flipped in a compressed file: the same content, or a DataError."""
    damaged = bytearray(packed(pictures(2, (4, 4))))
    kind = data.draw(st.sampled_from(["cut", "add", "flip"]))
    if kind == "cut":
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    elif kind == "add":
        damaged += data.draw(st.binary(min_size=1, max_size=20).filter(lambda b: any(b)))
    else:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file = tmp_path_factory.mktemp("idx") / "f"
    file.write_bytes(damaged)
    try:
        host = read_idx(file)
    except DataError:
        pass
    else:  # gzip's own header has bits without a meaning
        assert (host.shape, bytes(host.buffer)) == ((2, 4, 4), pictures(2, (4, 4))[16:])


@given(head=st.binary(max_size=40), body=st.binary(max_size=40))
def test_any_bytes(head: bytes, body: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("idx") / "f"
    file.write_bytes(head + body)
    try:
        host = read_idx(file)
    except DataError:
        return
    size = struct.calcsize("b") * int(np.prod(host.shape, dtype=object)) * np.dtype(host.dtype).itemsize
    assert len(host.buffer) == size
