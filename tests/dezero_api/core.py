"""The top level, Variable, utils and cuda, each called as DeZero's scripts call them."""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
from dzcore import Function, Variable, cuda, utils

from .check import ROWS, rows, same, slopes


class Square(Function):
    def forward(self, x: Any) -> Any:
        return x**2

    def backward(self, gy: Any) -> Any:
        (x,) = self.inputs
        return 2 * x * gy


def a_function() -> None:
    slopes(Square(), [3.0], value=[9.0], gradients=([6.0],))
    y = Square()(Variable(np.array(3.0)))
    assert isinstance(y.creator, Square)
    same(y.creator.inputs[0], 3.0)


def a_config() -> None:
    assert dzcore.Config.train is True
    assert dzcore.Config.enable_backprop is True
    with dzcore.test_mode():
        assert dzcore.Config.train is False


def a_mode(context: Callable[[], Any]) -> Callable[[], None]:
    def case() -> None:
        with context():
            assert (Variable(np.ones(2)) * 2.0).creator is None
        assert (Variable(np.ones(2)) * 2.0).creator is not None

    return case


def a_test_mode() -> None:
    with dzcore.test_mode():
        same(F.dropout(np.ones(100)), np.ones(100))


def a_layer() -> None:
    layer = dzcore.Layer()
    layer.p = dzcore.Parameter(np.array(1.0), name="p")
    assert [param.name for param in layer.params()] == ["p"]


class Twice(dzcore.Model):
    def __init__(self) -> None:
        super().__init__()
        self.w = dzcore.Parameter(np.array(2.0))

    def forward(self, x: Any) -> Any:
        return x * self.w


def a_dataset() -> None:
    class Numbers(dzcore.Dataset):
        def prepare(self) -> None:
            self.data = np.arange(4.0).reshape(4, 1)
            self.label = np.arange(4)

    data = Numbers(train=True, transform=lambda x: x * 10, target_transform=lambda t: t + 1)
    x, t = data[2]
    same(x, [20.0])
    assert (int(t), len(data)) == (3, 4)


def a_loader() -> None:
    loader = dzcore.DataLoader([(np.array([float(i)]), i) for i in range(4)], batch_size=3, shuffle=False)
    (x, t), (y, u) = loader
    same(x, [[0.0], [1.0], [2.0]])
    same(t, [0, 1, 2])
    assert (y.tolist(), u.tolist()) == ([[3.0]], [3])


MODULES = ("core", "cuda", "dataloaders", "datasets", "functions", "functions_conv", "layers", "models", "optimizers",
           "transforms", "utils")  # fmt: skip

TOP: dict[str, Callable[..., Any]] = {
    "Variable": lambda: same(dzcore.Variable(np.array([1.0, 2.0])), [1.0, 2.0]),
    "Parameter": lambda: (same(dzcore.Parameter(np.array(1.0)), 1.0), issubclass(dzcore.Parameter, Variable) or 1 / 0),
    "Function": a_function,
    "as_variable": lambda: same(dzcore.as_variable(np.array(2.0)) * 2, 4.0),
    "as_array": lambda: (same(dzcore.as_array(2.0), 2.0), same(dzcore.as_array(2.0, np), 2.0)),
    "setup_variable": lambda: (dzcore.setup_variable(), same(rows() + 1, ROWS + 1)),
    "Config": a_config,
    "using_config": a_mode(lambda: dzcore.using_config("enable_backprop", False)),
    "no_grad": a_mode(dzcore.no_grad),
    "test_mode": a_test_mode,
    "Layer": a_layer,
    "Model": lambda: slopes(Twice(), [1.0], value=[2.0], gradients=([2.0],)),
    "Dataset": a_dataset,
    "DataLoader": a_loader,
    **{f"import {name}": lambda name=name: import_module(f"dzcore.{name}").__name__ for name in MODULES},
    "core.Parameter": lambda: same(import_module("dzcore.core").Parameter(np.array(3.0)), 3.0),
}


# Variable -----------------------------------------------------------------------------------------------------------


def a_gradient() -> None:
    x = rows()
    F.sum(x * x).backward()
    assert isinstance(x.grad, Variable)
    same(x.grad, 2 * ROWS)
    x.grad = Variable(np.ones((2, 3)))
    x.cleargrad()
    assert x.grad is None


def generations() -> None:
    x = rows()
    a = x**2
    y = F.sum(a + a * x)
    assert [v.generation for v in (x, a, y)] == [0, 1, 4]
    row = Variable(np.ones(3))
    assert [v.generation for v in (x + row, Square()(row), Square()(row) + x)] == [1, 1, 2]
    assert Variable(np.array(1)).generation == 0


def a_creator() -> None:
    f, x = Square(), Variable(np.array(3.0))
    f.inputs = (x,)
    y = Variable(np.array(9.0))
    y.set_creator(f)
    assert y.creator is f
    assert y.generation == 1
    y.backward()
    same(x.grad, 6.0)
    with pytest.raises(dzcore.errors.GraphError, match="has no inputs; call it"):
        Variable(np.array(9.0)).set_creator(Square())


