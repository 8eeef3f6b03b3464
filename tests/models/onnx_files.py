"""A writer of ONNX files: just enough of Protocol Buffers for weights."""

from collections.abc import Mapping

import numpy as np


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n % 128 + 128])
        n //= 128
    return out + bytes([n])


def message(number: int, content: bytes) -> bytes:
    return varint(number * 8 + 2) + varint(len(content)) + content


def integer(number: int, n: int) -> bytes:
    return varint(number * 8) + varint(n)


def tensor(name: str, array: np.ndarray, *, raw: bool = True, packed: bool = False) -> bytes:
    """One TensorProto: elements in `raw_data` or `float_data`, lengths one by one or `packed`."""
    lengths = message(1, b"".join(map(varint, array.shape))) if packed else b"".join(integer(1, n) for n in array.shape)
    kind = {"float32": 1, "int64": 7}[array.dtype.name]
    content = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return lengths + integer(2, kind) + message(8, name.encode()) + message(9 if raw else 4, content)


def onnx_file(arrays: Mapping[str, np.ndarray], **options: bool) -> bytes:
    """One ModelProto, with some fields that are not weights around them."""
    tensors = b"".join(message(5, tensor(name, array, **options)) for name, array in arrays.items())
    graph = message(1, message(4, b"Conv")) + message(2, b"graph") + tensors + message(11, message(1, b"data"))
    return integer(1, 3) + message(2, b"producer") + message(7, graph) + message(8, integer(2, 7))
