"""The faults of DeZero that the core could have, one regression test apiece; each docstring quotes the fault."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
from dzcore import Function, Parameter, Variable, no_grad
from dzcore import functions as F
from dzcore import layers as L
from dzcore.backend import Backend
from dzcore.errors import WeightsError
from dzcore.graph import engine
from dzcore.optimizers import SGD, FreezeParam, MomentumSGD, WeightDecay
from dzcore.random import Generator
from dzcore.testing import assert_close, check_gradients, values


def test_fault_01_float32_stays_float32(backend: Backend) -> None:
    """float32 + 1.0, * 2.0, / 3.0, mean(), even default Linear weights become float64 under NumPy 2."""
    x = Variable([[1.0, 2.0]])
    layer = L.Linear(3)
    for y in (x + 1.0, 1.0 - x, x * 2.0, x / 3.0, 3.0 / x, x**2, x**0.5, 2.0**x, x.mean(), x.sum(), x.max(), layer(x),
              F.var(x), F.dropout(x, 0.5), F.clip(x, 0.0, 1.0), F.mean_squared_error(x, x * 2.0)):  # fmt: skip
        assert backend.dtype_name(y.dtype) == "float32"
        x.cleargrad()
        y.backward()
        assert backend.dtype_name(x.grad.dtype) == "float32"
    assert {backend.dtype_name(p.dtype) for p in layer.params()} == {"float32"}


def test_fault_02_a_leaf_can_go_backward(backend: Backend) -> None:
    """`leaf.backward()` raises AttributeError."""
    x = Variable([1.0, 2.0])
    x.backward()
    assert_close(x.grad, [1.0, 1.0])


class Split(Function):
    def forward(self, x: Any) -> tuple[Any, Any]:
        return x * 2.0, x * 3.0

    def backward(self, g0: Variable, g1: Variable) -> Variable:
        return g0 * 2.0 + g1 * 3.0


def test_fault_03_outputs_may_be_dropped(backend: Backend) -> None:
    """A multi-output function crashes when one output was dropped; an unused output gives a None gradient."""
    x = Variable([1.0, 2.0])
    a, b = Split()(x)
    del b
    a.backward()
    assert_close(x.grad, [2.0, 2.0])
    x.cleargrad()
    a, b = Split()(x)
    b.backward()
    assert_close(x.grad, [3.0, 3.0])


def test_fault_04_an_instance_may_be_called_twice(backend: Backend) -> None:
    """Calling one Function instance twice corrupts the first graph."""

    class Square(Function):
        def forward(self, x: Any) -> Any:
            return x * x

        def backward(self, gy: Variable) -> Variable:
            return gy * 2.0 * self.inputs[0]

    f = Square()
    x, z = Variable(3.0), Variable(5.0)
    y = f(x)
    f(z)
    y.backward()
    assert float(x.grad) == 6.0
    assert z.grad is None
    x.cleargrad()
    f(f(x)).backward()
    assert float(x.grad) == 4 * 27.0


@pytest.mark.parametrize("axis", [-1, -2, (0, -1), None, 0, 1])
def test_fault_05_extremes(axis: Any, backend: Backend) -> None:
    """max/min with a negative axis: backward raises; ties each get the full gradient (sum 3 instead of 1)."""
    for f in (dzcore.max, dzcore.min):
        x = Variable([[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]])
        y = f(x, axis)
        dzcore.sum(y).backward()
        assert sum(values(x.grad)) == pytest.approx(y.size)
        assert len(set(values(x.grad))) == 1
        check_gradients(lambda x, f=f: f(x, axis), [[1.0, 5.0, 3.0], [4.0, 2.0, 6.0]])


@pytest.mark.parametrize("ratio", [1.0, 1.5, -1.0, float("nan")])
def test_fault_06_dropout_ratios(ratio: float) -> None:
    """dropout(1.0) gives NaN; 1.5 and -1.0 are accepted silently."""
    with pytest.raises(ValueError, match="dropout_ratio"):
        F.dropout(Variable(np.ones(3)), ratio)
    with pytest.raises(ValueError, match="dropout_ratio"), dzcore.test_mode():
        F.dropout(Variable(np.ones(3)), ratio)


@pytest.mark.parametrize("kind", [L.RNN, L.LSTM, L.GRU])
def test_fault_09_recurrent_layers_of_a_given_in_size(kind: Any, backend: Backend) -> None:
    """RNN(h, in_size=i) breaks (hidden-to-hidden built with in_size)."""
    for rnn in (kind(5, in_size=3), kind(5, 3)):
        assert rnn.h2h.W.shape[0] == 5
        for _ in range(3):
            y = rnn(Variable([[0.1, 0.2, 0.3]]))
        assert y.shape == (1, 5)
        y.backward()
        assert all(p.grad.shape == p.shape for p in rnn.params())


def test_fault_07_convolutions(backend: Backend) -> None:
    """Conv2d double backward through gW raises; average_pooling's backward is wrong for non-square kernels."""
    x = Variable([[[[1.0, -2.0, 0.5], [3.0, 1.5, -1.0]]]])
    W, b = Variable([[[[0.5, -1.0]]], [[[2.0, 1.0]]]]), Variable([0.25, -0.5])
    y = F.conv2d(x, W, b)
    (gW,) = dzcore.grad(F.sum(y * y), W, create_graph=True)
    (ggx,) = dzcore.grad(F.sum(gW * gW), x)
    assert ggx.shape == x.shape
    check_gradients(F.conv2d, x, W, b)
    x.cleargrad()
    F.average_pooling(x, (2, 1)).backward()
    assert_close(x.grad, [[[[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]]])
    x.cleargrad()
    F.average_pooling(x, (1, 2)).backward()
    assert_close(x.grad, [[[[0.5, 1.0, 0.5], [0.5, 1.0, 0.5]]]])


def test_fault_11_no_grad_is_a_threads_own() -> None:
    """`no_grad` in one thread turns recording off in all."""
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with no_grad():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    x = Variable(np.ones(2))
    y = x * 2.0
    done.set()
    thread.join()
    assert y.requires_grad
    y.backward()
    assert x.grad.data.tolist() == [2.0, 2.0]


def test_fault_14_operands_of_every_kind(backend: Backend) -> None:
    """F.add(1.0, x), x ** Variable, 2 ** x, matmul of 3-d stacks, indexing by a Variable, comparisons: wrong."""
    x = Variable([1.0, 2.0])
    F.add(1.0, x).backward()
    assert_close(x.grad, [1.0, 1.0])
    p = Variable([2.0, 3.0])
    assert_close((x**p).detach(), [1.0, 8.0])
    check_gradients(lambda x, p: x**p, [1.5, 2.5], [2.0, 3.0])
    assert_close((2**x).detach(), [2.0, 4.0])
    check_gradients(lambda x: 2**x, [1.5, 2.5])
    a, b = [[[1.0, 2.0]], [[3.0, 4.0]]], [[[5.0], [6.0]], [[7.0], [8.0]]]
    assert_close((Variable(a) @ Variable(b)).detach(), [[[17.0]], [[53.0]]])
    check_gradients(lambda x, y: x @ y, a, b)
    x.cleargrad()
    x[Variable([1, 1, 0])].backward()
    assert_close(x.grad, [1.0, 2.0])
    assert values(x > 1.0) == [False, True]
    assert values(x <= Variable([0.5, 2.0])) == [False, True]
    assert values(x == Variable([1.0, 3.0])) == [True, False]
    assert values(x != 1.5) == [True, True]


def test_fault_15_a_wide_graph_takes_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backward pass of a 4,000-wide graph takes quadratic time (a full sort at every push)."""

    class Counted(int):
        comparisons = 0

        def __lt__(self, other: int) -> bool:
            Counted.comparisons += 1
            return int(self) < int(other)

    push = engine.heappush
    monkeypatch.setattr(engine, "heappush", lambda heap, key: push(heap, Counted(key)))
    x = Variable(np.ones(1))
    leaves = [x * float(i) for i in range(4000)]
    dzcore.concat(leaves).backward()
    assert x.grad.data.tolist() == [4000 * 3999 / 2]
    assert 0 < Counted.comparisons < 4000 * 40, "a heap compares some 2 log2(n) times an entry, a sort n"


def test_fault_18_resnet50_can_be_constructed() -> None:
    """ResNet50 cannot be constructed."""
    from dzcore.models import ResNet50

    with no_grad(), dzcore.test_mode():
        y = ResNet50()(Variable(np.ones((1, 3, 32, 32), "float32")))
    assert y.shape == (1, 1000)


def test_fault_08_batch_norm(backend: Backend) -> None:
    """BatchNorm's second derivative is silently wrong (1/std held constant); its backward in test mode raises."""
    x, gamma, beta = [[1.0, -2.0], [0.5, 3.0], [2.0, 0.0]], [1.5, -0.5], [0.1, 0.2]
    mean, var = L.Buffer([0.5, 0.25], dtype="float64"), L.Buffer([2.0, 4.0], dtype="float64")

    def training(*inputs: Variable) -> Variable:
        return F.batch_norm(*inputs, L.Buffer(mean), L.Buffer(var))

    def testing(*inputs: Variable) -> Variable:
        with dzcore.test_mode():
            return F.batch_norm(*inputs, mean, var)

    check_gradients(training, x, gamma, beta, order=2)
    check_gradients(testing, x, gamma, beta, order=2)


def test_fault_10_hooks_after_gradients_that_are_shared(backend: Backend) -> None:
    """WeightDecay after `sum(a + b)` raises "read-only": hooks mutate gradients that alias each other or a view."""
    a, b = Parameter([1.0, 2.0]), Parameter([3.0, 4.0])
    F.sum(a + b).backward()
    SGD(1.0).setup([a, b]).add_hook(WeightDecay(0.5)).update()
    assert_close(a.detach(), [-0.5, 0.0])
    assert_close(b.detach(), [0.5, 1.0])
    assert_close(a.grad, [1.0, 1.0])
    assert_close(b.grad, [1.0, 1.0])


def test_fault_12_parameters_come_in_the_order_of_assignment(numpy_backend: Backend) -> None:
    """Parameter order follows a set of names: it differs from process to process."""
    layer, names = L.Layer(), [f"p{i * 7 % 40}" for i in range(40)]
    for name in names:
        setattr(layer, name, Parameter([0.0]))
    assert [path for path, _ in layer.named_params()] == names


def test_fault_13_weights(tmp_path: Path, strict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """load_weights ignores wrong shapes; saving an uninitialized lazy layer writes an unreadable object array; saving
    moves the model to the CPU and leaves it there; an unfinished save destroys the old file."""
    path, model = tmp_path / "w.npz", L.Linear(2, in_size=3)
    with pytest.raises(WeightsError, match="W has no size yet"):
        L.Linear(2).save_weights(path)
    assert not path.exists()
    model.to("strict:device1").save_weights(path)
    assert {str(p.backend) for p in model.params()} == {"strict:device1"}
    with pytest.raises(WeightsError, match=r"W: the model has float32\[4, 2\], the file float32\[3, 2\]"):
        L.Linear(2, in_size=4).load_weights(path)
    before = path.read_bytes()

    def full(*args: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        L.Linear(9, in_size=9).save_weights(path)
    assert path.read_bytes() == before


def test_fault_16_state_and_streams(numpy_backend: Backend) -> None:
    """Optimizer state is keyed by id(param); randomness only through the global generator; GPU get_item calls a
    function that CuPy has removed; as published it cannot be imported with NumPy 1.24 or later (`np.int`)."""
    layer = L.Layer()
    optimizer = MomentumSGD(1.0, 0.5).setup(layer)
    for _ in range(3):  # each Parameter may well stand where the last one stood in memory
        layer.p = None
        layer.p = Parameter([1.0])
        layer.p.grad = Variable([1.0]).detach()
        optimizer.update()
        assert_close(layer.p.detach(), [0.0])
    own = Generator(5)
    first = own.bits(4).tolist()
    dzcore.random.seed(1)
    assert Generator(5).bits(4).tolist() == first
    before = dzcore.random.get_state()
    own.bits(4)
    assert dzcore.random.get_state() == before
    assert int(np.__version__.split(".")[0]) >= 2


def test_fault_17_tests_that_can_fail(numpy_backend: Backend) -> None:
    """Its tests: replacing the dropout scale by 1.0 passes all five dropout tests; deleting the scatter-add of get_item
    passes all six of its tests (the gradient check returns a bool that nobody asserts)."""

    class Wrong(Function):
        def forward(self, x: Any) -> Any:
            return x * x

        def backward(self, gy: Variable) -> Variable:
            return gy * self.inputs[0]

    with pytest.raises(AssertionError, match="derivative 1"):
        check_gradients(lambda x: Wrong()(x), [1.0, 2.0])
    y = F.dropout(Variable(np.ones(1000)), 0.75)
    assert set(y.data.tolist()) == {0.0, 4.0}
    assert_close(dzcore.grad(F.sum(y), y)[0], [1.0] * 1000)
    x = Variable([1.0, 2.0, 3.0])
    x[[0, 0, 2, 0]].backward()
    assert_close(x.grad, [3.0, 0.0, 1.0])


def test_fault_18_the_others(backend: Backend) -> None:
    """FreezeParam crashes; sum over a tuple of axes has no backward pass; expand_dims is wrong for negative axes;
    matrix times vector has no gradient; leaky_relu's backward raises on 0-d input; x ** 1 has a NaN second derivative
    at 0."""
    frozen, learning = L.Linear(2, in_size=2), L.Linear(2, in_size=2)
    old, new = values(frozen.W), values(learning.W)
    F.sum(learning(frozen(Variable([[1.0, 2.0]])))).backward()
    SGD(0.1).setup([*frozen.params(), *learning.params()]).add_hook(FreezeParam(frozen)).update()
    assert values(frozen.W) == old
    assert values(learning.W) != new
    check_gradients(lambda x: F.sum(x, axis=(0, 2)), [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    x = Variable([[1.0, 2.0, 3.0]])
    assert [F.expand_dims(x, axis).shape for axis in (-1, -2, -3)] == [(1, 3, 1), (1, 1, 3), (1, 1, 3)]
    check_gradients(F.matmul, [[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0])
    x = Variable(-2.0)
    F.leaky_relu(x).backward()
    assert_close(x.grad, 0.2)
    x = Variable(0.0)
    (g,) = dzcore.grad(x**1, x, create_graph=True)
    (gg,) = dzcore.grad(g + x * 0.0, x)
    assert float(g) == 1.0
    assert float(gg) == 0.0


def test_fault_19_numerics(backend: Backend) -> None:
    """Sigmoid cross-entropy gives inf and NaN for large logits; binary cross-entropy clips at 0.999; log_softmax is
    inexact in float32 at logits of 1e4; softmax cross-entropy turns a float32 backward pass into float64."""
    x = Variable([-1e4, 1e4])
    for t, want in (([0.0, 1.0], 0.0), ([1.0, 0.0], 1e4)):
        x.cleargrad()
        loss = F.sigmoid_cross_entropy(x, Variable(t))
        loss.backward()
        assert float(loss) == want
        assert_close(x.grad, [-0.5 if t[0] else 0.0, 0.0 if t[1] else 0.5], atol=1e-30)
    p = Variable([1 - 2.0**-20])
    assert float(F.binary_cross_entropy(p, Variable([1.0]))) == pytest.approx(2.0**-20, rel=1e-5)
    assert values(F.log_softmax(Variable([[1e4, 1e4 - 1.0]])))[1] == pytest.approx(-1.3132617, rel=1e-6)
    x = Variable([[1.0, 2.0], [3.0, 0.0]])
    F.softmax_cross_entropy(x, dzcore.asarray([0, 1])).backward()
    assert backend.dtype_name(x.grad.dtype) == "float32"
