"""Downloads that go wrong: cut, changed, refused, without room, and two at once."""

import builtins
import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dzcore.datasets import store
from dzcore.errors import DataError
from dzcore.io import check_digest, check_recorded, download
from dzcore.io.downloads import CHUNK

from .server import CONTENT, Server

pytest.importorskip("pooch", reason="downloads need pooch: pip install 'dzcore[data]'")

SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(autouse=True)
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that downloads go to."""
    for name in ("DZCORE_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dzcore" / "set"


def get(box: Path, *urls: str, digest: str = SHA256) -> Path:
    return download(box / "file.bin", urls, lambda path: check_digest(path, digest), "set DZCORE_DATA")


def names(box: Path) -> list[str]:
    return sorted(path.name for path in box.iterdir())


def continued(cut: int) -> str:
    """The range that is asked for after a cut."""
    return f"bytes={cut - cut % CHUNK}-"


def test_a_whole_file(server: Server, box: Path) -> None:
    path = get(box, f"{server.url}ok/file.bin")
    assert path == box / "file.bin"
    assert path.read_bytes() == CONTENT
    assert names(box) == ["file.bin"]
    get(box, f"{server.url}ok/file.bin")
    assert server.ranges_asked == [None]


@pytest.mark.parametrize("by", ["tag", "date"])
def test_a_cut_is_continued_at_once(server: Server, box: Path, by: str) -> None:
    if by == "date":
        server.tag, server.date = 'W/"weak"', "Mon, 07 Sep 2026 10:00:00 GMT"
    server.cuts = 2
    assert get(box, f"{server.url}ok/file.bin").read_bytes() == CONTENT
    assert [asked is None for asked in server.ranges_asked] == [True, False, False]
    assert len(CONTENT) <= server.sent < len(CONTENT) + 2 * CHUNK
    assert names(box) == ["file.bin"]


def test_it_is_continued_in_the_next_run(server: Server, box: Path) -> None:
    """Here after five cuts; each brings half of what is missing."""
    server.cuts = 5
    with pytest.raises(DataError, match=r"(?i)cut after|IncompleteRead"):
        get(box, f"{server.url}ok/file.bin")
    assert len(server.requests) == 5
    assert not (box / "file.bin").exists()
    assert len(names(box)) == 2
    assert get(box, f"{server.url}ok/file.bin").read_bytes() == CONTENT
    assert server.ranges_asked[5] is not None
    assert server.sent < len(CONTENT) + 5 * CHUNK
    assert names(box) == ["file.bin"]


def test_another_version_begins_anew(server: Server, box: Path) -> None:
    server.cuts = 1

    def change() -> None:
        if len(server.requests) == 2:
            server.tag, server.content = '"2"', CONTENT[::-1]

    server.before = change
    digest = hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert get(box, f"{server.url}ok/file.bin", digest=digest).read_bytes() == CONTENT[::-1]
    assert server.ranges_asked == [None, continued(HALF)]


def test_a_server_without_ranges_begins_anew(server: Server, box: Path) -> None:
    server.ranges, server.cuts = False, 1
    assert get(box, f"{server.url}ok/file.bin").read_bytes() == CONTENT
    assert server.sent == len(CONTENT) + HALF


@pytest.mark.parametrize("tag", [None, 'W/"1"'])
def test_what_has_no_version_is_not_continued(server: Server, box: Path, tag: str | None) -> None:
    server.tag, server.cuts = tag, 1
    with pytest.raises(DataError, match=r"(?i)cut after|IncompleteRead"):
        get(box, f"{server.url}ok/file.bin")
    assert names(box) == []
    get(box, f"{server.url}ok/file.bin")
    assert server.ranges_asked == [None, None]


def test_a_part_that_is_longer_than_the_file(server: Server, box: Path) -> None:
    """Status 416: whatever it was, it is thrown away."""
    server.cuts = 5
    with pytest.raises(DataError):
        get(box, f"{server.url}ok/file.bin")
    part = next(path for path in box.iterdir() if path.suffix == ".part")
    part.write_bytes(CONTENT + b"more")
    assert get(box, f"{server.url}ok/file.bin").read_bytes() == CONTENT
    assert server.ranges_asked[-2:] == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_range_that_nobody_asked_for(server: Server, box: Path) -> None:
    server.cuts = 1
    assert get(box, f"{server.url}odd/file.bin").read_bytes() == CONTENT
    assert server.ranges_asked == [None, continued(HALF), None]


def test_an_answer_of_no_stated_length_is_judged_by_its_content(server: Server, box: Path) -> None:
    server.promise, server.cuts = False, 1
    with pytest.raises(DataError, match=r"it has SHA256 .*…, and .*… was expected"):
        get(box, f"{server.url}ok/file.bin")
    assert names(box) == []


@pytest.mark.parametrize("digest", [SHA256, MD5])
def test_a_redirection_and_both_digests(server: Server, box: Path, digest: str) -> None:
    server.cuts = 1
    assert get(box, f"{server.url}moved/file.bin", digest=digest).read_bytes() == CONTENT
    assert server.sent < len(CONTENT) + CHUNK
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_a_refusal_and_the_next_mirror(server: Server, box: Path, status: int) -> None:
    assert get(box, f"{server.url}{status}/file.bin", f"{server.url}ok/file.bin").read_bytes() == CONTENT
    (box / "file.bin").unlink()
    with pytest.raises(DataError, match=rf"get it by hand, and set DZCORE_DATA. {server.url}{status}.*: {status}"):
        get(box, f"{server.url}{status}/file.bin")
    assert names(box) == []


def test_a_wrong_checksum_names_both_and_leaves_nothing(server: Server, box: Path) -> None:
    with pytest.raises(DataError, match=rf"it has MD5 {MD5[4:20]}…, and 0000000000000000… was expected"):
        get(box, f"{server.url}ok/file.bin", digest="md5:" + "0" * 32)
    assert names(box) == []


def test_mirrors_do_not_mix(server: Server, box: Path) -> None:
    """What came from one address is not continued from another, and vanishes when the file is there."""
    server.cuts = 5
    other = Server()
    other.content, other.tag = CONTENT[::-1], server.tag
    with other, pytest.raises(DataError):
        get(box, f"{server.url}ok/file.bin", f"{other.url}404/file.bin")
    assert len(names(box)) == 2
    with Server() as third:
        get(box, f"{third.url}ok/file.bin")
        assert third.ranges_asked == [None]
    assert names(box) == ["file.bin"]


# The disk ------------------------------------------------------------------------------------------------------------


class Full(io.FileIO):
    """A file on a full disk."""

    def write(self, piece: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(server: Server, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.open
    monkeypatch.setattr(
        "dzcore.io.downloads.open",
        lambda path, mode: Full(path, mode) if str(path).endswith(".part") else plain(path, mode),
        raising=False,
    )
    with pytest.raises(DataError, match=r"No space left on device\); set XDG_CACHE_HOME to a folder with room for fil"):
        get(box, f"{server.url}ok/file.bin", f"{server.url}ok/second.bin")
    assert names(box) == []
    assert len(server.requests) == 1  # another mirror makes no room


def test_a_disk_that_is_really_full(server: Server, box: Path) -> None:
    """A file system of 100 KB, where the system lets us make one."""
    box.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(box)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("only an administrator can make a small file system")
    try:
        with pytest.raises(DataError, match="No space left on device"):
            get(box, f"{server.url}ok/file.bin")
        assert names(box) == []
    finally:
        subprocess.run(["umount", str(box)], check=True)


# Others at the same time ---------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from dzcore.io import check_digest, download
url, box, digest = sys.argv[1:]
download(Path(box) / "file.bin", [url], lambda path: check_digest(path, digest), "")
"""


