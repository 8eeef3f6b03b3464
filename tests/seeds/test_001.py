"""Text 001, a notebook on steps 52 to 54: the GPU, saving a model, dropout and test mode."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
from dzcore import Function, Layer, Variable, as_array, cuda
from dzcore.backend import Backend

from .conftest import Libraries
from .dropout import assert_direct_and_inverted, assert_drops, assert_prints, dropout
from .layers import assert_same_files, nested
from .training import losses, prepare, train


def test_gpu_enable() -> None:
    """Text 001, listing 2: is there a GPU?"""
    assert dzcore.cuda.gpu_enable in (True, False)


def test_training_on_a_gpu_and_on_the_processor(mnist: int, gpu: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    """Text 001, listings 3 to 5: MNIST on both, and how long each takes; the losses are the same ones."""
    dzcore.random.seed(0)
    train_set, train_loader, model, optimizer = prepare()
    train_loader.to_gpu()
    model.to_gpu()
    gpu_times = train(train_set, train_loader, model, optimizer, 2)
    there = losses(capsys.readouterr().out)
    assert all(gpu.owns(param.data) for param in model.params())

    dzcore.random.seed(0)
    cpu_times = train(*prepare(), 2)
    here = losses(capsys.readouterr().out)
    assert here[1] < here[0]
    assert there == pytest.approx(here, abs=2e-4)

    cpu_avg_time, gpu_avg_time = sum(cpu_times) / len(cpu_times), sum(gpu_times) / len(gpu_times)
    assert f"{cpu_avg_time / gpu_avg_time:.1f}x".endswith("x")


# CuPy ---------------------------------------------------------------------------------------------------------------


def test_arrays_of_cupy(libraries: Libraries) -> None:
    """Text 001, listing 7: CuPy's arrays are NumPy's in all but the place; a Variable prints the same."""
    cp = libraries.cp
    x = cp.arange(6)
    s = cp.array(2)
    assert str(x) == "[0 1 2 3 4 5]"
    assert (x.shape, x.ndim, x.reshape(2, 3).shape) == ((6,), 1, (2, 3))
    assert str(x.reshape(2, 3)) == "[[0 1 2]\n [3 4 5]]"
    assert str(x + s) == "[2 3 4 5 6 7]"
    assert str(Variable(x) + Variable(s)) == "variable([2 3 4 5 6 7])"


def test_there_and_back(libraries: Libraries) -> None:
    """Text 001, listing 8: asarray and asnumpy; dzcore's as_cupy and as_numpy do the same."""
    np, cp = libraries.np, libraries.cp
    n = np.array(1.0)
    c = cp.asarray(n)
    assert type(c) is cp.ndarray
    assert type(cuda.as_cupy(n)) is cp.ndarray
    m = cp.asnumpy(c)
    assert type(m) is np.ndarray
    assert type(cuda.as_numpy(c)) is np.ndarray


def test_the_module_of_an_array(libraries: Libraries) -> None:
    """Text 001, listing 9: get_array_module; dzcore's gives the same functions."""
    np, cp = libraries.np, libraries.cp
    for module in (np, cp):
        x = module.array([1, 2, 3])
        xp = cp.get_array_module(x)
        assert xp == module
        assert type(cuda.get_array_module(x).sum(x)) is type(xp.sum(x))


def test_wrappers_by_hand(libraries: Libraries) -> None:
    """Text 001, listings 10 to 12: CuPy if it is there, and three functions around it."""
    np, cp = libraries.np, libraries.cp
    array_types = (np.ndarray, cp.ndarray)

    def get_array_module(x: Any) -> Any:
        if isinstance(x, Variable):
            x = x.data
        return cp.get_array_module(x)

    def as_numpy(x: Any) -> Any:
        if isinstance(x, Variable):
            x = x.data
        if np.isscalar(x):
            return np.array(x)
        elif isinstance(x, np.ndarray):
            return x
        return cp.asnumpy(x)

    def as_cupy(x: Any) -> Any:
        if isinstance(x, Variable):
            x = x.data
        return cp.asarray(x)

    for x in (Variable(np.ones(2)), Variable(cp.ones(2)), np.ones(2), cp.ones(2)):
        assert isinstance(x.data if isinstance(x, Variable) else x, array_types)
        assert get_array_module(x).__name__ in cuda.get_array_module(x).__name__
        assert as_numpy(x).tolist() == cuda.as_numpy(x).tolist() == [1.0, 1.0]
        assert type(as_cupy(x)) is type(cuda.as_cupy(x)) is cp.ndarray
    assert as_numpy(2.0).tolist() == cuda.as_numpy(2.0).tolist()


def test_moving_methods_by_hand(gpu: Backend) -> None:
    """Text 001, listings 13 and 14: to_cpu and to_gpu of Variable and Layer, written with as_numpy and as_cupy."""

    class Moved(Variable):
        def to_cpu(self) -> None:
            if self.data is not None:
                self.data = dzcore.cuda.as_numpy(self.data)

        def to_gpu(self) -> None:
            if self.data is not None:
                self.data = dzcore.cuda.as_cupy(self.data)

    class Movable(Layer):
        def to_cpu(self) -> None:
            for param in self.params():
                param.to_cpu()

        def to_gpu(self) -> None:
            for param in self.params():
                param.to_gpu()

    x = Moved(np.ones(2))
    x.to_gpu()
    assert gpu.owns(x.data)
    y = x * 2.0
    y.backward()
    assert gpu.owns(x.grad.data)
    x.cleargrad()
    x.to_cpu()
    assert x.data.tolist() == [1.0, 1.0]

    layer = Movable()
    layer.inner = dzcore.layers.Linear(2, in_size=3)
    layer.to_gpu()
    assert all(gpu.owns(param.data) for param in layer.params())
    layer.to_cpu()
    assert all(isinstance(param.data, np.ndarray) for param in layer.params())


