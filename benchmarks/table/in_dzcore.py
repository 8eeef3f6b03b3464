"""The works in dzcore, by what it offers to everybody."""

import ctypes
import os
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable, optimizers
from dzcore.models import MLP, Model

Step = Callable[[], Any]
Numbers = SimpleNamespace


def start(threads: int) -> None:
    dzcore.set_num_threads(threads)


def about() -> dict[str, str]:
    found = {"dzcore": f"{dzcore.__version__} on {dzcore.current_backend()}, {dzcore.get_num_threads()} threads"}
    found["numpy"] = f"{np.__version__}, {_blas()}"
    off = os.environ.get("DZCORE_NUMPY_FAST") == "0"
    for extra in ("llvmlite", "onednn-cpu-gomp"):
        try:
            found[extra] = version(extra) + (", switched off" if off else "")
        except PackageNotFoundError:
            found[extra] = "not installed"
    return found


def _blas() -> str:
    """Name the BLAS, as OpenBLAS describes itself where it is one."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[call-overload]
    for line in Path("/proc/self/maps").read_text().splitlines() if Path("/proc/self/maps").exists() else ():
        path = line.split()[-1]
        if "openblas" in path and "numpy" in path:
            library = ctypes.CDLL(path)
            for prefix, suffix in (("scipy_openblas_", "64_"), ("scipy_openblas_", ""), ("openblas_", "")):
                try:
                    describe = getattr(library, f"{prefix}get_config{suffix}")
                except AttributeError:
                    continue
                describe.restype = ctypes.c_char_p
                return str(describe().decode())
    return f"{blas['name']} {blas['version']}"


def read(result: Any) -> np.ndarray:
    return np.asarray(result.data if isinstance(result, Variable) else result, np.float64).reshape(-1)


def _fill(model: Model | L.Layer, weights: Iterable[np.ndarray]) -> None:
    for param, array in zip(model.params(), weights, strict=True):
        param.data = array  # a Parameter copies what it is given


def _training(model: Model, optimizer: optimizers.Optimizer, numbers: Numbers) -> Step:
    _fill(model, numbers.weights)
    optimizer.setup(model)
    x, t = Variable(numbers.x).detach(), numbers.t

    def step() -> Variable:
        loss = F.softmax_cross_entropy(model(x), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        return loss

    return step


def overhead(numbers: Numbers) -> Step:
    x = Variable(numbers.x)

    def step() -> Variable:
        y = x
        for _ in range(numbers.length):
            y = F.sigmoid(F.tanh(y * 4.0 - 2.0))
        x.cleargrad()
        y.backward()
        return x.grad

    return step


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda y, z: y + z,
    "multiply": lambda y, z: y * z,
    "divide": lambda y, z: y / z,
    "numbers": lambda y, z: y * 0.5 + 0.5,
    "exp": lambda y, z: F.exp(-y),
    "tanh": lambda y, z: F.tanh(y),
    "sigmoid": lambda y, z: F.sigmoid(y),
    "relu": lambda y, z: F.relu(y),
    "matmul": lambda y, z: y @ z,
    "mean": lambda y, z: y - F.mean(y, axis=1, keepdims=True),
    "transpose": lambda y, z: y.T,
    "reshape": lambda y, z: y.reshape(4, 16).reshape(8, 8),
}


def operation(numbers: Numbers) -> Step:
    x, z, do = Variable(numbers.x), Variable(numbers.z), OPERATIONS[numbers.name]

    def step() -> Variable:
        y = x
        for _ in range(numbers.length):
            y = do(y, z)
        x.cleargrad()
        z.cleargrad()
        y.backward()
        return x.grad

    return step


def mlp(numbers: Numbers) -> Step:
    model = MLP(numbers.sizes[1:], activation=F.sigmoid, in_size=numbers.sizes[0])
    return _training(model, optimizers.SGD(0.01), numbers)


def dropout(numbers: Numbers) -> Step:
    model = MLP(numbers.sizes[1:], activation=F.relu, dropout=0.5, in_size=numbers.sizes[0])
    return _training(model, optimizers.Adam(), numbers)


def gelu(numbers: Numbers) -> Step:
    x, gy = Variable(numbers.x), Variable(numbers.gy)

    def step() -> Variable:
        y = F.gelu(x)
        x.cleargrad()
        y.grad = gy
        y.backward()
        return x.grad

    return step


class LeNet(Model):
    def __init__(self) -> None:
        self.conv1 = L.Conv2d(6, 5, pad=2, in_channels=1)
        self.conv2 = L.Conv2d(16, 5, in_channels=6)
        self.fc1 = L.Linear(120, in_size=400)
        self.fc2 = L.Linear(84, in_size=120)
        self.fc3 = L.Linear(10, in_size=84)

    def forward(self, x: Any) -> Variable:
        x = F.pooling(F.relu(self.conv1(x)), 2, 2)
        x = F.pooling(F.relu(self.conv2(x)), 2, 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(F.flatten(x))))))


def lenet(numbers: Numbers) -> Step:
    return _training(LeNet(), optimizers.SGD(0.01), numbers)


class Block(Model):
    def __init__(self, channels: int) -> None:
        self.conv1 = L.Conv2d(channels, 3, pad=1, in_channels=channels)
        self.conv2 = L.Conv2d(channels, 3, pad=1, in_channels=channels)

    def forward(self, x: Any) -> Variable:
        return F.pooling(F.relu(self.conv2(F.relu(self.conv1(x)))), 2, 2)


def convolutions(numbers: Numbers) -> Step:
    model = Block(numbers.x.shape[1])
    _fill(model, numbers.weights)
    optimizer = optimizers.SGD(0.01).setup(model)
    x, gy = Variable(numbers.x), Variable(numbers.gy)

    def step() -> Variable:
        y = model(x)
        model.cleargrads()
        x.cleargrad()
        y.grad = gy
        y.backward()
        optimizer.update()
        return model.conv1.W

    return step


def lstm(numbers: Numbers) -> Step:
    model = L.LSTM(numbers.size, in_size=numbers.size)
    model.load_state_dict({"x2h/W": numbers.W, "x2h/b": numbers.b, "h2h/W": numbers.U})
    optimizer = optimizers.SGD(0.01).setup(model)
    x, gy = Variable(numbers.x).detach(), Variable(numbers.gy)

    def step() -> Variable:
        model.reset_state()
        y = model.sequence(x)
        model.cleargrads()
        y.grad = gy
        y.backward()
        optimizer.update()
        return model.h2h.W

    return step


def attention(numbers: Numbers) -> Step:
    batch, length, size = numbers.x.shape
    layers = [L.Linear(size, in_size=size) for _ in range(4)]
    params = [param for layer in layers for param in layer.params()]
    for param, array in zip(params, numbers.weights, strict=True):
        param.data = array
    optimizer = optimizers.SGD(0.01).setup(params)
    x, gy = Variable(numbers.x).detach(), Variable(numbers.gy)
    query, key, value, out = layers

    def heads(y: Variable) -> Variable:
        return y.reshape(batch, length, numbers.heads, -1).transpose(0, 2, 1, 3)

    def step() -> Variable:
        scores = heads(query(x)) @ heads(key(x)).transpose(0, 1, 3, 2) * (size // numbers.heads) ** -0.5
        y = F.softmax(scores, axis=-1) @ heads(value(x))
        y = out(y.transpose(0, 2, 1, 3).reshape(batch, length, size))
        for param in params:
            param.cleargrad()
        y.grad = gy
        y.backward()
        optimizer.update()
        return query.W

    return step


def hvp(numbers: Numbers) -> Step:
    x, t = Variable(numbers.x).detach(), Variable(numbers.t).detach()
    weights, direction = (tuple(map(Variable, each)) for each in (numbers.weights, numbers.direction))

    def loss(*weights: Variable) -> Variable:
        y = x
        for W, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            y = F.tanh(F.linear(y, W, b))
        return F.mean_squared_error(F.linear(y, *weights[-2:]), t)

    def step() -> Variable:
        with dzcore.no_grad():  # no third derivatives
            return dzcore.hvp(loss, weights, direction)[0]

    return step


def adam(numbers: Numbers) -> Step:
    params = [dzcore.Parameter(array) for array in numbers.weights]
    for param, gradient in zip(params, numbers.gradients, strict=True):
        param.grad = gradient
    optimizer = optimizers.Adam().setup(params)

    def step() -> Variable:
        optimizer.update()
        return params[0]

    return step


def saving(suffix: str, numbers: Numbers) -> Step:
    return partial(_save, numbers.folder / f"file{suffix}", numbers.arrays)


def _save(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    dzcore.save(path, arrays, compress=False)
    return np.array([sum(array.size for array in arrays.values())])


def loading(suffix: str, numbers: Numbers) -> Step:
    path = numbers.folder / f"file{suffix}"
    _save(path, numbers.arrays)
    return partial(_load, path)


def _load(path: Path) -> Variable:
    return dzcore.load(path)["l3"]


def epoch(numbers: Numbers) -> Step:
    x = np.asarray(numbers.pictures, np.float32).reshape(len(numbers.labels), -1) / np.float32(255)
    loader = dzcore.DataLoader(dzcore.datasets.ArrayDataset(x, numbers.labels), 100, seed=0)
    model = MLP((1000, 10), activation=F.sigmoid, in_size=784)
    _fill(model, numbers.weights)
    optimizer = optimizers.SGD(0.01).setup(model)

    def step() -> Variable:
        for x, t in loader:
            loss = F.softmax_cross_entropy(model(x), t)
            model.cleargrads()
            loss.backward()
            optimizer.update()
        return loss

    return step


CONTENDERS: dict[str, dict[str, Callable[[Numbers], Step]]] = {
    name: {"dzcore": maker}
    for name, maker in {
        "overhead": overhead, "mlp": mlp, "dropout": dropout, "gelu": gelu, "lenet": lenet,
        "convolutions": convolutions, "lstm": lstm, "attention": attention, "hvp": hvp, "adam": adam, "epoch": epoch,
        "save-npz": partial(saving, ".npz"), "load-npz": partial(loading, ".npz"),
        "save-safetensors": partial(saving, ".safetensors"), "load-safetensors": partial(loading, ".safetensors"),
        **dict.fromkeys([f"op-{name}" for name in OPERATIONS], operation),
    }.items()
}  # fmt: skip
