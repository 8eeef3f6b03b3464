"""dzcore as an array library: what is written for the array API runs on Variables, and gradients come out."""

from typing import Any

import array_api_strict
import numpy as np
import pytest

import dzcore
from dzcore import Variable
from dzcore.backend import Backend
from dzcore.testing import assert_close, check_gradients, values

#: What the standard has and dzcore has not: complex numbers.
ABSENT = {"complex64", "complex128", "conj", "imag", "real"}
#: What array-api-strict has beside the standard.
OTHERS = {"ArrayAPIStrictFlags", "Device", "ModuleType", "get_array_api_strict_flags", "reset_array_api_strict_flags",
          "set_array_api_strict_flags"}  # fmt: skip


def test_the_namespace_is_dzcore() -> None:
    x = Variable(np.ones(2))
    assert x.__array_namespace__() is dzcore
    assert x.__array_namespace__(api_version="2024.12") is dzcore
    assert dzcore.__array_api_version__ == "2024.12"


def test_every_name_of_the_standard_is_there() -> None:
    standard = {name for name in dir(array_api_strict) if not name.startswith("_")} - OTHERS - {"fft", "linalg"}
    assert {name for name in standard if not hasattr(dzcore, name)} == ABSENT
    assert standard - ABSENT <= set(dzcore.__all__)


def test_every_function_says_what_it_does() -> None:
    for name in dzcore.functions.__all__:
        value = getattr(dzcore.functions, name)
        assert not callable(value) or value.__doc__, name


# Dtypes --------------------------------------------------------------------------------------------------------------


def test_dtypes_equal_those_of_every_library(strict: str) -> None:
    for dtype, other in (("float32", np.float32), ("int64", np.int64), ("bool", np.bool_), ("float64", np.float64)):
        own = getattr(dzcore, dtype)
        x = Variable(np.ones(2, other))
        assert x.dtype == own
        assert own == x.dtype
        assert own == x.to(strict).dtype
        assert own == getattr(array_api_strict, dtype)
        assert own != dzcore.int8
        assert {own: 1}[own] == 1
    assert dzcore.float32 != dzcore.float64


def test_isdtype(backend: Backend) -> None:
    f, i, b = (Variable(data).dtype for data in (1.0, 1, True))
    for dtype in (f, dzcore.float32):
        assert dzcore.isdtype(dtype, "real floating")
        assert dzcore.isdtype(dtype, ("integral", "numeric"))
        assert dzcore.isdtype(dtype, dzcore.float32)
        assert not dzcore.isdtype(dtype, "integral")
        assert not dzcore.isdtype(dtype, (dzcore.float64, "bool"))
    assert dzcore.isdtype(i, "signed integer")
    assert dzcore.isdtype(b, "bool")
    assert dzcore.isdtype(b, dzcore.bool)


def test_result_type_and_can_cast(backend: Backend) -> None:
    x, y = Variable([1.0]), Variable([1.0], dtype="float64")
    assert dzcore.result_type(x, y) == dzcore.float64
    assert dzcore.result_type(x, 2.0) == dzcore.float32
    assert dzcore.result_type(x, dzcore.float64) == dzcore.float64
    assert dzcore.result_type(dzcore.int8, dzcore.int16) == dzcore.int16
    assert dzcore.can_cast(dzcore.float32, dzcore.float64)
    assert not dzcore.can_cast(y, dzcore.float32)


def test_finfo_and_iinfo(backend: Backend) -> None:
    assert float(dzcore.finfo(dzcore.float32).eps) == 2.0**-23
    assert float(dzcore.finfo(Variable([1.0])).max) == float(np.finfo("float32").max)
    assert int(dzcore.iinfo(dzcore.int16).max) == 32767


def test_constants() -> None:
    assert (dzcore.e, dzcore.pi, dzcore.inf, dzcore.newaxis) == (np.e, np.pi, np.inf, None)
    assert dzcore.nan != dzcore.nan


# Creation ------------------------------------------------------------------------------------------------------------


def test_creation_makes_constants_of_the_current_backend(backend: Backend) -> None:
    made = [
        dzcore.zeros((2, 3)), dzcore.ones(2), dzcore.full((2,), 1.5), dzcore.empty((1,)), dzcore.eye(2),
        dzcore.linspace(0, 1, 3), dzcore.arange(3.0), dzcore.asarray([1.0, 2.0]),
    ]  # fmt: skip
    for x in made:
        assert isinstance(x, Variable)
        assert x.backend is backend
        assert backend.dtype_name(x.dtype) == "float32"
        assert not x.requires_grad
    assert backend.dtype_name(dzcore.arange(3).dtype) == "int64"
    assert backend.dtype_name(dzcore.full((2,), 1).dtype) == "int64"
    assert backend.dtype_name(dzcore.zeros(2, dtype="float64").dtype) == "float64"
    assert backend.dtype_name(dzcore.zeros(2, dtype=dzcore.int8).dtype) == "int8"
    assert backend.dtype_name(dzcore.ones(2, dtype=np.float64).dtype) == "float64"


