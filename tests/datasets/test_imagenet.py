"""The names of the ImageNet classes: from a file that is read and never evaluated."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dzcore.datasets import ImageNet, imagenet
from dzcore.errors import DataError

from .server import Server

NAMES = {i: f"class {i}, it's" for i in range(1000)}
TEXT = "{" + ",\n ".join(f"{i}: {name!r}" for i, name in NAMES.items()) + "}"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DZCORE_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        monkeypatch.setattr(imagenet, "MIRRORS", (f"{server.url}ok/",))
        server.content = TEXT.encode()
        yield server


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / imagenet.FILE).write_text(text)
    return folder


@pytest.mark.parametrize("inside", ["imagenet", "."])
def test_a_file_that_the_user_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    write(tmp_path / "data" / inside, TEXT)
    assert ImageNet.labels(tmp_path / "data") == NAMES
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path / "data"))
    assert ImageNet.labels() == NAMES


def test_by_download(server: Server, tmp_path: Path) -> None:
    assert ImageNet.labels() == ImageNet.labels() == NAMES
    assert server.requests == [(f"/ok/{imagenet.FILE}", None)]
    write(tmp_path / "cache" / "dzcore" / "imagenet", TEXT.replace("class 7,", "class seven,"))
    with pytest.raises(DataError, match="when it was first used"):
        ImageNet.labels()


def test_a_page_is_not_let_in(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>Please log in</html>"
    with pytest.raises(DataError, match="could not be downloaded; .* is no list of classes"):
        ImageNet.labels()
    assert list((tmp_path / "cache" / "dzcore" / "imagenet").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('echo')", "is no list of classes"),
        ("{", "is no list of classes"),
        ("\xff", "is no list of classes"),
        ("(" * 300, "is no list of classes"),
        ("[1, 2]", "does not number the classes from 0 to 999"),
        (TEXT.replace("999:", "1000:"), "does not number"),
        (TEXT.replace(f"{NAMES[5]!r}", "7"), "has a class without a name"),
        (TEXT.replace(f"{NAMES[5]!r}", "''"), "has a class without a name"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, text).joinpath(imagenet.FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=f"{imagenet.FILE}' {message}"):
        ImageNet.labels(tmp_path)


def test_it_has_no_pictures() -> None:
    with pytest.raises(TypeError, match=r"ImageNet only has labels\(\); read a folder .* with ImageFolder"):
        ImageNet()
