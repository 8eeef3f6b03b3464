"""The .npz format: what NumPy writes is read, what is written NumPy reads, and damage is an error that says so."""

import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dzcore.backend import HostArray
from dzcore.errors import FileError
from dzcore.io import npy as npy_format
from dzcore.io import npz, open_archive, staging, write_archive

DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
]  # fmt: skip
SHAPES = [(), (1,), (5,), (0,), (2, 3), (0, 3), (3, 0, 2), (2, 3, 4), (1, 1, 1, 1)]


def host(array):
    array = np.asarray(array)
    return HostArray(array.dtype.name, array.shape, array.tobytes())


def read(path, **options):
    with open_archive(path, **options) as archive:
        return {name: HostArray(x.dtype, x.shape, bytes(x.buffer)) for name, x in archive.read()}


def back(array):
    assert all(type(n) is int for n in array.shape)
    return np.frombuffer(bytes(array.buffer), array.dtype).reshape(array.shape)


def sample(dtype, shape, seed=0):
    raw = np.random.default_rng(seed).integers(0, 256, (int(np.prod(shape)), np.dtype(dtype).itemsize), dtype=np.uint8)
    return (raw[:, 0] % 2 == 1).reshape(shape) if dtype == "bool" else raw.view(dtype).reshape(shape)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.npz"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_round_trip_bit_for_bit_and_numpy_reads_it(path, dtype, shape):
    array = sample(dtype, shape)
    write_archive(path, {"l0/W": host(array), "second": host(array)})
    found = read(path)
    assert list(found) == ["l0/W", "second"]
    assert all(same(back(a), array) for a in found.values())
    with np.load(path, allow_pickle=False) as file:
        assert file.files == ["l0/W", "second"]
        assert all(same(file[name], array) for name in file.files)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(path, dtype, shape, save):
    array = sample(dtype, shape)
    save(
        path,
        **{"a/b": array, "fortran": np.array(array, order="F"), "big": array.astype(array.dtype.newbyteorder(">"))},
    )
    found = read(path)
    assert list(found) == ["a/b", "fortran", "big"]
    assert all(same(back(a), array) for a in found.values())


def test_fortran_ordered_and_big_endian_at_once(path):
    array = sample("float64", (3, 4, 5))
    np.savez(path, a=np.asfortranarray(array.astype(">f8")))
    assert same(back(read(path)["a"]), array)


def test_special_values_keep_their_bits(path):
    array = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324], np.float64)
    array = np.concatenate([array, np.array([0x7FF0DEADBEEF0001], np.uint64).view(np.float64)])
    write_archive(path, {"a": host(array)})
    assert same(back(read(path)["a"]), array)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.float32).reshape(2, 3)])
def test_any_buffer_will_do(path, wrap):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_archive(path, {"a": HostArray("float32", (2, 3), wrap(array.tobytes()))})
    assert same(back(read(path)["a"]), array)


def test_shapes_of_other_libraries_are_written_plainly(path):
    class Size(tuple):
        def __repr__(self):
            return f"Size({list(self)})"

    write_archive(path, {"a": HostArray("float32", Size((np.int64(2), 3)), bytes(24))})
    assert read(path)["a"].shape == (2, 3)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("many", [0, 1 << 60], ids=["a thread writes", "none"])
def test_a_large_file_has_the_bytes_that_a_small_one_would_have(path, monkeypatch, compress, many):
    """What is small is put together in memory; in what is large, a thread writes, and the headers come last."""
    rng = np.random.default_rng(0)
    arrays = {f"a{n}": rng.normal(size=n).astype("f4") for n in (0, 1, 992, 5000, 100_000, 3_000_000)}
    structure = {"list": [{"array": name} for name in arrays]}
    write_archive(path, arrays, structure, compress=compress)
    expected = path.read_bytes()
    monkeypatch.setattr(npz, "_SMALL", 0)
    monkeypatch.setattr(staging, "MANY", many)
    write_archive(path, arrays, structure, compress=compress)
    assert path.read_bytes() == expected
    with np.load(path) as found:
        assert all((found[name] == x).all() for name, x in arrays.items())


