"""Variable: what it is made of, how it behaves as a Python object, and which operands it takes."""

import copy
import operator
import pickle
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
from dzcore import GraphError, MixedBackendError, Parameter, Variable, as_array, as_variable
from dzcore.backend import Backend
from dzcore.testing import assert_close, values


@pytest.mark.parametrize(
    ("data", "dtype"),
    [(1.5, "float32"), (2, "int64"), (True, "bool"), ([1.0, 2], "float32"), ([1, 2], "int64"), ([[True]], "bool"),
     ([], "float32"), ((1.0, 2.0), "float32")],
)  # fmt: skip
def test_python_data(data: Any, dtype: str, backend: Backend) -> None:
    x = Variable(data)
    assert x.backend is backend
    assert backend.dtype_name(x.dtype) == dtype
    assert x.requires_grad == (dtype == "float32")


def test_arrays_keep_their_dtype_and_backend(strict: str) -> None:
    for dtype in ("float16", "float32", "float64", "int8", "uint8", "bool"):
        x = Variable(np.ones(2, dtype))
        assert x.dtype == dtype
        assert str(x.backend) == "numpy"
        assert x.requires_grad == dtype.startswith("float")
    assert str(Variable(x.to(strict).data).backend) == "strict"
    assert Variable(np.float64(2.0)).dtype == "float64"


def test_dtype_and_backend_can_be_said(backend: Backend, numpy_backend: Backend) -> None:
    x = Variable([1, 2], dtype="float64", backend=numpy_backend)
    assert x.backend is numpy_backend
    y = Variable(x, dtype="float32", backend=backend)
    assert (y.backend, backend.dtype_name(y.dtype), y.shape) == (backend, "float32", (2,))
    assert y.node is not x.node


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="complex128"):
        Variable(np.ones(2, complex))


def test_foreign_objects_are_refused() -> None:
    with pytest.raises(TypeError):
        Variable(object())
    with pytest.raises(TypeError):
        Variable("text")


def test_attributes(backend: Backend) -> None:
    x = Variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], name="x")
    assert (x.shape, x.ndim, x.size, len(x), x.name) == ((2, 3), 2, 6, 2, "x")
    assert backend.owns(x.data)
    assert x.device == x.data.device
    assert x.T.shape == x.mT.shape == (3, 2)
    assert (x.creator, x.generation, x.grad) == (None, 0, None)
    y = x * 2.0
    assert y.creator.name == "multiply"
    assert repr(y.creator) == "<multiply>"
    assert (x @ x.T).creator.name == "matmul"
    assert F.linear(x, x.T, Variable([0.0, 0.0])).creator.name == "linear"
    assert (y + x).generation > y.generation > 0 or (y + x).generation != y.generation
    assert not y.detach().requires_grad
    assert y.detach().data is y.data


def test_generations_grow_along_the_graph() -> None:
    x = Variable([1.0])
    y = x * 2.0
    z = y + x
    assert 0 == x.generation < y.generation < z.generation


def test_printing() -> None:
    assert repr(Variable(np.array([1.0, 2.0]))) == "variable([1. 2.])"
    assert repr(Variable(np.array([[1.0, 2.0], [3.0, 4.0]]))) == "variable([[1. 2.]\n          [3. 4.]])"
    assert repr(Variable(np.float64(0.5))) == "variable(0.5)"
    assert repr(Parameter(None, "W")) == "variable(None)"
    assert str(Variable(np.array([1, 2]))) == "variable([1 2])"


def test_numbers_out(backend: Backend) -> None:
    assert float(Variable(1.5)) == 1.5
    assert int(Variable(2)) == 2
    assert bool(Variable(True))
    assert [10, 20, 30][Variable(1)] == 20
    for data in (1.5, 7, True, [[2.5]]):
        expected = data[0][0] if isinstance(data, list) else data
        found = Variable(data).item()
        assert found == expected
        assert type(found) is type(expected)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        Variable([1.0, 2.0]).item()
    with pytest.raises(TypeError):
        len(Variable(1.0))
    with pytest.raises(TypeError):
        iter(Variable(1.0))


def test_item_of_float16() -> None:
    assert Variable(np.float16([1.5])).item() == 1.5


def test_iteration(backend: Backend) -> None:
    x = Variable([[1.0, 2.0], [3.0, 4.0]])
    first, second = x
    (first * 2.0 + second).backward()
    assert_close(x.grad, [[2.0, 2.0], [1.0, 1.0]])


# Operators -----------------------------------------------------------------------------------------------------------

OPERATORS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
    "%": operator.mod, "//": operator.floordiv, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


