"""DLPack: arrays pass between dzcore and other libraries in the memory where they are."""

from typing import Any

import numpy as np
import pytest

import dzcore
from dzcore import Parameter, Variable
from dzcore.backend import Backend, get_backend
from dzcore.testing import values

MAIN_MEMORY = 1  # DLPack's kDLCPU
DTYPES = ["float32", "float64", "int8", "int64", "uint8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_out(dtype: str, backend: Backend) -> None:
    x = Variable(backend.asarray([[0, 1, 1], [1, 0, 1]], dtype))
    if x.__dlpack_device__()[0] != MAIN_MEMORY:
        pytest.skip(f"NumPy cannot read the memory of {backend}")
    seen = np.from_dlpack(x)
    assert (seen.dtype, seen.tolist()) == (dtype, [[0, 1, 1], [1, 0, 1]])


def test_out_in_the_same_memory(numpy_backend: Backend) -> None:
    x = Variable(np.asarray([1.0, 2.0]))
    assert np.shares_memory(np.from_dlpack(x), x.data)
    assert np.shares_memory(np.from_dlpack(x.T), x.data)
    assert x.__dlpack_device__() == x.data.__dlpack_device__()


@pytest.mark.parametrize("dtype", DTYPES)
def test_in(dtype: str, backend: Backend) -> None:
    """From the backend's own library, as from any: the device is the backend's."""
    x = backend.asarray([[0, 1, 1], [1, 0, 1]], dtype)
    for given in (x, Variable(x)):
        y = dzcore.from_dlpack(given)
        assert (y.backend, y.requires_grad) == (backend, False)
        assert backend.owns(y.data)
        assert (backend.dtype_name(y.dtype), values(y)) == (dtype, [0, 1, 1, 1, 0, 1])


def test_from_another_backend(strict: str) -> None:
    for source, target in (
        ("numpy", "strict"),
        ("strict", "numpy"),
        ("numpy", "strict:device1"),
        ("strict:device1", "numpy"),
    ):
        x = Variable([1.0, 2.0], backend=source)
        y = dzcore.from_dlpack(x, backend=target)
        assert y.backend is get_backend(target)
        assert y.backend.owns(y.data)
        assert values(y) == [1, 2]


def test_a_copy_where_it_is_asked_for() -> None:
    x = np.asarray([1.0, 2.0])
    assert np.shares_memory(dzcore.from_dlpack(x).data, x)
    assert np.shares_memory(dzcore.from_dlpack(x, copy=False).data, x)
    assert not np.shares_memory(dzcore.from_dlpack(x, copy=True).data, x)
    assert np.shares_memory(dzcore.from_dlpack(x, device="cpu").data, x)


def test_a_parameter_keeps_its_memory_to_itself() -> None:
    """Optimizers write into a Parameter; it copies what it takes over."""
    x = np.asarray([1.0, 2.0])
    assert not np.shares_memory(Parameter(dzcore.from_dlpack(x)).data, x)


def test_memory_that_cannot_be_read_is_told() -> None:
    class Foreign:
        def __dlpack__(self, **_: Any) -> Any:
            raise BufferError("it is on a device")

        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

    with pytest.raises(
        BufferError, match=r"^from_dlpack: it is on a device; dzcore\.asarray\(x, backend='numpy'\) copies the values$"
    ):
        dzcore.from_dlpack(Foreign())


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="complex128"):
        dzcore.from_dlpack(np.zeros(2, complex))


def test_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    x = Variable([1.0, 2.0], backend="numpy")
    there = torch.from_dlpack(x)
    there[0] = 5
    assert values(x) == [5, 2]
    back = dzcore.from_dlpack(there, backend="numpy")
    assert np.shares_memory(back.data, x.data)
    assert dzcore.from_dlpack(torch.ones(2), backend="numpy").shape == (2,)


def test_jax() -> None:
    jax = pytest.importorskip("jax", reason="needs JAX")
    x = Variable([1.0, 2.0], backend="numpy")
    assert jax.numpy.from_dlpack(x).tolist() == [1, 2]
    assert values(dzcore.from_dlpack(jax.numpy.ones(2), backend="numpy")) == [1, 1]
