"""The .safetensors format: what we write its package reads, what that writes we read, and damage is found."""

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dzcore
from dzcore import HostArray, Variable
from dzcore.backend import Backend
from dzcore.errors import FileError
from dzcore.io import Form, open_archive, write_archive

package = pytest.importorskip("safetensors", reason="files are compared with the format's own package")
theirs: Any = pytest.importorskip("safetensors.numpy")

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
          "float64"]  # fmt: skip
SHAPES = [(), (1,), (5,), (0,), (2, 3), (0, 3), (3, 0, 2), (2, 3, 4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.safetensors"


def sample(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    size = int(np.prod(shape))
    raw = np.random.default_rng(seed).integers(0, 256, (size, np.dtype(dtype).itemsize), dtype=np.uint8)
    return (raw[:, 0] % 2 == 1).reshape(shape) if dtype == "bool" else raw.view(dtype).reshape(shape)


def read(path: Path, names: list[str] | None = None) -> dict[str, np.ndarray]:
    with open_archive(path) as file:
        return {name: np.frombuffer(bytes(x.buffer), x.dtype).reshape(x.shape) for name, x in file.read(names)}


def same(found: dict[str, np.ndarray], arrays: dict[str, np.ndarray]) -> bool:
    return found.keys() == arrays.keys() and all(
        found[name].dtype == x.dtype and found[name].shape == x.shape and found[name].tobytes() == x.tobytes()
        for name, x in arrays.items()
    )


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def assemble(path: Path, header: Any, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def refused(path: Path, *words: str) -> None:
    with pytest.raises(FileError) as error:
        read(path)
    for word in (str(path), *words):
        assert word in str(error.value)


# There and back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_shape_both_ways(path: Path, dtype: str) -> None:
    arrays = {str(shape): sample(dtype, shape) for shape in SHAPES}
    write_archive(path, arrays)
    assert same(theirs.load_file(path), arrays)
    assert same(read(path), arrays)
    theirs.save_file(arrays, path)
    assert same(read(path), arrays)


ANY_ARRAY = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(arrays=st.dictionaries(st.text().filter(lambda name: name != "__metadata__"), ANY_ARRAY, max_size=5))
def test_any_names_and_arrays_both_ways(path: Path, arrays: dict[str, np.ndarray]) -> None:
    write_archive(path, arrays)
    assert same(theirs.load_file(path), arrays)
    found = read(path)
    assert same(found, arrays)
    assert list(found) == list(arrays)  # in the order of writing, though not of the data
    theirs.save_file({name: np.ascontiguousarray(x).reshape(x.shape) for name, x in arrays.items()}, path)
    assert same(read(path), arrays)


def test_transposed_strided_and_fortran_ordered_weights(path: Path, backend: Backend) -> None:
    """What safetensors 0.8.0 writes wrongly, without an error."""
    xp, plain = backend.xp, np.arange(24, dtype=np.float32).reshape(4, 6)
    x = backend.from_host(HostArray("float32", (4, 6), plain.tobytes()))
    views = {
        "transposed": (xp.permute_dims(x, (1, 0)), plain.T),
        "strided": (x[:, ::2], plain[:, ::2]),
        "backwards": (xp.flip(x, axis=0)[:, 1:], plain[::-1, 1:]),
        "broadcast": (xp.broadcast_to(x[0, :], (3, 6)), np.broadcast_to(plain[0], (3, 6))),
    }
    if backend.name == "numpy":
        views["Fortran order"] = (np.asfortranarray(plain), plain)
        views["another byte order"] = (plain.astype(">f4"), plain)
    dzcore.save(path, {name: view for name, (view, _) in views.items()})
    wanted = {name: np.ascontiguousarray(array) for name, (_, array) in views.items()}
    assert same(theirs.load_file(path), wanted)
    found = dzcore.load(path)
    assert all(x.backend is backend for x in found.values())
    assert same(read(path), wanted)


def test_the_package_takes_every_dtype_with_its_alignment(path: Path) -> None:
    arrays = {dtype: HostArray(dtype, (3,), bytes(3 * np.dtype(dtype).itemsize)) for dtype in DTYPES}
    write_archive(path, arrays | {"bfloat16": HostArray("bfloat16", (3,), b"\x80\x3f" * 3)})
    header, data = parts(path)
    length = len(path.read_bytes()) - len(data)
    assert length % 8 == 0
    for name, entry in header.items():
        if name != "__metadata__":
            width = 2 if name == "bfloat16" else np.dtype(name).itemsize
            assert (length + entry["data_offsets"][0]) % width == 0
    with package.safe_open(path, "np") as file:
        assert {name: file.get_slice(name).get_dtype() for name in file.keys()} == {  # noqa: SIM118
            "bool": "BOOL", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "uint8": "U8",
            "uint16": "U16", "uint32": "U32", "uint64": "U64", "float16": "F16", "bfloat16": "BF16",
            "float32": "F32", "float64": "F64",
        }  # fmt: skip


def test_the_tools_of_hugging_face_ask_the_metadata_for_a_format(path: Path) -> None:
    dzcore.save(path, [np.ones(2)])
    with package.safe_open(path, "np") as file:
        assert file.metadata()["format"] == "pt"


def test_metadata_of_others_is_passed_over(path: Path) -> None:
    arrays = {"b": sample("float32", (2, 3)), "a": sample("int8", (3,))}
    theirs.save_file(arrays, path, metadata={"format": "np", "structure": "[", "crc32": "00000000", "": "ü"})
    assert same(read(path), arrays)
    assert set(dzcore.load(path)) == {"a", "b"}


def test_it_needs_no_package(tmp_path: Path) -> None:
    code = """if True:
        import sys
        sys.modules["safetensors"] = None
        import dzcore
        dzcore.save("x.safetensors", [dzcore.asarray([1.0, 2.0])])
        print(dzcore.load("x.safetensors")[0].sum())
    """
    root = str(Path(dzcore.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "3.0" in done.stdout


def test_equal_content_is_equal_bytes(path: Path, tmp_path: Path) -> None:
    x = {"a": [sample("float32", (2, 3)), None], "b": (1.5, sample("bool", (4,)))}
    dzcore.save(path, x)
    dzcore.save(tmp_path / "other.safetensors", x)
    assert path.read_bytes() == (tmp_path / "other.safetensors").read_bytes()


# What the format cannot hold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"W": HostArray("complex64", (1,), bytes(8))}, ["'W' has dtype complex64", "convert it to float32"]),
        ({"__metadata__": np.ones(2)}, ["no array can be called '__metadata__'", "rename it"]),
        ({"a\ud800": np.ones(2)}, ["a name that is no text", "ud800"]),
    ],
)
def test_it_is_named_and_nothing_is_written(path: Path, arrays: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(FileError) as error:
        write_archive(path, {"fine": np.ones(2), **arrays})
    for word in (str(path), *words):
        assert word in str(error.value)
    assert not list(path.parent.iterdir())


def test_a_header_that_nobody_would_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dzcore.io.safetensors.LONGEST_HEADER", 1000)
    dzcore.save(path, ["x" * 500])
    before = path.read_bytes()
    with pytest.raises(FileError, match=r"need \d+ bytes, and 1000 are the most in a .safetensors file; use .npz"):
        dzcore.save(path, ["x" * 1000])
    assert path.read_bytes() == before
    monkeypatch.setattr("dzcore.io.safetensors.LONGEST_HEADER", 500)
    refused(path, "its header would have", "at most 500")


def test_machines_with_the_other_byte_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dzcore.save(path, [np.ones(2)])
    monkeypatch.setattr(sys, "byteorder", "big")
    for job in (lambda: dzcore.save(path, [np.ones(2)]), lambda: dzcore.load(path)):
        with pytest.raises(FileError, match="little-endian and this machine is not; use .npz"):
            job()


@pytest.mark.parametrize(("code", "width"), [("F8_E4M3", 1), ("F8_E5M2", 1), ("C64", 8)])
def test_dtypes_that_we_lack_are_named_when_they_are_asked_for(path: Path, code: str, width: int) -> None:
    entry = {"dtype": code, "shape": [2], "data_offsets": [8, 8 + 2 * width]}
    assemble(path, {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": entry}, bytes(8 + 2 * width))
    package.safe_open(path, "np")  # which takes the file
    with open_archive(path) as file:
        assert file.forms["b"] == Form(code, (2,))
    assert list(read(path, ["a"])) == ["a"]
    refused(path, "array 'b'", f"it has dtype {code}, which dzcore has not")
    with pytest.raises(FileError, match=f"'b' as {code}"):
        dzcore.load(path)


# Damage --------------------------------------------------------------------------------------------------------------

TREE = {"a/b": [sample("float32", (2, 2)), None, 1.5], 'ä"': (sample("int8", (3,)), sample("float16", (0, 2)))}


def flat(x: Any) -> Any:
    """A tree in a form that can be compared."""
    if isinstance(x, Variable):
        x = x.data
    if isinstance(x, np.ndarray):
        return x.dtype, x.shape, x.tobytes()
    if isinstance(x, dict):
        return [(key, flat(item)) for key, item in x.items()]
    return (type(x), [flat(item) for item in x]) if isinstance(x, list | tuple) else x


def outcome(path: Path) -> str:
    try:
        found = dzcore.load(path)
    except FileError as error:
        message = str(error)
    else:
        message = None
    if message is not None:
        assert str(path) in message
        assert len(message) < 1000
        return "refused"
    assert flat(found) == flat(TREE)
    return "equal"


@pytest.mark.parametrize("change", [lambda b: b ^ 1, lambda b: b ^ 4, lambda b: b ^ 32, lambda b: b ^ 128, lambda b: 0])
def test_every_byte_changed(path: Path, change: Callable[[int], int]) -> None:
    """It is found, or what is loaded is what was saved."""
    dzcore.save(path, TREE)
    whole = path.read_bytes()
    outcomes = []
    for i, byte in enumerate(whole):
        if change(byte) != byte:
            path.write_bytes(whole[:i] + bytes([change(byte)]) + whole[i + 1 :])
            outcomes.append(outcome(path))
    assert outcomes.count("refused") > 0.9 * len(outcomes)
    path.write_bytes(whole)
    assert outcome(path) == "equal"


def test_every_truncation_and_bytes_behind_the_end(path: Path) -> None:
    dzcore.save(path, TREE)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert outcome(path) == "refused"
    path.write_bytes(whole + b"\0")
    assert outcome(path) == "refused"


def test_a_damaged_array_is_named_and_the_others_can_be_read(path: Path) -> None:
    arrays = {"good": sample("float64", (3,)), "bad": sample("int16", (4,))}
    write_archive(path, arrays)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert same(read(path, ["good"]), {"good": arrays["good"]})
    refused(path, "array 'bad'", "CRC-32")


def test_arrays_and_their_checksums_cannot_be_exchanged(path: Path) -> None:
    """Neither dtypes of one width, nor shapes of one size, nor names."""
    write_archive(path, {"a": sample("float32", (2, 3)), "b": sample("float32", (2, 3), 1)})
    header, data = parts(path)
    for changed in (
        header | {"a": header["a"] | {"dtype": "I32"}},
        header | {"a": header["a"] | {"shape": [3, 2]}},
        header | {"a": header["b"], "b": header["a"]},
        {"c" if name == "a" else name: entry for name, entry in header.items()},
    ):
        assemble(path, changed, data)
        refused(path)
    assemble(path, header, data)
    assert list(read(path)) == ["a", "b"]


def test_our_metadata_is_there_whole_or_not_at_all(path: Path) -> None:
    x = {"a": sample("float32", (2, 3))}
    dzcore.save(path, x)
    header, data = parts(path)
    ours = header["__metadata__"]
    assert set(ours) == {"format", "dzcore", "dzcore.crc32"}
    for missing in ("dzcore", "dzcore.crc32"):
        rest = {key: text for key, text in ours.items() if key != missing}
        assemble(path, header | {"__metadata__": rest}, data)
        refused(path, "its checksums are damaged")
    assemble(path, header | {"__metadata__": {"format": "pt"}}, data)  # then nobody can tell it from another's
    assert same(read(path), x)


def with_text(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change our text in the metadata, under a checksum that is right."""
    header, data = parts(path)
    text = change(json.loads(header["__metadata__"]["dzcore"]))
    text = text if isinstance(text, str) else json.dumps(text)
    header["__metadata__"] |= {"dzcore": text, "dzcore.crc32": f"{zlib.crc32(text.encode()):08x}"}
    assemble(path, header, data)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: [], lambda text: "1", lambda text: "null", lambda text: "", lambda text: "[" * 100_000,
        lambda text: '{"version": 1, "version": 1}', lambda text: '{"version": NaN}',
        lambda text: text | {"crc32": {}}, lambda text: text | {"crc32": None}, lambda text: text | {"crc32": 3},
        lambda text: text | {"crc32": dict.fromkeys(text["crc32"])}, lambda text: text | {"crc32": ["ab"]},
        lambda text: text | {"crc32": text["crc32"] | {"more": "00000000"}},
        lambda text: {key: text[key] for key in ("version", "crc32")}, lambda text: text | {"structure": {"list": []}},
        lambda text: text | {"structure": {"list": [{"array": "a"}, {"array": "a"}]}},
        lambda text: text | {"structure": [1]}, lambda text: text | {"structure": {"set": []}},
    ],
)  # fmt: skip
def test_checksums_and_structures_that_cannot_be(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    write_archive(path, {"a": np.ones(2)})
    with_text(path, change)
    refused(path)


def test_files_of_a_newer_version_say_so(path: Path) -> None:
    write_archive(path, {"a": np.ones(2)})
    with_text(path, lambda text: text | {"version": 2, "crc32": "another form"})
    refused(path, "newer dzcore", "version 2", "update")


def test_an_array_of_less_than_no_bytes(path: Path) -> None:
    """Of a dtype that we lack, so that its size is not known: what follows it would lie over others."""
    long = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assemble(path, {"a": long, "b": {"dtype": "F4", "shape": [1], "data_offsets": [8, 4]}}, bytes(4))
    with pytest.raises(FileError, match="array 'b'.*its entry is not that of an array"):
        open_archive(path)


def test_lengths_and_places_are_integers(path: Path) -> None:
    for shape, offsets in (("NaN", "0, 0"), ("0", "0, NaN"), ("2", "0.0, 8"), ("2", "0, 8.0"), ("2", "false, 8")):
        text = f'{{"a": {{"dtype": "F32", "shape": [{shape}], "data_offsets": [{offsets}]}}}}'.encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
        refused(path, "array 'a'", "its entry is not that of an array")


def test_half_surrogates(path: Path) -> None:
    """JSON can name what is no text; whatever is made of it, it is no other exception."""
    entry = json.dumps({"dtype": "U8", "shape": [1], "data_offsets": [0, 1]})
    name, metadata = '{"\\ud800": %s}', '{"__metadata__": {"dzcore": "\\ud800", "dzcore.crc32": ""}, "a": %s}'
    for text in (name % entry, metadata % entry):
        path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + b"\0")
        with pytest.raises(package.SafetensorError):
            package.safe_open(path, "np")
        refused(path)


def test_a_file_that_gets_shorter_while_it_is_open(path: Path) -> None:
    write_archive(path, {"a": sample("float32", (100,))})
    with open_archive(path) as file:
        with open(path, "r+b") as other:
            other.truncate(path.stat().st_size - 10)
        with pytest.raises(FileError, match="array 'a'.* it ends at byte"):
            list(file.read())
