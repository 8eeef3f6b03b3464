"""The networks for pictures against the same ones in PyTorch: results and gradients, in training and when tested.

The mirrors are written for this comparison, from the papers, with the names that ours have.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from dzcore import Layer, Variable, no_grad, test_mode
from dzcore import functions as F
from dzcore.models import MLP, VGG16, LeNet, ResNet, SqueezeNet

from .compare import assert_same, assert_same_gradients, draw, same_weights, torch

nn, relu = torch.nn, torch.nn.functional.relu

#: Our names of arrays -> PyTorch's.
KINDS = {
    "W": "weight", "b": "bias",
    "gamma": "weight", "beta": "bias", "avg_mean": "running_mean", "avg_var": "running_var",
}  # fmt: skip
LINEAR = ("l0/W", "l1/W", "l2/W", "fc3/W", "fc4/W", "fc6/W", "fc7/W", "fc8/W")


# The mirrors --------------------------------------------------------------------------------------------------------


class TorchMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l0, self.l1, self.l2 = nn.Linear(12, 9), nn.Linear(9, 7), nn.Linear(7, 4)

    def forward(self, x: Any) -> Any:
        return self.l2(torch.tanh(self.l1(torch.tanh(self.l0(x)))))


class TorchLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.fc3, self.fc4 = nn.Linear(800, 500), nn.Linear(500, 10)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Any) -> Any:
        x = self.pool(relu(self.conv1(x)))
        x = self.pool(relu(self.conv2(x)))
        return self.fc4(relu(self.fc3(x.flatten(1))))


class TorchVGG16(nn.Module):
    names = (
        *("1_1", "1_2", "pool", "2_1", "2_2", "pool", "3_1", "3_2", "3_3", "pool"),
        *("4_1", "4_2", "4_3", "pool", "5_1", "5_2", "5_3", "pool"),
    )

    def __init__(self) -> None:
        super().__init__()
        before = 3
        for name in self.names:
            if name != "pool":
                channels = (64, 128, 256, 512, 512)[int(name[0]) - 1]
                setattr(self, f"conv{name}", nn.Conv2d(before, channels, 3, padding=1))
                before = channels
        self.fc6, self.fc7, self.fc8 = nn.Linear(512, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 10)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Any) -> Any:
        for name in self.names:
            x = self.pool(x) if name == "pool" else relu(getattr(self, f"conv{name}")(x))
        return self.fc8(relu(self.fc7(relu(self.fc6(x.flatten(1))))))


class Unit(nn.Module):
    """One convolution and its normalization, under the two names they have in a block."""

    def __init__(self, block: nn.Module, number: int, into: int, out: int, size: int, stride: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(into, out, size, stride, (size - 1) // 2, bias=False)
        normalization = nn.BatchNorm2d(out, eps=2e-5, momentum=0.1)
        setattr(block, f"conv{number}", convolution)
        setattr(block, f"bn{number}", normalization)
        self.run = lambda x: normalization(convolution(x))


class Basic(nn.Module):
    def __init__(self, into: int, mid: int, out: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.first, self.second = Unit(self, 1, into, out, 3, stride).run, Unit(self, 2, out, out, 3, 1).run
        self.side = Unit(self, 3, into, out, 1, stride).run if shortcut else lambda x: x

    def forward(self, x: Any) -> Any:
        return relu(self.second(relu(self.first(x))) + self.side(x))


class Bottleneck(nn.Module):
    def __init__(self, into: int, mid: int, out: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.first, self.second = Unit(self, 1, into, mid, 1, stride).run, Unit(self, 2, mid, mid, 3, 1).run
        self.third = Unit(self, 3, mid, out, 1, 1).run
        self.side = Unit(self, 4, into, out, 1, stride).run if shortcut else lambda x: x

    def forward(self, x: Any) -> Any:
        return relu(self.third(relu(self.second(relu(self.first(x))))) + self.side(x))


class TorchResNet(nn.Module):
    def __init__(self, block: type[nn.Module], blocks: tuple[int, ...], wider: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64, eps=2e-5)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        into = 64
        for stage, n in enumerate(blocks):
            layers = nn.ModuleDict()
            for i in range(n):
                mid, stride = 64 * 2**stage, 2 if stage and not i else 1
                shortcut = not i and (stride > 1 or wider > 1)
                layers["a" if not i else f"b{i}"] = block(into, mid, mid * wider, stride, shortcut)
                into = mid * wider
            setattr(self, f"res{stage + 2}", layers)
        self.fc6 = nn.Linear(into, classes)

    def forward(self, x: Any) -> Any:
        x = self.pool(relu(self.bn1(self.conv1(x))))
        for stage in (self.res2, self.res3, self.res4, self.res5):
            for block in stage.values():
                x = block(x)
        return self.fc6(x.mean((2, 3)))


class TorchFire(nn.Module):
    def __init__(self, into: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(into, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Any) -> Any:
        x = relu(self.squeeze1x1(x))
        return torch.cat([relu(self.expand1x1(x)), relu(self.expand3x3(x))], 1)


class TorchSqueezeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2)
        self.fire2, self.fire3 = TorchFire(64, 16, 64), TorchFire(128, 16, 64)
        self.fire4, self.fire5 = TorchFire(128, 32, 128), TorchFire(256, 32, 128)
        self.fire6, self.fire7 = TorchFire(256, 48, 192), TorchFire(384, 48, 192)
        self.fire8, self.fire9 = TorchFire(384, 64, 256), TorchFire(512, 64, 256)
        self.conv10 = nn.Conv2d(512, 10, 1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x: Any) -> Any:
        x = self.pool(relu(self.conv1(x)))
        x = self.pool(self.fire3(self.fire2(x)))
        x = self.pool(self.fire5(self.fire4(x)))
        x = self.fire9(self.fire8(self.fire7(self.fire6(x))))
        return relu(self.conv10(x)).mean((2, 3))


# The comparison -----------------------------------------------------------------------------------------------------


def twins(ours: Layer, theirs: Any, shape: tuple[int, ...], dtype: str) -> tuple[dict[str, str], np.ndarray]:
    """Give both the same weights, and return the names of these, and pictures.

    The weights have the deviation at which ReLU keeps the size of signals (He et al., arXiv:1502.01852, 2015), biases
    and running statistics are random too, so that none can be left out unnoticed.
    """
    torch.set_num_threads(1)
    theirs.to(getattr(torch, dtype))
    generator = torch.Generator().manual_seed(0)
    for name, value in theirs.state_dict().items():
        if value.ndim > 1:
            value.normal_(0.0, (2.0 / value[0].numel()) ** 0.5, generator=generator)
        elif value.ndim == 1:
            low, high = (0.5, 1.5) if name.endswith(("running_var", "weight")) else (-0.2, 0.2)
            value.uniform_(low, high, generator=generator)
    x = draw(*shape).astype(dtype)
    with no_grad(), test_mode():
        ours(x.astype("float32"))  # so that all parameters are there
    names = {path: ".".join((*path.split("/")[:-1], KINDS[path.split("/")[-1]])) for path, _ in ours.named_state()}
    same_weights(ours, theirs, names, LINEAR)
    return names, x


def check(ours: Layer, theirs: Any, shape: tuple[int, ...], dtype: str, rtol: float, training: bool) -> None:
    """Compare scores, gradients of weights and pictures, and what the normalizations keep."""
    names, x = twins(ours, theirs, shape, dtype)
    theirs.train(training)
    xs, ts = Variable(x), torch.tensor(x, requires_grad=True)
    with nullcontext() if training else test_mode():
        y, z = ours(xs), theirs(ts)
        assert_same(y, z, rtol, "scores")
        g = draw(*y.shape, seed=7).astype(dtype)
        (y * g).sum().backward()
        (z * torch.tensor(g)).sum().backward()
    assert_same(xs.grad, ts.grad, rtol, "gradient of the pictures")
    assert_same_gradients(ours, theirs, names, LINEAR, rtol)
    for path, value in ours.named_state():
        if path.endswith(("avg_mean", "avg_var")):
            assert_same(value, theirs.state_dict()[names[path]], rtol, path)


def test_mlp() -> None:
    check(MLP((9, 7, 4), F.tanh), TorchMLP(), (5, 12), "float64", 1e-9, training=True)


def test_lenet() -> None:
    check(LeNet(dropout=0.0), TorchLeNet(), (3, 1, 28, 28), "float64", 1e-9, training=True)


def test_vgg16() -> None:
    """In float32, as it is used: 1e-4 is some thousand roundings of 6e-8, and sums have up to 4,608 terms."""
    check(VGG16(classes=10), TorchVGG16(), (2, 3, 32, 32), "float32", 1e-4, training=False)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [64, 50])
def test_resnet18(training: bool, size: int) -> None:
    """Of 64 pixels, windows of the pooling hang over the edge; of 50, none."""
    theirs = TorchResNet(Basic, (2, 2, 2, 2), 1, 10)
    check(ResNet(18, classes=10), theirs, (3, 3, size, size), "float64", 1e-8, training)


@pytest.mark.parametrize(
    ("n", "block", "blocks", "wider"), [(34, Basic, (3, 4, 6, 3), 1), (50, Bottleneck, (3, 4, 6, 3), 4)]
)
@pytest.mark.parametrize("training", [True, False])
def test_deeper_resnets(n: int, block: type[Any], blocks: tuple[int, ...], wider: int, training: bool) -> None:
    theirs = TorchResNet(block, blocks, wider, 10)
    check(ResNet(n, classes=10), theirs, (2, 3, 64, 64), "float64", 1e-8, training)


@pytest.mark.parametrize(("n", "blocks"), [(101, (3, 4, 23, 3)), (152, (3, 8, 36, 3))])
def test_scores_of_the_deepest_resnets(n: int, blocks: tuple[int, ...]) -> None:
    ours, theirs = ResNet(n), TorchResNet(Bottleneck, blocks, 4, 1000)
    _, x = twins(ours, theirs, (1, 3, 40, 40), "float64")
    theirs.eval()
    with no_grad(), test_mode(), torch.no_grad():
        assert_same(ours(x), theirs(torch.tensor(x)), 1e-8)


@pytest.mark.parametrize("size", [64, 57])
def test_squeezenet(size: int) -> None:
    check(SqueezeNet(classes=10), TorchSqueezeNet(), (2, 3, size, size), "float64", 1e-9, training=False)


PUBLISHED: list[tuple[Callable[[], Any], int]] = [
    (TorchLeNet, 431_080),
    (lambda: TorchResNet(Basic, (2, 2, 2, 2), 1, 1000), 11_689_512 + 64),
    (lambda: TorchResNet(Basic, (3, 4, 6, 3), 1, 1000), 21_797_672 + 64),
    (lambda: TorchResNet(Bottleneck, (3, 4, 6, 3), 4, 1000), 25_557_032 + 64),
]


@pytest.mark.parametrize(("make", "count"), PUBLISHED, ids=["lenet", "resnet18", "resnet34", "resnet50"])
def test_the_mirrors_have_the_published_number_of_parameters(make: Callable[[], Any], count: int) -> None:
    """Thus the comparison is with the networks of that name; the 64 are the bias of the first convolution."""
    assert sum(p.numel() for p in make().parameters()) == count