class Sin(Function):
    def forward(self, x: Any) -> Any:
        xp = cuda.get_array_module(x)
        return xp.sin(x)

    def backward(self, gy: Any) -> Any:
        (x,) = self.inputs
        return gy * F.cos(x)


def test_a_function_for_both(gpu: Backend) -> None:
    """Text 001, the listing of Sin: one function, wherever the array is; and its second derivative."""
    for convert in (cuda.as_numpy, cuda.as_cupy):
        x = Variable(convert(np.asarray([0.5])))
        y = Sin()(x)
        y.backward(create_graph=True)
        gx = x.grad
        x.cleargrad()
        gx.backward()
        assert float(cuda.as_numpy(y)[0]) == pytest.approx(np.sin(0.5))
        assert float(cuda.as_numpy(gx)[0]) == pytest.approx(np.cos(0.5))
        assert float(cuda.as_numpy(x.grad)[0]) == pytest.approx(-np.sin(0.5))


class Add(Function):
    def forward(self, x0: Any, x1: Any) -> Any:
        self.x0_shape, self.x1_shape = x0.shape, x1.shape
        return x0 + x1

    def backward(self, gy: Any) -> Any:
        gx0, gx1 = gy, gy
        if self.x0_shape != self.x1_shape:
            gx0 = dzcore.functions.sum_to(gx0, self.x0_shape)
            gx1 = dzcore.functions.sum_to(gx1, self.x1_shape)
        return gx0, gx1


def as_array_by_hand(x: Any, array_module: Any = np) -> Any:
    if np.isscalar(x):
        return array_module.array(x)
    return x


@pytest.mark.parametrize("to_array", [as_array_by_hand, as_array])
def test_addition_by_hand(to_array: Any) -> None:
    """Text 001, listing 16 and that of Add: numbers become arrays of the library that they meet."""

    def add(x0: Any, x1: Any) -> Any:
        x1 = to_array(x1, dzcore.cuda.get_array_module(x0.data))
        return Add()(x0, x1)

    x0, x1 = Variable(np.ones((2, 3))), Variable(np.ones(3))
    y = add(x0, x1)
    y.backward()
    assert x0.grad.data.tolist() == [[1.0] * 3] * 2
    assert x1.grad.data.tolist() == [2.0] * 3
    z = add(x0, 2.0)
    assert z.data.tolist() == [[3.0] * 3] * 2


# Saving -------------------------------------------------------------------------------------------------------------


def test_arrays_in_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text 001, listings 17 to 20: save, savez with keywords and with a dictionary, and the bytes of the file."""
    x = np.array([1, 2, 3])
    np.save("test.npy", x)
    print(np.load("test.npy"))
    a, b = np.array([1, 2, 3]), np.array([4, 5, 6])
    np.savez("test.npz", x1=a, x2=b)
    arrays = np.load("test.npz")
    print(arrays["x1"])
    print(arrays["x2"])
    data = {"x1": a, "x2": b}
    np.savez("test.npz", **data)
    arrays = np.load("test.npz")
    assert {name: arrays[name].tolist() for name in arrays} == {"x1": [1, 2, 3], "x2": [4, 5, 6]}
    assert capsys.readouterr().out == "[1 2 3]\n[1 2 3]\n[4 5 6]\n"
    with open("./test.npz", "rb") as f:
        s = f.read()
    assert s.startswith(b"PK\x03\x04")
    assert b"x1.npy" in s


def test_flatten_params(capsys: pytest.CaptureFixture[str]) -> None:
    """Text 001, listings 21 and 22: the flat dictionary, printed; in the order of assignment, where DeZero has none."""
    params_dict: dict[str, Any] = {}
    nested()._flatten_params(params_dict)
    print(params_dict)
    assert capsys.readouterr().out == "{'l1/p1': variable(1), 'p2': variable(2), 'p3': variable(3)}\n"


def test_saving_by_hand(folder: Path) -> None:
    """Text 001, the listing of save_weights and load_weights."""
    assert_same_files(np.ones((3, 2), np.float32))


def test_training_goes_on_from_a_file(mnist: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text 001, listing 23: run twice, the script goes on from the weights that it has saved."""
    for _ in range(2):
        train_set, train_loader, model, optimizer = prepare()
        if os.path.exists("my_mlp.npz"):
            model.load_weights("my_mlp.npz")
        train(train_set, train_loader, model, optimizer, 2)
        model.save_weights("my_mlp.npz")
    printed = losses(capsys.readouterr().out)
    assert printed == sorted(printed, reverse=True)
    assert len(printed) == 4


# Dropout ------------------------------------------------------------------------------------------------------------


def test_dropout_of_arrays() -> None:
    """Text 001, listings 24 to 26: dropped, weakened at test time, or strengthened while training."""
    assert_direct_and_inverted()


def test_dropout_by_hand() -> None:
    """Text 001, listing 27: dropout with Config.train and get_array_module."""
    assert_drops(dropout)


def test_what_dropout_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Text 001, listing 28: what F.dropout makes of five ones."""
    assert_prints(capsys)