def unchained(cut: Callable[[Variable], Any], back_to_x: bool) -> Callable[[], None]:
    def case() -> None:
        x = Variable(np.array(2.0))
        a = x * x
        b = a * 3.0
        cut(b)
        b.backward()
        same(b.grad, 1.0)
        a.backward()
        assert (x.grad is not None) is back_to_x

    return case


def backward_with_options() -> None:
    x = Variable(np.array(2.0))
    a = x * x
    y = a * a
    y.backward(retain_grad=True, create_graph=True)
    same(a.grad, 8.0)
    same(x.grad, 32.0)
    gx = x.grad
    x.cleargrad()
    gx.backward()
    same(x.grad, 48.0)


def printed() -> None:
    assert repr(Variable(np.array([1.0, 2.0]))) == "variable([1. 2.])"
    assert repr(Variable(np.array([0.0, 2.0, 2.0, 0.0, 0.0]))) == "variable([0. 2. 2. 0. 0.])"
    assert repr(rows()) == "variable([[1. 2. 3.]\n          [4. 5. 6.]])"
    assert repr(Variable(np.array(3))) == "variable(3)"


def moved(gpu: Any) -> None:
    x = Variable(np.array([1.0]))
    x.to_gpu()
    assert gpu.owns(x.data)
    x.to_cpu()
    same(x, [1.0])


def either_side(operation: Callable[[Any, Any], Any], g0: Any, g1: Any, value: Any) -> Callable[[], None]:
    """X = 4 and 2 as Variables, plain arrays and numbers, on either side; gradients for the Variables."""

    def case() -> None:
        slopes(operation, [4.0], [2.0], value=[value], gradients=([g0], [g1]))
        for other in (np.array([2.0]), 2.0, 2):
            slopes(lambda x, other=other: operation(x, other), [4.0], value=[value], gradients=([g0],))
        for other in (np.array([4.0]), 4.0, 4):
            slopes(lambda x, other=other: operation(other, x), [2.0], value=[value], gradients=([g1],))

    return case


def indexed() -> None:
    slopes(lambda x: x[1], ROWS.tolist(), value=ROWS[1], gradients=([[0, 0, 0], [1, 1, 1]],))
    slopes(lambda x: x[:, 2], ROWS.tolist(), value=[3, 6], gradients=([[0, 0, 1], [0, 0, 1]],))
    slopes(lambda x: x[[0, 0, 1]], ROWS.tolist(), value=ROWS[[0, 0, 1]], gradients=([[2, 2, 2], [1, 1, 1]],))


VARIABLE: dict[str, Callable[..., Any]] = {
    "data": lambda: same(rows().data, ROWS),
    "grad": a_gradient,
    "creator": a_function,
    "generation": generations,
    "name": lambda: Variable(np.array(1.0), "x").name == "x" or 1 / 0,
    "shape": lambda: same(rows().shape, (2, 3)),
    "ndim": lambda: same(rows().ndim, 2),
    "size": lambda: same(rows().size, 6),
    "dtype": lambda: rows().dtype == np.float64 or 1 / 0,
    "len()": lambda: same(len(rows()), 2),
    "repr": printed,
    "set_creator": a_creator,
    "unchain": unchained(Variable.unchain, True),
    "unchain_backward": unchained(Variable.unchain_backward, False),
    "cleargrad": a_gradient,
    "backward": backward_with_options,
    "reshape": lambda: (same(rows().reshape((3, 2)), ROWS.reshape(3, 2)), same(rows().reshape(6), ROWS.reshape(6))),
    "transpose": lambda: (same(rows().transpose(), ROWS.T), same(rows().transpose(1, 0), ROWS.T)),
    "T": lambda: same(rows().T, ROWS.T),
    "sum": lambda: (same(rows().sum(), 21.0), same(rows().sum(axis=0, keepdims=True), [[5.0, 7.0, 9.0]])),
    "max": lambda: (same(rows().max(), 6.0), same(rows().max(axis=1, keepdims=False), [3.0, 6.0])),
    "min": lambda: (same(rows().min(), 1.0), same(rows().min(axis=0), [1.0, 2.0, 3.0])),
    "matmul": lambda: same(rows().matmul(rows().T), ROWS @ ROWS.T),
    "dot": lambda: same(rows().dot(rows().T), ROWS @ ROWS.T),
    "to_cpu": moved,
    "to_gpu": moved,
    "+": either_side(lambda a, b: a + b, 1.0, 1.0, 6.0),
    "-": either_side(lambda a, b: a - b, 1.0, -1.0, 2.0),
    "*": either_side(lambda a, b: a * b, 2.0, 4.0, 8.0),
    "/": either_side(lambda a, b: a / b, 0.5, -1.0, 2.0),
    "**": either_side(lambda a, b: a**b, 8.0, 16 * np.log(4.0), 16.0),
    "neg": lambda: slopes(lambda x: -x, [1.0], value=[-1.0], gradients=([-1.0],)),
    "getitem": indexed,
}


