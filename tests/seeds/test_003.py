"""Text 003, a reader's notes on the book's fifth stage: the GPU, saving, dropout, and a VGG16 with both."""

from typing import Any

import numpy as np

import dzcore.functions as F
import dzcore.layers as L
from dzcore import DataLoader, Layer, Model, Parameter, Variable, cuda, test_mode
from dzcore.backend import Backend

from .dropout import assert_drops, dropout


def test_moving(gpu: Backend) -> None:
    """Text 003, listings 1 and 2: to_gpu and to_cpu of Variable, Layer and DataLoader; batches follow."""
    x = Variable(np.ones(2))
    x.to_gpu()
    assert gpu.owns(x.data)
    x.to_cpu()
    assert isinstance(x.data, np.ndarray)

    layer = Layer()
    layer.p = Parameter(np.ones(2))
    layer.to_gpu()
    assert gpu.owns(layer.p.data)
    layer.to_cpu()
    assert isinstance(layer.p.data, np.ndarray)

    loader = DataLoader([(np.ones(3), 0), (np.zeros(3), 1)], 2)
    loader.to_gpu()
    x, t = next(loader)
    assert gpu.owns(x)
    assert gpu.owns(t)
    loader.to_cpu()
    x, t = next(iter(loader))
    assert isinstance(x, np.ndarray)
    assert isinstance(t, np.ndarray)


def test_the_module_of_an_array(gpu: Backend) -> None:
    """Text 003, listing 3: the functions that fit x."""
    for x in (np.ones(2), cuda.as_cupy(np.ones(2))):
        xp = cuda.get_array_module(x)
        assert float(xp.sum(x)) == 2.0


def test_dropout_by_hand() -> None:
    """Text 003, listing 4: dropout."""
    assert_drops(dropout)


class VGG16(Model):
    """As the text has it, with narrower layers, and two of the convolutions that it leaves out."""

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__()
        self.conv1_1 = L.Conv2d(4, kernel_size=3, stride=1, pad=1)
        self.conv5_3 = L.Conv2d(4, kernel_size=3, stride=1, pad=1)
        self.fc6 = L.Linear(32)
        self.fc7 = L.Linear(32)
        self.fc8 = L.Linear(10)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.conv1_1(x))
        x = F.relu(self.conv5_3(x))
        x = F.pooling(x, 2, 2)
        x = F.reshape(x, (x.shape[0], -1))
        x = F.dropout(F.relu(self.fc6(x)))
        x = F.dropout(F.relu(self.fc7(x)))
        return self.fc8(x)


def test_a_network_with_dropout() -> None:
    """Text 003, listing 5: VGG16's last layers; random while training, the same twice in test mode."""
    model = VGG16()
    x = np.linspace(-1.0, 1.0, 2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8)
    y, z = model(x), model(x)
    assert y.shape == (2, 10)
    assert y.dtype == np.float32
    assert (y.data != z.data).any()
    F.softmax_cross_entropy(y, np.array([1, 7])).backward()
    assert all(param.grad is not None and param.grad.shape == param.shape for param in model.params())
    with test_mode():
        np.testing.assert_array_equal(model(x).data, model(x).data)
