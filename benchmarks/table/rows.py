"""The works of the table, what each begins from, and the share of PyTorch's time that dzcore is to take.

Everything is float32. Weights of linear layers are (in, out), those of convolutions (out, in, height, width), those of
the LSTM have the columns of the gates f, i, o, u side by side.
"""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np

from dzcore.cli.against import Row


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)


def _linear(rng: np.random.Generator, *sizes: int) -> list[np.ndarray]:
    """Return W and b of each linear layer of a network."""
    arrays = []
    for a, b in pairwise(sizes):
        arrays += [_normal(rng, a, b, scale=a**-0.5), _normal(rng, b, scale=0.01)]
    return arrays


def overhead(length: int) -> SimpleNamespace:
    """A chain of operations on an array so small that only their number counts.

    sigmoid(tanh(4 y - 2)) has the slope 1 at its fixed point, so that neither values nor gradients die away.
    """
    return SimpleNamespace(x=_normal(_rng(), 8, 8), length=length // 4)


def operation(length: int, name: str) -> SimpleNamespace:
    """One operation again and again, with a second operand near 1."""
    a, b = (_rng().uniform(0.9, 1.1, (8, 8)).astype(np.float32) for _ in range(2))
    return SimpleNamespace(x=a, z=b, length=length, name=name)


def perceptron(batch: int, sizes: tuple[int, ...]) -> SimpleNamespace:
    rng = _rng()
    x, t = rng.random((batch, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], batch)
    return SimpleNamespace(x=x, t=t, sizes=sizes, weights=_linear(rng, *sizes))


def gelu(size: int) -> SimpleNamespace:
    rng = _rng()
    return SimpleNamespace(x=_normal(rng, size, size), gy=_normal(rng, size, size))


def lenet(batch: int) -> SimpleNamespace:
    rng = _rng()
    x, t = rng.random((batch, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, batch)
    convolutions = [_normal(rng, 6, 1, 5, 5, scale=0.2), _normal(rng, 6, scale=0.01)]
    convolutions += [_normal(rng, 16, 6, 5, 5, scale=0.08), _normal(rng, 16, scale=0.01)]
    return SimpleNamespace(x=x, t=t, weights=convolutions + _linear(rng, 400, 120, 84, 10))


def convolutions(batch: int, channels: int, size: int) -> SimpleNamespace:
    """A block in the middle of a network: the gradient of its input is wanted too."""
    rng = _rng()
    weights = []
    for _ in range(2):
        scale = (channels * 9) ** -0.5
        weights += [_normal(rng, channels, channels, 3, 3, scale=scale), _normal(rng, channels, scale=0.01)]
    x, gy = _normal(rng, batch, channels, size, size), _normal(rng, batch, channels, size // 2, size // 2, scale=0.001)
    return SimpleNamespace(x=x, gy=gy, weights=weights)


def lstm(batch: int, steps: int, size: int) -> SimpleNamespace:
    """W (in, 4 · size), U (size, 4 · size) and b; the gradient of all outputs is given."""
    rng = _rng()
    W, U = (_normal(rng, size, 4 * size, scale=size**-0.5) for _ in range(2))
    x, gy = _normal(rng, steps, batch, size), _normal(rng, steps, batch, size, scale=0.01)
    return SimpleNamespace(x=x, gy=gy, size=size, W=W, U=U, b=_normal(rng, 4 * size, scale=0.1))


def attention(batch: int, length: int, size: int, heads: int) -> SimpleNamespace:
    """W and b for queries, keys, values and the way out."""
    rng = _rng()
    x, weights = _normal(rng, batch, length, size), [each for _ in range(4) for each in _linear(rng, size, size)]
    return SimpleNamespace(x=x, gy=_normal(rng, batch, length, size, scale=0.01), heads=heads, weights=weights)


def curvature(batch: int, sizes: tuple[int, ...]) -> SimpleNamespace:
    """Weights of tanh layers, a direction for them, and a mean squared error."""
    rng = _rng()
    x, t = _normal(rng, batch, sizes[0]), _normal(rng, batch, sizes[-1])
    return SimpleNamespace(x=x, t=t, weights=_linear(rng, *sizes), direction=_linear(rng, *sizes))


def adam(sizes: tuple[int, ...]) -> SimpleNamespace:
    """Weights and constant gradients, none of them near zero, where it would count how epsilon is added."""
    rng = _rng()
    weights = _linear(rng, *sizes)
    return SimpleNamespace(weights=weights, gradients=[np.abs(each) + np.float32(0.01) for each in weights])


def files(megabytes: float, pieces: int) -> SimpleNamespace:
    whole = _normal(_rng(), int(megabytes * 250_000))
    return SimpleNamespace(arrays={f"l{i}": part.copy() for i, part in enumerate(np.split(whole, pieces))})


def epoch(limit: int) -> SimpleNamespace:
    """MNIST, from where data sets are looked for, such as the folder that DZCORE_DATA names."""
    from dzcore.datasets import MNIST

    train = MNIST(train=True)
    x, t = np.asarray(train.data)[:limit], np.asarray(train.label)[:limit].astype(np.int64)
    return SimpleNamespace(pictures=x.reshape(-1, 28, 28), labels=t, weights=_linear(_rng(), 784, 1000, 10))


def _row(name: str, title: str, numbers: object, target: float | None, sizes: dict, quick: dict, **more: object) -> Row:
    return Row(name, title, numbers, sizes, quick, **{"reference": "torch", "target": target, **more})


PLAIN = ("table", "plain")  #: works without convolutions, and with little that gains by one pass over memory
FILES = (*PLAIN, "files")
WIDE, DEEP = (784, 1000, 10), (784, 512, 512, 512, 10)
FILE, TINY_FILE = {"megabytes": 100, "pieces": 25}, {"megabytes": 0.1, "pieces": 5}

# A quick work also comes before memory is measured: it should be large enough to start threads and load libraries.
ROWS = [
    _row("overhead", "1,000 operations on 8×8, forward and backward (ms are µs each)", overhead, 0.40,
         {"length": 1000}, {"length": 40}, groups=PLAIN),
    _row("mlp", "MLP 784-1000-10, sigmoid, SGD, batch 100", perceptron, 0.80,
         {"batch": 100, "sizes": WIDE}, {"batch": 64, "sizes": (64, 64, 10)}, groups=PLAIN),
    _row("dropout", "MLP 784-3×512-10, ReLU, dropout 0.5, Adam, batch 128", perceptron, 0.60,
         {"batch": 128, "sizes": DEEP}, {"batch": 64, "sizes": (64, 64, 64, 10)}, rtol=None, groups=PLAIN),
    _row("gelu", "tanh-GELU on 1024×1024, forward and backward", gelu, 0.10, {"size": 1024}, {"size": 16}),
    _row("lenet", "LeNet, ReLU, SGD, batch 100", lenet, 0.70, {"batch": 100}, {"batch": 8}),
    _row("convolutions", "two 3×3 convolutions 64→64 on 8×64×56×56, ReLU, max pooling, SGD", convolutions, 0.85,
         {"batch": 8, "channels": 64, "size": 56}, {"batch": 2, "channels": 8, "size": 16}),
    _row("lstm", "LSTM 128→128, batch 32, 50 steps, SGD", lstm, 0.90,
         {"batch": 32, "steps": 50, "size": 128}, {"batch": 8, "steps": 4, "size": 64}),
    _row("attention", "self-attention, 4 heads, batch 8, 128 places of 256, SGD", attention, None,
         {"batch": 8, "length": 128, "size": 256, "heads": 4}, {"batch": 2, "length": 64, "size": 64, "heads": 2}),
    _row("hvp", "Hessian-vector product, tanh MLP 256-256-256-10, batch 100", curvature, 0.90,
         {"batch": 100, "sizes": (256, 256, 256, 10)}, {"batch": 64, "sizes": (64, 64, 64, 3)}, groups=PLAIN),
    _row("adam", "Adam, update of 0.93 M parameters", adam, 0.40, {"sizes": DEEP}, {"sizes": (200, 200, 10)},
         reference="torch fused"),
    _row("save-npz", "saving 100 MB, 25 arrays, .npz", files, 1.0, FILE, TINY_FILE, reference="numpy", groups=FILES),
    _row("load-npz", "loading it", files, 1.0, FILE, TINY_FILE, reference="numpy", groups=FILES),
    _row("save-safetensors", "saving 100 MB, 25 arrays, .safetensors", files, 1.0, FILE, TINY_FILE,
         reference="safetensors", groups=FILES),
    _row("load-safetensors", "loading it", files, 1.0, FILE, TINY_FILE, reference="safetensors", groups=FILES),
    *[_row(f"op-{name}", f"{title}, 20 times on 8×8, forward and backward", operation, None,
           {"length": 20, "name": name}, {"length": 2, "name": name}, groups=("operations",))
      for name, title in {
          "add": "y + z", "multiply": "y * z", "divide": "y / z", "numbers": "y * 0.5 + 0.5", "exp": "exp(-y)",
          "tanh": "tanh(y)", "sigmoid": "sigmoid(y)", "relu": "relu(y)", "matmul": "y @ z", "mean": "y - mean(y, 1)",
          "transpose": "y.T", "reshape": "two reshapes",
      }.items()],
    _row("epoch", "an epoch over MNIST, 784-1000-10, each with its own data loader", epoch, None,
         {"limit": 60_000}, {"limit": 200}, rtol=None, reference="dezero", groups=()),
]  # fmt: skip