def child(server: Server, box: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, f"{server.url}ok/file.bin", str(box), SHA256]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)


def wait(condition: Any) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it does not happen")


def test_two_processes_at_once(server: Server, box: Path) -> None:
    """One downloads, and the other one waits; nobody sees a half."""
    server.stop_at = 100_000
    first = child(server, box)
    wait(lambda: server.sent)
    second = child(server, box)
    assert second.stderr is not None
    assert second.stderr.readline() == "Waiting for another process that downloads file.bin\n"
    assert not (box / "file.bin").exists()
    server.go.set()
    for each in (first, second):
        each.communicate(timeout=60)
        assert each.returncode == 0
    assert len(server.requests) == 1
    assert (box / "file.bin").read_bytes() == CONTENT
    assert names(box) == ["file.bin"]


def test_a_process_that_was_killed(server: Server, box: Path) -> None:
    """Its lock dies with it, and its half is continued."""
    server.stop_at = 100_000
    first = child(server, box)
    wait(lambda: any(part.stat().st_size for part in box.glob(".*.part")))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    server.go.set()
    assert get(box, f"{server.url}ok/file.bin").read_bytes() == CONTENT
    assert server.ranges_asked[1] is not None
    assert names(box) == ["file.bin"]


def test_a_lock_that_its_owner_removes(server: Server, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waited for it has a lock on nothing, and must wait for the owner of the new one."""
    fcntl = pytest.importorskip("fcntl")
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    box.mkdir(parents=True)
    lock = box / ".file.bin.lock"
    with open(lock, "ab") as old:
        fcntl.flock(old, fcntl.LOCK_EX)
        thread = threading.Thread(target=get, args=(box, f"{server.url}ok/file.bin"))
        thread.start()
        wait(lambda: said.getvalue().count("Waiting") == 1)
        lock.unlink()
        new = open(lock, "ab")  # noqa: SIM115
        fcntl.flock(new, fcntl.LOCK_EX)
    wait(lambda: said.getvalue().count("Waiting") == 2 or server.requests)
    assert server.requests == []
    new.close()
    thread.join(60)
    assert (box / "file.bin").read_bytes() == CONTENT


def test_without_locks_everybody_has_a_half_of_their_own(
    server: Server, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    seen: list[str] = []

    def check(path: Path) -> None:
        seen.append(path.name)
        check_digest(path, SHA256)

    download(box / "file.bin", [f"{server.url}ok/file.bin"], check, "")
    assert str(os.getpid()) in seen[0]
    assert names(box) == ["file.bin"]


def test_progress_on_a_terminal(server: Server, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for rich in (True, False):
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            patch.setenv("TERM", "xterm")
            if not rich:
                patch.setitem(sys.modules, "rich.progress", None)
            get(box, f"{server.url}ok/file.bin").unlink()
        assert ("300.0/300.0 kB" in terminal.getvalue()) == rich
        assert f"Downloading {server.url}ok/file.bin\n" in terminal.getvalue()


# Through the data sets' door -----------------------------------------------------------------------------------------


def test_the_first_use_is_trusted_and_remembered(server: Server, box: Path) -> None:
    def locate() -> list[str]:
        return store.locate("set", {"file.bin": None}, [f"{server.url}ok/"], packed=False)

    assert locate() == locate() == [str(box / "file.bin")]
    assert (box / "file.bin.sha256").read_text() == f"{SHA256}  file.bin\n"
    (box / "file.bin").write_bytes(b"other")
    with pytest.raises(DataError, match=rf"and {SHA256[:16]}… when it was first used; remove it, to download it again"):
        locate()
    (box / "file.bin").unlink()
    assert Path(locate()[0]).read_bytes() == CONTENT
    server.content = b"other"
    (box / "file.bin").unlink()
    with pytest.raises(DataError, match="when it was first used"):
        locate()


def test_an_empty_record_is_no_trust(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "file.sha256").write_bytes(b"")
    with pytest.raises(DataError, match="first used"):
        check_recorded(tmp_path / "file")


@pytest.mark.parametrize("inside", ["set", "."])
def test_a_file_that_the_user_has(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    folder = tmp_path / "data" / inside
    folder.mkdir(parents=True)
    (folder / "file.bin").write_bytes(b"my own")
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path / "data"))
    found = store.locate("set", {"file.bin": MD5}, [f"{server.url}ok/"], packed=False)
    assert Path(found[0]).read_bytes() == b"my own"
    assert server.requests == []
    with pytest.raises(DataError, match=r"root='.*nowhere' does not exist; name the folder with the files of set"):
        store.locate("set", {"file.bin": MD5}, [], tmp_path / "nowhere", packed=False)


def test_files_as_they_are_are_downloaded_by_their_own_name(server: Server) -> None:
    assert store.locate("set", {"file.bin": MD5}, [f"{server.url}ok/"], packed=False)
    assert server.requests == [("/ok/file.bin", None)]
