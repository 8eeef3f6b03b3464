"""The door to the file system: everything that changes a file or a folder passes here.

So that a test can stand in the door and let any call fail, kill the process at it, or forget what was not flushed.
"""

import errno
import io
import os
from contextlib import suppress
from typing import Any

__all__ = ["File", "create", "flush", "flush_folder", "make_folder", "permit", "remove", "remove_folder", "rename",
           "write"]  # fmt: skip

Path = str | os.PathLike[str]

#: What systems answer that cannot flush a folder at all. Anything else is a flush that failed.
CANNOT = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


class File(io.FileIO):
    """A file without a buffer, whose `write` takes all it is given; `zipfile` and the like write to it as to any."""

    def write(self, data: Any) -> int:
        """Write all of a buffer; return its size in bytes."""
        write(self, data)
        return memoryview(data).nbytes


def create(path: Path, mode: int = 0o666) -> File:
    """Open a new file for writing and reading, with these permissions less the umask; it must not exist."""
    return File(path, "x+", opener=lambda name, flags: os.open(name, flags, mode))


def write(file: File, data: Any) -> None:
    """Write all of a buffer; a system call may take only a part of it."""
    view = memoryview(data)
    rest = view.cast("B") if view.nbytes else b""
    while rest:
        rest = rest[os.write(file.fileno(), rest) :]


def permit(file: File, mode: int) -> None:
    """Set a file's permissions."""
    os.fchmod(file.fileno(), mode)


def flush(file: File) -> None:
    """Wait until what was written to a file is on the disk."""
    os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system has a way to."""
    try:
        folder = os.open(path, os.O_RDONLY)
    except PermissionError:  # some systems never open folders, and none opens those that may not be listed
        return
    try:
        os.fsync(folder)
    except OSError as e:
        if e.errno not in CANNOT:
            raise
    finally:
        os.close(folder)


def rename(source: Path, target: Path) -> None:
    """Give a file or a folder its name, in the place of a file that has it."""
    os.replace(source, target)


def make_folder(path: Path) -> None:
    """Make a folder; it must not exist."""
    os.mkdir(path)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def remove_folder(path: Path) -> None:
    """Remove an empty folder, if it is there."""
    with suppress(FileNotFoundError):
        os.rmdir(path)
