"""PyTorch's checkpoints in safetensors form in our models, by a map of names, and ours in PyTorch's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
from dzcore import Model, Variable, no_grad, test_mode
from dzcore import functions as F
from dzcore import layers as L
from dzcore.errors import WeightsError
from dzcore.layers.tree import named_layers
from dzcore.models import MLP, ResNet18

from .compare import assert_same, draw, torch

nn, relu = torch.nn, torch.nn.functional.relu
files: Any = pytest.importorskip("safetensors.torch", reason="the format needs its package: pip install safetensors")

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "avg_mean", "running_var": "avg_var"}


def published(net: Any, path: Path) -> Path:
    """Write a network as it is published, with numbers for everything, the running statistics among them."""
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            low, high = (0.5, 1.5) if name.endswith("running_var") or value.ndim == 1 else (-0.1, 0.1)
            value.uniform_(low, high, generator=generator)
    files.save_file(net.state_dict(), path)
    return path


def assert_equal_scores(ours: Any, theirs: Any, x: np.ndarray) -> None:
    theirs.eval()
    with no_grad(), test_mode(), torch.no_grad():
        assert_same(ours(x), theirs(torch.tensor(x)), 2e-5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "theirs.safetensors"


# An MLP --------------------------------------------------------------------------------------------------------------

MLP_NAMES = {f"{n}.{kind}": f"l{i}/{path}" for i, n in enumerate((0, 2, 4)) for kind, path in
             (("weight", "W.T"), ("bias", "b"))}  # fmt: skip


def torch_mlp() -> Any:
    return nn.Sequential(nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 4))


@pytest.mark.parametrize("in_size", [12, None])
def test_an_mlp(path: Path, in_size: int | None) -> None:
    theirs, ours = torch_mlp(), MLP((9, 7, 4), F.tanh, in_size=in_size)
    ours.load_weights(published(theirs, path), names=MLP_NAMES)
    assert_equal_scores(ours, theirs, draw(5, 12).astype("f4"))


def test_half_precision(path: Path) -> None:
    theirs, ours = nn.Linear(3, 2).half(), L.Linear(2, dtype="float16")
    ours.load_weights(published(theirs, path), names={"weight": "W.T", "bias": "b"})
    np.testing.assert_array_equal(ours.W.data, theirs.weight.detach().numpy().T, strict=True)


def test_the_first_layers_of_theirs(path: Path) -> None:
    """What the map leaves out, and what it does not mention, is told."""
    ours = MLP((9, 7, 2), F.tanh)
    unmatched = ours.load_weights(
        published(torch_mlp(), path), strict=False, names=MLP_NAMES | {"4.weight": None, "4.bias": "4.bias"}
    )
    assert unmatched == (("l2/W", "l2/b"), ("4.bias",))


def test_without_a_map_everything_is_listed(path: Path) -> None:
    with pytest.raises(WeightsError) as error:
        MLP((9, 7, 4), in_size=12).load_weights(published(torch_mlp(), path))
    for words in ("missing: l0/W", "missing: l2/b", "unexpected: 0.weight float32[9, 12]", "theirs.safetensors"):
        assert words in str(error.value)


def test_a_matrix_the_wrong_way_round(path: Path) -> None:
    names = MLP_NAMES | {"2.weight": "l1/W"}
    with pytest.raises(WeightsError, match=r"l1/W: the model has float32\[9, 7\], the file float32\[7, 9\]"):
        MLP((9, 7, 4), in_size=12).load_weights(published(torch_mlp(), path), names=names)


# LeNet with normalizations -------------------------------------------------------------------------------------------


class LeNet(Model):
    def __init__(self) -> None:
        self.conv1, self.bn1 = L.Conv2d(6, 5), L.BatchNorm(eps=1e-5)
        self.conv2, self.bn2 = L.Conv2d(16, 5), L.BatchNorm(eps=1e-5)
        self.fc1, self.fc2 = L.Linear(84), L.Linear(10)

    def forward(self, x: Any) -> Variable:
        x = F.pooling(F.relu(self.bn1(self.conv1(x))), 2, 2)
        x = F.pooling(F.relu(self.bn2(self.conv2(x))), 2, 2)
        return self.fc2(F.relu(self.fc1(F.flatten(x))))  # type: ignore[no-any-return]


class TorchLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 5), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16)
        self.fc1, self.fc2 = nn.Linear(256, 84), nn.Linear(84, 10)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Any) -> Any:
        x = self.pool(relu(self.bn1(self.conv1(x))))
        x = self.pool(relu(self.bn2(self.conv2(x))))
        return self.fc2(relu(self.fc1(x.flatten(1))))


def lenet_path(name: str) -> str | None:
    """Name the path of one of PyTorch's names; what it counts batches with has none."""
    layer, kind = name.split(".")
    if layer.startswith("bn"):
        return f"{layer}/{NORM[kind]}" if kind in NORM else None
    return f"{layer}/{'b' if kind == 'bias' else 'W.T' if layer.startswith('fc') else 'W'}"


@pytest.mark.parametrize("as_mapping", [False, True])
def test_lenet_with_normalizations(path: Path, as_mapping: bool) -> None:
    theirs, ours = TorchLeNet(), LeNet()
    names: Any = {name: lenet_path(name) for name in theirs.state_dict()} if as_mapping else lenet_path
    ours.load_weights(published(theirs, path), names=names)
    assert_equal_scores(ours, theirs, draw(3, 1, 28, 28).astype("f4"))


