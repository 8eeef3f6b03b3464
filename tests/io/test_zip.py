"""Zip archives that contradict themselves: each of these lacks one thing, and the reason that is given names it."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dzcore.errors import FileError
from dzcore.io import open_archive, write_archive


def npy(value: int = 7, count: int = 2) -> bytes:
    np.save(buffer := io.BytesIO(), np.full(count, value, np.uint8))
    return buffer.getvalue()


def member(name: str = "a.npy", content: bytes | None = None, **changes: Any) -> dict[str, Any]:
    """Describe a member: its fields, and in `local` and `central` what is said differently there."""
    content = npy() if content is None else content
    fields = {"flags": 0, "method": 0, "crc": zlib.crc32(content), "packed": content, "size": len(content)}
    fields |= {"extra": b"", "comment": b"", "disk": 0, "name": name.encode(), "mark": b"PK"}
    return fields | {"local": {}, "central": {}, "start": None} | changes


def deflated(content: bytes, **changes: Any) -> dict[str, Any]:
    squeezer = zlib.compressobj(wbits=-15)
    return member(content=content, method=8, packed=squeezer.compress(content) + squeezer.flush(), **changes)


def local(m: dict[str, Any]) -> bytes:
    f = m | {"n": len(m["packed"])} | m["local"]
    numbers = struct.pack("<5H3I2H", 20, f["flags"], f["method"], 0, 33, f["crc"], f["n"], f["size"], len(f["name"]),
                          len(f["extra"]))  # fmt: skip
    return bytes(f["mark"] + b"\3\4" + numbers + f["name"] + f["extra"])


def central(m: dict[str, Any], start: int) -> bytes:
    f = m | {"n": len(m["packed"])} | m["central"]
    start = start if f["start"] is None else f["start"]
    numbers = struct.pack("<6H3I5H2I", 20, 20, f["flags"], f["method"], 0, 33, f["crc"], f["n"], f["size"],
                          len(f["name"]), len(f["extra"]), len(f["comment"]), f["disk"], 0, 0, start)  # fmt: skip
    return bytes(f["mark"] + b"\1\2" + numbers + f["name"] + f["extra"] + f["comment"])


def archive(
    *members: dict[str, Any], before: bytes = b"", between: bytes = b"", after: bytes = b"", comment: bytes = b"",
    **end: Any,
) -> bytes:  # fmt: skip
    """Write an archive by hand, with any field of its end changed."""
    data, table = before, b""
    for m in members:
        table += central(m, len(data))
        data += local(m) + m["packed"]
    data += between
    f = {"disk": 0, "first": 0, "here": len(members), "count": len(members), "size": len(table), "start": len(data)}
    f |= {"length": len(comment)} | end
    last = struct.pack("<4H2IH", *f.values())
    return data + table + b"PK\5\6" + last + comment + after


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.npz"


def names(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    with open_archive(path) as file:
        return [name for name, _ in file.read()]


def refused(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(FileError, match=reason) as error, open_archive(path) as file:
        list(file.read())
    assert str(error.value).startswith(f"{str(path)!r}")
    assert " is not a readable .npz file: " in str(error.value)


def wide(*values: int) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values)


MOST = 0xFFFFFFFF
SIZE = len(npy())
OTHER = b"\x99\x99\3\0abc"  # an extra field of some other kind


def test_the_writer_of_these_tests_writes_archives(path: Path) -> None:
    content = archive(member(), deflated(npy(), name="b.npy"))
    assert names(path, content) == ["a", "b"]
    assert zipfile.ZipFile(path).testzip() is None
    assert names(path, archive()) == []


@pytest.mark.parametrize(
    ("m", "why"),
    [
        (member(flags=1 << 11), "a name in UTF-8"),
        (member(flags=6, method=0), "how hard the compression tried"),
        (member(central={"comment": b"hello"}), "a member's comment"),
        (member(extra=OTHER), "an unknown extra field"),
        (member(flags=8, local={"crc": 0, "n": 0, "size": 0}), "sizes behind the data"),
        (member(flags=8), "sizes behind the data, and before"),
        (member(local={"n": MOST, "size": MOST, "extra": OTHER + wide(SIZE, SIZE)}), "wide sizes"),
        (member(central={"n": MOST, "size": MOST, "start": MOST, "extra": wide(SIZE, SIZE, 0)}), "wide everything"),
        (member(central={"start": MOST, "extra": wide(0)}), "a wide place"),
        (member(local={"extra": wide(1, 2)}), "a wide field that nothing points to"),
    ],
)
def test_what_other_programs_write_is_read(path: Path, m: dict[str, Any], why: str) -> None:
    assert names(path, archive(m)) == ["a"], why


CHANGED = [
    # one field of the table of contents or of the local header
    (member(central={"mark": b"QK"}), "Bad magic number for central directory"),
    (member(local={"mark": b"QK"}), "header differs from the table of contents"),
    (member(local={"name": b"b.npy"}), "header differs from the table of contents"),
    (member(local={"flags": 2}), "header differs from the table of contents"),
    (member(local={"method": 8}), "header differs from the table of contents"),
    (member(local={"crc": 1}), "header differs from the table of contents"),
    (member(local={"n": 1}), "header differs from the table of contents"),
    (member(local={"size": 1}), "header differs from the table of contents"),
    (member(local={"crc": 0, "n": 0, "size": 0}), "header differs from the table of contents"),
    (member(crc=1), "its checksum is 79555\\w+ instead of 00000001"),
    (member(flags=1), "it is encrypted"),
    (member(flags=1 << 5), "it is encrypted"),
    (member(flags=1 << 6), "it is encrypted"),
    (member(flags=1 << 13), "it is encrypted"),
    (member(method=12), "compressed by method 12, which .npz files do not use"),
    (member(method=9), "compressed by method 9"),
    (member(name="a\0.npy"), "null character"),
    (member(flags=1 << 11, name="x", central={"name": b"\xff.npy"}), "utf-8"),
    (member(size=SIZE + 1), "it claims 131 bytes, and 130 in the file cannot hold them"),
    (member(central={"start": 1 << 20}), "its header differs"),
    (member(central={"start": MOST, "extra": wide(1 << 63)}), "too large"),
    (member(central={"start": MOST, "extra": wide((1 << 64) - 1)}), "too large"),
    (member(central={"start": MOST}), "its header differs|Corrupt"),
    (member(central={"start": 1}), "its header differs"),
    (member(central={"extra": b"\1\0\4\0abc"}), "Corrupt"),
    (deflated(npy(), size=1 << 20), "it claims 1048576 bytes, and .* in the file cannot"),
    (deflated(npy() * 9, size=SIZE), "Bad CRC-32|end too early"),
    (deflated(npy()[:-1], size=SIZE), "Bad CRC-32|end too early"),
]  # fmt: skip


@pytest.mark.parametrize(("m", "reason"), CHANGED, ids=range(len(CHANGED)))
def test_members_that_contradict_themselves(path: Path, m: dict[str, Any], reason: str) -> None:
    refused(path, archive(m), reason)
    refused(path, archive(member("b.npy"), m), reason)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"before": b"x", "start": SIZE + 35}, "damaged|Bad|differs|File is not a zip file|twice"),
        ({"start": 0, "size": 0, "here": 0, "count": 0}, "table of contents is damaged"),
        ({"start": 0}, "damaged|Bad|differs|File is not a zip file|twice"),
        ({"size": 0}, "damaged|Bad|differs|File is not a zip file|twice"),
        ({"after": b"x"}, "table of contents is damaged"),
        ({"comment": b"", "length": 1}, "table of contents is damaged"),
        ({"here": 0, "count": 0}, "table of contents is damaged"),
        ({"here": 2, "count": 2}, "damaged|Bad|differs|File is not a zip file|twice"),
        ({"here": 0xFFFF, "count": 0xFFFF}, "damaged|Bad|differs|File is not a zip file|twice"),
    ],
)
def test_ends_that_contradict_the_rest(path: Path, end: dict[str, Any], reason: str) -> None:
    refused(path, archive(member(), **end), reason)


def test_a_table_with_fewer_entries_than_its_end_says(path: Path) -> None:
    m = member(central={"comment": bytes(46)})
    refused(path, archive(m, here=2, count=2), "table of contents is too short|is damaged")


def test_equal_names_are_refused(path: Path) -> None:
    refused(path, archive(member(), member()), "'a.npy' .*the name occurs twice")


def array(content: bytes) -> bytes:
    np.save(buffer := io.BytesIO(), np.frombuffer(content, np.uint8))
    return buffer.getvalue()


def test_members_within_members_are_refused(path: Path) -> None:
    """Such archives become many times larger than zip's compression could make them."""
    inner = member("b.npy")
    content = local(inner) + inner["packed"]
    outer = member("a.npy", array(content))
    nested = archive(outer, inner | {"start": len(local(outer)) + 128})
    assert zipfile.ZipFile(io.BytesIO(nested)).namelist() == ["a.npy", "b.npy"]
    refused(path, nested, "its members overlap")
    refused(path, archive(member(), member("b.npy", start=0)), "its header differs")


