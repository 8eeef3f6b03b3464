"""A file of named arrays, whatever its format: what is in it, and how to read the arrays that are asked for."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from io import FileIO
from math import prod
from typing import Any, NamedTuple, Self

from ..backend import HostArray
from ..errors import FileError

__all__ = [
    "Archive",
    "Form",
    "check_suffix",
    "contents",
    "default_limit",
    "is_shape",
    "open_archive",
    "open_regular",
    "write_archive",
]

SUFFIXES = (".npz", ".safetensors")
FREELY = 1 << 30  #: bytes that any file may claim to hold; beyond that …
RATIO = 100  #: … so many times its own size

#: Sizes of elements in bytes. What is not here is in no file of dzcore.
WIDTHS = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
}  # fmt: skip


class Form(NamedTuple):
    """What an array is like: its dtype by its standard name, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * WIDTHS[self.dtype]


class Archive(ABC):
    """An open file of arrays: a context manager, closed at the end of its with block."""

    path: str
    forms: Mapping[str, Form]  #: of all arrays by name, in the order they were saved
    structure: Any = None  #: how `tree.join` puts them together; None: a dictionary from the names to the arrays

    @abstractmethod
    def read(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, HostArray]]:
        """Yield the arrays of these names, or all, checked, each in memory of its own."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def wanted(self, names: Iterable[str] | None) -> list[str]:
        """Return the names that `read` was given, or all; they are there."""
        wanted = list(self.forms if names is None else names)
        for name in wanted:
            if name not in self.forms:
                raise FileError(f"{self.path!r} has no array {name!r}; it has {', '.join(self.forms):.200}")
        return wanted

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_archive(path: str | os.PathLike[str], *, limit: int | None = None) -> Archive:
    """Open a file of arrays, by its suffix.

    The arrays may have `limit` bytes in all, by default 1 GiB and 100 times the size of the file.

    Raises:
        FileError: the suffix is unknown, or something is wrong with the file.
        OSError: what the system says about the path.
    """
    if limit is not None and (type(limit) is not int or limit < 0):
        raise ValueError(f"limit={limit!r} must be a number of bytes, or None")
    if check_suffix(path) == ".npz":
        from .npz import NpzArchive

        return NpzArchive(path, limit=limit)
    from .safetensors import SafetensorsArchive

    size = os.stat(path).st_size  # nothing is compressed
    if limit is not None and size > limit:
        raise FileError(f"{os.fspath(path)!r} has {size} bytes, and the limit is {limit}; trust it with limit={size}")
    return SafetensorsArchive(path)


def write_archive(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    structure: Any = None,
    *,
    compress: bool = True,
) -> None:
    """Write named arrays, Variables or arrays of any backend, to a file in the format of its suffix, all or nothing.

    They stay where they are, and one at a time is copied to the host.

    Raises:
        FileError: the suffix is unknown, or the format cannot hold an array or its name.
        OSError: what the system says about the path.
    """
    if check_suffix(path) == ".npz":
        from .npz import write_npz

        write_npz(path, arrays, structure, compress=compress)
    else:
        from .safetensors import write_safetensors

        write_safetensors(path, arrays, structure)


def check_suffix(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a path that names a known format."""
    for suffix in SUFFIXES:
        if os.fspath(path).endswith(suffix):
            return suffix
    raise FileError(f"path={os.fspath(path)!r} must end in {' or '.join(SUFFIXES)}, which says the format")


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> FileIO:
    """Open a file for reading, without a buffer. A FIFO does not make it wait; a link counts if `follow`.

    Raises:
        FileError: this is no regular file.
        OSError: what the system says about the path; also for a folder.
    """
    more = getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    file = FileIO(os.fspath(path), "r", opener=lambda name, flags: os.open(name, flags | more))  # refuses folders
    try:
        mode = os.fstat(file.fileno()).st_mode
    except BaseException:
        file.close()
        raise
    if stat.S_ISREG(mode):
        return file
    file.close()
    raise FileError(f"{os.fspath(path)!r} is no regular file ({stat.filemode(mode)}), and is not read")


def is_shape(lengths: Iterable[Any]) -> bool:
    """Tell whether there can be an array with these lengths: an empty one, too, has limits in all libraries."""
    shape = list(lengths)
    return all(type(n) is int and n >= 0 for n in shape) and len(shape) <= 64 and prod(n or 1 for n in shape) < 1 << 60


def default_limit(size: int) -> int:
    """Return how many bytes the arrays of a file of this size may have, if nobody says."""
    return FREELY + RATIO * size


def contents(host: HostArray) -> memoryview:
    """Return the bytes of an array.

    Raises:
        ValueError: the backend that made it did not keep to its contract.
    """
    view, size = memoryview(host.buffer), Form(host.dtype, host.shape).nbytes
    if view.nbytes != size or not view.c_contiguous:
        raise ValueError(f"{host.dtype}{list(host.shape)} in C order has {size} bytes, its buffer {view.nbytes}")
    return view.cast("B") if size else memoryview(b"")