def test_the_count_of_batches_is_not_taken_for_anything(path: Path) -> None:
    published(TorchLeNet(), path)

    def names(name: str) -> str | None:
        return lenet_path(name) or name

    with pytest.raises(WeightsError, match=r"unexpected: bn1\.num_batches_tracked int64\[\]"):
        LeNet().load_weights(path, names=names)
    assert LeNet().load_weights(path, strict=False, names=names).unexpected == (
        "bn1.num_batches_tracked", "bn2.num_batches_tracked",
    )  # fmt: skip


# ResNet18, by torchvision's names ------------------------------------------------------------------------------------


class TorchBlock(nn.Module):
    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        else:
            self.downsample = None

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet18(nn.Module):
    """As torchvision has it: its names, and its form."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        into = 64
        for i, out in enumerate((64, 128, 256, 512)):
            setattr(self, f"layer{i + 1}", nn.Sequential(TorchBlock(into, out, 1 + (i > 0)), TorchBlock(out, out, 1)))
            into = out
        self.fc = nn.Linear(512, classes)

    def forward(self, x: Any) -> Any:
        x = self.pool(relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class TheirResNet18(ResNet18):
    """Ours in torchvision's form: no bias at the beginning, padded pooling, another eps."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes=classes)
        self.conv1 = L.Conv2d(64, 7, 2, 3, nobias=True)
        for layer in named_layers(self).values():
            if isinstance(layer, L.BatchNorm):
                layer.eps = 1e-5

    def forward(self, x: Any) -> Variable:
        x = F.pooling(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(2, 6):
            x = getattr(self, f"res{stage}")(x)
        return self.fc6(F.global_average_pooling(x))  # type: ignore[no-any-return]


def resnet_path(name: str) -> str | None:
    """Name the path in ResNet18 of one of torchvision's names."""
    *where, kind = name.split(".")
    if where[0] == "fc":
        return "fc6/W.T" if kind == "weight" else "fc6/b"
    if where[0].startswith("layer"):
        stage, block, inner, *number = where
        inner = ("conv3", "bn3")[int(number[0])] if inner == "downsample" else inner
        where = [f"res{int(stage[-1]) + 1}", "a" if block == "0" else f"b{block}", inner]
    if where[-1].startswith("bn"):
        return "/".join((*where, NORM[kind])) if kind in NORM else None
    return "/".join((*where, "W"))


def test_resnet18_by_torchvision_s_names(path: Path) -> None:
    theirs, ours = TorchResNet18(10), TheirResNet18(10)
    assert len(theirs.state_dict()) == 122
    assert sum(p.numel() for p in TorchResNet18(1000).parameters()) == 11_689_512
    ours.load_weights(published(theirs, path), names=resnet_path)
    assert_equal_scores(ours, theirs, draw(2, 3, 64, 64).astype("f4"))


def test_our_resnet18_has_one_array_more(path: Path) -> None:
    model = ResNet18(classes=10)
    published(TorchResNet18(10), path)
    with pytest.raises(WeightsError, match=r"ResNet18: missing: conv1/b$"):
        model.load_weights(path, names=resnet_path)
    assert model.load_weights(path, strict=False, names=resnet_path) == (("conv1/b",), ())


# The other way -------------------------------------------------------------------------------------------------------


def for_torch(ours: Any, names: Callable[[str], str | None], theirs: Any) -> dict[str, Variable]:
    """Return our weights by PyTorch's names, for `dzcore.save`."""
    state, found = ours.state_dict(), {}
    for name in theirs.state_dict():
        if path := names(name):
            found[name] = state[path.removesuffix(".T")].T if path.endswith(".T") else state[path]
    return found


def test_ours_in_pytorch(path: Path) -> None:
    ours, theirs, x = LeNet(), TorchLeNet(), draw(3, 1, 28, 28).astype("f4")
    for _ in range(3):
        ours(x)  # which fills the statistics
    dzcore.save(path, for_torch(ours, lenet_path, theirs))
    theirs.load_state_dict(files.load_file(path))  # strictly: it does without the counts of batches
    assert_equal_scores(ours, theirs, x)


def test_our_own_file_in_pytorch(path: Path) -> None:
    """What `save_weights` writes has our names and our matrices; PyTorch reads it as it is."""
    ours, theirs, x = MLP((9, 7, 4), F.tanh, in_size=12), torch_mlp(), draw(5, 12).astype("f4")
    ours.save_weights(path)
    read = files.load_file(path)
    assert sorted(read) == sorted(path for path, _ in ours.named_params())
    for name, target in MLP_NAMES.items():
        array = read[target.removesuffix(".T")]
        theirs.state_dict()[name].copy_(array.T if target.endswith(".T") else array)
    assert_equal_scores(ours, theirs, x)


def test_there_and_back(path: Path, tmp_path: Path) -> None:
    ours, again, theirs = LeNet(), LeNet(), TorchLeNet()
    x = draw(2, 1, 28, 28).astype("f4")
    ours(x)
    dzcore.save(path, for_torch(ours, lenet_path, theirs))
    theirs.load_state_dict(files.load_file(path))
    files.save_file(theirs.state_dict(), tmp_path / "back.safetensors")
    again.load_weights(tmp_path / "back.safetensors", names=lenet_path)
    for (name, a), (_, b) in zip(ours.named_state(), again.named_state(), strict=True):
        np.testing.assert_array_equal(a.data, b.data, strict=True, err_msg=name)
