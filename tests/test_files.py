"""dzcore.save and dzcore.load: arrays and containers of them, from and to any backend, as they went."""

import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dzcore
from dzcore import HostArray, Parameter, Variable, get_backend
from dzcore.backend import Backend
from dzcore.errors import FileError

SUFFIXES = [".npz", ".safetensors"]
DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "bfloat16",
          "float32", "float64"]  # fmt: skip
WIDTH = {"bool": 1, "bfloat16": 2}


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"file{request.param}"


def random_host(dtype: str, shape: tuple[int, ...], seed: int = 0) -> HostArray:
    """Make an array of random bits."""
    size = math.prod(shape) * (WIDTH.get(dtype) or np.dtype(dtype).itemsize)
    data = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 256, size, dtype=np.uint8)
    return HostArray(dtype, shape, data.tobytes())


def same(x: Any, y: Any) -> bool:
    """Whether two trees are equal in types, order, dtypes, shapes and bits."""
    if isinstance(x, Variable):
        a, b = x.to_host(), y.to_host()
        return isinstance(y, Variable) and a[:2] == b[:2] and bytes(a.buffer) == bytes(b.buffer)
    if type(x) is not type(y):
        return False
    if isinstance(x, dict):
        return list(x) == list(y) and all(same(x[key], y[key]) for key in x)
    if isinstance(x, list | tuple):
        return len(x) == len(y) and all(map(same, x, y))
    return bool(x == y or (x != x and y != y))


@pytest.mark.parametrize("compress", [True, False])
def test_what_was_saved_comes_back_in_its_structure(path: Path, backend: Backend, compress: bool) -> None:
    a, b = dzcore.asarray([[1.5, -0.0], [math.inf, 2.0]]), dzcore.asarray([1, 2, 3])
    for x in (a, [a, b], (a,), {"x": a, "y": b}, {}, [], {"l": [a, {"t": (b, None, True, 1.5, "text", 1 << 70)}]}, 3):
        dzcore.save(path, x, compress=compress)
        found = dzcore.load(path)
        assert same(x, found)
    assert os.listdir(path.parent) == [path.name]


def test_raw_arrays_and_numbers_of_a_library_are_saved_as_well(path: Path, backend: Backend) -> None:
    raw = dzcore.asarray([1.0, 2.0]).data
    dzcore.save(path, {"raw": raw, "parameter": Parameter(raw), "scalar": raw[0]})
    found = dzcore.load(path)
    assert [x.shape for x in found.values()] == [(2,), (2,), ()]
    assert all(type(x) is Variable and x.backend is backend and not x.requires_grad for x in found.values())


@pytest.mark.parametrize("target", ["numpy", "strict", "strict:device1"])
def test_from_every_backend_to_every_backend_bit_for_bit(
    path: Path, backend: Backend, target: str, strict: str
) -> None:
    other = get_backend(target)
    for dtype in DTYPES:
        if dtype not in backend.dtypes or dtype not in other.dtypes:
            continue
        for shape in ((), (3,), (0, 2), (2, 3, 4)):
            host = random_host(dtype, shape)
            dzcore.save(path, [backend.from_host(host)])
            (found,) = dzcore.load(path, backend=target)
            assert found.backend is other
            assert (found.to_host()[:2], bytes(found.to_host().buffer)) == ((dtype, shape), host.buffer)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_keep_their_bits(path: Path, dtype: str) -> None:
    pytest.importorskip("ml_dtypes")
    host = random_host(dtype, (100, 7))
    dzcore.save(path, {"a": host})
    found = dzcore.load(path, backend="numpy")["a"]
    assert found.dtype == get_backend("numpy").dtype(dtype)
    assert bytes(found.to_host().buffer) == host.buffer


def test_a_dtype_that_the_backend_lacks_is_named_before_anything_is_read(path: Path, strict: str) -> None:
    dzcore.save(path, {"fine": random_host("float32", (2,)), "W": random_host("float16", (2, 3))})
    message = rf"{path.name}' has 'W' as float16\[2, 3\], and backend strict has no float16"
    with pytest.raises(FileError, match=message):
        dzcore.load(path, backend="strict")