def test_no_arrays(path):
    write_archive(path, {})
    assert read(path) == {}
    np.savez(path)
    assert read(path) == {}


NAMES = [
    "ä/ß", "名前", "a b", "a.npy", "../up", "/abs", "x" * 300, "", "allow_pickle", "file", "self", ".", "..", "a//b",
    "a\\b", "C:\\x", "\n", "array", "structure.json", "x" * 65_531,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=[f"{i}" for i in range(len(NAMES))])
@pytest.mark.parametrize("compress", [True, False])
def test_names(path, name, compress):
    write_archive(path, {name: host(np.ones(2)), "other": host(np.zeros(2))}, compress=compress)
    assert list(read(path)) == [name, "other"]
    with np.load(path) as file:
        assert file.files == [name, "other"]
        assert file[name].tolist() == [1, 1]
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a\0b", "a null character"),
        ("x" * 65_532, "65536 bytes, and 65535 are possible"),
        ("ä" * 32_766, "65536 bytes"),
        ("\ud800", "it is not Unicode"),
    ],
    ids=["null", "long", "umlauts", "surrogate"],
)
def test_names_that_zip_cannot_hold_are_refused_before_anything_is_written(path, name, reason):
    with pytest.raises(FileError, match=f"a.npz' cannot hold the name '.*{reason}") as error:
        write_archive(path, {"a": host(np.ones(2)), name: host(np.ones(2))})
    assert len(str(error.value)) < 400
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_uncompressed_round_trip(path, dtype, shape):
    array = sample(dtype, shape)
    write_archive(path, {"a": host(array)}, compress=False)
    assert same(back(read(path)["a"]), array)
    with np.load(path, allow_pickle=False) as file:
        assert same(file["a"], array)
    with zipfile.ZipFile(path) as archive:
        assert [info.compress_type for info in archive.infolist()] == [zipfile.ZIP_STORED]


@settings(max_examples=100)
@given(
    shape=st.lists(st.integers(0, 5), max_size=5).map(tuple),
    dtype=st.sampled_from(["u1", "<u2", ">u2", "<f4", ">f8", "?"]),
    axes=st.permutations(range(5)),
    compress=st.booleans(),
)
def test_any_order_and_layout_of_numpy_s_is_read(tmp_path_factory, shape, dtype, axes, compress):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    array = array.transpose([axis for axis in axes if axis < len(shape)])
    path = tmp_path_factory.getbasetemp() / "order.npz"
    (np.savez_compressed if compress else np.savez)(path, a=array, f=np.array(array, order="F"))
    want = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).reshape(array.shape)
    assert all(same(back(a), want) for a in read(path).values())


@pytest.mark.parametrize("shape", [(300_000, 2), (2, 300_000), (2, 150_000, 2), (64, 32, 17, 17)])
def test_fortran_order_is_changed_in_slices(path, shape, monkeypatch):
    """A few slices, not a step for each element."""
    array = np.asfortranarray(np.random.default_rng(0).integers(0, 1000, shape))
    np.savez(path, a=array)
    calls = []
    reorder = npy_format._reorder
    monkeypatch.setattr(npy_format, "_reorder", lambda *args: (calls.append(1), reorder(*args)))
    assert same(back(read(path)["a"]), np.ascontiguousarray(array))
    assert len(calls) <= array.size / 30


def test_the_file_is_compressed(path):
    write_archive(path, {"a": host(np.zeros(100_000))})
    assert path.stat().st_size < 5_000


def test_bfloat16_is_two_bytes_as_numpy_with_ml_dtypes_writes_it(path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([1.5, -0.0, np.nan, 3e38], ml_dtypes.bfloat16)
    write_archive(path, {"a": array, "b": HostArray("bfloat16", (2, 2), array.tobytes())})
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].tobytes() == array.tobytes() for name in "ab")
        assert file["b"].view(ml_dtypes.bfloat16).shape == (2, 2)
    assert read(path)["b"] == HostArray("bfloat16", (2, 2), array.tobytes())
    for kind in ("<V2", "|V2", ">V2"):
        np.save(buffer := io.BytesIO(), array)
        assert b"<V2" in buffer.getvalue()
        content = buffer.getvalue().replace(b"<V2", kind.encode())
        member(path, content)
        assert read(path)["W"].dtype == "bfloat16"
        same_order = array.view("<u2") if kind[0] != ">" else array.view("<u2").byteswap()
        assert read(path)["W"].buffer == same_order.tobytes()


