"""Layers, models, optimizers and data, each called as DeZero's scripts call them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import DataLoader, Layer, Parameter, Variable, datasets, models, optimizers, transforms
from dzcore.dataloaders import SeqDataLoader

from ..datasets.files import write_set
from .check import ROWS, same

# Layers -------------------------------------------------------------------------------------------------------------


def filled(layer: Any, number: float) -> Any:
    """Let every parameter of a layer hold one number."""
    for param in layer.params():
        param.data = np.full(param.shape, number, np.float64)
    return layer


def a_linear() -> None:
    layer = L.Linear(2, nobias=False, dtype=np.float32, in_size=None)
    assert layer.W.data is None
    assert layer(ROWS).shape == (2, 2)
    same(filled(layer, 1.0)(ROWS), [[7.0, 7.0], [16.0, 16.0]])
    assert L.Linear(2, nobias=True, in_size=3).b is None


def a_convolution(cls: Callable[..., Any], value: float, size: int) -> Callable[[], None]:
    """All ones: an element in the middle sees `value` of them, and the bias."""

    def case() -> None:
        x = np.ones((1, 2, 5, 5))
        layer = cls(3, kernel_size=3, stride=1, pad=0, nobias=False, dtype=np.float32, in_channels=None)
        assert layer(x).shape == (1, 3, size, size)
        same(filled(layer, 1.0)(x)[0, 0, size // 2, size // 2], value)
        assert cls(3, 3, 2, 1, True, np.float32, 2).b is None

    return case


def a_recurrence(cls: Callable[..., Any], step: Callable[[float], float]) -> Callable[[], None]:
    """With zeros for weights, the biases alone decide; two steps, and the first again after `reset_state`."""

    def case() -> None:
        layer = cls(4, in_size=3)
        first = layer(ROWS)
        assert first.shape == (2, 4)
        second = layer(ROWS)
        assert (first.data != second.data).any()
        layer.reset_state()
        same(layer(ROWS), first.data)
        lazy = cls(4)
        assert lazy(ROWS).shape == (2, 4)
        layer = filled(cls(4, in_size=3), 0.0)
        same(layer(ROWS), np.full((2, 4), step(0.0)))

    return case


def an_embedding() -> None:
    layer = L.EmbedID(5, 2)
    same(layer(np.array([3, 1])), layer.W.data[[3, 1]])


def a_batch_norm() -> None:
    layer = L.BatchNorm()
    same(layer(ROWS), [[-1.0] * 3, [1.0] * 3], rtol=1e-4)
    assert layer.gamma.shape == layer.beta.shape == layer.avg_mean.shape == layer.avg_var.shape == (3,)
    with dzcore.test_mode():
        assert layer(ROWS).shape == (2, 3)


def nested() -> Layer:
    layer, inner = Layer(), Layer()
    inner.p1 = Parameter(np.array(1))
    layer.l1 = inner
    layer.p2 = Parameter(np.array(2))
    return layer


def flat() -> None:
    params: dict[str, Any] = {}
    nested()._flatten_params(params, parent_key="")
    assert str(params) == "{'l1/p1': variable(1), 'p2': variable(2)}"


def cleared() -> None:
    layer = L.Linear(2)
    layer(ROWS).backward()
    same(layer.b.grad, [2.0, 2.0])
    layer.cleargrads()
    assert [param.grad for param in layer.params()] == [None, None]


def moved(gpu: Any) -> None:
    layer = L.Linear(2, in_size=3)
    layer.to_gpu()
    assert all(gpu.owns(param.data) for param in layer.params())
    layer.to_cpu()
    assert all(isinstance(param.data, np.ndarray) for param in layer.params())


def saved(tmp_path: Path) -> None:
    path = str(tmp_path / "my_mlp.npz")
    model, other = models.MLP((4, 2)), models.MLP((4, 2))
    y = model(ROWS)
    model.save_weights(path)
    assert sorted(np.load(path).files) == ["l0/W", "l0/b", "l1/W", "l1/b"]
    other.load_weights(path)
    same(other(ROWS), y.data)


LAYERS: dict[str, Callable[..., Any]] = {
    "Layer": lambda: same([float(p.data) for p in nested().params()], [1.0, 2.0]),
    "Linear": a_linear,
    "Conv2d": a_convolution(lambda *a, **k: L.Conv2d(*a, **k), 19.0, 3),
    "Deconv2d": a_convolution(lambda *a, **k: L.Deconv2d(*a, **k), 19.0, 7),
    "RNN": a_recurrence(lambda *a, **k: L.RNN(*a, **k), lambda zero: np.tanh(zero)),
    "LSTM": a_recurrence(lambda *a, **k: L.LSTM(*a, **k), lambda zero: 0.5 * np.tanh(0.5 * np.tanh(zero))),
    "EmbedID": an_embedding,
    "BatchNorm": a_batch_norm,
    "params": lambda: same(len(list(L.Linear(2).params())), 2),
    "cleargrads": cleared,
    "to_cpu": moved,
    "to_gpu": moved,
    "save_weights": saved,
    "load_weights": saved,
    "_flatten_params": flat,
}


# Models -------------------------------------------------------------------------------------------------------------


def a_model(tmp_path: Path) -> None:
    class TwoLayerNet(models.Model):
        def __init__(self, hidden_size: int, out_size: int) -> None:
            super().__init__()
            self.l1 = L.Linear(hidden_size)
            self.l2 = L.Linear(out_size)

        def forward(self, x: Any) -> Any:
            return self.l2(F.sigmoid(self.l1(x)))

    model = TwoLayerNet(4, 1)
    assert model(ROWS).shape == (2, 1)
    path = tmp_path / "model.dot"
    model.plot(Variable(ROWS), to_file=str(path))
    assert path.read_text().startswith("digraph")


def an_mlp() -> None:
    model = models.MLP((4, 2), activation=F.relu)
    assert model(ROWS).shape == (2, 2)
    same(filled(model, 1.0)(ROWS), [[29.0, 29.0], [65.0, 65.0]])


def a_vision_model(make: Callable[[], Any], size: int) -> Callable[[], None]:
    """A picture gets a score for each of the thousand classes."""

    def case() -> None:
        model = make()
        with dzcore.test_mode(), dzcore.no_grad():
            y = model(np.ones((1, 3, size, size), np.float32))
        assert y.shape == (1, 1000)
        assert np.isfinite(y.data).all()

    return case


def preprocessed() -> None:
    from PIL import Image

    x = models.VGG16.preprocess(Image.new("RGB", (300, 200), (10, 20, 30)), size=(224, 224), dtype=np.float32)
    assert (x.shape, x.dtype) == ((3, 224, 224), np.float32)
    same(x[:, 0, 0], np.array([30 - 103.939, 20 - 116.779, 10 - 123.68]), rtol=1e-5)


MODELS: dict[str, Callable[..., Any]] = {
    "Model": a_model,
    "Sequential": lambda: same(models.Sequential(F.exp, F.log)(ROWS), ROWS),
    "MLP": an_mlp,
    "VGG16": a_vision_model(lambda: models.VGG16(pretrained=False), 32),
    "VGG16.preprocess": preprocessed,
    "ResNet": a_vision_model(lambda: models.ResNet(50, pretrained=False), 64),
    "ResNet50": a_vision_model(lambda: models.ResNet50(pretrained=False), 32),
    "ResNet101": a_vision_model(lambda: models.ResNet101(pretrained=False), 32),
    "ResNet152": a_vision_model(lambda: models.ResNet152(pretrained=False), 32),
    "SqueezeNet": a_vision_model(lambda: models.SqueezeNet(pretrained=False), 64),
}


# Optimizers ---------------------------------------------------------------------------------------------------------


def stepped(optimizer: Any, *values: float) -> Callable[[], None]:
    """A parameter that starts at 1, with the gradient 2 at every step."""

    def case() -> None:
        model = Layer()
        model.p = Parameter(np.array(1.0))
        made = optimizer().setup(model)
        for value in values:
            model.p.grad = Variable(np.array(2.0))
            made.update()
            same(model.p, value)

    return case


class Plain(optimizers.Optimizer):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr

    def update_one(self, param: Any) -> None:
        param.data -= self.lr * param.grad.data


def hooked(hook: Any, *values: float) -> Callable[[], None]:
    return stepped(lambda: Adding(hook), *values)


class Adding(optimizers.SGD):
    """SGD of rate 0.1 with a hook from the start."""

    def __init__(self, hook: Any) -> None:
        super().__init__(0.1)
        self.add_hook(hook)


def frozen() -> None:
    model = models.MLP((4, 2))
    optimizer = optimizers.SGD(lr=0.1).setup(model)
    optimizer.add_hook(optimizers.FreezeParam(model.l0))
    model(ROWS).backward()
    before = [param.data.copy() for param in model.params()]
    optimizer.update()
    same_as_before = [(a == param.data).all() for a, param in zip(before, model.params(), strict=True)]
    assert same_as_before == [True, True, False, False]


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "Optimizer": stepped(lambda: Plain(0.1), 0.8, 0.6),
    "Optimizer.setup": stepped(lambda: optimizers.SGD(lr=0.1), 0.8),
    "Optimizer.update": stepped(lambda: optimizers.SGD(0.1), 0.8),
    "Optimizer.update_one": stepped(lambda: Plain(0.5), 0.0),
    "Optimizer.add_hook": hooked(lambda params: [setattr(p, "grad", p.grad * 2) for p in params], 0.6),
    "SGD": stepped(lambda: optimizers.SGD(lr=0.01), 0.98, 0.96),
    "MomentumSGD": stepped(lambda: optimizers.MomentumSGD(lr=0.01, momentum=0.9), 0.98, 0.942),
    "AdaGrad": stepped(lambda: optimizers.AdaGrad(lr=0.001, eps=1e-8), 0.999, 0.999 - 0.002 / np.sqrt(8)),
    "AdaDelta": stepped(lambda: optimizers.AdaDelta(rho=0.95, eps=1e-6), 1 - 2 * np.sqrt(1e-6 / (0.2 + 1e-6))),
    "Adam": stepped(lambda: optimizers.Adam(alpha=0.001, beta1=0.9, beta2=0.999, eps=1e-8), 0.999, 0.998),
    "WeightDecay": hooked(optimizers.WeightDecay(0.5), 0.75),
    "ClipGrad": hooked(optimizers.ClipGrad(1.0), 0.9),
    "FreezeParam": frozen,
}


# Data ---------------------------------------------------------------------------------------------------------------


def a_dataset() -> None:
    """One that makes its items when they are asked for, as for data that is too large for the memory."""

    class Big(datasets.Dataset):
        def __getitem__(self, index: int) -> Any:
            return np.full(2, float(index)), index % 2

        def __len__(self) -> int:
            return 1000

    x, t = next(iter(DataLoader(Big(), 10, shuffle=False)))
    same(x[9], [9.0, 9.0])
    same(t, [0, 1] * 5)


def mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "mnist", n=5)
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path))
    x, t = dzcore.datasets.MNIST(train=True)[3]
    assert (x.shape, x.dtype, int(t)) == ((784,), np.float32, 3)
    raw, _ = dzcore.datasets.MNIST(train=True, transform=None)[3]
    same(raw, x)


def a_spiral() -> None:
    x, t = datasets.get_spiral(train=True)
    assert (x.shape, t.shape, set(t.tolist())) == ((300, 2), (300,), {0, 1, 2})
    data = datasets.Spiral(train=True)
    same(data[7][0], x[7])
    assert len(data) == 300
    assert (datasets.get_spiral(train=False)[0] != x).any()


def a_curve() -> None:
    data = datasets.SinCurve(train=True)
    same(data[0][1], data[1][0])
    x, _ = datasets.SinCurve(train=False)[0]
    same(x, [1.0])
    assert len(data) == 999


def shakespeare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "input.txt").write_text("to be or not to be " * 60, "utf-8")
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path))
    data = datasets.Shakespear(train=True)
    x, t = data[0]
    assert (data.id_to_char[int(x)], data.id_to_char[int(t)]) == ("t", "o")
    assert data.char_to_id["t"] == int(x)


def cifar_10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ..datasets.test_cifar import TEN, packed

    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(packed(TEN))
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path))
    x, t = datasets.CIFAR10(train=True, transform=None, target_transform=None)[1]
    assert (x.shape, int(t)) == ((3, 32, 32), 8)
    assert datasets.CIFAR10.labels()[8] == "ship"


def cifar_100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ..datasets.test_cifar import HUNDRED, packed

    (tmp_path / "cifar-100-binary.tar.gz").write_bytes(packed(HUNDRED))
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path))
    assert [int(datasets.CIFAR100(train=True, label_type=kind)[0][1]) for kind in ("fine", "coarse")] == [19, 11]
    assert datasets.CIFAR100.labels(label_type="fine")[19] == "cattle"


def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {i: f"class {i}" for i in range(1000)}
    (tmp_path / "imagenet1000_clsidx_to_labels.txt").write_text(str(labels))
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path))
    assert datasets.ImageNet.labels() == labels


def sequential() -> None:
    loader = SeqDataLoader(datasets.SinCurve(train=True), batch_size=3)
    (x, t), (y, _) = next(loader), next(loader)
    assert x.shape == (3, 1)
    same(y, t)
    assert len(list(loader)) == 333


def batches() -> None:
    from dzcore import dataloaders

    assert dataloaders.DataLoader is DataLoader
    data = datasets.Spiral()
    loader = DataLoader(data, 100, shuffle=True, gpu=False)
    x, t = next(iter(loader))
    assert (x.shape, t.shape) == ((100, 2), (100,))
    assert (next(iter(DataLoader(data, batch_size=100)))[0] != x).any()


def on_the_gpu(gpu: Any) -> None:
    loader = DataLoader([(np.ones(2), 1), (np.zeros(2), 0)], 2, gpu=True)
    assert gpu.owns(next(loader)[0])
    loader.to_cpu()
    assert isinstance(next(iter(loader))[0], np.ndarray)
    loader.to_gpu()
    assert gpu.owns(next(iter(loader))[1])


DATASETS: dict[str, Callable[..., Any]] = {
    "Dataset": a_dataset,
    "Spiral": a_spiral,
    "get_spiral": a_spiral,
    "MNIST": mnist,
    "CIFAR10": cifar_10,
    "CIFAR100": cifar_100,
    "ImageNet": imagenet,
    "SinCurve": a_curve,
    "Shakespear": shakespeare,
}
DATALOADERS: dict[str, Callable[..., Any]] = {
    "DataLoader": batches,
    "DataLoader(gpu=True)": on_the_gpu,
    "SeqDataLoader": sequential,
}


# Transforms ---------------------------------------------------------------------------------------------------------


def picture(mode: str = "RGB", size: tuple[int, int] = (4, 6)) -> Any:
    """A picture of the width and height given, whose left half is black and right half red."""
    from PIL import Image

    image = Image.new("RGB", size)
    image.paste((255, 0, 0), (size[0] // 2, 0, *size))
    return image.convert(mode)


def flipped() -> None:
    image = picture()
    same(np.asarray(transforms.RandomHorizontalFlip(1.0)(image)), np.asarray(image)[:, ::-1])
    same(np.asarray(transforms.RandomHorizontalFlip(0.0)(image)), np.asarray(image))


def an_array() -> None:
    x = transforms.ToArray(dtype=np.float32)(picture())
    assert (x.shape, x.dtype) == ((3, 6, 4), np.float32)
    same(x[0, 0], [0.0, 0.0, 255.0, 255.0])
    same(np.asarray(transforms.ToPIL()(x.astype(np.uint8))), np.asarray(picture()))


TRANSFORMS: dict[str, Callable[..., Any]] = {
    "Compose": lambda: same(transforms.Compose([transforms.ToFloat(), transforms.Flatten()])(ROWS), ROWS.reshape(6)),
    "Convert": lambda: transforms.Convert("L")(picture()).mode == "L" or 1 / 0,
    "Resize": lambda: same(transforms.Resize((8, 8))(picture()).size, (8, 8)),
    "CenterCrop": lambda: same(transforms.CenterCrop((2, 2))(picture()).size, (2, 2)),
    "ToArray": an_array,
    "ToPIL": an_array,
    "RandomHorizontalFlip": flipped,
    "Normalize": lambda: same(transforms.Normalize(mean=1, std=2)(ROWS), (ROWS - 1) / 2),
    "Flatten": lambda: same(transforms.Flatten()(ROWS), ROWS.reshape(6)),
    "AsType": lambda: transforms.AsType(np.float32)(ROWS).dtype == np.float32 or 1 / 0,
    "ToFloat": lambda: transforms.ToFloat()(np.array([1])).dtype == np.float32 or 1 / 0,
    "ToInt": lambda: transforms.ToInt()(ROWS).dtype == np.int64 or 1 / 0,
}
