"""Writing a file so that a reader finds the old one or the new one, and never a half."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import disk

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["atomic_write"]


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[disk.File]:
    """Open a new binary file that takes the place of `path` when the with block ends, and vanishes if it fails.

    It is written beside `path`, flushed to the disk, and renamed; then the folder is flushed too. A symbolic link
    at `path` is followed. The permissions of an existing file are kept. What a killed process left beside `path` is
    removed.

    Raises:
        OSError: what the system says; also if something else than a file is at `path`.
    """
    target = Path(os.path.realpath(path))
    mode = _mode(target)
    _sweep(target)
    with _errors_name(target), _create(target, 0o666 if mode is None else 0o600) as file:
        try:
            yield file
            if mode is not None:
                disk.permit(file, mode)
            disk.flush(file)
            disk.rename(file.name, target)
        except BaseException:
            with suppress(OSError):  # if even that fails, a later write sweeps it
                disk.remove(file.name)
            raise
        disk.flush_folder(target.parent)


def _mode(target: Path) -> int | None:
    """Return the permissions of the file that is to be replaced, None if there is none."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        if target.parent.is_dir():
            return None
        raise FileNotFoundError(errno.ENOENT, "the folder does not exist; make it first", str(target.parent)) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, "this is no regular file, and is not replaced by one", str(target))
    return mode & 0o777


@contextmanager
def _errors_name(target: Path) -> Iterator[None]:
    """Let the system's errors name the file: some name the one beside it, those of write and fsync none."""
    try:
        yield
    except OSError as e:
        if e.errno is not None and e.filename2 is None:
            e.filename = str(target)
        raise


def _beside(target: Path) -> str:
    return f".{target.name[:40]}.tmp-"


def _create(target: Path, mode: int) -> disk.File:
    """Create a file beside the target, and lock it for as long as it is open."""
    while True:
        file = disk.create(target.parent / f"{_beside(target)}{os.urandom(8).hex()}", mode)
        try:
            if fcntl:
                with suppress(OSError):  # a file system without locks: then no one else locks it either
                    fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # swept by another process before it was locked


def _sweep(target: Path) -> None:
    """Remove the files that writers of this target left behind when they were killed: those that none has locked."""
    if not fcntl:
        return
    leftover = re.compile(re.escape(_beside(target)) + "[0-9a-f]{16}")
    try:
        names = os.listdir(target.parent)
    except PermissionError:  # one may write into a folder that one may not list
        return
    for name in filter(leftover.fullmatch, names):
        with suppress(OSError):  # it lives, or cannot be removed, which is no reason not to write
            descriptor = os.open(target.parent / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                disk.remove(target.parent / name)
            finally:
                os.close(descriptor)
