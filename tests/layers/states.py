"""What tests of weights look at: bits, everything that a failed load must not change, and a network."""

from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Parameter, Variable
from dzcore.errors import FileError, WeightsError
from dzcore.layers import Buffer, Layer

NOTHING = ((), ())
SUFFIXES = [".npz", ".safetensors"]


def in_format(suffix: str) -> str:
    """Name a file of a format."""
    return f"w{suffix}"


def values(x: Any) -> np.ndarray:
    host = x.to_host()
    return np.frombuffer(bytes(host.buffer), host.dtype).reshape(host.shape)


def bits(tree: Any) -> dict[str, Any]:
    items = tree.named_state() if isinstance(tree, Layer) else tree.items()
    return {path: (v.to_host().dtype, v.shape, values(v).tobytes()) for path, v in items}


def snapshot(model: Layer) -> list[Any]:
    """Everything that a failed load must not change."""
    return [
        (path, id(v), v.node, v._data is None or (id(v._data), v.backend, values(v).tobytes()), v.grad)
        for path, v in model.named_state()
    ]


def refused(model: Layer, state: Any, **options: Any) -> str:
    before = snapshot(model)
    with pytest.raises(WeightsError) as error:
        model.load_state_dict(state, **options)
    assert snapshot(model) == before
    return str(error.value)


def refused_file(model: Layer, path: Any, kind: type[FileError] = WeightsError) -> str:
    """Load a file that does not fit, or is damaged (FileError): the error names it, and nothing changes."""
    before = snapshot(model)
    with pytest.raises(kind) as error:
        model.load_weights(path)
    assert snapshot(model) == before
    assert type(error.value) is kind
    assert path.name in str(error.value)
    return str(error.value)


class Net(Layer):
    """Linear layers and a normalization, with buffers."""

    def __init__(self, in_size: int | None = None, classes: int = 2) -> None:
        self.hidden = L.Linear(3, in_size=in_size)
        self.norm = L.BatchNorm(None if in_size is None else 3)
        self.head = L.Linear(classes, in_size=None if in_size is None else 3)

    def forward(self, x: Any) -> Variable:
        return self.head(F.relu(self.norm(self.hidden(x))))  # type: ignore[no-any-return]


PATHS = [
    "hidden/W", "hidden/b", "norm/gamma", "norm/beta", "norm/avg_mean", "norm/avg_var", "head/W", "head/b",
]  # fmt: skip


class Mixed(Layer):
    """Parameters and buffers of many shapes and dtypes."""

    def __init__(self, seed: int) -> None:
        g = np.random.default_rng(seed)
        self.l0 = L.Linear(3, in_size=4)
        self.double = Parameter(g.standard_normal((2, 3, 2)).tolist(), dtype="float64")
        self.scalar = Parameter(float(g.standard_normal()))
        self.empty = Parameter(dzcore.zeros((0, 3)))
        self.mean = Buffer(g.standard_normal(3).tolist())
        self.count = Buffer(int(g.integers(1 << 40)))
        self.mask = Buffer([True, False, bool(g.integers(2))])