def test_the_current_backend_is_where_arrays_go(path: Path, strict: str) -> None:
    dzcore.save(path, [np.ones(2)])
    with dzcore.use_backend("strict"):
        assert str(dzcore.load(path)[0].backend) == "strict"
    assert str(dzcore.load(path, backend="strict:device1")[0].backend) == "strict:device1"


def test_memory_of_loaded_arrays_is_their_own(path: Path) -> None:
    arrays = [np.full(1 << 19, i, np.float32) for i in range(4)]
    dzcore.save(path, arrays, compress=False)
    found = dzcore.load(path, backend="numpy")
    for i, x in enumerate(found):
        assert x.data.flags.writeable
        x.data[:] += 10
        assert np.all(x.data == i + 10)
    assert same(dzcore.load(path, backend="numpy"), [Variable(a) for a in arrays])


def test_layouts_of_all_kinds_are_saved_as_they_read(path: Path) -> None:
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    for compress in (True, False):
        views = {
            "t": a.T,
            "strided": a[::2, ::3],
            "back": a[::-1],
            "fortran": np.asfortranarray(a),
            "big": a.astype(">f4"),
        }
        dzcore.save(path, views, compress=compress)
        found = dzcore.load(path, backend="numpy")
        assert all(np.array_equal(found[name].data, view) for name, view in views.items())


def test_the_chapter_s_arrays_lists_and_dictionaries(path: Path) -> None:
    """The chapter's `x`, `[x, y]` and `{"x": x, "y": y}`."""
    x, y = dzcore.arange(4), dzcore.zeros((4,))
    dzcore.save(path, x)
    assert same(dzcore.load(path), x)
    dzcore.save(path, [x, y])
    x2, y2 = dzcore.load(path)
    assert same((x2, y2), (x, y))
    dzcore.save(path, {"x": x, "y": y})
    assert same(dzcore.load(path), {"x": x, "y": y})


def test_numpy_sees_paths_as_names(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    x = {"a": [np.arange(3), np.ones((2, 2))], "n": 3, "b": {"c": np.float32(2)}}
    dzcore.save(path, x)
    with np.load(path, allow_pickle=False) as found:
        assert found.files == ["a/0", "a/1", "b/c"]
        assert np.array_equal(found["a/1"], np.ones((2, 2)))
        assert found["b/c"].shape == ()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpy_s_files_are_dictionaries(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "file.npz", np.arange(3), x=np.asfortranarray(np.ones((2, 3))), y=np.arange(2, dtype=">i2"))
    found = dzcore.load(tmp_path / "file.npz", backend="numpy")
    assert list(found) == ["x", "y", "arr_0"]
    assert found["x"].data.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert (found["y"].data.tolist(), found["y"].dtype) == ([0, 1], np.int16)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.builds(
        lambda dtype, shape, seed: Variable(get_backend("numpy").from_host(random_host(dtype, shape, seed))),
        st.sampled_from([dtype for dtype in DTYPES if dtype != "bfloat16"]),
        st.lists(st.integers(0, 3), max_size=3).map(tuple),
        st.integers(0, 99),
    )
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda x: (
        st.lists(x, max_size=3)
        | st.lists(x, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), x, max_size=3)
    ),
    max_leaves=12,
).filter(lambda x: x is not None)


