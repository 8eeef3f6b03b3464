"""MNIST and FashionMNIST: found where the user says, refused where they are not what they should be."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from dzcore.backend import Backend
from dzcore.datasets import MNIST, FashionMNIST
from dzcore.datasets.idx import read_idx
from dzcore.errors import DataError

from .files import idx, labels, pictures, real_data, write_set
from .test_base import host


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data folder, an empty cache, and no mirrors."""
    monkeypatch.delenv("DZCORE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(MNIST, "mirrors", ())
    monkeypatch.setattr(FashionMNIST, "mirrors", ())


def test_items_and_batches(tmp_path: Path, backend: Backend) -> None:
    data = MNIST(root=write_set(tmp_path))
    x, t = data[3]
    assert (x.shape, x.dtype, t, type(t)) == ((784,), backend.dtype("float32"), 3, int)
    raw = np.frombuffer(pictures()[16:], np.uint8).reshape(5, 784)
    assert data.data.shape == (5, 1, 28, 28)
    batch, ts = data.batch([4, 0])
    np.testing.assert_allclose(host(batch, backend), raw[[4, 0]] / 255, rtol=1e-6)
    np.testing.assert_array_equal(host(x, backend), host(data.batch([3])[0], backend)[0])
    assert host(ts, backend).tolist() == [4, 0]
    assert host(batch, backend).max() == 1.0


def test_a_transform_gets_the_picture(tmp_path: Path) -> None:
    data = MNIST(root=write_set(tmp_path), transform=lambda x: x.astype("float32")[0])
    assert data[0][0].shape == (28, 28)
    assert data.batch([0, 1])[0].shape == (2, 28, 28)
    assert FashionMNIST.labels()[9] == "Ankle boot"
    assert MNIST.labels()[9] == "9"


@pytest.mark.parametrize("inside", ["mnist", "."])
@pytest.mark.parametrize("by", ["root", "DZCORE_DATA"])
def test_where_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, by: str) -> None:
    write_set(tmp_path / "data" / inside, "t10k", n=7)
    if by == "root":
        assert len(MNIST(train=False, root=tmp_path / "data")) == 7
    else:
        monkeypatch.setenv(by, str(tmp_path / "data"))
        assert len(MNIST(train=False)) == 7


def test_the_cache_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "cache" / "dzcore" / "mnist", n=3)
    assert len(MNIST()) == 3
    monkeypatch.setenv("DZCORE_DATA", str(write_set(tmp_path / "data", n=4)))
    assert len(MNIST()) == 4
    assert len(MNIST(root=write_set(tmp_path / "root", n=6))) == 6
    write_set(tmp_path / "empty" / "else")
    with pytest.raises(DataError, match=r"root='.*empty' holds no train-images-idx3-ubyte.gz and train-labels"):
        MNIST(root=tmp_path / "empty")  # what is in the cache is no answer to that


def test_uncompressed_files(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(pictures(2))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels(2))
    assert len(MNIST(root=tmp_path)) == 2


def test_a_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=r"root='.*nowhere' does not exist; name the folder with the .gz files of mnist"
    ):
        MNIST(root=tmp_path / "nowhere")
    monkeypatch.setenv("DZCORE_DATA", __file__)
    with pytest.raises(DataError, match="DZCORE_DATA='.*' is a file"):
        FashionMNIST()


def test_half_a_set(tmp_path: Path) -> None:
    (write_set(tmp_path) / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"lacks train-labels-idx1-ubyte.gz, which belongs to train-images"):
        MNIST(root=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images-idx3", idx((5, 28, 27), bytes(5 * 28 * 27)), r"holds uint8\[5, 28, 27\], not uint8 pictures of 28×28"),
        ("images-idx3", idx((5, 28, 28), bytes(5 * 28 * 28), 9), r"holds int8\[5, 28, 28\], not uint8"),
        ("images-idx3", labels(5), r"holds uint8\[5\], not uint8 pictures"),
        ("labels-idx1", labels(4), r"holds uint8\[4\], not one uint8 for each of the 5 pictures"),
        ("labels-idx1", idx((5, 1), bytes(5)), r"holds uint8\[5, 1\], not one uint8 for each"),
        ("labels-idx1", idx((5,), bytes((0, 1, 2, 3, 10))), "holds the class 10; there are 10"),
        ("labels-idx1", labels(5)[:-1], "is truncated"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (write_set(tmp_path) / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=f"train-{name}-ubyte.gz' {message}"):
        MNIST(root=tmp_path)


def test_clothes_are_not_taken_for_digits() -> None:
    """Both sets have files of the same names; a folder may be given for the wrong one."""
    data = real_data()
    with pytest.raises(DataError, match="belongs to fashion-mnist, not to mnist"):
        MNIST(train=False, root=data / "fashion-mnist")
    with pytest.raises(DataError, match="belongs to mnist, not to fashion-mnist"):
        FashionMNIST(root=data / "mnist")


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST])
def test_the_real_sets(cls: type[MNIST]) -> None:
    train, test = cls(root=real_data()), cls(train=False, root=real_data())
    assert (len(train), len(test)) == (60_000, 10_000)
    assert np.bincount(test.label).tolist() == (
        [1000] * 10 if cls is FashionMNIST else np.bincount(test.label).tolist()
    )
    assert train[0][0].shape == (784,)
    assert train[0][1] == (5 if cls is MNIST else 9)


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST])
def test_the_checksums_are_those_of_the_real_files(cls: type[MNIST]) -> None:
    for name, digest in cls.checksums.items():
        with gzip.open(real_data() / cls.folder / f"{name}.gz") as file:
            assert hashlib.sha256(file.read()).hexdigest() == digest
        read_idx(real_data() / cls.folder / f"{name}.gz")