@pytest.mark.parametrize("sign", OPERATORS)
@pytest.mark.parametrize("form", ["Variable", "array", "number", "numpy number", "integer"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_operators(sign: str, form: str, side: str, backend: Backend) -> None:
    """Every operator takes Variables, arrays and numbers on either side, and float32 stays float32."""
    if backend.name == "strict" and form == "array" and side == "right":
        return  # its arrays raise for strangers and do not let them try
    plain = np.array([0.5, 2.0, 3.0], "float32")
    x = Variable(plain.tolist())
    other = {
        "Variable": lambda: Variable([1.5, 2.0, 0.5]),
        "array": lambda: backend.asarray([1.5, 2.0, 0.5], "float32"),
        "number": lambda: 2.0,
        "numpy number": lambda: np.float64(2.0),
        "integer": lambda: 2,
    }[form]()
    numpys = np.array([1.5, 2.0, 0.5], "float32") if form in ("Variable", "array") else 2.0
    f = OPERATORS[sign]
    y, expected = (f(x, other), f(plain, numpys)) if side == "left" else (f(other, x), f(numpys, plain))
    assert isinstance(y, Variable)
    assert backend.dtype_name(y.dtype) == ("float32" if expected.dtype != bool else "bool")
    np.testing.assert_allclose(values(y), expected, rtol=1e-6)
    assert y.requires_grad == (sign in ("+", "-", "*", "/", "**", "%"))


def test_unary_operators(backend: Backend) -> None:
    x = Variable([1.0, -2.0])
    assert_close(-x, [-1.0, 2.0])
    assert_close(+x, [1.0, -2.0])
    assert_close(abs(x), [1.0, 2.0])
    assert values(~Variable([True, False])) == [False, True]
    assert values(Variable([True, False]) & Variable([True, True])) == [True, False]
    assert values(Variable([True, False]) | False) == [True, False]
    assert values(Variable([5]) ^ 1) == [4]


def test_integer_numbers_of_numpy_do_not_widen() -> None:
    x = Variable(np.ones(2, "float32"))
    for y in (x * np.int64(3), np.int64(3) * x, x / np.prod((2, 3)), x + np.float64(1.0), x ** np.float64(2.0)):
        assert y.dtype == np.float32


def test_a_number_with_a_fraction_to_the_power_of_integers() -> None:
    assert values(2.5 ** Variable(np.array([1, 2]))) == [2.5, 6.25]
    assert values(2 ** Variable(np.array([1, 2]))) == [2, 4]


def test_matmul_operator_with_arrays() -> None:
    a = np.arange(6.0).reshape(2, 3)
    x = Variable(a)
    for y in (x @ a.T, a @ x.T, x @ x.T):
        assert isinstance(y, Variable)
        np.testing.assert_array_equal(y.data, a @ a.T)


@pytest.mark.parametrize("other", [[1.0, 2.0], None, "text", object(), {}])
@pytest.mark.parametrize("f", [operator.add, operator.mul, operator.pow, lambda x, y: y + x, lambda x, y: y / x])
def test_operands_that_are_none(f: Any, other: Any) -> None:
    with pytest.raises(TypeError):
        f(Variable(np.ones(2)), other)


def test_methods(backend: Backend) -> None:
    x = Variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert x.reshape(3, 2).shape == x.reshape((3, 2)).shape == x.reshape([3, -1]).shape == (3, 2)
    assert x.transpose().shape == x.transpose(1, 0).shape == x.transpose((1, 0)).shape == (3, 2)
    assert float(x.sum()) == 21.0
    assert_close(x.sum(axis=0, keepdims=True).detach(), [[5.0, 7.0, 9.0]])
    assert_close(x.mean(axis=1).detach(), [2.0, 5.0])
    assert_close(x.max(axis=0).detach(), [4.0, 5.0, 6.0])
    assert_close(x.min(axis=1).detach(), [1.0, 4.0])
    assert_close(x.dot(x.T).detach(), x.matmul(x.T).detach())
    assert backend.dtype_name(x.astype("float64").dtype) == "float64"


# Backends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        operator.add, operator.mul, operator.truediv, operator.pow, operator.lt, operator.eq, operator.floordiv,
        operator.matmul, dzcore.maximum, dzcore.atan2, dzcore.matmul, dzcore.tensordot, dzcore.vecdot,
        lambda x, y: dzcore.where(x > 0, x, y), lambda x, y: dzcore.where(y > 0, x, x),
        lambda x, y: dzcore.concat([x, y]), lambda x, y: dzcore.stack([x, y]), lambda x, y: x[y > 0],
        lambda x, y: dzcore.clip(x, y, None), lambda x, y: dzcore.functions.linear(x, y),
        dzcore.functions.mean_squared_error, lambda x, y: x + y.data,
        lambda x, y: dzcore.take(x, y.astype("int64"), axis=0),
    ],
)  # fmt: skip
def test_mixed_backends_are_named(f: Any, strict: str) -> None:
    x = Variable(np.ones((2, 2)))
    for a, b in ((x, x.to(strict)), (x.to(strict), x)):
        with pytest.raises(MixedBackendError) as error:
            f(a, b)
        assert "numpy" in str(error.value)
        assert "strict" in str(error.value)


def test_devices_of_one_library_do_not_mix(strict: str) -> None:
    x = Variable(np.ones(2)).to(strict)
    with pytest.raises(MixedBackendError, match="strict.*strict:device1"):
        x + x.to("strict:device1")