def storable(x: Any) -> bool:
    """Whether all keys on the way to arrays are such that a file can have them in a name."""
    if isinstance(x, dict):
        return all("\0" not in key and key.isprintable() and storable(value) for key, value in x.items())
    return all(map(storable, x)) if isinstance(x, list | tuple) else True


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=100)
@given(x=TREES.filter(storable), compress=st.booleans())
def test_any_tree_comes_back(path: Path, x: Any, compress: bool) -> None:
    dzcore.save(path, x, compress=compress)
    assert same(x, dzcore.load(path, backend="numpy"))


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ({"a": [0, {1}]}, TypeError, r"x\['a'\]\[1\] is a set"),
        (object(), TypeError, "x is a object"),
        ([1 + 2j], TypeError, r"x\[0\] is a complex"),
        ({1: np.ones(2)}, TypeError, "x has the key 1"),
        (None, TypeError, "x is None"),
        ([Parameter(None)], FileError, r"x\[0\] has no data yet"),
        ([np.ones(2, np.complex64)], FileError, "'0'.* complex64"),
        ([np.array(["text"])], TypeError, r"x\[0\] cannot be saved.* is not a dtype of backend numpy"),
        ([np.array([None])], TypeError, r"x\[0\] cannot be saved.* is not a dtype of backend numpy"),
    ],
)
def test_what_cannot_be_saved_leaves_the_old_file(path: Path, x: Any, error: type, message: str) -> None:
    dzcore.save(path, [np.ones(2)])
    before = path.read_bytes()
    with pytest.raises(error, match=message):
        dzcore.save(path, x)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_the_suffix_says_the_format(tmp_path: Path) -> None:
    for name in ("file.pkl", "file", "file.npy"):
        with pytest.raises(FileError, match=r"must end in .npz or .safetensors"):
            dzcore.save(tmp_path / name, [1])
        with pytest.raises(FileError, match=r"must end in .npz or .safetensors"):
            dzcore.load(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_the_wrong_suffix_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    for right, wrong in (SUFFIXES, SUFFIXES[::-1]):
        dzcore.save(tmp_path / f"right{right}", [np.ones(2)])
        os.rename(tmp_path / f"right{right}", tmp_path / f"wrong{wrong}")
        with pytest.raises(FileError, match=f"wrong{wrong}"):
            dzcore.load(tmp_path / f"wrong{wrong}")


def test_a_missing_folder_or_file_is_the_system_s_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dzcore.load(path)
    with pytest.raises(FileNotFoundError, match="the folder does not exist; make it first"):
        dzcore.save(path.parent / "none" / path.name, [1])


def test_the_limit_is_passed_on(path: Path) -> None:
    dzcore.save(path, [np.zeros(1000)])
    with pytest.raises(FileError, match="the limit is 1000; trust it with limit="):
        dzcore.load(path, limit=1000)
    assert dzcore.load(path, limit=10_000)[0].shape == (1000,)


def test_every_flipped_byte_is_found_or_changes_nothing(path: Path) -> None:
    x = {"a": [np.arange(4, dtype=np.float32), {"b": np.int64(3)}], "n": (1, 2.5, "text")}
    for compress in (True, False):
        dzcore.save(path, x, compress=compress)
        want, content = dzcore.load(path), path.read_bytes()
        for i in range(len(content)):
            for bit in (1, 128):
                damaged = bytearray(content)
                damaged[i] ^= bit
                path.write_bytes(damaged)
                found, message = None, ""
                try:
                    found = dzcore.load(path)
                except FileError as error:
                    message = str(error)
                assert path.name in message if message else same(found, want), (i, bit)


def test_a_backend_that_fails_leaves_no_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waited to go on reading would keep the process from its end, as long as there is the traceback."""
    dzcore.save(path, {str(i): np.zeros(1 << 18, "f4") for i in range(6)}, compress=False)
    home, before = get_backend("numpy"), threading.active_count()
    adopt = type(home).adopt
    hosts = []

    def fail(self: Backend, host: HostArray) -> Any:
        hosts.append(host.shape)
        if len(hosts) == 2:
            raise MemoryError("the device is full")
        return adopt(self, host)

    monkeypatch.setattr(type(home), "adopt", fail)
    with pytest.raises(MemoryError, match="the device is full") as error:
        dzcore.load(path, backend=home)
    assert error.tb is not None
    assert threading.active_count() == before
