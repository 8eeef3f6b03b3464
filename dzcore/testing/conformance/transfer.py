"""Transfer: to the host and back, bit for bit, as copies; and whose arrays are whose."""

from array import array
from collections.abc import Callable
from math import prod
from struct import pack
from typing import Any

import pytest
from hypothesis import strategies as st

from ...backend import Backend, HostArray, backend_of, get_backend
from ...backend.portable import device_of
from ...errors import BackendError, MixedBackendError
from ...graph import Variable, grad
from ...graph.variable import transfer
from ..compare import host_array, values
from .group import Group
from .measure import (
    LAYOUTS,
    bits,
    describe,
    flat,
    host_of,
    lay_out,
    numbers,
    on_device,
    own,
    prove,
    reference_for,
    send,
)

__all__ = ["Transfer"]

SIZES = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
SHAPES = [(), (1,), (7,), (0,), (3, 4), (2, 0, 3), (2, 3, 4), (1, 1, 1, 1)]

#: Numbers that something goes wrong with: signs of zero, the extremes, subnormals, nans with a payload; as bytes.
SPECIAL = {
    "float16": [0x8000, 0x7C00, 0xFC00, 0x7E00, 0xFE01, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x3C01, 0x0000, 0x3555],
    "bfloat16": [0x8000, 0x7F80, 0xFF80, 0x7FC0, 0xFFC1, 0x0001, 0x807F, 0x7F7F, 0xFF7F, 0x3F81, 0x0000, 0x3EAB],
    "float32": [0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC01234, 0x00000001, 0x807FFFFF, 0x7F7FFFFF,
                0xFF7FFFFF, 0x3F800001, 0x00000000, 0x3EAAAAAB],
    "float64": [1 << 63, 0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, 0xFFF8000012345678, 1, 0x800FFFFFFFFFFFFF,
                0x7FEFFFFFFFFFFFFF, 0xFFEFFFFFFFFFFFFF, 0x3FF0000000000001, 0, 0x3FD5555555555555],
}  # fmt: skip
INTEGERS = {f"{sign}int{n}": n for sign in ("", "u") for n in (8, 16, 32, 64)}


def _special(dtype: str) -> HostArray:
    """Twelve elements (3, 4) that something goes wrong with."""
    if dtype in SPECIAL:
        return HostArray(dtype, (3, 4), pack("=12" + {2: "H", 4: "I", 8: "Q"}[SIZES[dtype]], *SPECIAL[dtype]))
    if dtype == "bool":
        return host_array([1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1], (3, 4), dtype)
    if dtype in INTEGERS:
        low = 0 if dtype[0] == "u" else -(2 ** (INTEGERS[dtype] - 1))
        high = low + 2 ** INTEGERS[dtype] - 1
        return host_array([low, high, low + 1, high - 1, *range(8)], (3, 4), dtype)
    part = "float32" if dtype == "complex64" else "float64"
    raw = bytes(_special(part).buffer)
    return HostArray(dtype, (3, 4), raw + raw)


def _raw(dtype: str, shape: tuple[int, ...]) -> st.SearchStrategy[bytes]:
    count = prod(shape) * SIZES[dtype]
    raw = st.binary(min_size=count, max_size=count)
    return raw.map(lambda b: bytes(x & 1 for x in b)) if dtype == "bool" else raw


BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda raw: raw,
    "bytearray": bytearray,
    "a view": memoryview,
    "a read-only view of a part": lambda raw: memoryview(b"12345678" + raw)[8:].toreadonly(),
    "array.array": lambda raw: array("f", raw),
    "a view with axes": lambda raw: memoryview(raw).cast("f", (2, 3)),
}