# utils, cuda --------------------------------------------------------------------------------------------------------


def a_graph() -> None:
    x = Variable(np.ones((2, 3)), name="x")
    y = F.tanh(x)
    y.name = "y"
    assert re.match(r"digraph \w+ \{", utils.get_dot_graph(y))
    text = utils.get_dot_graph(y, verbose=True)
    assert "x: (2, 3) float64" in text
    assert "tanh" in text
    assert "(2, 3)" not in utils.get_dot_graph(y, verbose=False)


def a_plot(tmp_path: Path) -> None:
    path = tmp_path / "graph.dot"
    utils.plot_dot_graph(F.exp(rows()), verbose=False, to_file=str(path))
    assert "exp" in path.read_text()


def wrong_gradients() -> None:
    class Wrong(Square):
        def backward(self, gy: Any) -> Any:
            return gy * 3.0

    assert utils.gradient_check(Square(), np.array([1.0, 3.0])) is True
    assert utils.gradient_check(Wrong(), np.array([1.0, 3.0]), rtol=1e-4, atol=1e-5) is False
    assert utils.gradient_check(F.linear, ROWS, ROWS.T, b=np.ones(2)) is True


def a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "dzcore").mkdir()
    (tmp_path / "dzcore" / "picture.jpg").write_bytes(b"there")
    for name in (None, "picture.jpg"):
        with open(utils.get_file("http://127.0.0.1:9/a/picture.jpg", name), "rb") as file:
            assert file.read() == b"there"


def logsumexp() -> None:
    same(utils.logsumexp(ROWS, axis=1), np.log(np.exp(ROWS).sum(axis=1, keepdims=True)))
    same(utils.logsumexp(np.array([[1e4, 1e4]])), [[1e4 + np.log(2)]])


def a_summed_gradient() -> None:
    gy = Variable(np.ones(2))
    assert utils.reshape_sum_backward(gy, (2, 3), axis=1, keepdims=False).shape == (2, 1)
    assert utils.reshape_sum_backward(gy, (3, 2), axis=-2, keepdims=False).shape == (1, 2)
    assert utils.reshape_sum_backward(gy, (3, 2, 4), axis=(0, 2), keepdims=False).shape == (1, 2, 1)
    assert utils.reshape_sum_backward(gy.reshape(1, 2), (3, 2), 0, True).shape == (1, 2)


def pairs() -> None:
    assert utils.pair(3) == (3, 3)
    assert utils.pair((3, 4)) == (3, 4)
    with pytest.raises(ValueError, match="unpack"):
        utils.pair((1, 2, 3))


UTILS: dict[str, Callable[..., Any]] = {
    "get_dot_graph": a_graph,
    "plot_dot_graph": a_plot,
    "sum_to": lambda: same(utils.sum_to(ROWS, (1, 3)), [[5.0, 7.0, 9.0]]),
    "reshape_sum_backward": a_summed_gradient,
    "logsumexp": logsumexp,
    "max_backward_shape": lambda: (
        same(utils.max_backward_shape(ROWS, 1), [2, 1]), same(utils.max_backward_shape(ROWS, None), [1, 1])
    ),
    "gradient_check": wrong_gradients,
    "numerical_grad": lambda: same(utils.numerical_grad(lambda x, n: x**n, ROWS, n=2), 2 * ROWS),
    "array_equal": lambda: (
        utils.array_equal(rows(), ROWS) or 1 / 0, utils.array_equal(ROWS, ROWS + 1e-9) and 1 / 0
    ),
    "array_allclose": lambda: (
        utils.array_allclose(rows(), ROWS + 1e-6) or 1 / 0,
        utils.array_allclose(ROWS, ROWS + 1e-2, rtol=1e-4, atol=1e-5) and 1 / 0,
    ),
    "get_file": a_file,
    "pair": pairs,
    "get_conv_outsize": lambda: same(utils.get_conv_outsize(4, 3, 1, 1), 4),
    "get_deconv_outsize": lambda: same(utils.get_deconv_outsize(4, 3, 2, 1), 7),
}  # fmt: skip


def as_cupy(gpu: Any) -> None:
    array = cuda.as_cupy(np.array([1.0]))
    assert gpu.owns(array)
    same(cuda.as_numpy(Variable(array)), [1.0])


CUDA: dict[str, Callable[..., Any]] = {
    "gpu_enable": lambda: isinstance(dzcore.cuda.gpu_enable, bool) or 1 / 0,
    "get_array_module": lambda: same(cuda.get_array_module(rows()).exp(ROWS), np.exp(ROWS)),
    "as_numpy": lambda: same(cuda.as_numpy(rows()), ROWS),
    "as_cupy": as_cupy,
}
