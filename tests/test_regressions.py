"""Things that were wrong once."""

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
from dzcore import Function, GraphError, Parameter, Variable
from dzcore.optimizers import SGD, MomentumSGD
from dzcore.testing import values


def test_a_parameter_owns_its_array() -> None:
    """An optimizer writes in place; nobody else's array may change."""
    mine = np.ones(3, np.float32)
    p = Parameter(mine)
    q = Parameter(p)
    target = Parameter(np.zeros(3, np.float32))
    target.data = p.data
    F.sum(p).backward()
    SGD(0.5).setup([p]).update()
    assert values(p) == [0.5] * 3
    assert mine.tolist() == values(q) == values(target) == [1.0] * 3


@pytest.mark.parametrize("axis", [(np.int64(1),), np.int64(1), [1], (1,), 1])
def test_axes_of_any_integer_type(axis: object) -> None:
    x = Variable(np.ones((2, 3, 5), np.float32))
    assert F.mean(x, axis=axis).shape == (2, 5)
    assert F.permute_dims(x, (np.int64(2), 0, 1)).shape == (5, 2, 3)


def test_wrong_axes_spoil_nothing() -> None:
    x = Variable(np.ones((2, 3, 4, 6), np.float32))
    for call in (
        lambda: F.sum(x, axis=(2.0,)),
        lambda: F.permute_dims(x, (3.0, 0, 1, 2)),
        lambda: F.flip(x, axis=(3.0,)),
    ):
        with pytest.raises(TypeError):
            call()
    assert F.sum(x, axis=(2,)).shape == (2, 3, 6)
    assert F.permute_dims(x, (3, 0, 1, 2)).shape == (6, 2, 3, 4)
    assert F.flip(x, axis=(3,)).shape == x.shape


class Exp(Function):
    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.exp(x)

    def backward(self, gy: Variable) -> Variable:
        return gy * self.outputs[0]()


class Square(Function):
    def forward(self, x: np.ndarray) -> np.ndarray:
        return x * x

    def backward(self, gy: Variable) -> Variable:
        return gy * self.inputs[0] * 2.0


def test_an_output_of_a_function_is_one_value() -> None:
    x = Variable([0.0])
    y = Exp()(x)
    (gx,) = dzcore.grad(y, x, create_graph=True)
    assert values(dzcore.grad(gx + 3.0 * y, y)[0]) == [4.0]
    assert values(dzcore.grad(gx, y)[0]) == [1.0]


def test_a_function_sees_its_inputs_as_they_were() -> None:
    x = Variable([3.0])
    y = Square()(x)
    x.data = [5.0]
    y.backward()
    assert values(x.grad) == [6.0]


def test_a_gradient_of_other_data_is_not_added_to() -> None:
    x = Variable([1.0, 2.0, 3.0])
    F.sum(x).backward()
    x.data = np.ones((2, 3), np.float32)
    with pytest.raises(GraphError, match="cleargrad"):
        F.sum(x).backward()
    p = Parameter([1.0, 2.0, 3.0])
    optimizer = MomentumSGD().setup([p])
    F.sum(p).backward()
    optimizer.update()
    p.data = np.ones((2, 3), np.float32)
    p.cleargrad()
    F.sum(p).backward()
    with pytest.raises(ValueError, match="its state"):
        optimizer.update()


@pytest.mark.parametrize("index", [True, np.True_, np.array(True)])
def test_a_single_boolean_is_no_index(index: object) -> None:
    with pytest.raises(IndexError, match="single boolean"):
        Variable([1.0, 2.0, 3.0])[index]


def test_a_number_takes_the_dtype_of_the_array_wherever_it_stands() -> None:
    assert values(F.equal(0.1, np.array([0.1]))) == [True]
    assert F.add(1.0, np.ones(2, np.float16)).dtype == np.float16
    assert F.multiply(2, np.ones(2, np.int8)).dtype == np.int8
    assert F.leaky_relu(Variable([1.0, -2.0]), np.float64(0.1)).dtype == np.float32
    assert F.where(Variable([1.0, 2.0]) > 1.5, 1.0, 2.0).dtype == np.float32


def test_complex_numbers_are_refused() -> None:
    for make in (lambda: Variable([1j]), lambda: Variable([1.0]) * np.array([1j]), lambda: Variable(np.array([1j]))):
        with pytest.raises(TypeError, match="real numbers only"):
            make()


def test_a_condition_is_boolean() -> None:
    with pytest.raises(TypeError, match="it must be boolean"):
        F.where(Variable([1.0, 0.0]), 1.0, 2.0)


def test_a_formula_depends_on_its_arguments_alone() -> None:
    class Mine(SGD):
        def formula(self, xp: object, p: np.ndarray, g: np.ndarray, lr: float) -> tuple[np.ndarray]:
            return (p - g * self.lr,)

    with pytest.raises(TypeError, match="staticmethod"):
        Mine().setup([Parameter([1.0])])


def test_the_state_of_replaced_parameters_is_freed() -> None:
    layer = dzcore.layers.Linear(2, in_size=3)
    optimizer = MomentumSGD().setup(layer)
    for _ in range(5):
        layer.W = Parameter(np.ones((3, 2), np.float32))
        layer.cleargrads()
        F.sum(layer(np.ones((1, 3), np.float32))).backward()
        optimizer.update()
    assert len(optimizer._arrays) <= 3


def test_signatures_are_those_of_callers() -> None:
    import inspect

    assert list(inspect.signature(F.exp).parameters) == ["x"]
    assert list(inspect.signature(F.add).parameters) == ["x1", "x2"]


def test_mistakes_are_named() -> None:
    from dzcore.datasets import Digits
    from dzcore.layers import Linear
    from dzcore.models import MLP

    with pytest.raises(TypeError, match="train='no' must be True or False"):
        Digits(train="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="in_size=10"):
        Linear(64, 10)  # type: ignore[arg-type]  # PyTorch's order
    for target in (MLP, None):
        with pytest.raises(TypeError, match="neither a Layer nor"):
            SGD().setup(target)
    with pytest.raises(GraphError, match=r"1\.0 instead of 1"):
        Variable([1, 2]).backward()
    for index in (0.5, "a"):
        with pytest.raises(TypeError, match=f"index {index!r} is neither"):
            Variable([1.0, 2.0])[index]
