"""A lock on a folder, for as long as a process works in it."""

import os
import weakref

from ..errors import CheckpointError, CheckpointWarning
from . import disk

__all__ = ["FolderLock"]

NAME = ".lock"


class FolderLock:
    """The lock `.lock` in a folder: held until `release`, garbage collection, or the death of the process.

    It is a lock of the system's (flock) on the open file, so that nothing is left to clean up. A forked child neither
    has it nor holds it up. The file stays, and says which process had it last.

    Raises:
        CheckpointError: another one has it; the message says which process.
        OSError: what the system says about the file.
    """

    def __init__(self, folder: str) -> None:
        path = os.path.join(folder, NAME)
        file = _open(path)
        try:
            self._take(folder, file)
        except BaseException as e:
            file.close()
            if isinstance(e, OSError):
                e.filename = e.filename or path
            raise
        self.release = weakref.finalize(self, file.close)  #: give the lock back
        _held.add(self)

    def _take(self, folder: str, file: disk.File) -> None:
        try:
            import fcntl
        except ImportError:
            import warnings

            message = f"this system has no flock: nobody notices when two processes save in {folder!r}"
            warnings.warn(message, CheckpointWarning, stacklevel=4)
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = (file.read(20) or b"").decode("ascii", "replace").strip()
            who = "another Checkpoint of this process" if owner == str(os.getpid()) else f"process {owner or '?'}"
            raise CheckpointError(f"{folder!r} is in use by {who}; close that one, or take another folder") from None
        if file.read(20) != (text := b"%-19d\n" % os.getpid()):
            file.seek(0)
            disk.write(file, text)

    @property
    def held(self) -> bool:
        """Whether this process has the lock."""
        return self.release.alive


def _open(path: str) -> disk.File:
    """Open the file of the lock, made when it is not there; links are not followed."""
    try:
        return disk.create(path)
    except FileExistsError:
        more = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # no links, no waiting at a FIFO
        return disk.File(path, "r+", opener=lambda name, flags: os.open(name, flags | more))


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _after_fork() -> None:
    """Close the child's copies of the files: the locks are the parent's, and end with the parent."""
    for lock in list(_held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
