"""Headers of .safetensors files made to hurt."""

import json
import struct

import pytest

from .hostile import HUGE, refused, write


def raw_safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin=0, end=8, shape=(2,), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


@pytest.mark.parametrize("length", [0, 1, 7, 10**6, 10**8, 4 * 10**11, 2**63 - 1, 2**63, 2**64 - 1])
def test_lengths_of_headers(folder, length):
    refused(write(folder / "x.safetensors", raw_safetensors({"x": tensor()}, bytes(8), length)))


@pytest.mark.parametrize(
    "header",
    [
        {"x": tensor(end=4 * HUGE, shape=(HUGE,))},
        {"x": tensor(shape=(HUGE,))},
        {"x": tensor(0, 2**64, (2**62,))},
        {"x": tensor(shape=(2**62, 0), end=0)},
        {"x": tensor(shape=(1,) * 100, end=4)},
        {"x": tensor(shape=(-2,))},
        {"x": tensor(shape=(2.0,))},
        {"x": tensor(shape=(True, 2))},
        {"x": tensor(shape=("2",))},
        {"x": tensor(4, 12)},
        {"x": tensor(8, 0)},
        {"x": tensor(-8, 0)},
        {"x": tensor(0, 4, (1,))},
        {"x": tensor(), "y": tensor()},
        {"x": tensor(), "y": tensor(4, 12)},
        {"x": tensor(0, 4, (1,)), "y": tensor(6, 10, (1,))},
        {"x": tensor(dtype="F33")},
        {"x": tensor(dtype="float32")},
        {"x": tensor(dtype=4)},
        {"x": tensor(more=1)},
        {"x": []},
        {"x": None},
        [],
        "x",
        1,
        {"__metadata__": [], "x": tensor()},
        {"__metadata__": {"a": 1}, "x": tensor()},
        {"__metadata__": {"dzcore": "{}"}, "x": tensor()},
        {"__metadata__": {"dzcore.crc32": "0"}, "x": tensor()},
    ],
    ids=lambda header: json.dumps(header)[:60],
)
def test_headers_that_are_wrong(folder, header):
    refused(write(folder / "x.safetensors", raw_safetensors(header, bytes(8))))


@pytest.mark.parametrize(
    "text",
    [
        b"{" * 100_000,
        b"[" * 100_000,
        b'{"x":' * 100_000,
        b'{"x":NaN}',
        b'{"x":1e999}',
        b'{"x":' + b"9" * 5000 + b"}",
        b"{\xff}",
        b"null",
        b" " * 20,
        b'{"x":' + json.dumps(tensor()).encode() + b',"x":' + json.dumps(tensor()).encode() + b"}",
        b'{"x":' + json.dumps(tensor()).encode().replace(b"}", b',"dtype":"F32"}') + b"}",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_json_that_is_wrong(folder, text):
    refused(write(folder / "x.safetensors", raw_safetensors(text, bytes(8))))


def test_bytes_that_belong_to_no_array(folder):
    for data in (b"", bytes(7), bytes(9), bytes(1000)):
        refused(write(folder / "x.safetensors", raw_safetensors({"x": tensor()}, data)))
