"""The IDX format, in which MNIST is published.

Two zero bytes, a type code, the number of axes, the length of each axis as a big-endian uint32, and the elements,
big-endian, the last axis fastest (http://yann.lecun.com/exdb/mnist/). Often compressed with gzip.
"""

import os
import sys
from math import prod
from typing import Protocol

from ..backend import HostArray
from ..errors import DataError

__all__ = ["parse_idx", "read_idx"]


class Readable(Protocol):
    """What `parse_idx` reads from."""

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, or fewer at the end."""


#: Type code -> dtype, bytes an element.
TYPES = {
    0x08: ("uint8", 1),
    0x09: ("int8", 1),
    0x0B: ("int16", 2),
    0x0C: ("int32", 4),
    0x0D: ("float32", 4),
    0x0E: ("float64", 8),
}


def read_idx(path: str | os.PathLike[str]) -> HostArray:
    """Read a whole IDX file, compressed or not.

    Raises:
        DataError: the file is missing, truncated or damaged, or is no IDX file; it names the file and what is wrong.
    """
    import gzip
    from zlib import error as ZlibError

    name = os.fspath(path)
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return parse_idx(raw)
            with gzip.GzipFile(fileobj=raw) as file:
                return parse_idx(file)
    except FileNotFoundError:
        raise DataError(f"{name!r} does not exist") from None
    except EOFError as error:
        raise DataError(f"{name!r} is truncated: its compressed data ends early; get it again") from error
    except (gzip.BadGzipFile, ZlibError) as error:
        raise DataError(f"{name!r} is damaged: {error}; get it again") from error
    except OSError as error:
        raise DataError(f"{name!r} cannot be read: {error.strerror or error}") from error
    except DataError as error:
        raise DataError(f"{name!r} {error}") from error


def parse_idx(file: Readable) -> HostArray:
    """Read a whole IDX stream to its end, which is where gzip compares its checksum."""
    head = file.read(4)
    if len(head) < 4:
        raise DataError(f"is truncated: the header has {len(head)} bytes of 4")
    if head[:2] != b"\0\0":
        raise DataError(f"is no IDX file: it begins with {head[:2].hex(' ')} in place of 00 00")
    if head[2] not in TYPES:
        raise DataError(f"is no IDX file: {head[2]:#04x} is no type code")
    if not head[3]:
        raise DataError("is no IDX file: it claims to have no axes")
    dtype, width = TYPES[head[2]]
    lengths = file.read(4 * head[3])
    if len(lengths) < 4 * head[3]:
        raise DataError(f"is truncated: the header has {4 + len(lengths)} bytes of {4 + 4 * head[3]}")
    shape = tuple(int.from_bytes(lengths[k : k + 4], "big") for k in range(0, len(lengths), 4))
    size = prod(shape) * width
    data = _read(file, size + 1)
    if len(data) < size:
        raise DataError(f"is truncated: {len(data)} bytes of data, and {dtype}{list(shape)} takes {size}")
    if len(data) > size:
        raise DataError(f"goes on after the {size} bytes of data that {dtype}{list(shape)} takes")
    if width > 1 and sys.byteorder == "little":
        swapped = bytearray(size)
        for k in range(width):
            swapped[k::width] = data[width - 1 - k :: width]
        data = bytes(swapped)
    return HostArray(dtype, shape, data)


def _read(file: Readable, size: int) -> bytes:
    """Read up to `size` bytes. A damaged header may ask for any number: memory grows with what there is."""
    pieces, left = [], size
    while left and (piece := file.read(min(left, 1 << 24))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
