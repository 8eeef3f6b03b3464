"""Convolutional layers: parameters and their first values, lazy sizes, weight files, settings; pooling layers."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Parameter, Variable, random
from dzcore.backend import Backend
from dzcore.errors import WeightsError
from dzcore.models import Sequential
from dzcore.testing import assert_close, values

CONVS: list[Any] = [L.Conv1d, L.Conv2d, L.Conv3d]
DECONVS: list[Any] = [L.Deconv1d, L.Deconv2d, L.Deconv3d]


def picture(backend: Backend, *shape: int) -> Variable:
    return random.normal(shape, backend=backend, dtype="float32")


@pytest.mark.parametrize("layer", [*CONVS, *DECONVS])
def test_parameters_are_made_for_the_first_input(layer: Any, backend: Backend) -> None:
    rank = layer.rank
    made = layer(6, 3, 2, 1, groups=2, in_channels=4)
    lazy = layer(6, 3, 2, 1, groups=2)
    assert lazy.in_channels is None
    assert lazy.W.data is None
    y = lazy(Variable(backend.xp.ones((2, 4, *[5] * rank), device=backend.device)))
    assert y.shape == (2, 6, *[3 if layer in CONVS else 9] * rank)
    assert y.backend is lazy.W.backend is lazy.b.backend is backend
    assert made.in_channels == lazy.in_channels == 4
    assert made.W.shape == lazy.W.shape == ((6, 2) if layer in CONVS else (4, 3)) + (3,) * rank
    assert made.b.shape == lazy.b.shape == (6,)
    assert values(lazy.b) == [0.0] * 6
    assert {p.name for p in lazy.params()} == {"W", "b"}
    assert [path for path, _ in lazy.named_params()] == ["W", "b"]
    assert all(backend.dtype_name(p.dtype) == "float32" for p in lazy.params())


@pytest.mark.parametrize(("layer", "settings", "seen"), [
    (L.Conv1d, {"kernel_size": 9, "in_channels": 40}, 360),
    (L.Conv2d, {"kernel_size": (3, 5), "in_channels": 24}, 360),
    (L.Conv2d, {"kernel_size": (3, 5), "in_channels": 96, "groups": 4}, 360),
    (L.Conv3d, {"kernel_size": (2, 3, 3), "in_channels": 20}, 360),
    (L.Deconv2d, {"kernel_size": (3, 5), "in_channels": 24}, 360),
    (L.Deconv2d, {"kernel_size": (3, 5), "in_channels": 96, "groups": 4}, 360),
])  # fmt: skip
def test_first_weights_have_the_variance_of_what_a_kernel_sees(layer: Any, settings: Any, seen: int) -> None:
    """1 / seen, so that an output has the variance of the inputs. (DeZero's deconvolutions start the same way.)"""
    random.seed(0)
    W = layer(64, **settings).W.data
    assert W.size > 20_000
    assert abs(W.mean()) < 4 * seen**-0.5 / W.size**0.5
    assert abs(W.var() * seen - 1) < 4 * (2 / W.size) ** 0.5
    assert W.dtype == np.float32


def test_the_variance_of_the_output() -> None:
    random.seed(0)
    x = Variable(np.random.default_rng(0).normal(size=(4, 32, 12, 12)).astype("f4"))
    for groups in (1, 4):
        y = L.Conv2d(64, 5, groups=groups)(x)
        assert abs(float(F.var(y)) - 1) < 0.1


@pytest.mark.parametrize("layer", [L.Conv2d, L.Deconv2d])
def test_settings_reach_the_function(layer: Any, backend: Backend) -> None:
    x = picture(backend, 2, 4, 6, 5)
    made = layer(6, (3, 2), (2, 3), (1, 0), True, "float32", dilation=(2, 1), groups=2)
    assert made.b is None
    y = made(x)
    if layer is L.Conv2d:
        assert_close(y, F.conv2d(x, made.W, None, (2, 3), (1, 0), (2, 1), 2))
    else:
        assert_close(y, F.deconv2d(x, made.W, None, (2, 3), (1, 0), None, (2, 1), 2))
        larger = made(x, outsize=(y.shape[2] + 1, y.shape[3]))
        assert larger.shape == (2, 6, y.shape[2] + 1, y.shape[3])


@pytest.mark.parametrize("layer", [L.Conv2d, L.Deconv2d])
def test_dtype(layer: Any) -> None:
    made = layer(2, 3, dtype=np.float64, in_channels=2)
    assert {p.dtype for p in made.params()} == {np.dtype("float64")}
    assert layer(2, 3)(Variable(np.ones((1, 2, 4, 4), "f4"))).dtype == np.float32
    with pytest.raises(TypeError, match="int32"):
        layer(2, 3, dtype="int32")


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "out_channels": (lambda: L.Conv2d(0, 3), ValueError, "out_channels=0"),
    "in_channels": (lambda: L.Conv2d(2, 3, in_channels=-1), ValueError, "in_channels=-1"),
    "kernel_size": (lambda: L.Conv2d(2, (3, 3, 3)), ValueError, "kernel_size=.* 3 numbers"),
    "kernel_size of 0": (lambda: L.Conv2d(2, 0), ValueError, "kernel_size=0"),
    "stride": (lambda: L.Conv2d(2, 3, stride=0), ValueError, "stride=0"),
    "pad": (lambda: L.Deconv2d(2, 3, pad=-1), ValueError, "pad=-1"),
    "dilation": (lambda: L.Conv1d(2, 3, dilation=(1, 1)), ValueError, "dilation="),
    "groups": (lambda: L.Conv2d(4, 3, groups=3), ValueError, "out_channels=4 cannot be divided into groups=3"),
    "groups of 0": (lambda: L.Conv2d(4, 3, groups=0), ValueError, "groups=0"),
    "groups of the input": (lambda: L.Conv2d(4, 3, groups=2, in_channels=5), ValueError, "in_channels=5 .*groups=2"),
    "groups of a deconvolution": (lambda: L.Deconv2d(3, 3, groups=2), ValueError, "out_channels=3 .*groups=2"),
    "nobias": (lambda: L.Conv2d(4, 3, 1, 0, 16), TypeError, "nobias=16 .* in_channels=16"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_when_the_layer_is_made(name: str) -> None:
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()


def test_what_is_wrong_with_the_input() -> None:
    for shape in ((2, 3, 4), (1, 0, 4, 4)):
        layer = L.Conv2d(4, 3)
        with pytest.raises(ValueError, match=r"x has shape .* Conv2d takes \(n, channels, and 2 spatial axes\)"):
            layer(np.ones(shape, "f4"))
        assert layer.W.data is None
    layer = L.Conv2d(4, 3, groups=2)
    with pytest.raises(ValueError, match="in_channels=3 cannot be divided into groups=2"):
        layer(np.ones((1, 3, 4, 4), "f4"))
    assert layer.W.data is None
    made = L.Conv2d(4, 3, in_channels=2)
    with pytest.raises(ValueError, match="x has 3 channels"):
        made(np.ones((1, 3, 4, 4), "f4"))


@pytest.mark.parametrize("layer", [L.Conv2d, L.Deconv2d])
def test_weights_come_back(layer: Any, tmp_path: Path) -> None:
    file = tmp_path / "weights.npz"
    made = layer(4, (3, 2), groups=2, in_channels=6)
    made.save_weights(file)
    assert set(np.load(file)) == {"W", "b"}
    lazy = layer(4, (3, 2), groups=2)
    lazy.load_weights(file)
    assert values(lazy.W) == values(made.W)
    assert lazy.in_channels == 6
    other = layer(4, (2, 3), groups=2)
    with pytest.raises(WeightsError, match="W: the model has shape"):
        other.load_weights(file)


def test_dezero_call_shape() -> None:
    """By position as there: out_channels, kernel_size, stride, pad, nobias, dtype, in_channels."""
    layer = L.Conv2d(4, 3, 2, 1, True, "float64", 5)
    assert layer.W.shape == (4, 5, 3, 3)
    assert (layer.stride, layer.pad, layer.b) == ((2, 2), (1, 1), None)
    assert isinstance(layer.W, Parameter)


def test_training(backend: Backend) -> None:
    """A convolution finds the kernel that made the data."""
    random.seed(1)
    x = picture(backend, 4, 2, 7, 6)
    target = L.Conv2d(3, 3, 2, 1, in_channels=2)
    target.to(backend)
    with dzcore.no_grad():
        t = target(x)
    layer = L.Conv2d(3, 3, 2, 1)
    optimizer = dzcore.optimizers.Adam(0.05).setup(layer)
    losses = []
    for _ in range(60):
        loss = F.mean_squared_error(layer(x), t)
        layer.cleargrads()
        loss.backward()
        optimizer.update()
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 200


def test_pooling_layers(backend: Backend) -> None:
    x = picture(backend, 2, 3, 7, 6)
    assert_close(L.Pool(3, 2, 1, True)(x), F.pooling(x, 3, 2, 1, True))
    assert_close(L.AveragePool((3, 2), (2, 1), (1, 0), True)(x), F.average_pooling(x, (3, 2), (2, 1), (1, 0), True))
    assert_close(L.Pool(2)(x), F.pooling(x, 2, 1))
    assert_close(L.GlobalAveragePool()(x), F.global_average_pooling(x))
    assert L.Flatten()(x).shape == (2, prod(x.shape[1:]))
    model = Sequential(L.Conv2d(4, 3), F.relu, L.Pool(2, 2), L.Flatten(), L.Linear(2))
    assert model(x).shape == (2, 2)
    assert [path.split("/")[-1] for path, _ in model.named_params()] == ["W", "b", "W", "b"]
