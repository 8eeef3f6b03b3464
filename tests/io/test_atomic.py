"""Atomic writing: the old file or the new one, whatever happens in between."""

import errno
import os
import socket
import stat
import subprocess
import sys

import pytest

from dzcore.io import atomic_write, disk


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.bin"


def fail(error):
    raise error


def alone(path):
    """Whether nothing lies beside the file."""
    return os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("kind", [str, os.PathLike])
def test_writes_a_new_file_and_replaces_an_old_one(path, kind):
    for content in (b"old", b"new and longer", b""):
        with atomic_write(str(path) if kind is str else path) as file:
            file.write(content)
        assert path.read_bytes() == content
        assert alone(path)


def test_the_old_file_is_there_until_the_end(path):
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_relative_path_without_a_folder(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    with atomic_write(path.name) as file:
        file.write(b"x")
    assert path.read_bytes() == b"x"
    assert alone(path)


@pytest.mark.parametrize(
    "error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError, OSError(errno.ENOSPC, "full")]
)
@pytest.mark.parametrize("existed", [True, False])
def test_an_exception_leaves_the_old_file_and_nothing_else(path, error, existed):
    if existed:
        path.write_bytes(b"old")
    kind = error if isinstance(error, type) else type(error)

    with pytest.raises(kind), atomic_write(path) as file:
        fail(file.write(b"half") and error)
    assert os.listdir(path.parent) == ([path.name] if existed else [])
    if existed:
        assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["replace", "fsync", "fchmod"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_failing_system_calls_leave_the_old_file(path, monkeypatch, name, error):
    path.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        with pytest.raises(type(error)), atomic_write(path) as file:
            file.write(b"new")
    assert path.read_bytes() == b"old"
    assert alone(path)


def test_file_and_folder_are_flushed_around_the_renaming(path, monkeypatch):
    path.write_bytes(b"old")
    calls = []
    fsync, replace = os.fsync, os.replace

    def watch_fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            assert os.path.samestat(os.fstat(descriptor), path.parent.stat())
            calls.append("folder")
        else:
            assert os.fstat(descriptor).st_size == 3  # what was written has left Python's buffer
            calls.append("file")
        fsync(descriptor)

    def watch_replace(*args):
        calls.append("replace")
        replace(*args)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "replace", watch_replace)
    with atomic_write(path) as file:
        file.write(b"new")
    assert calls == ["file", "replace", "folder"]


def test_a_folder_that_cannot_be_flushed_is_no_failure(path, monkeypatch):
    """Some file systems refuse it, and the new file is in place by then."""
    fsync = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o755, 0o400])
def test_permissions_are_kept(path, mode):
    path.write_bytes(b"old")
    path.chmod(mode)
    with atomic_write(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600  # nobody reads a secret while it is written
        file.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_gets_the_permissions_of_open(path, umask, mode):
    old = os.umask(umask)
    try:
        with atomic_write(path) as file:
            file.write(b"new")
        assert os.umask(umask) == umask  # left as it was
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127])
def test_the_longest_names(tmp_path, name):
    with atomic_write(tmp_path / name) as file:
        file.write(b"new")
    assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed(tmp_path, exists):
    real, link = tmp_path / "there" / "real.bin", tmp_path / "here" / "link.bin"
    real.parent.mkdir()
    link.parent.mkdir()
    if exists:
        real.write_bytes(b"old")
    link.symlink_to(real)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert alone(real)
    assert alone(link)


def test_a_folder_that_is_missing_or_in_the_way(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "no" / "file"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path / "folder"):
        pass
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_folder_whose_flush_fails_is_told(path, monkeypatch, code):
    """The new file is in place, and may be lost with the power."""

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, "it failed")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=rf"\[Errno {code}\] it failed: '{path}'"), atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert alone(path)


def test_errors_of_writing_name_the_file(path, monkeypatch):
    monkeypatch.setattr(disk, "write", lambda file, data: fail(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match=rf"\[Errno 28\] No space left on device: '{path}'"), atomic_write(path) as file:
        file.write(b"new")
    assert os.listdir(path.parent) == []


def test_writes_are_whole_where_the_system_takes_a_part(path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with atomic_write(path) as file:
        assert file.write(b"0123456789") == 10
        assert file.write(memoryview(b"abcdefgh").cast("I")) == 8
        assert file.write(b"") == 0
    assert path.read_bytes() == b"0123456789abcdefgh"


def test_a_file_of_zipfile(path):
    from zipfile import ZipFile

    with atomic_write(path) as file, ZipFile(file, "w") as archive:
        archive.writestr("a", b"x" * 1000)
    with ZipFile(path) as archive:
        assert archive.read("a") == b"x" * 1000


def killed_writer(path, content=b"half"):
    """Let a process write a part, and kill it."""
    script = f"""
import os, signal
from dzcore.io import atomic_write
with atomic_write({str(path)!r}) as file:
    file.write({content!r})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert any(".tmp-" in name for name in os.listdir(path.parent))


def test_what_a_killed_writer_leaves_is_removed_by_the_next(path):
    path.write_bytes(b"old")
    killed_writer(path)
    assert path.read_bytes() == b"old"
    with atomic_write(path) as file:
        assert len(os.listdir(path.parent)) == 2  # the old one and this
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert alone(path)


def test_a_writer_that_lives_is_left_alone(path):
    with atomic_write(path) as first:
        first.write(b"first")
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert alone(path)


def test_a_writer_whose_file_is_swept_before_it_is_locked_makes_another(path, monkeypatch):
    create, names = disk.create, []

    def swept(name, mode):
        file = create(name, mode)
        if not names:
            os.unlink(name)
        names.append(name)
        return file

    monkeypatch.setattr(disk, "create", swept)
    with atomic_write(path) as file:
        file.write(b"new")
    assert len(names) == 2
    assert path.read_bytes() == b"new"
    assert alone(path)


def test_what_only_looks_like_a_leftover_stays(path):
    others = [
        ".file.bin.tmp-",
        ".file.bin.tmp-mine",
        ".other.bin.tmp-0123456789abcdef",
        "file.bin.tmp-0123456789abcdef",
    ]
    for name in others:
        (path.parent / name).write_bytes(b"mine")
    (path.parent / ".file.bin.tmp-0123456789abcdef").symlink_to(others[1])
    (path.parent / ".file.bin.tmp-0123456789abcdea").mkdir()
    with atomic_write(path) as file:
        file.write(b"new")
    assert len(os.listdir(path.parent)) == len(others) + 3


def test_a_leftover_that_cannot_be_removed_is_no_failure(path, monkeypatch):
    killed_writer(path)
    with monkeypatch.context() as patch:
        patch.setattr(disk, "remove", lambda path: fail(PermissionError(errno.EPERM, "no", path)))
        with atomic_write(path) as file:
            file.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_nothing_but_files_is_replaced(path, monkeypatch, kind):
    monkeypatch.chdir(path.parent)  # the name of a socket must be short
    if kind == "fifo":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    before = path.stat()
    with pytest.raises(FileExistsError, match=f"no regular file.*{path}"), atomic_write(path):
        pass
    assert os.path.samestat(before, path.stat())
    assert alone(path)


def test_descriptors_are_closed(path, monkeypatch):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else pytest.skip("no /proc here")
    for _ in range(5):
        with atomic_write(path) as file:
            file.write(b"new")
        with pytest.raises(ZeroDivisionError), atomic_write(path):
            raise ZeroDivisionError
    assert len(os.listdir("/proc/self/fd")) == before
