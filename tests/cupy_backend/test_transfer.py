"""Arrays in and out, bit for bit, and shared with other libraries."""

import sys
import threading
import time
from array import array

import numpy as np
import pytest

import dzcore
from dzbackend_cupy import CupyBackend
from dzbackend_numpy import NumpyBackend
from dzcore.backend import HostArray

from .usable import cupy_or_skip, emulated

cupy = cupy_or_skip()
from dzbackend_cupy import upload  # noqa: E402  # imports CuPy

host = NumpyBackend()

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "bfloat16",
          "float32", "float64", "complex64", "complex128"]  # fmt: skip


def noise(shape, dtype):
    """Random bits as a dtype, nan's payloads included; booleans are 0 and 1."""
    dtype, count = host.dtype(dtype), int(np.prod(shape))
    raw = np.random.default_rng(0).integers(0, 256, count * np.dtype(dtype).itemsize, dtype=np.uint8)
    return (raw % 2 if np.dtype(dtype).kind == "b" else raw).view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 0, 3), (70_000,)])
def test_a_round_trip_keeps_every_bit(shape, dtype, on_cupy):
    x = noise(shape, dtype)
    array = on_cupy.from_host(host.to_host(x))
    assert (array.dtype, array.shape) == (x.dtype, x.shape)
    assert on_cupy.owns(array)
    back = on_cupy.to_host(array)
    assert (back.dtype, back.shape, bytes(back.buffer)) == (dtype, shape, x.tobytes())


@pytest.mark.parametrize("make", [lambda x: x.T, lambda x: x[:, ::2], lambda x: x[::-1], lambda x: x[2]])
def test_any_layout_comes_out_in_c_order(make, on_cupy):
    x = noise((5, 6), "int32")
    out = on_cupy.to_host(make(cupy.asarray(x)))
    assert bytes(out.buffer) == make(x).tobytes()
    assert out.shape == make(x).shape


def test_large_arrays_come_in_through_chunks(on_cupy, monkeypatch):
    monkeypatch.setattr(upload, "CHUNK", 1 << 16)
    monkeypatch.setattr(upload, "SMALL", 1 << 10)
    monkeypatch.setattr(on_cupy, "_upload", upload.Uploader())
    x = noise((123_457,), "float32")
    assert bytes(on_cupy.to_host(on_cupy.from_host(host.to_host(x))).buffer) == x.tobytes()
    assert len(on_cupy._upload._slots) >= 1


def test_opening_the_backend_takes_nothing_of_the_device_and_one_uploader_serves_all_threads(monkeypatch):
    """With two of them, the pinned memory of the one that is lost would be freed while a copy reads it."""
    module, made = sys.modules["dzbackend_cupy.backend"], []

    class Counted(upload.Uploader):
        def __init__(self):
            time.sleep(0.05)  # time enough for all threads to miss it
            super().__init__()
            made.append(self)

    monkeypatch.setattr(module, "Uploader", Counted)
    with monkeypatch.context() as patch:
        for name in ("alloc_pinned_memory", "Stream", "Event", "alloc"):
            patch.setattr(cupy.cuda, name, lambda *_, **__: pytest.fail("the device was used"))
        patch.setattr(cupy, "empty", lambda *_, **__: pytest.fail("the device was used"))
        backend = CupyBackend()
    assert len(made) == 1
    start, found = threading.Barrier(4), []

    def send(i):
        start.wait()
        found.append((i, int(backend.from_host(HostArray("int64", (1,), np.array([i])))[0])))

    threads = [threading.Thread(target=send, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(i, i) for i in range(4)]
    assert made == [backend._upload]


def test_what_was_given_may_change_afterwards(on_cupy):
    for size in (10, 10_000_000):
        buffer = bytearray(size)
        array = on_cupy.from_host(HostArray("uint8", (size,), buffer))
        buffer[:] = b"\xff" * size
        assert not array.any()


BYTES = bytes(range(1, 13))


@pytest.mark.parametrize("dtype", ["uint32", "int16", "float32", "bool"])
@pytest.mark.parametrize(
    "buffer",
    [BYTES, bytearray(BYTES), memoryview(BYTES), memoryview(BYTES).cast("H", (2, 3)), array("i", BYTES),
     np.frombuffer(BYTES, np.float32), np.frombuffer(BYTES, np.uint8).reshape(3, 4)],
    ids=["bytes", "bytearray", "memoryview", "two axes", "array.array", "NumPy's", "NumPy's with axes"],
)  # fmt: skip
def test_buffers_of_any_kind(buffer, dtype, on_cupy):
    """What counts is the bytes in it; dtype and shape are HostArray's."""
    count = len(BYTES) // np.dtype(dtype).itemsize
    found = on_cupy.from_host(HostArray(dtype, (count, 1), buffer))
    assert (found.dtype, found.shape) == (np.dtype(dtype), (count, 1))
    assert found.get().tobytes() == BYTES


def test_what_is_owned(on_cupy):
    assert on_cupy.owns(cupy.zeros(3))
    assert on_cupy.owns(cupy.zeros(0))
    assert on_cupy.owns(cupy.zeros(()))
    assert on_cupy.owns(cupy.zeros((3, 4)).T[1:])
    assert not on_cupy.owns(np.zeros(3))
    assert not on_cupy.owns(3.0)


# DLPack --------------------------------------------------------------------------------------------------------------


def test_an_array_comes_in_by_dlpack_without_a_copy(on_cupy):
    x = cupy.arange(6.0)
    y = dzcore.from_dlpack(x, backend="cupy")
    assert isinstance(y.data, cupy.ndarray)
    assert y.data.data.ptr == x.data.ptr
    assert y.backend is on_cupy


def test_a_variable_goes_out_by_dlpack_without_a_copy(on_cupy):
    x = dzcore.Variable(cupy.arange(6.0).reshape(2, 3))
    y = cupy.from_dlpack(x)
    assert y.data.ptr == x.data.data.ptr
    assert y.shape == (2, 3)
    y[0, 0] = 9.0
    assert float(x.data[0, 0]) == 9.0


def test_dlpack_names_the_device():
    kind, number = dzcore.Variable(cupy.zeros(3)).__dlpack_device__()
    assert number == 0
    assert kind == (10 if cupy.cuda.runtime.is_hip else 2)  # kDLROCM, which the emulator says too, and kDLCUDA


def test_memory_outlives_the_variable_that_it_came_from(on_cupy):
    x = dzcore.Variable(cupy.arange(1000.0))
    y = cupy.from_dlpack(x)
    del x
    cupy.full(1000, 7.0)
    np.testing.assert_array_equal(y.get(), np.arange(1000.0))


@pytest.mark.skipif(not emulated, reason="the emulator's memory is the host's")
def test_values_are_compared_on_the_host_only_after_a_copy():
    with pytest.raises(TypeError):
        np.asarray(cupy.zeros(3))
