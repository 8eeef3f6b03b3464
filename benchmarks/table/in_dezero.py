"""The works in DeZero, with float32 weights, which its own initial ones are not."""

from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

if not hasattr(np, "int"):
    np.int = int  # type: ignore[attr-defined]  # DeZero 0.0.13 cannot be imported with NumPy 1.24 or later without it

import dezero
import dezero.functions as F
import dezero.layers as L
from dezero import Variable, optimizers

Step = Callable[[], Any]
Numbers = SimpleNamespace


def start(threads: int) -> None:
    """Do nothing: it computes with NumPy's BLAS, whose threads dzcore's part has set."""


def about() -> dict[str, str]:
    return {"dezero": version("dezero")}


def read(result: Any) -> np.ndarray:
    return np.asarray(result.data if isinstance(result, Variable) else result, np.float64).reshape(-1)


def _fill(params: Iterable[Variable], weights: Iterable[np.ndarray]) -> None:
    for param, array in zip(params, weights, strict=True):
        param.data = array.copy()


def _ordered(layers: Iterable[L.Layer]) -> list[Variable]:
    return [param for layer in layers for param in (layer.W, layer.b)]


def _training(model: L.Layer, layers: list[L.Layer], optimizer: optimizers.Optimizer, numbers: Numbers) -> Step:
    _fill(_ordered(layers), numbers.weights)
    optimizer.setup(model)

    def step() -> Variable:
        loss = F.softmax_cross_entropy(model(numbers.x), numbers.t)
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
    "matmul": lambda y, z: F.matmul(y, z),
    "mean": lambda y, z: y - F.sum(y, axis=1, keepdims=True) / 8.0,
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


class _Perceptron(dezero.Model):
    def __init__(self, sizes: tuple[int, ...], activation: Callable[[Any], Any], dropout: float) -> None:
        super().__init__()
        self.activation, self.ratio = activation, dropout
        self.chain = [L.Linear(b, in_size=a) for a, b in pairwise(sizes)]
        for i, layer in enumerate(self.chain):
            setattr(self, f"l{i}", layer)

    def forward(self, x: Any) -> Any:
        for layer in self.chain[:-1]:
            x = self.activation(layer(x))
            if self.ratio:
                x = F.dropout(x, self.ratio)
        return self.chain[-1](x)


def mlp(numbers: Numbers) -> Step:
    model = _Perceptron(numbers.sizes, F.sigmoid, 0.0)
    return _training(model, model.chain, optimizers.SGD(0.01), numbers)


def dropout(numbers: Numbers) -> Step:
    model = _Perceptron(numbers.sizes, F.relu, 0.5)
    return _training(model, model.chain, optimizers.Adam(), numbers)


def gelu(numbers: Numbers) -> Step:
    x, gy = Variable(numbers.x), Variable(numbers.gy)

    def step() -> Variable:
        y = 0.5 * x * (1.0 + F.tanh(0.7978845608028654 * (x + 0.044715 * (x * x * x))))
        x.cleargrad()
        y.grad = gy
        y.backward()
        return x.grad

    return step


class _LeNet(dezero.Model):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = L.Conv2d(6, 5, pad=2, in_channels=1)
        self.conv2 = L.Conv2d(16, 5, in_channels=6)
        self.fc1, self.fc2, self.fc3 = L.Linear(120, in_size=400), L.Linear(84, in_size=120), L.Linear(10, in_size=84)

    def forward(self, x: Any) -> Any:
        x = F.pooling(F.relu(self.conv1(x)), 2, 2)
        x = F.pooling(F.relu(self.conv2(x)), 2, 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(F.reshape(x, (x.shape[0], -1)))))))


def lenet(numbers: Numbers) -> Step:
    model = _LeNet()
    return _training(model, [model.conv1, model.conv2, model.fc1, model.fc2, model.fc3], optimizers.SGD(0.01), numbers)


class _Block(dezero.Model):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (L.Conv2d(channels, 3, pad=1, in_channels=channels) for _ in range(2))

    def forward(self, x: Any) -> Any:
        return F.pooling(F.relu(self.conv2(F.relu(self.conv1(x)))), 2, 2)


