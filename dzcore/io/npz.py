"""NumPy's .npz format, without NumPy: a zip archive of .npy members.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Nothing is ever unpickled.
"""

import os
import struct
import sys
from collections.abc import Callable, Mapping
from math import prod
from typing import IO

from ..backend import HostArray
from ..errors import WeightsError
from .atomic import atomic_write

__all__ = ["read_npz", "write_npz"]

#: Standard dtype names and NumPy's type strings, without the byte order.
_CODES = {
    "bool": "b1", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8", "uint8": "u1", "uint16": "u2",
    "uint32": "u4", "uint64": "u8", "float16": "f2", "float32": "f4", "float64": "f8",
}  # fmt: skip
_NAMES = {code: name for name, code in _CODES.items()}
_NATIVE = "<" if sys.byteorder == "little" else ">"
_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000  # as in NumPy


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, HostArray]) -> None:
    """Write named arrays, compressed, for `numpy.load` and `read_npz` to read; all or nothing."""
    from zipfile import ZIP_DEFLATED, ZipFile

    headers = {name: _header(name, host) for name, host in arrays.items()}
    with atomic_write(path) as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, host in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(headers[name])
                member.write(memoryview(host.buffer).cast("B"))


def _header(name: str, host: HostArray) -> bytes:
    try:
        code = _CODES[host.dtype]
    except KeyError:
        raise WeightsError(
            f"{name} has dtype {host.dtype}, which .npz files cannot hold; convert it to float32"
        ) from None
    order = "|" if code[1] == "1" else _NATIVE
    shape = tuple(int(n) for n in host.shape)  # whatever tuple the library has
    text = f"{{'descr': '{order}{code}', 'fortran_order': False, 'shape': {shape!r}, }}"
    fill = -(len(_MAGIC) + 4 + len(text) + 1) % 64
    return _MAGIC + b"\x01\x00" + struct.pack("<H", len(text) + fill + 1) + text.encode() + b" " * fill + b"\n"


def read_npz(path: str | os.PathLike[str]) -> dict[str, HostArray]:
    """Read all arrays of an .npz file. Whatever is wrong with it is a WeightsError that names file and member."""
    from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

    arrays: dict[str, HostArray] = {}
    member = ""
    with open(path, "rb") as file:  # what the system says about the path stays as it is
        try:
            with ZipFile(file) as archive:
                infos = archive.infolist()
                if _promised(file, len(archive.comment)) not in (len(infos), 0xFFFF):
                    raise ValueError("its table of contents is damaged")
                for info in infos:
                    member = f", member {info.filename!r}"
                    if not info.filename.endswith(".npy"):
                        raise ValueError("the name does not end in .npy")
                    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                        raise ValueError(
                            f"it is compressed by method {info.compress_type}, which .npz files do not use"
                        )
                    name = info.filename[: -len(".npy")]
                    if name in arrays:
                        raise ValueError("the name occurs twice")
                    with archive.open(info) as stream:
                        arrays[name] = _array(stream.read)
        except MemoryError:
            raise
        except Exception as e:  # a damaged archive makes zipfile and zlib raise nearly anything
            reason = str(e) or type(e).__name__
            raise WeightsError(f"{os.fspath(path)!r}{member} is not a readable .npz file: {reason}") from e
    return arrays


def _promised(file: IO[bytes], comment: int) -> int:
    """Return the number of members according to the end of a zip archive; zipfile does not compare."""
    file.seek(-22 - comment + 10, os.SEEK_END)
    return int.from_bytes(file.read(2), "little")


def _array(read: Callable[[int], bytes]) -> HostArray:
    """Parse one .npy file; `read(n)` returns its next n bytes."""
    from ast import literal_eval

    start = read(8)
    if len(start) < 8 or start[:6] != _MAGIC or start[6] not in (1, 2, 3):
        raise ValueError("it does not begin like a .npy file")
    (length,) = struct.unpack("<H", read(2)) if start[6] == 1 else struct.unpack("<I", read(4))
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header claims {length} bytes")
    text = read(length).decode("utf-8" if start[6] == 3 else "latin-1")
    try:
        header = literal_eval(text)
    except (MemoryError, RecursionError):  # from the parser, for brackets in brackets in brackets
        raise ValueError("its header is not that of a .npy file") from None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header is not that of a .npy file")
    descr, shape = header["descr"], header["shape"]
    if not isinstance(descr, str) or descr[1:] not in _NAMES or descr[0] not in "<>|=":
        raise ValueError(f"its dtype {descr!r:.80} is not a plain number")
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 1 << 63 for n in shape):
        raise ValueError("its shape is not a tuple of lengths")
    if not isinstance(header["fortran_order"], bool):
        raise ValueError("its fortran_order is neither True nor False")
    size = prod(shape) * int(descr[2:])
    data = bytearray()
    while len(data) <= size and (piece := read(min(size - len(data) + 1, 1 << 24))):
        data += piece  # grows with what is there, not with what the header claims
    if len(data) != size:
        raise ValueError(
            f"shape {shape!r:.80} and dtype {descr} need {size} bytes of data, there are {len(data)} or more"
        )
    width = int(descr[2:])
    if descr[0] in "<>" and descr[0] != _NATIVE and width > 1:
        data = _swapped(data, width)
    host = HostArray(_NAMES[descr[1:]], shape, data)
    return _from_fortran(host, width) if header["fortran_order"] and len(shape) > 1 else host


def _swapped(data: bytearray, width: int) -> bytearray:
    swapped = bytearray(len(data))
    for i in range(width):
        swapped[i::width] = data[width - 1 - i :: width]
    return swapped


def _from_fortran(host: HostArray, width: int) -> HostArray:
    """Reorder elements that were written first axis fastest."""
    items = [bytes(host.buffer[i : i + width]) for i in range(0, len(host.buffer), width)]
    strides = [1]
    for n in host.shape[:-1]:
        strides.append(strides[-1] * n)
    order = [0]
    for n, stride in zip(host.shape, strides, strict=True):
        order = [base + k * stride for base in order for k in range(n)]
    return HostArray(host.dtype, host.shape, b"".join([items[i] for i in order]))