@pytest.mark.parametrize("compress", [True, False])
def test_dtypes_that_the_format_lacks_are_named_and_nothing_is_written(path, compress):
    arrays = {"ok": host(np.ones(2)), "l0/W": HostArray("complex64", (1,), bytes(8))}
    with pytest.raises(FileError, match="a.npz' cannot hold 'l0/W': it is complex64; save real numbers"):
        write_archive(path, arrays, compress=compress)
    assert os.listdir(path.parent) == []


def test_a_buffer_of_another_size_is_the_backend_s_mistake(path):
    for buffer in (bytes(7), bytes(9), np.zeros((2, 2), "f4").T[1:]):
        with pytest.raises(ValueError, match=r"float32\[2\] in C order has 8 bytes, its buffer"):
            write_archive(path, {"a": HostArray("float32", (2,), buffer)})
    assert os.listdir(path.parent) == []


# What is not a file of arrays --------------------------------------------------------------------------------------


def refused(path, *words):
    with pytest.raises(FileError) as error:
        read(path)
    for word in (path.name, *words):
        assert word in str(error.value)


def test_a_missing_file_or_a_folder_is_the_system_s_error(path, tmp_path):
    with pytest.raises(FileNotFoundError):
        read(path)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(IsADirectoryError):
        read(tmp_path / "folder.npz")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x05\x06", b"PK\x03\x04" * 20, b"\x93NUMPY\x01\x00"])
def test_no_zip_archive_at_all(path, content):
    path.write_bytes(content)
    refused(path, "is not a readable .npz file")


def test_pickles_and_objects_are_refused_unread(path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.savez(path, fine=np.ones(2), W=np.array([Bomb(), None], dtype=object))
    refused(path, "'W.npy'", "'|O'", "is not a plain number")


@pytest.mark.parametrize(
    "array", [np.zeros(2, "c8"), np.array(["a"]), np.zeros(2, "M8[s]"), np.zeros(2, [("a", "f4")]), np.zeros(2, "V4")]
)
def test_other_kinds_of_elements_are_refused(path, array):
    np.savez(path, W=array)
    refused(path, "'W.npy'", "is not a plain number")


def member(path, content, name="W.npy", compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, content)


def npy(header, data=b"", version=1):
    text = header if isinstance(header, bytes) else str(header).encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def form(shape, descr="<f4", fortran=False, **more):
    return {"descr": descr, "fortran_order": fortran, "shape": shape, **more}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_format(path, version):
    member(path, npy(form((2,)), bytes(8), version))
    assert back(read(path)["W"]).tolist() == [0, 0]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x93", b"\x93NUMPY", b"\x93NUMPY\x01", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\x10",
        b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", b"\x93NUMPY\x04\x00\x02\x00{}",
        npy(""), npy("{"), npy("[]"), npy("{}"), npy("1 +"), npy("x"), npy("__import__('os')"), npy(b"\x00"),
        npy(b"\xff\xfe", version=3), npy("(" * 5000), npy("-" * 60000 + "1"), npy("9" * 60000), npy("[" * 60),
        npy({"descr": "<f4"}), npy(form((2,), extra=1), bytes(8)), npy(form(2), bytes(8)), npy(form([2]), bytes(8)),
        npy(form((-1,))), npy(form((-2, -1)), bytes(8)), npy(form((2.0,)), bytes(8)), npy(form(("2",)), bytes(8)),
        npy(form((True,)), bytes(4)), npy(form((2,), ""), bytes(8)), npy(form((2,), "<"), bytes(8)),
        npy(form((2,), "f4"), bytes(8)), npy(form((2,), "!f4"), bytes(8)), npy(form((2,), 4), bytes(8)),
        npy(form((2,)), bytes(7)), npy(form((2,)), bytes(9)), npy(form((2,))), npy(form((0,)), b"x"),
        npy(form((10**4000,)), b"x"), npy(form((2**62, 2**62)), b"x"), npy(form((2,), fortran=None), bytes(8)),
    ],
)  # fmt: skip
def test_members_that_are_no_arrays(path, content):
    member(path, content)
    refused(path, "'W.npy'")