def test_creation_on_another_backend(strict: str) -> None:
    assert str(dzcore.zeros(2, backend="strict:device1").backend) == "strict:device1"
    x = dzcore.asarray(Variable(np.ones(2)), backend=strict)
    assert str(x.backend) == "strict"
    assert str(dzcore.zeros_like(x).backend) == "strict"


@pytest.mark.parametrize("data", [[True, False], [1, 2], [1.0, 2.0]])
def test_asarray_copies(data: Any, backend: Backend) -> None:
    x = Variable(data)
    assert dzcore.asarray(x) is x
    y = dzcore.asarray(x, copy=True)
    assert y.data is not x.data
    assert_close(y.detach(), x.detach())
    assert y.requires_grad == x.requires_grad
    z = dzcore.asarray(x.data, copy=True)
    assert z.data is not x.data


def test_from_dlpack() -> None:
    plain = np.arange(3.0)
    x = dzcore.from_dlpack(plain)
    assert isinstance(x, Variable)
    assert x.data.tolist() == plain.tolist()
    assert not x.requires_grad


def test_sums_and_products_of_small_integers_are_int64(backend: Backend) -> None:
    x = Variable(backend.asarray([100, 100], "int8"))
    assert [values(f(x)) for f in (dzcore.sum, dzcore.prod)] == [[200], [10_000]]
    assert values(dzcore.cumulative_sum(x)) == [100, 200]
    assert int(dzcore.sum(Variable([True, True, False]))) == 2
    unsigned = dzcore.prod(Variable(backend.asarray([2], "uint8")))
    assert backend.dtype_name(unsigned.dtype) == ("uint64" if "uint64" in backend.dtypes else "int64")


# Code that others wrote ----------------------------------------------------------------------------------------------


def softmax_of_someone(x: Any) -> Any:
    """Written for the array API, with no thought of dzcore."""
    xp = x.__array_namespace__()
    x = x - xp.max(x, axis=-1, keepdims=True)
    e = xp.exp(xp.astype(x, xp.float64))
    y = e / xp.sum(e, axis=-1, keepdims=True)
    return xp.where(xp.isnan(y), xp.asarray(0.0, dtype=y.dtype), y)


def distances_of_someone(x: Any) -> Any:
    xp = x.__array_namespace__()
    d = x[:, None, :] - x[None, :, :]
    n = x.shape[0]
    eye = xp.eye(n, dtype=x.dtype)
    return xp.sum(xp.sqrt(xp.sum(d**2, axis=-1) + eye) * (1.0 - eye))


@pytest.mark.parametrize("f", [softmax_of_someone, distances_of_someone])
def test_differentiable_by_arrival(f: Any, backend: Backend) -> None:
    plain = [[0.1, 0.7, -0.3], [1.1, -0.2, 0.4]]
    x = Variable(plain, dtype="float64")
    np.testing.assert_allclose(values(f(x)), np.ravel(f(np.asarray(plain))), rtol=1e-13)
    check_gradients(f, x)


EINOPS = [
    ("rearrange", "b h w -> b (w h)", {}),
    ("rearrange", "b (h two) w -> w two b h", {"two": 2}),
    ("rearrange", "b h w -> (b h w) 1", {}),
    ("reduce", "b h w -> b w", {"reduction": "mean"}),
    ("reduce", "b (h two) w -> b h", {"reduction": "sum", "two": 2}),
    ("reduce", "b h w -> 1 1 w", {"reduction": "max"}),
    ("reduce", "b h w -> b", {"reduction": "prod"}),
    ("repeat", "b h w -> b h 3 w", {}),
    ("repeat", "b h w -> (b n) h w", {"n": 2}),
]


@pytest.mark.parametrize(("name", "pattern", "options"), EINOPS, ids=[f"{n} {p}" for n, p, _ in EINOPS])
def test_einops(name: str, pattern: str, options: dict[str, Any], backend: Backend) -> None:
    einops = pytest.importorskip("einops.array_api")
    reference = pytest.importorskip("einops")
    plain = np.random.default_rng(0).normal(size=(2, 4, 3))
    x = Variable(plain.tolist(), dtype="float64")
    y = getattr(einops, name)(x, pattern, **options)
    expected = getattr(reference, name)(plain, pattern, **options)
    assert isinstance(y, Variable)
    assert y.backend is backend
    assert_close(y.detach(), expected.tolist(), rtol=1e-13)
    check_gradients(lambda x: getattr(einops, name)(x, pattern, **options), x)


def test_einops_pack_and_unpack(backend: Backend) -> None:
    einops = pytest.importorskip("einops.array_api")

    def f(x: Variable, y: Variable) -> Variable:
        packed, shapes = einops.pack([x, y], "b *")
        a, b = einops.unpack(dzcore.tanh(packed), shapes, "b *")
        return dzcore.sum(a) + dzcore.sum(b * b)

    check_gradients(f, [[1.0, 2.0], [3.0, 0.5]], [[[0.1], [0.2]], [[0.3], [0.4]]])


def test_xp_of_array_api_compat() -> None:
    """Libraries find the namespace through array-api-compat."""
    compat = pytest.importorskip("array_api_compat")
    x = Variable(np.ones(3))
    assert compat.array_namespace(x) is dzcore
    assert compat.is_array_api_obj(x)
    assert compat.size(x) == 3
