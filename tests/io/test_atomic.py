"""Atomic writing: the old file or the new one, whatever happens in between."""

import errno
import os
import stat

import pytest

from dzcore.io import atomic_write


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


def test_descriptors_are_closed(path, monkeypatch):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else pytest.skip("no /proc here")
    for _ in range(5):
        with atomic_write(path) as file:
            file.write(b"new")
        with pytest.raises(ZeroDivisionError), atomic_write(path):
            raise ZeroDivisionError
    assert len(os.listdir("/proc/self/fd")) == before