def test_a_message_is_never_endless(path):
    member(path, npy(form((10**4000,)), b"x"))
    with pytest.raises(FileError) as error:
        read(path)
    assert len(str(error.value)) < 1000


def test_a_header_is_as_long_as_numpy_lets_it_be(path):
    member(path, npy(str(form((2,))) + " " * 9900, bytes(8)))
    assert back(read(path)["W"]).tolist() == [0, 0]
    member(path, npy(str(form((2,))) + " " * 10_000, bytes(8)))
    refused(path, "'W.npy'", "its header claims 10055 bytes")


def test_members_with_other_or_equal_names(path):
    member(path, npy(form((0,))), "readme.txt")
    refused(path, "'readme.txt'", "does not end in .npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("W.npy", npy(form((0,))))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("W.npy", npy(form((0,))))
    refused(path, "'W.npy'", "twice")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_numpy_does_not_use(path, compression):
    member(path, npy(form((2,)), bytes(8)), compression=compression)
    refused(path, "'W.npy'", "compress")


@pytest.mark.parametrize("shape", [(2**31,), (2**20, 2**20), (2**56,)])
@pytest.mark.parametrize("fortran", [False, True])
def test_a_huge_claim_allocates_nothing(path, shape, fortran):
    member(path, npy(form(shape, "<f8", fortran), bytes(1000)))
    tracemalloc.start()
    try:
        refused(path, "need", "bytes of data, there are 1000")
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_a_small_claim_with_endless_data_stops_early(path):
    member(path, npy(form((2,)), bytes(100 << 20)))
    tracemalloc.start()
    try:
        refused(path, "'W.npy'")
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


# Damage --------------------------------------------------------------------------------------------------------------

ARRAYS = {
    "l0/W": np.arange(12, dtype=np.float32).reshape(3, 4),
    "l0/b": np.random.default_rng(1).standard_normal(3),
    "count": np.array(7),
    "none": np.zeros((0, 2), np.float32),
}


def written(kind):
    buffer = io.BytesIO()
    if kind == "numpy":
        np.savez(buffer, **ARRAYS)
    elif kind == "numpy compressed":
        np.savez_compressed(buffer, **ARRAYS)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "damaged.npz"
    write_archive(path, {name: host(array) for name, array in ARRAYS.items()})
    return path, [path.read_bytes(), written("numpy"), written("numpy compressed")]


def check_damaged(path, content):
    path.write_bytes(content)
    try:
        found = read(path)
    except FileError as error:
        message = str(error)
    else:
        message = None
    if message is not None:
        assert path.name in message
        return
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert same(back(found[name]), array), name


@pytest.mark.parametrize("kind", range(3))
def test_every_truncation(files, kind):
    path, contents = files
    for n in range(len(contents[kind])):
        path.write_bytes(contents[kind][:n])
        with pytest.raises(FileError):
            read(path)


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("change", [lambda b: 0, lambda b: 255, lambda b: b ^ 1, lambda b: b ^ 128, lambda b: b ^ 4])
def test_every_byte_changed(files, kind, change):
    path, contents = files
    content = bytearray(contents[kind])
    for i, byte in enumerate(contents[kind]):
        content[i] = change(byte)
        if content[i] != byte:
            check_damaged(path, content)
        content[i] = byte


@settings(max_examples=300)
@given(
    kind=st.integers(0, 2),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4),
    cut=st.none() | st.floats(0, 1),
)
@example(kind=0, flips=[(0.99, 1)], cut=None)
def test_random_damage(files, kind, flips, cut):
    path, contents = files
    content = bytearray(contents[kind])
    for where, how in flips:
        content[int(where * len(content))] ^= how
    check_damaged(path, content if cut is None else content[: int(cut * len(content))])
