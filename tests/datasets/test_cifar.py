"""CIFAR-10 and CIFAR-100: read from little archives of the same form."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dzcore.backend import Backend
from dzcore.dataloaders import DataLoader
from dzcore.datasets import CIFAR10, CIFAR100
from dzcore.errors import DataError
from dzcore.transforms import Compose, Normalize, RandomHorizontalFlip, ToFloat

from .server import Server
from .test_base import host


def record(k: int, *labels: int) -> bytes:
    return bytes(labels) + bytes((k * 31 + i * 7) % 256 for i in range(3072))


def pixels(k: int) -> np.ndarray:
    return np.frombuffer(record(k), np.uint8).reshape(3, 32, 32)


def packed(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


#: Two pictures a file; in the real ones there are 10,000.
TEN = {f"cifar-10-batches-bin/data_batch_{i}.bin": record(2 * i, i) + record(2 * i + 1, 9 - i) for i in range(1, 6)}
TEN["cifar-10-batches-bin/test_batch.bin"] = record(50, 3) + record(51, 8) + record(52, 8)
TEN["cifar-10-batches-bin/readme.html"] = b"<html>"
HUNDRED = {
    "cifar-100-binary/train.bin": record(1, 11, 19) + record(2, 0, 99),
    "cifar-100-binary/test.bin": record(3, 19, 0),
    "cifar-100-binary/fine_label_names.txt": b"apple\n",
}


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data folder, an empty cache, and no mirrors."""
    for name in ("DZCORE_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(CIFAR10, "mirrors", ())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(packed(TEN))
    (tmp_path / "cifar-100").mkdir()
    (tmp_path / "cifar-100" / "cifar-100-binary.tar.gz").write_bytes(packed(HUNDRED))
    return tmp_path


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def test_cifar_10(root: Path, backend: Backend) -> None:
    train, test = CIFAR10(root=root), CIFAR10(train=False, root=root)
    assert (len(train), len(test)) == (10, 3)
    assert [t for _, t in train] == [1, 8, 2, 7, 3, 6, 4, 5, 5, 4]  # type: ignore[attr-defined]
    x, t = train[7]
    assert (x.shape, x.dtype, t, type(t)) == ((3, 32, 32), backend.dtype("float32"), 5, int)
    np.testing.assert_allclose(host(x, backend), pixels(9) / 255, rtol=1e-6)
    assert train.data.shape == (10, 3, 32, 32)
    batch, ts = test.batch([2, 0])
    np.testing.assert_allclose(host(batch, backend), np.stack([pixels(52), pixels(50)]) / 255, rtol=1e-6)
    assert host(ts, backend).tolist() == [8, 3]
    assert CIFAR10.labels()[0] == "airplane"
    assert len(CIFAR10.labels()) == 10


def test_cifar_100(root: Path) -> None:
    assert [t for _, t in CIFAR100(root=root)] == [19, 99]  # type: ignore[attr-defined]
    assert CIFAR100(False, label_type="fine", root=root)[0][1] == 0
    coarse = CIFAR100(True, None, None, "coarse", root=root)
    assert [t for _, t in coarse] == [11, 0]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(coarse.data[1], pixels(2))
    assert (len(CIFAR100.labels()), len(CIFAR100.labels("coarse"))) == (100, 20)
    assert (CIFAR100.labels()[99], CIFAR100.labels("coarse")[19]) == ("worm", "vehicles 2")
    assert len(set(CIFAR100.labels().values())) == 100
    for call in (CIFAR100, CIFAR100.labels):
        with pytest.raises(ValueError, match="label_type='group' must be 'fine', of 100 kinds, or 'coarse'"):
            call(label_type="group")


def test_as_in_dezero(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DZCORE_DATA", str(root))
    transform = Compose([RandomHorizontalFlip(0.0), ToFloat(), Normalize(mean=0.5, std=0.5)])
    data = CIFAR10(train=True, transform=transform, target_transform=lambda t: -t)
    x, t = next(DataLoader(data, 4, shuffle=False))
    assert (x.shape, x.dtype, t.tolist()) == ((4, 3, 32, 32), np.float32, [-1, -8, -2, -7])
    np.testing.assert_allclose(x[0], (pixels(2) - 0.5) / 0.5, rtol=1e-6)


def test_by_download(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.content = packed(TEN)
    monkeypatch.setattr(CIFAR10, "mirrors", (f"{server.url}404/", f"{server.url}ok/"))
    with pytest.raises(DataError, match=r"/404/.*404.*/ok/cifar-10-binary.tar.gz: it has MD5 .*c32a1d4ab5d03f12…"):
        CIFAR10()
    monkeypatch.setattr(CIFAR10, "checksum", "md5:" + hashlib.md5(server.content).hexdigest())
    assert (len(CIFAR10()), len(CIFAR10(train=False))) == (10, 3)
    assert len(server.requests) == 4  # the second part is in the same file


def damaged(content: bytes) -> bytes:
    return content[:200] + bytes([content[200] ^ 255]) + content[201:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (packed(TEN)[:-300], "is truncated or damaged"),
        (packed(TEN)[:-8] + bytes(8), "is truncated or damaged"),  # only the checksum at the end tells
        (damaged(packed(TEN)), "is truncated or damaged"),
        (b"<html>Please log in</html>", "is truncated or damaged"),
        (gzip.compress(b"no archive", mtime=0), "is truncated or damaged"),
        (packed(HUNDRED), "holds no data_batch_1.bin, data_batch_2.bin, .*; it is another archive"),
        (packed(TEN | {"x/data_batch_3.bin": b""}), "data_batch_3.bin has 0 bytes, not 3073 for each picture"),
        (packed(TEN | {"x/data_batch_3.bin": record(1, 2)[:-1]}), "data_batch_3.bin has 3072 bytes, not 3073"),
        (packed(TEN | {"x/data_batch_3.bin": record(1, 10)}), "holds the class 10; there are 10"),
    ],
)
def test_a_wrong_archive_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=f"cifar-10-binary.tar.gz'.* {message}"):
        CIFAR10(root=tmp_path)


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no cifar-100-binary.tar.gz, nor does its subfolder cifar-100"):
        CIFAR100(root=tmp_path)


def test_nothing_is_unpickled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something is unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert len(CIFAR10(root=root)) == 10