class Transfer(Group):
    """Copies out and in."""

    def test_any_bits(self, backend: Backend) -> None:
        """What goes in comes out, whatever the bits, for every dtype and shape."""

        def check(data: Any, dtype: str, shape: tuple[int, ...]) -> None:
            raw = data.draw(_raw(dtype, shape))
            x = own(backend, backend.from_host(HostArray(dtype, shape, raw)))
            assert describe(backend, x) == (dtype, shape)
            assert on_device(backend, x), f"{device_of(x)} is not the device of {backend}"
            assert bits(backend, x) == (dtype, shape, raw)

        for dtype in backend.dtypes:
            prove(check, st.data(), st.just(dtype), st.sampled_from(SHAPES), examples=10)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_layouts(self, layout: str, backend: Backend) -> None:
        """What is not contiguous comes out in C order, with signs of zero and the payload of quiet nans."""
        for dtype in backend.dtypes:
            host = _special(dtype)
            size, raw = SIZES[dtype], bytes(host.buffer)
            cells = [raw[i : i + size] for i in range(0, len(raw), size)]
            rows = lay_out(layout, [cells[0:4], cells[4:8], cells[8:12]])
            x = LAYOUTS[layout](backend.xp, backend.from_host(host))
            assert bits(backend, x) == (dtype, (len(rows), len(rows[0])), b"".join(flat(rows)))

    def test_without_axes(self, backend: Backend) -> None:
        """What indexing and reductions return comes out as an array without axes."""
        x = send(backend, [1.5, -2.0, 4.0], (3,), "float32")
        for found, expected in ((x[1], -2.0), (backend.xp.sum(x), 3.5), (backend.xp.max(x), 4.0)):
            assert backend.owns(found)
            assert bits(backend, found) == ("float32", (), pack("=f", expected))

    @pytest.mark.parametrize("kind", BUFFERS)
    def test_buffers(self, kind: str, backend: Backend) -> None:
        """Anything with the buffer protocol is read, in C order."""
        raw = pack("=6f", 0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
        x = backend.from_host(HostArray("float32", (2, 3), BUFFERS[kind](raw)))
        assert bits(backend, x) == ("float32", (2, 3), raw)
        assert numbers(backend, x[1, :]) == [3.0, 4.0, 5.0]

    def test_what_comes_in_is_a_copy(self, backend: Backend) -> None:
        """The array does not follow the buffer that it was made of, which others may write into."""
        for count in (6, 4096):  # some libraries share aligned memory, and large pieces of it
            buffer = bytearray(pack(f"={count}f", *range(count)))
            x = backend.from_host(HostArray("float32", (count,), buffer))
            before = bits(backend, x)
            buffer[:] = bytes(len(buffer))
            assert bits(backend, x) == before, "from_host has kept the caller's buffer"

    def test_what_is_adopted(self, backend: Backend) -> None:
        """An array that may take over memory has the same bits, and can be written to as any other."""
        for dtype in backend.dtypes:
            host = _special(dtype)
            raw = bytes(host.buffer)
            for buffer in (bytearray(raw), raw):
                x = own(backend, backend.adopt(HostArray(dtype, host.shape, buffer)))
                assert bits(backend, x) == (dtype, host.shape, raw)
                assert on_device(backend, x)
        for part in (memoryview(bytearray(64))[:8], bytes(8)):
            x = backend.adopt(HostArray("float32", (2,), part))
            (y,) = backend.update(lambda xp, p: (p + 1.5,), (x,))
            assert numbers(backend, y) == [1.5, 1.5]

    def test_what_goes_out_is_a_copy(self, backend: Backend) -> None:
        """The buffer follows no later change of the array, nor the array one of the buffer."""
        for count in (6, 4096):
            x = send(backend, range(count), (count,), "float32")
            host = host_of(backend, x)
            before = bytes(host.buffer)
            backend.update(lambda xp, p, q: (p + q,), (x,), send(backend, [1.0] * count, (count,), "float32"))
            assert bytes(host.buffer) == before, "an update in place shows in what to_host returned"
            view = memoryview(host.buffer)
            if not view.readonly:
                kept = bits(backend, x)
                view.cast("B")[:] = bytes(view.nbytes)
                assert bits(backend, x) == kept, "to_host has given the array's own memory away"

    def test_to_another_backend_and_back(self, backend: Backend) -> None:
        """Arrays travel to the reference and back, in every dtype that both have."""
        other = reference_for(backend)
        for dtype in backend.dtypes:
            if dtype in other.dtypes:
                x = backend.from_host(_special(dtype))
                there = transfer(x, backend, other)
                assert other.owns(there)
                assert bits(other, there) == bits(backend, x)
                assert bits(backend, transfer(there, other, backend)) == bits(backend, x)

    def test_gradients_travel(self, backend: Backend) -> None:
        """`x.to(…)` is differentiable, there and back, at both orders."""
        other = reference_for(backend)
        x = Variable([1.0, -2.0, 3.0])
        y = (x * x).to(other) * 2.0
        z = y.to(backend) * x
        assert (y.backend, z.backend) == (other, backend)
        (gx,) = grad(z, x, create_graph=True)
        assert gx is not None
        assert gx.backend is backend
        assert values(gx) == [6.0, 24.0, 54.0]  # of 2 x³
        (ggx,) = grad(gx, x)
        assert values(ggx) == [12.0, -24.0, 36.0]
        y = x.to(other)
        y.backward()
        assert x.grad is not None
        assert x.grad.backend is backend
        assert values(x.grad) == [1.0, 1.0, 1.0]

    # Whose array it is -----------------------------------------------------------------------------------------

    def test_owns_its_own(self, backend: Backend) -> None:
        """Arrays of every dtype, views and what reductions return are the backend's; so says `backend_of`."""
        for dtype in backend.dtypes:
            assert backend.owns(backend.from_host(_special(dtype)))
        x = send(backend, range(6), (2, 3), "float32")
        for array_ in (x, x[0, :], x[0, 0], backend.xp.sum(x), backend.xp.permute_dims(x, (1, 0)), x > 1.0, x + 1.0):
            assert backend.owns(array_)
            assert backend_of(array_) is backend

    def test_owns_nothing_else(self, backend: Backend) -> None:
        """Python's objects, Variables, dtypes and namespaces are nobody's arrays."""
        x = Variable([1.0])
        host = host_array([1.0], (1,), "float32")
        for thing in (1.0, 1, True, 1j, "x", None, [1.0], (1.0,), {}, b"1234", memoryview(b"1234"), array("f", [1.0]),
                      x, host, backend, backend.xp, backend.xp.float32, type(x.data), object()):  # fmt: skip
            assert backend.owns(thing) is False, f"owns({thing!r}) must be False"

    def test_owns_no_array_of_another_library(self, backend: Backend) -> None:
        """An array of another type belongs to another backend."""
        other = reference_for(backend)
        foreign, mine = (send(each, [1.0], (1,), "float32") for each in (other, backend))
        if type(foreign) is not type(mine):
            assert not backend.owns(foreign)
            assert not other.owns(mine)

    def test_owns_no_array_of_another_device(self, backend: Backend) -> None:
        """Two devices of one library are two backends, and mixing them is an error."""
        mine = send(backend, [1.0], (1,), "float32")
        for device in type(backend).devices():
            try:
                other = get_backend(f"{backend.name}:{device}")
            except BackendError:
                continue
            foreign = send(other, [1.0], (1,), "float32")
            if device_of(foreign) == device_of(mine):
                continue  # another name of the same device
            assert not backend.owns(foreign), f"{backend} owns an array on {device}"
            assert not other.owns(mine), f"{other} owns an array of {backend}"
            with pytest.raises(MixedBackendError):
                Variable(mine) + Variable(foreign)
