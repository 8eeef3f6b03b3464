"""Published weights: where they are looked for, how they are downloaded and checked, and what is said if they fail."""

import hashlib
import io
import sys
import threading
import time
import zipfile

import numpy as np
import pytest

import dzcore.layers as L
from dzcore.errors import DataError, WeightsError
from dzcore.models import Model, pretrained
from dzcore.models.pretrained import Weights, load_pretrained
from tests.datasets.server import Server

from .onnx_files import onnx_file


class Net(Model):
    def __init__(self):
        self.fc = L.Linear(3)


W = np.random.default_rng(0).normal(size=(40_000, 3)).astype("float32")  # more than a chunk of a download, when halved
B = np.array([1.0, 2.0, 4.0], "float32")


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **{name.replace("_", "/"): array for name, array in arrays.items()})
    return file.getvalue()


GOOD = npz(fc_W=W, fc_b=B)
ONNX = onnx_file({"dense_weight": W, "dense_bias": B})
PATHS = {"dense_weight": "fc/W", "dense_bias": "fc/b"}
KNOWN = hashlib.sha256(ONNX).hexdigest()


@pytest.fixture
def server():
    pytest.importorskip("pooch", reason="downloads need pooch: pip install 'dzcore[data]'")
    with Server() as server:
        server.content = GOOD
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder that downloads go to."""
    for name in ("DZCORE_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dzcore" / "weights"


def at(url, *kinds, name="net.npz", **options):
    return Weights(name, tuple(f"{url}{kind}/{name}" for kind in kinds or ("ok",)), **options)


def load(weights):
    model = Net()
    load_pretrained(model, weights, 1000)
    np.testing.assert_array_equal(model.fc.W.data, W)
    np.testing.assert_array_equal(model.fc.b.data, B)
    assert model.fc.W.dtype == np.float32


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Where they are -----------------------------------------------------------------------------------------------------


def test_a_download_is_kept_and_its_digest_recorded(server, cache):
    load(at(server.url))
    assert names(cache) == ["net.npz", "net.npz.sha256"]
    assert (cache / "net.npz.sha256").read_text().split()[0] == hashlib.sha256(GOOD).hexdigest()
    load(at(server.url))
    assert len(server.requests) == 1


@pytest.mark.parametrize("inside", ["weights", "."])
def test_the_users_folder_comes_first(server, tmp_path, monkeypatch, cache, inside):
    folder = tmp_path / "data" / inside
    folder.mkdir(parents=True)
    (folder / "net.npz").write_bytes(GOOD)
    server.content = b"never asked for"
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path / "data"))
    load(at(server.url))
    assert not server.requests
    assert names(folder) == ["net.npz"]  # nothing is written there
    assert not cache.exists()


def test_a_folder_without_them_is_passed_over(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path))
    load(at(server.url))
    assert len(server.requests) == 1


@pytest.mark.parametrize(("place", "what"), [("nowhere", "does not exist"), ("file", "is a file")])
def test_a_folder_that_is_none(tmp_path, monkeypatch, place, what):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path / place))
    with pytest.raises(DataError, match=f"DZCORE_DATA='.*{place}' {what}; name the folder that has net.npz"):
        load(at("http://127.0.0.1:9/"))


def test_the_second_address(server):
    load(at(server.url, "404", "ok"))
    assert [path for path, _ in server.requests] == ["/404/net.npz", "/ok/net.npz"]


# What goes wrong ----------------------------------------------------------------------------------------------------


def test_no_network(cache):
    with pytest.raises(DataError, match=r"net.npz could not be downloaded; get it by hand, and set DZCORE_DATA .*127"):
        load(at("http://127.0.0.1:9/"))
    assert names(cache) == []


def test_no_pooch(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match=r"net.npz is not on this machine.*pip install 'dzcore\[data\]'.*DZCORE_DATA"):
        load(at("http://127.0.0.1:9/"))


def test_what_is_in_the_cache_needs_no_pooch(server, monkeypatch):
    load(at(server.url))
    monkeypatch.setitem(sys.modules, "pooch", None)
    load(at(server.url))


def test_a_download_that_is_cut_is_continued(server):
    server.cuts = 1
    load(at(server.url))
    assert [asked is None for _, asked in server.requests] == [True, False]
    assert server.sent < 1.5 * len(GOOD)


def test_a_download_that_stays_cut(server, cache):
    server.cuts, server.ranges, server.tag = 99, False, None
    with pytest.raises(DataError, match="net.npz could not be downloaded.*(cut|IncompleteRead)"):
        load(at(server.url))
    assert not (cache / "net.npz").exists()


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


def encrypted(content):
    """Set the flag for it in the table of contents."""
    at = content.index(b"PK\1\2") + 8
    return content[:at] + bytes([content[at] | 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>Please log in</html>", "it is no whole .npz file"),
        (GOOD[:-30], "it is no whole .npz file"),
        (GOOD[: len(GOOD) // 2], "it is no whole .npz file"),
        (encrypted(GOOD), "it is no whole .npz file.*encrypted"),
        (GOOD.replace(b"fc/W", b"fd/W", 1), "it is no whole .npz file.*header differs from the table of contents"),
        (flipped(GOOD, 600), "it is no whole .npz file.*member 'fc/W.npy'"),
    ],
)  # fmt: skip
def test_nothing_damaged_enters_the_cache(server, cache, content, reason):
    server.content = content
    with pytest.raises(DataError, match=f"net.npz could not be downloaded.*{reason}"):
        load(at(server.url))
    assert names(cache) == []
    server.content = GOOD
    load(at(server.url))


def test_every_array_is_checked_by_its_checksum(server, cache):
    """Stored and not compressed, a wrong bit is no wrong stream: the CRC alone finds it."""
    file = io.BytesIO()
    np.savez(file, **{"fc/W": W, "fc/b": B})
    server.content = flipped(file.getvalue(), file.getvalue().index(W.tobytes()) + 5)
    assert not zipfile.ZipFile(io.BytesIO(server.content)).infolist()[0].compress_type
    with pytest.raises(DataError, match="member 'fc/W.npy'.*it was damaged"):
        load(at(server.url))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npz(fc_W=W, fc_b=B[:2]), r"fc/b: the model has shape \(3,\) .*, the file float32\[2\]"),
        (npz(fc_W=W), "missing: fc/b"),
        (npz(fc_W=W, fc_b=B, fc_c=B), "unexpected: fc/c"),
        (npz(fc_W=W, fc_b=B.astype("float64")), "fc/b: the model has dtype float32, the file float64"),
    ],
)
def test_weights_of_another_model(server, cache, content, reason):
    server.content = content
    with pytest.raises(WeightsError, match=rf"net.npz' does not fit this Net: {reason}"):
        load(at(server.url))


def test_trust_on_first_use(server, cache):
    load(at(server.url))
    (cache / "net.npz").write_bytes(npz(fc_W=W, fc_b=B + 1))  # a whole file, and it fits
    with pytest.raises(DataError, match=r"net.npz' has SHA-256 .*, and .* when it was first used; remove it"):
        load(at(server.url))
    (cache / "net.npz").unlink()
    load(at(server.url))


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    pytest.importorskip("pooch", reason="downloads need pooch: pip install 'dzcore[data]'")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot be written to .*; set XDG_CACHE_HOME"):
        load(at("http://127.0.0.1:9/"))


def test_only_the_classes_of_imagenet():
    with pytest.raises(ValueError, match="classes=10, and the weights of pretrained=True are for the 1000 of ImageNet"):
        load_pretrained(Net(), at("http://127.0.0.1:9/"), 10)


def test_two_threads_download_once(server, cache):
    errors, start = [], threading.Barrier(3, timeout=60)
    server.before = lambda: time.sleep(0.1)  # the others come in the meantime

    def work():
        try:
            start.wait()
            load(at(server.url))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(server.requests) == 1


# ONNX files ---------------------------------------------------------------------------------------------------------


def onnx(url, digest=KNOWN):
    return at(url, name="net.onnx", digest=digest, paths=PATHS)


def test_an_onnx_file_by_its_digest(server, cache):
    server.content = ONNX
    load(onnx(server.url))
    assert names(cache) == ["net.onnx"]
    (cache / "net.onnx").write_bytes(onnx_file({"dense_weight": W + 1, "dense_bias": B}))
    with pytest.raises(DataError, match=r"net.onnx' is damaged or another file"):
        load(onnx(server.url))


def test_a_wrong_digest(server, cache):
    server.content = onnx_file({"dense_weight": W, "dense_bias": B + 1})
    with pytest.raises(DataError, match=rf"net.onnx could not be downl.*SHA256 .*…, and {KNOWN[:16]}… was expected"):
        load(onnx(server.url))
    assert names(cache) == []


def test_an_onnx_file_of_another_model(tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(onnx_file({"dense_weight": W, "other": B}))
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path))
    wrong = "names has 'dense_bias', which is not there; missing: fc/b; unexpected: other"
    with pytest.raises(WeightsError, match=f"net.onnx.* does not fit this Net: {wrong}"):
        load(onnx("http://127.0.0.1:9/", None))


def test_loading_is_light():
    assert "zipfile" not in vars(pretrained)