def test_a_member_may_not_reach_out_of_the_file(path: Path) -> None:
    m = member(content=npy(count=500))
    refused(path, archive(m | {"packed": m["packed"][:-200], "central": {"n": 628}, "local": {"n": 628}}), "outside of")


def test_gaps_between_members_are_harmless(path: Path) -> None:
    assert names(path, archive(member(), before=b"#!/bin/sh\n", between=b"gap")) == ["a"]


# Comments are ours ----------------------------------------------------------------------------------------------------

STRUCTURE = b'{"list":[{"array":"a"}]}'


def structures(text: bytes) -> Iterator[bytes]:
    """Yield archives with this text as their structure: in the comment, and in a member."""
    yield archive(member(), comment=zlib.compress(text))
    yield archive(member(), member("structure.json", text))


@pytest.mark.parametrize("text", [STRUCTURE, b" " + STRUCTURE + b"\n", b'{"tuple":[{"array":"a"},{"float":"nan"}]}'])
def test_structures_are_found_in_both_places(path: Path, text: bytes) -> None:
    for content in structures(text):
        assert names(path, content) == ["a"]
        with open_archive(path) as file:
            assert next(iter(file.structure.values()))[0] == {"array": "a"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Expecting value"), (b"{", "Expecting"), (b"\xff", "utf-8|JSON|codec"), (b"NaN", "NaN is not JSON"),
        (b'{"list":[]}', "its structure has 0 arrays"), (b'{"array":"b"}', "not each of the file's 1 once"),
        (b"null", "its structure has 0 arrays"), (b"[" * 100_000, "recursion"), (b'{"list":5}', "damaged at"),
        (b"9" * 5000, "digits"),
    ],
)  # fmt: skip
def test_structures_that_are_none(path: Path, text: bytes, reason: str) -> None:
    for content in structures(text):
        refused(path, content, reason)