def convolutions(numbers: Numbers) -> Step:
    model = _Block(numbers.x.shape[1])
    _fill(_ordered([model.conv1, model.conv2]), numbers.weights)
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
    """Call its LSTM, which has a layer for each gate, step by step."""
    model = L.LSTM(numbers.size, in_size=numbers.size)
    gates = zip("fiou", *(np.split(array, 4, axis=-1) for array in (numbers.W, numbers.b, numbers.U)), strict=True)
    for gate, W, b, U in gates:
        inputs, states = getattr(model, f"x2{gate}"), getattr(model, f"h2{gate}")
        inputs.W.data, inputs.b.data, states.W.data = W.copy(), b.copy(), U.copy()
    optimizer = optimizers.SGD(0.01).setup(model)

    def step() -> np.ndarray:
        total: Any = 0.0
        model.reset_state()
        for x, gy in zip(numbers.x, numbers.gy, strict=True):
            total = F.sum(model(x) * gy) + total
        model.cleargrads()
        total.backward()
        optimizer.update()
        return np.concatenate([getattr(model, f"h2{gate}").W.data for gate in "fiou"], axis=1)

    return step


def hvp(numbers: Numbers) -> Step:
    weights = [Variable(array) for array in numbers.weights]

    def step() -> Variable:
        y = numbers.x
        for W, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            y = F.tanh(F.linear(y, W, b))
        loss = F.mean_squared_error(F.linear(y, *weights[-2:]), Variable(numbers.t))
        for W in weights:
            W.cleargrad()
        loss.backward(create_graph=True)
        gradients = [W.grad for W in weights]
        product: Any = 0.0
        for gradient, v in zip(gradients, numbers.direction, strict=True):
            product = F.sum(gradient * v) + product
        for W in weights:
            W.cleargrad()
        product.backward()
        return weights[0].grad

    return step


def adam(numbers: Numbers) -> Step:
    model = L.Layer()
    for i, (array, gradient) in enumerate(zip(numbers.weights, numbers.gradients, strict=True)):
        param = dezero.Parameter(array.copy())
        param.grad = Variable(gradient)
        setattr(model, f"p{i}", param)
    optimizer = optimizers.Adam().setup(model)

    def step() -> Variable:
        optimizer.update()
        return model.p0

    return step


def saving(numbers: Numbers) -> Step:
    """Save as its save_weights does: compressed."""
    return partial(_save, numbers.folder / "file.npz", _layer(numbers))


def _layer(numbers: Numbers) -> L.Layer:
    layer = L.Layer()
    for name, array in numbers.arrays.items():
        setattr(layer, name, dezero.Parameter(array))
    return layer


def _save(path: Path, layer: L.Layer) -> np.ndarray:
    layer.save_weights(str(path))
    return np.array([sum(param.data.size for param in layer.params())])


def loading(numbers: Numbers) -> Step:
    layer = _layer(numbers)
    path = numbers.folder / "file.npz"
    _save(path, layer)
    return partial(_load, path, layer)


def _load(path: Path, layer: L.Layer) -> Variable:
    layer.load_weights(str(path))
    return layer.l3


class _Pictures(dezero.datasets.Dataset):
    """MNIST as DeZero keeps it: pictures of uint8, converted one by one as they are asked for."""

    def __init__(self, numbers: Numbers) -> None:
        self.arrays = numbers.pictures[:, None], numbers.labels
        transforms = dezero.transforms
        super().__init__(
            transform=transforms.Compose([transforms.Flatten(), transforms.ToFloat(), transforms.Normalize(0.0, 255.0)])
        )

    def prepare(self) -> None:
        self.data, self.label = self.arrays


def epoch(numbers: Numbers) -> Step:
    model = _Perceptron((784, 1000, 10), F.sigmoid, 0.0)
    _fill(_ordered(model.chain), numbers.weights)
    optimizer, loader = optimizers.SGD(0.01).setup(model), dezero.DataLoader(_Pictures(numbers), 100)

    def step() -> Variable:
        for x, t in loader:
            loss = F.softmax_cross_entropy(model(x), t)
            model.cleargrads()
            loss.backward()
            optimizer.update()
        return loss

    return step


CONTENDERS: dict[str, dict[str, Callable[[Numbers], Step]]] = {
    name: {"dezero": maker}
    for name, maker in {
        "overhead": overhead, "mlp": mlp, "dropout": dropout, "gelu": gelu, "lenet": lenet,
        "convolutions": convolutions, "lstm": lstm, "hvp": hvp, "adam": adam, "epoch": epoch,
        "save-npz": saving, "load-npz": loading, **dict.fromkeys([f"op-{name}" for name in OPERATIONS], operation),
    }.items()
}  # fmt: skip
