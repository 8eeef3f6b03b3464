"""The faults of DeZero that the core could have, one regression test apiece; each docstring quotes the fault."""

import threading
from typing import Any

import numpy as np
import pytest

import dzcore
from dzcore import Function, Variable, no_grad
from dzcore import functions as F
from dzcore import layers as L
from dzcore.backend import Backend
from dzcore.graph import engine
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