@pytest.mark.parametrize("comment", [b"hello", zlib.compress(STRUCTURE)[:-1], zlib.compress(STRUCTURE) + b"x"])
def test_other_comments_could_be_damaged_structures(path: Path, comment: bytes) -> None:
    refused(path, archive(member(), comment=comment), "comment is damaged, or not of dzcore|incorrect header|Error -3")


def test_two_structures_are_one_too_many(path: Path) -> None:
    content = archive(member(), member("structure.json", STRUCTURE), comment=zlib.compress(STRUCTURE))
    refused(path, content, "a structure in two places")


def test_large_structures_are_a_member_of_their_own(path: Path) -> None:
    numbers = np.random.default_rng(0).random(20_000).tolist()
    for compress in (True, False):
        write_archive(path, {"a": np.ones(2)}, {"list": [{"array": "a"}, *numbers]}, compress=compress)
        with open_archive(path) as file:
            assert file.structure == {"list": [{"array": "a"}, *numbers]}
        with np.load(path) as found:
            assert found.files == ["a", "structure.json"]
    write_archive(path, {"a": np.ones(2)}, {"list": [{"array": "a"}, *numbers[:2000]]})
    with np.load(path) as found:
        assert found.files == ["a"]


def test_structures_are_no_bombs(path: Path) -> None:
    """A kilobyte must not become a million lists."""
    text = b'{"list":[' + b'{"list":[]},' * 100_000 + b'{"array":"a"}]}'
    refused(path, archive(member(), comment=zlib.compress(text)), "its comment holds more than 1048576 bytes")
    squeezer = zlib.compressobj(wbits=-15)
    packed = squeezer.compress(text) + squeezer.flush()
    deflated = member("structure.json", text, method=8, packed=packed)
    refused(path, archive(member(), deflated), "'structure.json'.*the structure is compressed")


def test_long_structures_of_few_bytes(path: Path) -> None:
    """They are not in the comment, where they would be refused."""
    write_archive(path, {"a": np.ones(2)}, {"list": [{"array": "a"}, *[0] * 600_000]})
    with open_archive(path) as file:
        assert len(file.structure["list"]) == 600_001


# Large archives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [True, False])
def test_fields_of_64_bits(path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool) -> None:
    """As in archives of more than 4 GiB: here everything counts as that large."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1)
    arrays = {"a": np.arange(5), "b": np.ones((2, 3))}
    write_archive(path, arrays, compress=compress)
    monkeypatch.undo()
    content = path.read_bytes()
    assert names(path, content) == ["a", "b"]
    with np.load(path) as found:
        assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    place = content.index(b"PK\6\6")
    for i in range(place + 40, place + 56):  # size and place of the table
        damaged = bytearray(content)
        damaged[i] ^= 1
        refused(path, damaged, ".")


def test_more_members_than_16_bits_count(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    write_archive(path, {name: np.ones(1) for name in "abc"})
    assert names(path, path.read_bytes()) == ["a", "b", "c"]
