"""The weights in an ONNX file: a reader of the few fields of its format that hold them.

An ONNX file is one message of Protocol Buffers (https://protobuf.dev/programming-guides/encoding), whose fields are
listed in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Nothing of the graph itself is looked at.
"""

import os
import sys
from collections.abc import Iterator
from math import prod

from ..backend import HostArray
from ..errors import WeightsError

__all__ = ["read_onnx"]

# The numbers of fields: ModelProto.graph, GraphProto.initializer, and those of TensorProto.
GRAPH, INITIALIZER = 7, 5
DIMS, DATA_TYPE, FLOAT_DATA, NAME, RAW_DATA = 1, 2, 4, 8, 9
FLOAT = 1  # of the enum TensorProto.DataType: float32


def read_onnx(path: str | os.PathLike[str]) -> dict[str, HostArray]:
    """Read all weights of dtype float32. Whatever is wrong with the file is a WeightsError that names it."""
    with open(path, "rb") as file:
        data = memoryview(file.read())
    arrays: dict[str, HostArray] = {}
    try:
        for graph in _messages(data, GRAPH):
            for tensor in _messages(graph, INITIALIZER):
                arrays.update(_tensor(tensor))
    except (ValueError, IndexError) as error:
        raise WeightsError(f"{os.fspath(path)!r} is not a readable ONNX file: {error}") from error
    if not arrays:
        raise WeightsError(f"{os.fspath(path)!r} is not a readable ONNX file: it holds no weights of dtype float32")
    return arrays


def _tensor(data: memoryview) -> dict[str, HostArray]:
    """Read one tensor; return its name and elements, or nothing if it is of another dtype."""
    name, dtype, shape, pieces = "", 0, [], []
    for number, value in _fields(data):
        if number == DIMS:  # one by one, or all in one piece
            shape += [value] if isinstance(value, int) else list(_varints(value))
        elif number == DATA_TYPE and isinstance(value, int):
            dtype = value
        elif number == NAME and not isinstance(value, int):
            name = bytes(value).decode()
        elif number in (FLOAT_DATA, RAW_DATA) and not isinstance(value, int):
            pieces.append(value)
    if dtype != FLOAT:
        return {}
    content = b"".join(pieces)
    if len(content) != 4 * prod(shape):
        raise ValueError(f"{name!r} of shape {shape} needs {4 * prod(shape)} bytes, there are {len(content)}")
    if sys.byteorder == "big":
        from array import array

        floats = array("f", content)
        floats.byteswap()
        content = floats.tobytes()
    return {name: HostArray("float32", tuple(shape), content)}


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the fields with the number `wanted`, which are messages."""
    for number, value in _fields(data):
        if number == wanted:
            if isinstance(value, int):
                raise ValueError(f"field {number} is a number")
            yield value


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a message: an integer, or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"there is no field of the type {kind}")
        if at + size > len(data):
            raise ValueError(f"field {key >> 3} has {len(data) - at} bytes of {size}")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read an integer, seven bits a byte, the last byte below 128; return it and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number goes on and on")


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value
