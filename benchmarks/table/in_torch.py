"""The works in PyTorch, eager, in the way that is quickest there."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Step = Callable[[], Any]
Numbers = SimpleNamespace


def start(threads: int) -> None:
    torch.set_num_threads(threads)


def about() -> dict[str, str]:
    blas = "MKL" if torch.backends.mkl.is_available() else "BLAS of its own"
    kernels = ", oneDNN" if torch.backends.mkldnn.is_available() else ""
    return {"torch": f"{torch.__version__}, {blas}{kernels}, {torch.get_num_threads()} threads"}


def read(result: Any) -> np.ndarray:
    return result.detach().numpy().astype(np.float64).reshape(-1)


def _leaf(array: np.ndarray) -> Tensor:
    return torch.tensor(array, requires_grad=True)


def _fill(module: nn.Module, weights: Iterable[np.ndarray]) -> None:
    with torch.no_grad():
        for param, array in zip(module.parameters(), weights, strict=True):
            value = torch.from_numpy(array)
            param.copy_(value.T if value.ndim == 2 else value)  # Linear has W (out, in)


def _training(model: nn.Module, optimizer: Callable[..., torch.optim.Optimizer], numbers: Numbers) -> Step:
    _fill(model, numbers.weights)
    update = optimizer(model.parameters())
    x, t = torch.from_numpy(numbers.x), torch.from_numpy(numbers.t)

    def step() -> Tensor:
        loss = nn.functional.cross_entropy(model(x), t)
        update.zero_grad(set_to_none=True)
        loss.backward()
        update.step()
        return loss

    return step


def overhead(numbers: Numbers) -> Step:
    x = _leaf(numbers.x)
    ones = torch.ones_like(x)

    def step() -> Tensor | None:
        y = x
        for _ in range(numbers.length):
            y = torch.sigmoid(torch.tanh(y * 4.0 - 2.0))
        x.grad = None
        y.backward(ones)
        return x.grad

    return step


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda y, z: y + z,
    "multiply": lambda y, z: y * z,
    "divide": lambda y, z: y / z,
    "numbers": lambda y, z: y * 0.5 + 0.5,
    "exp": lambda y, z: torch.exp(-y),
    "tanh": lambda y, z: torch.tanh(y),
    "sigmoid": lambda y, z: torch.sigmoid(y),
    "relu": lambda y, z: torch.relu(y),
    "matmul": lambda y, z: y @ z,
    "mean": lambda y, z: y - torch.mean(y, dim=1, keepdim=True),
    "transpose": lambda y, z: y.T,
    "reshape": lambda y, z: y.reshape(4, 16).reshape(8, 8),
}


def operation(numbers: Numbers) -> Step:
    x, z, do = _leaf(numbers.x), _leaf(numbers.z), OPERATIONS[numbers.name]
    ones = torch.ones_like(x)

    def step() -> Tensor | None:
        y = x
        for _ in range(numbers.length):
            y = do(y, z)
        x.grad = z.grad = None
        y.backward(ones)
        return x.grad

    return step


def _perceptron(sizes: Sequence[int], activation: Callable[[], nn.Module], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes[:-1]):
        layers += [nn.Linear(a, b), activation(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def mlp(fused: bool, numbers: Numbers) -> Step:
    return _training(
        _perceptron(numbers.sizes, nn.Sigmoid, 0.0), partial(torch.optim.SGD, lr=0.01, fused=fused or None), numbers
    )


def dropout(fused: bool, numbers: Numbers) -> Step:
    return _training(_perceptron(numbers.sizes, nn.ReLU, 0.5), partial(torch.optim.Adam, fused=fused or None), numbers)


def gelu(function: Callable[[Tensor], Tensor], numbers: Numbers) -> Step:
    x, gy = _leaf(numbers.x), torch.from_numpy(numbers.gy)

    def step() -> Tensor | None:
        y = function(x)
        x.grad = None
        y.backward(gy)
        return x.grad

    return step


def gelu_chain(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * (x + 0.044715 * (x * x * x))))


def lenet(numbers: Numbers) -> Step:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    return _training(model, partial(torch.optim.SGD, lr=0.01), numbers)


def convolutions(layout: torch.memory_format, numbers: Numbers) -> Step:
    channels = numbers.x.shape[1]
    model = nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2),
    )  # fmt: skip
    _fill(model, numbers.weights)
    model = model.to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.from_numpy(numbers.x).to(memory_format=layout).requires_grad_()
    gy = torch.from_numpy(numbers.gy).to(memory_format=layout)

    def step() -> Tensor:
        y = model(x)
        optimizer.zero_grad(set_to_none=True)
        x.grad = None
        y.backward(gy)
        optimizer.step()
        return model[0].weight

    return step


def lstm(numbers: Numbers) -> Step:
    model = nn.LSTM(numbers.size, numbers.size)
    with torch.no_grad():
        model.weight_ih_l0.copy_(torch.from_numpy(_gates(numbers.W)))
        model.weight_hh_l0.copy_(torch.from_numpy(_gates(numbers.U)))
        model.bias_ih_l0.copy_(torch.from_numpy(_gates(numbers.b)))
        model.bias_hh_l0.zero_()
    model.bias_hh_l0.requires_grad_(False)  # it has one bias more than it needs
    optimizer = torch.optim.SGD([param for param in model.parameters() if param.requires_grad], lr=0.01)
    x, gy = torch.from_numpy(numbers.x), torch.from_numpy(numbers.gy)

    def step() -> Tensor:
        y, _ = model(x)
        optimizer.zero_grad(set_to_none=True)
        y.backward(gy)
        optimizer.step()
        return _from_gates(model.weight_hh_l0)

    return step


def _gates(array: np.ndarray) -> np.ndarray:
    """Bring the gates f, i, o, u along the last axis into the order i, f, u, o along the first."""
    f, i, o, u = np.split(array.T, 4)
    return np.concatenate([i, f, u, o])


def _from_gates(W: Tensor) -> Tensor:
    i, f, u, o = W.detach().chunk(4)
    return torch.cat([f, i, o, u]).T


def attention(whole: bool, numbers: Numbers) -> Step:
    batch, length, size = numbers.x.shape
    layers = nn.ModuleList([nn.Linear(size, size) for _ in range(4)])
    _fill(layers, numbers.weights)
    optimizer = torch.optim.SGD(layers.parameters(), lr=0.01)
    x, gy = torch.from_numpy(numbers.x), torch.from_numpy(numbers.gy)
    query, key, value, out = layers

    def heads(y: Tensor) -> Tensor:
        return y.reshape(batch, length, numbers.heads, -1).transpose(1, 2)

    def step() -> Tensor:
        q, k, v = heads(query(x)), heads(key(x)), heads(value(x))
        if whole:
            y = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            y = torch.softmax(q @ k.transpose(-1, -2) * (size // numbers.heads) ** -0.5, -1) @ v
        y = out(y.transpose(1, 2).reshape(batch, length, size))
        optimizer.zero_grad(set_to_none=True)
        y.backward(gy)
        optimizer.step()
        return query.weight.T

    return step


def hvp(numbers: Numbers) -> Step:
    x, t = torch.from_numpy(numbers.x), torch.from_numpy(numbers.t)
    weights = [_leaf(array.T.copy() if array.ndim == 2 else array) for array in numbers.weights]
    direction = [torch.from_numpy(a.T.copy() if a.ndim == 2 else a) for a in numbers.direction]

    def step() -> Tensor:
        y = x
        for W, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            y = torch.tanh(nn.functional.linear(y, W, b))
        loss = nn.functional.mse_loss(nn.functional.linear(y, *weights[-2:]), t, reduction="sum") / len(t)
        gradients = torch.autograd.grad(loss, weights, create_graph=True)
        return torch.autograd.grad(gradients, weights, direction)[0].T

    return step


def adam(options: dict[str, bool], numbers: Numbers) -> Step:
    params = [_leaf(array) for array in numbers.weights]
    for param, gradient in zip(params, numbers.gradients, strict=True):
        param.grad = torch.from_numpy(gradient)
    optimizer = torch.optim.Adam(params, **options)

    def step() -> Tensor:
        optimizer.step()
        return params[0]

    return step


def saving(numbers: Numbers) -> Step:
    path = numbers.folder / "file.pt"
    tensors = {name: torch.from_numpy(array) for name, array in numbers.arrays.items()}
    return partial(_save, path, tensors)


def _save(path: Path, tensors: dict[str, Tensor]) -> Tensor:
    torch.save(tensors, path)
    return torch.tensor([sum(tensor.numel() for tensor in tensors.values())])


def loading(numbers: Numbers) -> Step:
    step = saving(numbers)
    step()
    path, _ = step.args  # type: ignore[attr-defined]  # a partial
    return partial(_load, path)


def _load(path: Path) -> Tensor:
    return torch.load(path)["l3"]


class _Pictures(torch.utils.data.Dataset):
    def __init__(self, numbers: Numbers) -> None:
        self.x, self.t = torch.from_numpy(numbers.pictures.copy()), torch.from_numpy(numbers.labels)

    def __len__(self) -> int:
        return len(self.t)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.x[indices].reshape(len(indices), -1).float().div_(255.0), self.t[indices]


def epoch(numbers: Numbers) -> Step:
    model = _perceptron((784, 1000, 10), nn.Sigmoid, 0.0)
    _fill(model, numbers.weights)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = torch.utils.data.DataLoader(_Pictures(numbers), 100, shuffle=True, collate_fn=lambda batch: batch)

    def step() -> Tensor:
        for x, t in loader:
            loss = nn.functional.cross_entropy(model(x), t)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return loss

    return step


CONTENDERS: dict[str, dict[str, Callable[[Numbers], Step]]] = {
    "overhead": {"torch": overhead},
    "mlp": {"torch": partial(mlp, False), "torch fused SGD": partial(mlp, True)},
    "dropout": {"torch": partial(dropout, False), "torch fused Adam": partial(dropout, True)},
    "gelu": {
        "torch": partial(gelu, gelu_chain),
        "torch F.gelu": partial(gelu, partial(nn.functional.gelu, approximate="tanh")),
    },
    "lenet": {"torch": lenet},
    "convolutions": {
        "torch": partial(convolutions, torch.contiguous_format),
        "torch channels last": partial(convolutions, torch.channels_last),
    },
    "lstm": {"torch": lstm},
    "attention": {"torch": partial(attention, False), "torch in one": partial(attention, True)},
    "hvp": {"torch": hvp},
    "adam": {
        "torch fused": partial(adam, {"fused": True}),
        "torch foreach": partial(adam, {"foreach": True}),
        "torch": partial(adam, {}),
    },
    "save-npz": {"torch": saving},
    "load-npz": {"torch": loading},
    "epoch": {"torch": epoch},
    **{f"op-{name}": {"torch": operation} for name in OPERATIONS},
}