def test_to_is_differentiable_both_ways(strict: str) -> None:
    x = Variable(np.array([1.0, 2.0]))
    y = x.to("strict:device1") ** 3
    assert str(y.backend) == "strict:device1"
    (gx,) = dzcore.grad(y.to("numpy"), x, create_graph=True)
    assert gx.backend is x.backend
    assert gx.data.tolist() == [3.0, 12.0]
    (ggx,) = dzcore.grad(gx, x)
    assert ggx.data.tolist() == [6.0, 12.0]
    assert x.to("numpy") is x
    with dzcore.no_grad():
        assert x.to(strict).node is None


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float32", "float64"])
def test_to_keeps_every_bit(dtype: str, strict: str) -> None:
    plain = np.frombuffer(np.random.default_rng(0).bytes(64), dtype if dtype != "bool" else "uint8")
    plain = plain.astype(bool) if dtype == "bool" else plain
    x = Variable(plain)
    back = x.to("strict:device1").to("numpy")
    assert back.data.tobytes() == plain.tobytes()
    assert back.dtype == plain.dtype


# The graph -----------------------------------------------------------------------------------------------------------


def test_replacing_the_data_of_a_leaf() -> None:
    x = Variable(np.ones(2))
    node = x.node
    x.data = np.full(3, 2.0)
    assert x.node is node
    (x * x).backward()
    assert x.grad.data.tolist() == [4.0] * 3


def test_setting_grad() -> None:
    x = Variable(np.ones(2))
    x.grad = np.array([1.0, 2.0])
    assert isinstance(x.grad, Variable)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        x.grad = np.ones(3)
    with pytest.raises(ValueError, match="float32"):
        x.grad = np.ones(2, "float32")
    x.grad = None
    assert x.grad is None
    c = x.detach()
    c.grad = None
    with pytest.raises(GraphError, match="constant"):
        c.grad = np.ones(2)


def test_integers_are_constants(backend: Backend) -> None:
    for x in (Variable([1, 2]), Variable([True])):
        assert not x.requires_grad
        assert x.grad is None
        with pytest.raises(GraphError):
            x.backward()
        x.cleargrad()


def test_deepcopy(backend: Backend) -> None:
    x = Variable([1.0, 2.0], name="x")
    (x * 3.0).backward()
    y = copy.deepcopy(x)
    assert y.name == "x"
    assert y.grad is None
    assert y.node is not x.node
    assert y.data is not x.data
    assert y.backend is backend
    (y * y).backward()
    assert_close(x.grad, [3.0, 3.0])
    assert_close(y.grad, [2.0, 4.0])
    assert not copy.deepcopy(x.detach()).requires_grad
    assert copy.deepcopy(x * 2.0).creator is None
    both = copy.deepcopy([x, x])
    assert both[0] is both[1]


def test_deepcopy_of_parameters() -> None:
    p, lazy = Parameter(np.ones(2), "p"), Parameter(None, "lazy")
    q, other = copy.deepcopy((p, lazy))
    assert type(q) is type(other) is Parameter
    assert (q.name, other.name) == ("p", "lazy")
    assert other.data is None
    assert other.node is not lazy.node
    other.data = np.ones(3)
    assert lazy.data is None


def test_variables_are_keys_by_identity() -> None:
    x, y = Variable(np.ones(2)), Variable(np.ones(2))
    assert {x: 1, y: 2}[x] == 1
    assert len({x, y, x}) == 2


def test_as_variable_and_as_array(backend: Backend) -> None:
    x = Variable([1.0])
    assert as_variable(x) is x
    assert as_array(x) is x.data
    assert not as_variable(x.data).requires_grad
    assert as_variable(x.data).backend is backend
    assert backend.owns(as_array(2.0))
    assert backend.owns(as_array([1, 2]))
    assert isinstance(as_array(x, "numpy"), np.ndarray)


def test_numpy_leaves_mixed_operators_to_variables() -> None:
    x = Variable(np.ones(2))
    y = np.arange(2.0) * x
    assert isinstance(y, Variable)
    y = np.float32(2.0) - x
    assert isinstance(y, Variable)
    assert y.data.tolist() == [1.0, 1.0]


def test_a_parameter_without_data_says_so(backend: Backend) -> None:
    param = Parameter(None, "W")
    for use in (lambda: param + 1.0, lambda: F.linear(dzcore.ones((1, 2)), param), lambda: F.exp(param)):
        with pytest.raises(AttributeError, match=r"the parameter 'W' has no data yet; call its layer once"):
            use()
    with pytest.raises(AttributeError, match="no attribute 'bakend'"):
        param.bakend  # noqa: B018


def test_integers_cannot_take_the_place_of_what_carries_a_gradient(backend: Backend) -> None:
    x = Variable([1.0])
    with pytest.raises(TypeError, match="give it floating-point data"):
        x.data = [1]
    assert values(x) == [1.0]


def test_backends_travel_by_name() -> None:
    backend = dzcore.get_backend("numpy")
    assert pickle.loads(pickle.dumps(backend)) is backend
