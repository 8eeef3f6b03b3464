"""Downloads: from the first mirror that has the right file, through a checksum, into the cache."""

import gzip
import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dzcore.datasets import MNIST, store
from dzcore.errors import DataError

from .files import labels, pictures

pytest.importorskip("pooch", reason="downloads need pooch: pip install 'dzcore[data]'")

CONTENT = {"train-images-idx3-ubyte": pictures(5), "train-labels-idx1-ubyte": labels(5)}
CHECKSUMS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; below /short/ it hangs up halfway through the body."""

    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if not self.path.startswith("/short/"):
            return super().do_GET()
        body = (Path(self.directory) / "good" / self.path.rsplit("/", 1)[1]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        return None

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server on the loopback interface, with mirrors in different states."""
    for name, content in CONTENT.items():
        other = bytearray(content)
        other[-1] ^= 1
        for folder, body in {
            "good": gzip.compress(content),
            "packed": gzip.compress(content, 1, mtime=7),  # the same content, other bytes
            "wrong": gzip.compress(bytes(other)),
            "truncated": gzip.compress(content)[:-5],
            "page": b"<html>Please log in</html>",
        }.items():
            (tmp_path / "www" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "www" / folder / f"{name}.gz").write_bytes(body)
    Handler.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DZCORE_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dzcore" / "mnist"


def unpack(path: str) -> bytes:
    with gzip.open(path) as file:
        return file.read()


def locate(url: str, *mirrors: str) -> list[str]:
    return store.locate("mnist", CHECKSUMS, [f"{url}{mirror}/" for mirror in mirrors])


@pytest.mark.parametrize("mirror", ["good", "packed"])
def test_download(url: str, cache: Path, mirror: str, capsys: pytest.CaptureFixture[str]) -> None:
    paths = locate(url, mirror)
    assert paths == [str(cache / f"{name}.gz") for name in CONTENT]
    assert [unpack(path) for path in paths] == list(CONTENT.values())
    assert f"Downloading {url}{mirror}/train-images-idx3-ubyte.gz\n" in capsys.readouterr().err
    assert len(Handler.requests) == 2
    assert locate(url, mirror) == paths
    assert len(Handler.requests) == 2  # the second time they are there
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"{name}.gz" for name in CONTENT)


@pytest.mark.parametrize("broken", ["missing", "wrong", "truncated", "page", "short"])
def test_the_next_mirror_is_tried(url: str, cache: Path, broken: str) -> None:
    paths = locate(url, broken, "good")
    assert [unpack(path) for path in paths] == list(CONTENT.values())
    assert Handler.requests[:2] == [f"/{mirror}/train-images-idx3-ubyte.gz" for mirror in (broken, "good")]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("missing", "404"),
        ("wrong", "the content has SHA-256 .*… was expected"),
        ("truncated", r"truncated or damaged \(Compressed file ended"),
        ("page", "truncated or damaged"),
        ("short", "Connection broken"),
    ],
)
def test_nothing_wrong_enters_the_cache(url: str, cache: Path, broken: str, reason: str) -> None:
    where = f"{url}{broken}/train-images"
    with pytest.raises(DataError, match=rf"by hand, and set DZCORE_DATA to a folder .* mnist/. {where}.*: .*{reason}"):
        locate(url, broken)
    assert list(cache.iterdir()) == []


def test_all_mirrors_are_named(url: str) -> None:
    with pytest.raises(DataError, match="/wrong/.*/missing/.*404"):
        locate(url, "wrong", "missing")


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(DataError, match="could not be downloaded"):
        locate("http://127.0.0.1:9/", "good")


def test_mnist_by_download(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "mirrors", (f"{url}wrong/", f"{url}good/"))
    monkeypatch.setattr(MNIST, "checksums", CHECKSUMS)
    assert len(MNIST()) == 5


def test_one_file_of_two_in_the_cache(url: str, cache: Path) -> None:
    locate(url, "good")
    (cache / "train-labels-idx1-ubyte.gz").unlink()
    locate(url, "good")
    assert Handler.requests[2:] == ["/good/train-labels-idx1-ubyte.gz"]


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot be written to .*; set XDG_CACHE_HOME"):
        locate("http://127.0.0.1:9/", "good")


def test_without_pooch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        DataError, match=r"pip install 'dzcore\[data\]'.*set DZCORE_DATA to a folder that has it in mnist/"
    ):
        locate("http://127.0.0.1:9/", "good")


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert store.cache_folder() == tmp_path / ".cache" / "dzcore"


def test_importing_the_data_sets_is_light() -> None:
    code = "import sys, dzcore.datasets; print({'pooch', 'gzip', 'hashlib', 'tempfile', 'requests'} & set(sys.modules))"
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
