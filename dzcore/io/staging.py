"""Memory between files and arrays: what it is read into, and the check of it while more is read or written."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from . import disk

__all__ = ["Crc32", "Memory", "beside", "pieces", "read_checked", "write", "write_checked"]

T = TypeVar("T")

PIECE = 1 << 19  #: bytes that are read at a time: still in the cache when they are checked
PORTION = 1 << 23  #: bytes that are written at a time, or given to a thread
MANY = 1 << 22  #: bytes from which on a thread for the check pays, and huge pages
BLOCK = 1 << 26  #: bytes at a time for many arrays


class Memory:
    """Memory for arrays of these sizes in bytes, several in a block: fresh small pages cost more than copying."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self._left = sum(map(_room, sizes))
        self._rest = memoryview(b"")

    def take(self, size: int) -> memoryview:
        """Return memory for the next array; it is nobody else's, and lasts as long as something refers to it."""
        room = _room(size)
        if room > len(self._rest):
            self._rest = memoryview(_memory(max(room, min(self._left, BLOCK))))
        view, self._rest = self._rest[:size], self._rest[room:]
        self._left -= room
        return view


def _room(size: int) -> int:
    """Return a size that ends where the next array may begin."""
    return -(-size // 64) * 64


def _memory(size: int) -> Any:
    """Return fresh memory, in huge pages where the system has them."""
    import mmap

    if size < MANY or not hasattr(mmap, "MADV_HUGEPAGE"):
        return bytearray(size)
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared memory has small pages
    except (OSError, OverflowError):
        raise MemoryError(f"{size} bytes are more than there is memory") from None
    with suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


class Crc32:
    """A running CRC-32, in the form of hashlib's digests."""

    def __init__(self, data: bytes = b"") -> None:
        self.value = 0
        self.update(data)

    def update(self, data: Any) -> None:
        """Take in more bytes."""
        from zlib import crc32

        self.value = crc32(data, self.value)

    def hexdigest(self) -> str:
        """Return 8 hexadecimal digits."""
        return f"{self.value:08x}"


def read_checked(file: Any, offset: int, view: memoryview, update: Callable[[memoryview], object]) -> None:
    """Fill `view` with the bytes of a file from `offset`, and give them to `update`, a digest's, piece by piece.

    The file's own position does not count and may change.

    Raises:
        EOFError: the file ends before.
    """
    with beside(update, len(view)) as check:
        for piece in pieces(view, PIECE if len(view) < MANY else PORTION):  # handing over to a thread costs, too
            _fill(file, offset, piece)
            check(piece)
            offset += len(piece)


def write_checked(file: disk.File, view: memoryview, update: Callable[[memoryview], object]) -> None:
    """Write `view` to a file as `write` does, and give it to `update`, a digest's."""
    with beside(update, len(view)) as check:
        check(view)
        write(file, view)


def write(file: disk.File, view: memoryview) -> None:
    """Write `view` to a file; the disk begins with it at once."""
    for piece in pieces(view, PORTION):
        disk.write(file, piece)
        if len(piece) >= PIECE and hasattr(os, "posix_fadvise"):  # a later flush has less to wait for
            os.posix_fadvise(file.fileno(), file.tell() - len(piece), len(piece), os.POSIX_FADV_DONTNEED)


def pieces(view: memoryview, size: int = PORTION) -> Iterator[memoryview]:
    """Yield one part of so many bytes after the other."""
    return (view[start : start + size] for start in range(0, len(view), size))


@contextmanager
def beside(function: Callable[[T], object], size: int) -> Iterator[Callable[[T], object]]:
    """Give a function that lets a thread call `function`, in order; everything is done when the block ends.

    It waits while two calls are outstanding. If the size is small, it is `function` itself.
    """
    if size < MANY:
        yield function
        return
    # No pool: a file may be written while the interpreter ends, and pools take no work then.
    from queue import Queue
    from threading import Thread

    todo: Queue[tuple[T] | None] = Queue(1)  # what waits there is memory in use
    problems: list[BaseException] = []

    def work() -> None:
        while item := todo.get():
            if not problems:
                try:
                    function(*item)
                except BaseException as e:
                    problems.append(e)

    thread = Thread(target=work)
    thread.start()
    try:
        yield lambda item: todo.put((item,))
    finally:
        todo.put(None)
        thread.join()
    if problems:
        raise problems[0]


def _fill(file: Any, offset: int, view: memoryview) -> None:
    while view:
        if hasattr(os, "preadv"):
            count = os.preadv(file.fileno(), [view], offset)
        else:
            file.seek(offset)
            count = file.readinto(view)
        if not count:
            raise EOFError(f"it ends at byte {offset}, and {len(view)} more were expected")
        offset, view = offset + count, view[count:]
