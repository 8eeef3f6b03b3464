"""NumPy's .npy format, without NumPy: a header that is a Python dictionary, then the elements.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Objects (pickles) are refused.
"""

import struct
import sys
from array import array
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

from .archive import WIDTHS, Form, is_shape

__all__ = ["CODES", "Head", "in_order", "read_head", "write_head"]

#: Standard dtype names and NumPy's type strings, without the byte order. bfloat16 is what ml_dtypes makes of it.
CODES = {
    "bool": "b1", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8", "uint8": "u1", "uint16": "u2",
    "uint32": "u4", "uint64": "u8", "float16": "f2", "bfloat16": "V2", "float32": "f4", "float64": "f8",
}  # fmt: skip
_NAMES = {code: name for name, code in CODES.items()}
_NATIVE = "<" if sys.byteorder == "little" else ">"
_ITEMS: dict[int, Literal["B", "H", "I", "Q"]] = {
    1: "B",
    2: "H",
    4: "I",
    8: "Q",
}  #: integers of so many bytes, as `array` and `memoryview` call them
_MAGIC = b"\x93NUMPY"
_LONGEST = 10_000  #: bytes of a header at most, as in NumPy


class Head(NamedTuple):
    """What stands before the elements."""

    form: Form
    order: str  #: of the bytes: < or >
    fortran: bool  #: whether the first axis varies fastest, not the last
    raw: bytes


def write_head(form: Form) -> bytes:
    """Return what stands before the elements of an array."""
    code = CODES[form.dtype]
    order = "|" if code[1] == "1" else _NATIVE
    text = f"{{'descr': '{order}{code}', 'fortran_order': False, 'shape': {form.shape!r}, }}"
    fill = -(len(_MAGIC) + 4 + len(text) + 1) % 64
    return _MAGIC + b"\x01\x00" + struct.pack("<H", len(text) + fill + 1) + text.encode() + b" " * fill + b"\n"


def read_head(read: Callable[[int], bytes], size: int) -> Head:
    """Read and check the head of a file of so many bytes; `read(n)` returns its next n ones.

    Raises:
        ValueError: this is not a .npy file, or not one of plain numbers, or it has another size.
    """
    raw = read(8)
    if len(raw) < 8 or raw[:6] != _MAGIC or raw[6] not in (1, 2, 3):
        raise ValueError("it does not begin like a .npy file")
    raw += read(2 if raw[6] == 1 else 4)
    length = int.from_bytes(raw[8:], "little")
    if length > _LONGEST:
        raise ValueError(f"its header claims {length} bytes")
    text = read(length)
    raw += text
    descr, fortran, shape = _parsed(text.decode("utf-8" if raw[6] == 3 else "latin-1"))
    form, rest = Form(_NAMES[descr[1:]], shape), size - len(raw)
    if form.nbytes != rest:
        raise ValueError(f"shape {shape!r:.80} and dtype {descr} need {form.nbytes} bytes of data, there are {rest}")
    return Head(form, descr[0] if descr[0] in "<>" else _NATIVE, fortran, raw)


@lru_cache(1000)
def _parsed(text: str) -> tuple[str, bool, tuple[int, ...]]:
    """Return type string, whether in Fortran order, and shape."""
    from ast import literal_eval

    try:
        header = literal_eval(text)
    except (MemoryError, RecursionError, SyntaxError, TypeError):  # from the parser, for all sorts of things
        header = None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header is not that of a .npy file")
    descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(descr, str) or descr[1:] not in _NAMES or descr[0] not in "<>|=":
        raise ValueError(f"its dtype {descr!r:.80} is not a plain number")
    if not isinstance(shape, tuple) or not is_shape(shape):
        raise ValueError(f"its shape {shape!r:.80} is none that an array can have")
    if not isinstance(fortran, bool):
        raise ValueError("its fortran_order is neither True nor False")
    return descr, fortran, shape


def in_order(view: memoryview, head: Head) -> memoryview:
    """Return elements in C order and native byte order: `view` itself if they are, else a copy."""
    width, shape = WIDTHS[head.form.dtype], head.form.shape
    if head.order != _NATIVE and width > 1:
        items = array(_ITEMS[width])
        items.frombytes(view)
        items.byteswap()
        view = memoryview(items).cast("B")
    if head.fortran and len(shape) > 1 and view:
        copy = memoryview(bytearray(len(view)))
        _reorder(view.cast(_ITEMS[width]), copy.cast(_ITEMS[width]), shape)
        view = copy
    return view


def _reorder(source: memoryview, target: memoryview, shape: tuple[int, ...]) -> None:
    """Copy slices along the first axis or along the last one, whichever is shorter."""
    if len(shape) == 1:
        target[:] = source
        return
    first, last = shape[0], shape[-1]
    if first <= last:
        size = len(source) // first
        for i in range(first):
            _reorder(source[i::first], target[i * size : (i + 1) * size], shape[1:])
    else:
        size = len(source) // last
        for i in range(last):
            _reorder(source[i * size : (i + 1) * size], target[i::last], shape[:-1])
