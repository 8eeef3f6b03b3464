"""Functions of one's own, in DeZero's form."""

import weakref
from typing import Any

import numpy as np
import pytest

import dzcore
from dzcore import Function, GraphError, MixedBackendError, Variable, grad
from dzcore.backend import Backend
from dzcore.testing import assert_close, check_gradients, values


class Square(Function):
    def forward(self, x: Any) -> Any:
        return x**2

    def backward(self, gy: Variable) -> Variable:
        (x,) = self.inputs
        return 2 * x * gy


class Exp(Function):
    """Uses its result in `backward`."""

    def forward(self, x: Any) -> Any:
        return self.xp.exp(x)

    def backward(self, gy: Variable) -> Variable:
        return gy * self.outputs[0]()

    @property
    def xp(self) -> Any:
        return self.input.backend.xp


class Product(Function):
    def forward(self, x0: Any, x1: Any) -> Any:
        return x0 * x1

    def backward(self, gy: Variable) -> tuple[Variable, Variable]:
        x0, x1 = self.inputs
        return gy * x1, gy * x0


class PowerPlus(Function):
    """Has settings of its own, and something to remember."""

    def __init__(self, n: int) -> None:
        self.n = n

    def forward(self, x: Any) -> Any:
        self.last = x ** (self.n - 1)
        return x**self.n + 1.0

    def backward(self, gy: Variable) -> Variable:
        return gy * self.n * self.input ** (self.n - 1)


class SplitSum(Function):
    """Two results, (x·y, x + 2y)."""

    def forward(self, x: Any, y: Any) -> tuple[Any, Any]:
        return x * y, x + 2.0 * y

    def backward(self, ga: Variable, gb: Variable) -> tuple[Variable, Variable]:
        x, y = self.inputs
        return ga * y + gb, ga * x + 2.0 * gb


class Select(Function):
    """The second input is not differentiated."""

    def forward(self, x: Any, mask: Any) -> Any:
        return self.input.backend.xp.where(mask, x, 0.0)

    def backward(self, gy: Variable) -> tuple[Variable, None]:
        return dzcore.where(self.inputs[1], gy, 0.0), None


@pytest.mark.parametrize("f", [Square(), Exp(), Product(), PowerPlus(3), SplitSum()], ids=lambda f: type(f).__name__)
def test_every_order(f: Function, backend: Backend) -> None:
    inputs = [Variable([0.5, -1.5, 2.0], dtype="float64"), Variable([1.0, 0.25, -1.0], dtype="float64")]
    check_gradients(f, *inputs[: 2 if isinstance(f, Product | SplitSum) else 1])


def test_third_order(backend: Backend) -> None:
    x = Variable(2.0)
    y = Square()(Square()(x))
    for expected in (32.0, 48.0, 48.0, 24.0):
        (y,) = grad(y, x, create_graph=True)
        assert float(y) == expected


def test_forward_gets_arrays_and_backward_variables(backend: Backend) -> None:
    seen: list[Any] = []

    class Spy(Function):
        def forward(self, x: Any) -> Any:
            seen.append(x)
            return x * 1.0

        def backward(self, gy: Variable) -> Variable:
            seen.append(gy)
            return gy

    x = Variable([1.0, 2.0])
    y = Spy()(x)
    y.backward()
    assert backend.owns(seen[0])
    assert isinstance(seen[1], Variable)
    assert isinstance(y.creator, Spy)


def test_the_results_become_arrays_of_the_backend(backend: Backend) -> None:
    class Count(Function):
        def forward(self, x: Any) -> Any:
            return float(x.shape[0])

    y = Count()(Variable([1.0, 2.0]))
    assert backend.owns(y.data)
    assert float(y) == 2.0


def test_a_dropped_output(backend: Backend) -> None:
    """The gradient of a result that nobody uses is zero (DeZero crashes, or passes None)."""
    x, y = Variable(3.0), Variable(5.0)
    a, _ = SplitSum()(x, y)
    del _
    a.backward()
    assert (float(x.grad), float(y.grad)) == (5.0, 3.0)
    b = SplitSum()(x, y)[1]
    gx, gy = grad(b, [x, y], create_graph=True)
    assert (float(gx), float(gy)) == (1.0, 2.0)


def test_both_outputs_meet_in_one_call_of_backward(backend: Backend) -> None:
    calls: list[tuple[float, float]] = []

    class Spy(SplitSum):
        def backward(self, ga: Variable, gb: Variable) -> tuple[Variable, Variable]:
            calls.append((float(ga), float(gb)))
            return super().backward(ga, gb)

    x, y = Variable(3.0), Variable(5.0)
    a, b = Spy()(x, y)
    (a * 2.0 + b * 3.0 + a).backward()
    assert calls == [(3.0, 3.0)]
    assert (float(x.grad), float(y.grad)) == (18.0, 15.0)


def test_an_instance_that_is_called_twice(backend: Backend) -> None:
    """Each call has inputs, results and attributes of its own."""
    f = PowerPlus(2)
    x, z = Variable(3.0), Variable(10.0)
    a, b = f(x), f(z)
    a.backward()
    b.backward()
    assert (float(x.grad), float(z.grad)) == (6.0, 20.0)
    x.cleargrad()
    f(f(x)).backward()
    assert float(x.grad) == 2 * 10.0 * 2 * 3.0
    assert a.creator is not b.creator
    assert float(a.creator.last) == 3.0
    assert float(b.creator.last) == 10.0


def test_none_where_there_is_no_gradient(backend: Backend) -> None:
    x, mask = Variable([1.0, 2.0]), Variable([True, False])
    Select()(x, mask).backward()
    assert_close(x.grad, [1.0, 0.0])

    class Stop(Function):
        def forward(self, x: Any) -> Any:
            return x * 1.0

        def backward(self, gy: Variable) -> None:
            return None

    x.cleargrad()
    (Stop()(x) + x).backward()
    assert_close(x.grad, [1.0, 1.0])
    with pytest.raises(GraphError, match="input 0"):
        grad(Stop()(x), x)


