"""Zip archives made to hurt: bombs, members that overlap, headers that lie."""

import os
from io import BytesIO
from zipfile import ZIP_BZIP2, ZIP_LZMA, ZipFile

import pytest

import dzcore as dz
from dzcore.errors import FileError

from .hostile import HUGE, entry, good, little_memory, npy, raw_zip, refused, write


def test_a_header_that_claims_400_gb(folder):
    refused(write(folder / "x.npz", raw_zip(entry("x.npy", npy(f"({HUGE},)")))))


def test_a_table_of_contents_that_claims_400_gb(folder):
    member = entry("x.npy", npy(f"({HUGE},)"), size=2**32 - 2, packed=2**32 - 2)
    refused(write(folder / "x.npz", raw_zip(member)))
    many = [entry(f"{i}.npy", npy("(1073741800,)"), deflate=True, size=2**32 - 2) for i in range(100)]
    refused(write(folder / "x.npz", raw_zip(*many)))


def test_a_bomb(folder):
    """A thousand to one: 40 MB in 40 KB, where 20 MB are allowed."""
    bomb = raw_zip(entry("x.npy", npy("(10_000_000,)".replace("_", ""), data=bytes(40_000_000)), deflate=True))
    assert len(bomb) < 50_000
    with little_memory(20 << 20), pytest.raises(FileError, match="x.npz.*limit"):
        dz.load(write(folder / "x.npz", bomb), limit=20_000_000)
    assert dz.load(folder / "x.npz", limit=50_000_000)["x"].shape == (10_000_000,)


def test_the_default_limit_for_bombs(folder):
    member = entry("x.npy", npy("(1000000,)", data=bytes(4_000_000)), deflate=True)
    members = [member | {"name": f"{i}.npy".encode()} for i in range(330)]
    with pytest.raises(FileError, match="x.npz.*limit"):
        dz.load(write(folder / "x.npz", raw_zip(*members)))


def test_a_bomb_that_lies_about_its_size(folder):
    content = npy("(10000000,)", data=bytes(40_000_000))
    for size in (len(content) - 40_000_000, 1000, 40_000_000 // 2):
        bomb = raw_zip(entry("x.npy", content, deflate=True, size=size))
        with little_memory(60 << 20):
            refused(write(folder / "x.npz", bomb))
        small = raw_zip(entry("x.npy", npy("(2,)", data=bytes(40_000_000)), deflate=True, size=len(npy())))
        with little_memory(20 << 20):
            refused(write(folder / "x.npz", small))


def test_members_that_overlap(folder):
    """Better zip bombs (Fifield, 2019): many members of one piece of data."""
    first = entry("a.npy", npy())
    for name in ("b.npy", "a.npy"):
        refused(write(folder / "x.npz", raw_zip(first, first | {"name": name.encode(), "start": 0})))
    inner = raw_zip(entry("b.npy", npy()))[: 30 + 5 + len(npy())]  # a member within the data of another
    data = npy(f"({len(inner)},)", "'|u1'", inner)
    outer = entry("a.npy", data)
    start = 30 + 5 + len(data) - len(inner)
    refused(write(folder / "x.npz", raw_zip(outer, entry("b.npy", npy(), start=start))))


def test_an_archive_in_an_archive(folder):
    refused(write(folder / "x.npz", raw_zip(entry("x.npz", raw_zip(entry("x.npy", npy()))))), "x.npz")


def test_names_that_occur_twice(folder):
    refused(write(folder / "x.npz", raw_zip(entry("x.npy", npy()), entry("x.npy", npy()))), "twice")


def test_a_member_that_is_a_link(folder):
    """To whoever extracts it, not to us: its data are no array."""
    link = entry("x.npy", b"/etc/passwd", mode=0o120777)
    refused(write(folder / "x.npz", raw_zip(link)))


@pytest.mark.parametrize(
    "change",
    [
        {"flags": 1},
        {"flags": 1 << 6},
        {"flags": 1 << 5},
        {"method": 99},
        {"method": 12},
        {"crc": 1},
        {"size": 7},
        {"packed": 3},
        {"packed": 10_000},
        {"start": 10_000},
        {"start": 2**32 - 1},
        {"local": {"name": b"y.npy"}},
        {"local": {"method": 8}},
    ],
    ids=str,
)
def test_fields_that_are_wrong(folder, change):
    refused(write(folder / "x.npz", raw_zip(entry("x.npy", npy(), **change))))


@pytest.mark.parametrize("method", [ZIP_BZIP2, ZIP_LZMA])
def test_other_compressions(folder, method):
    data = BytesIO()
    with ZipFile(data, "w", method) as archive:
        archive.writestr("x.npy", npy())
    refused(write(folder / "x.npz", data.getvalue()))


@pytest.mark.parametrize(
    "header",
    [
        {"descr": "'|O'"},
        {"descr": "[('a', '<f4')]"},
        {"descr": "'<f16'"},
        {"descr": "'<M8[s]'"},
        {"descr": "1"},
        {"shape": "(-1,)"},
        {"shape": "(2.0,)"},
        {"shape": "2"},
        {"shape": "(True, 2)"},
        {"shape": "(1 << 70,)"},
        {"shape": f"({2**62}, 0)", "data": b""},
        {"shape": "(" + "1, " * 100 + ")", "data": bytes(4)},
        {"shape": f"({10**4000},)"},
        {"order": "1"},
        {"shape": "__import__('os').system('touch evil')"},
        {"shape": "(" * 3000},
        {"shape": "-" * 9000 + "1"},
        {"shape": "[" * 150 + "]" * 150},
        {"shape": "(2,), 'more': 1"},
    ],
    ids=lambda header: str(header)[:50],
)
def test_npy_headers_that_are_wrong(folder, header):
    refused(write(folder / "x.npz", raw_zip(entry("x.npy", npy(**header)))))
    assert os.listdir(folder) == ["x.npz"]


def test_a_pickle_is_never_loaded(folder):
    import pickle

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(folder / "evil"),)

    refused(write(folder / "x.npz", raw_zip(entry("x.npy", npy(descr="'|O'", data=pickle.dumps(Evil()))))))
    assert os.listdir(folder) == ["x.npz"]


@pytest.mark.parametrize("kind", ["of the two files", "of one file"])
def test_members_that_are_swapped(folder, kind):
    """Each member is under its checksum, but not its place: what two good files are made of can make a third one."""
    one, other = good(folder, "npz"), good(folder, "npz", (7.0, 8.0, 9.0))
    size = len(one) // 2
    refused(write(folder / "x.npz", one[:size] + other[size:]) if kind == "of the two files" else
            write(folder / "x.npz", one[size:] + one[:size]))  # fmt: skip


@pytest.mark.parametrize("start", [8, 10, 12, 16])
def test_an_end_record_with_zeros(folder, start):
    """zipfile takes one that is all zeros for an empty archive, behind something else."""
    data = bytearray(good(folder, "npz"))
    data[start - 22 : -2] = bytes(20 - start)
    refused(write(folder / "x.npz", bytes(data)))