def test_constants_and_numbers_as_inputs(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    y = Product()(x, 3.0)
    y.backward()
    assert_close(y.detach(), [3.0, 6.0])
    assert_close(x.grad, [3.0, 3.0])
    assert Product()(x.detach(), x.detach()).node is None
    with dzcore.no_grad():
        assert Product()(x, x).node is None


def test_numbers_go_to_the_backend_of_the_variables(strict: str) -> None:
    x = Variable(np.ones(2)).to(strict)
    assert Product()(2.0, x).backend is x.backend  # and not on numpy, the current one


def test_integer_results_carry_no_gradient(backend: Backend) -> None:
    class ArgAndMax(Function):
        def forward(self, x: Any) -> tuple[Any, Any]:
            xp = self.input.backend.xp
            return xp.argmax(x), xp.max(x)

        def backward(self, gi: Variable, gy: Variable) -> Variable:
            i, y = (output() for output in self.outputs)
            assert not i.requires_grad
            return dzcore.where(self.input == y, gy, 0.0)

    x = Variable([1.0, 3.0, 2.0])
    i, y = ArgAndMax()(x)
    assert not i.requires_grad
    for create_graph in (False, True):
        assert_close(grad(y, x, create_graph=create_graph)[0], [0.0, 1.0, 0.0])


class Bad(Function):
    def __init__(self, result: Any) -> None:
        self.result = result

    def forward(self, x: Any, y: Any) -> Any:
        return x + y

    def backward(self, gy: Variable) -> Any:
        return self.result(gy)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda gy: gy, r"Bad.backward returned 1 gradients for 2 inputs"),
        (lambda gy: (gy, gy, gy), r"Bad.backward returned 3 gradients for 2 inputs"),
        (lambda gy: (gy, dzcore.sum(gy)), r"Bad.backward returned for input 1 a gradient of shape \(\)"),
        (lambda gy: (gy.astype("float64"), gy), r"Bad.backward returned for input 0 .*float64.*float32"),
    ],
)
@pytest.mark.parametrize("create_graph", [False, True])
def test_wrong_gradients_name_the_function(result: Any, message: str, create_graph: bool, backend: Backend) -> None:
    x, y = Variable([1.0, 2.0]), Variable([1.0, 2.0])
    with pytest.raises(GraphError, match=message):
        Bad(result)(x, y).backward(create_graph=create_graph)


def test_a_gradient_on_another_backend_is_named(strict: str) -> None:
    x, y = Variable(np.ones(2)), Variable(np.ones(2))
    with pytest.raises(GraphError, match="on strict; the input has .* on numpy"):
        Bad(lambda gy: (gy.to(strict), gy))(x, y).backward()


def test_inputs_of_two_backends(strict: str) -> None:
    x = Variable(np.ones(2))
    with pytest.raises(MixedBackendError, match="numpy.*strict"):
        Product()(x, x.to(strict))


def test_what_is_missing_is_named() -> None:
    class Nothing(Function):
        pass

    class Forward(Function):
        def forward(self, x: Any) -> Any:
            return x * 1.0

    with pytest.raises(NotImplementedError, match="Nothing needs a method forward"):
        Nothing()(Variable([1.0]))
    with pytest.raises(NotImplementedError, match="Forward needs a method backward"):
        Forward()(Variable([1.0])).backward()


def test_an_error_in_backward_leaves_no_state_behind() -> None:
    class Fails(Function):
        def forward(self, x: Any) -> Any:
            return x * 1.0

        def backward(self, gy: Variable) -> Variable:
            raise ZeroDivisionError

    x = Variable([1.0])
    y = Fails()(x)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            y.backward()
        assert y.creator.outputs == ()
        assert dzcore.Config.enable_backprop


def test_no_graph_is_recorded_in_backward_unless_asked_for(backend: Backend) -> None:
    recorded: list[bool] = []

    class Spy(Square):
        def backward(self, gy: Variable) -> Variable:
            gx = super().backward(gy)
            recorded.append(gx.requires_grad)
            return gx

    x = Variable([1.0, 2.0])
    Spy()(x).backward()
    grad(Spy()(x), x, create_graph=True)
    assert recorded == [False, True]


def test_functions_and_rules_mix(backend: Backend) -> None:
    check_gradients(lambda x: dzcore.tanh(Square()(dzcore.sin(x))) * Exp()(x), Variable([0.3, -0.4]))


def test_the_graph_of_a_function_dies_with_its_result() -> None:
    x = Variable(np.ones(3))
    h = x * 2.0
    array = weakref.ref(h.data)
    y = Square()(h)
    del h
    assert array() is not None
    y.backward()
    del y
    assert array() is None
    assert values(x.grad) == [8.0] * 3


def test_a_list_of_results_is_several(backend: Backend) -> None:
    class Both(Function):
        def forward(self, x: Any) -> Any:
            return [x * 2.0, x * 3.0]

        def backward(self, g0: Variable, g1: Variable) -> Variable:
            return g0 * 2.0 + g1 * 3.0

    x = Variable([1.0, 2.0])
    a, b = Both()(x)
    (a + b).backward()
    assert_close(x.grad, [5.0, 5.0])


def test_calls_and_results_that_are_none() -> None:
    class Nothing(Function):
        def forward(self, *xs: Any) -> Any:
            return None

    with pytest.raises(TypeError, match="Nothing was called without inputs"):
        Nothing()()
    with pytest.raises(TypeError, match="forward returned None"):
        Nothing()(Variable(1.0))
