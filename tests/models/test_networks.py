"""The networks for pictures: names, sizes, arguments, published weights."""

import hashlib
from math import prod

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import models, no_grad, random, test_mode
from dzcore.backend import get_backend
from dzcore.errors import WeightsError
from dzcore.models import VGG16, LeNet, ResNet, ResNet18, ResNet34, ResNet50, ResNet101, ResNet152, SqueezeNet
from dzcore.optimizers import Adam

from .onnx_files import onnx_file


def values(variable):
    host = variable.to_host()
    return np.frombuffer(bytes(host.buffer), host.dtype).reshape(host.shape)


def scores(model, size, n=1):
    with no_grad(), test_mode():
        return model(random.normal((n, 3, size, size), dtype="float32"))


def shapes(model):
    return {path: tuple(value.shape) for path, value in model.named_state()}


def count(model):
    return sum(prod(param.shape) for param in model.params())


# What DeZero's files hold -------------------------------------------------------------------------------------------


def vgg_shapes(inputs, classes=1000):
    found, before = {}, 3
    for stage, (channels, n) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for i in range(1, n + 1):
            found |= {f"conv{stage}_{i}/W": (channels, before, 3, 3), f"conv{stage}_{i}/b": (channels,)}
            before = channels
    for name, n, m in (("fc6", inputs, 4096), ("fc7", 4096, 4096), ("fc8", 4096, classes)):
        found |= {f"{name}/W": (n, m), f"{name}/b": (m,)}
    return found


def bn(path, n):
    return dict.fromkeys([f"{path}/{name}" for name in ("gamma", "beta", "avg_mean", "avg_var")], (n,))


def resnet_shapes(*blocks):
    found = {"conv1/W": (64, 3, 7, 7), "conv1/b": (64,), **bn("bn1", 64)}
    before = 64
    for stage, n in enumerate(blocks, 2):
        mid = 64 * 2 ** (stage - 2)
        for i in range(n):
            path = f"res{stage}/a" if i == 0 else f"res{stage}/b{i}"
            forms = [(mid, before, 1), (mid, mid, 3), (4 * mid, mid, 1)] + [(4 * mid, before, 1)] * (i == 0)
            for k, (out, into, size) in enumerate(forms, 1):
                found |= {f"{path}/conv{k}/W": (out, into, size, size), **bn(f"{path}/bn{k}", out)}
            before = 4 * mid
    return found | {"fc6/W": (2048, 1000), "fc6/b": (1000,)}


def write(path, shapes):
    """Write such a file: every array is one number, another one in each."""
    np.savez(path, **{name: np.full(shape, i / 1e4, "float32") for i, (name, shape) in enumerate(shapes.items())})


@pytest.mark.parametrize(
    ("make", "shapes", "size"),
    [(VGG16, vgg_shapes(512), 32), (ResNet50, resnet_shapes(3, 4, 6, 3), 32)],
    ids=["vgg16", "resnet50"],
)
def test_dezeros_files_load_by_their_names(tmp_path, make, shapes, size):
    write(tmp_path / "weights.npz", shapes)
    model = make()
    model.load_weights(tmp_path / "weights.npz")
    state = dict(model.named_state())
    assert set(state) == set(shapes)
    for i, (name, shape) in enumerate(shapes.items()):
        array = values(state[name])
        assert (array.shape, array.dtype) == (shape, np.float32)
        assert (array == np.float32(i / 1e4)).all()
    assert scores(model, size).shape == (1, 1000)  # and these are the shapes that the network wants


# Sizes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "published", "blocks"),
    [
        (ResNet18, 11_689_512, None),
        (ResNet34, 21_797_672, None),
        (ResNet50, 25_557_032, (3, 4, 6, 3)),
        (ResNet101, 44_549_160, (3, 4, 23, 3)),
        (ResNet152, 60_192_808, (3, 8, 36, 3)),
    ],
)
def test_parameters_of_resnets(make, published, blocks):
    """Elsewhere the first convolution has no bias; here it has one, of 64 numbers, as in the authors' files."""
    model = make()
    assert scores(model, 32).shape == (1, 1000)
    assert count(model) == published + 64
    if blocks is not None:
        assert shapes(model) == resnet_shapes(*blocks)
    assert model.conv1.b.shape == (64,)
    assert [path for path in shapes(model) if path.endswith("/b")] == ["conv1/b", "fc6/b"]


def test_parameters_of_squeezenet():
    model = SqueezeNet()
    scores(model, 64)
    assert count(model) == 1_235_496


@pytest.mark.slow
def test_parameters_of_vgg16():
    """For the pictures of ImageNet; `test_dezeros_files_load_by_their_names` has all shapes for small ones."""
    model = VGG16()
    assert scores(model, 224).shape == (1, 1000)
    assert count(model) == 138_357_544
    assert shapes(model) == vgg_shapes(512 * 7 * 7)


def test_parameters_of_lenet():
    model = LeNet()
    with no_grad():
        assert model(random.normal((2, 1, 28, 28), dtype="float32")).shape == (2, 10)
    assert count(model) == 431_080
    assert list(shapes(model)) == [f"{name}/{p}" for name in ("conv1", "conv2", "fc3", "fc4") for p in "Wb"]


@pytest.mark.parametrize(("make", "size"), [(ResNet18, 3), (ResNet18, 33), (SqueezeNet, 17), (SqueezeNet, 40)])
def test_other_sizes_of_pictures_and_other_classes(make, size):
    model = make(classes=7)
    assert scores(model, size, 2).shape == (2, 7)
    with no_grad(), test_mode():
        assert model(random.normal((1, 3, size, size + 9), dtype="float32")).shape == (1, 7)


def test_lenet_takes_16_pixels_and_any_channels():
    with no_grad():
        assert LeNet(3)(random.normal((2, 5, 16, 17), dtype="float32")).shape == (2, 3)


def test_the_default_is_the_deepest():
    assert len(list(ResNet().named_state())) == len(list(ResNet152().named_state()))
    assert len(list(ResNet(18).named_state())) == len(list(ResNet18().named_state()))


@pytest.mark.parametrize("n", [20, 0, None, "50"])
def test_other_depths_are_refused(n):
    with pytest.raises(ValueError, match=rf"n_layers={n!r} must be one of 18, 34, 50, 101, 152"):
        ResNet(n)


# Behavior -----------------------------------------------------------------------------------------------------------


def test_every_network_runs_on_every_backend(backend):
    """The first scores agree with those on the host, whose weights are the same."""
    for make, shape in ((LeNet, (2, 1, 16, 16)), (lambda: SqueezeNet(classes=5), (1, 3, 25, 25))):
        found = []
        for spec in ("numpy", backend):
            with dzcore.use_backend(spec), no_grad(), test_mode():
                random.seed(3)
                y = make()(dzcore.asarray(random.normal(shape, dtype="float32")))
                assert y.backend is get_backend(spec)
                assert y.dtype == y.backend.dtype("float32")
                found.append(values(y))
        np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [LeNet, lambda: SqueezeNet(classes=10), lambda: ResNet18(classes=10)])
def test_every_parameter_learns(make):
    """One step changes them all, and three on one batch reduce its loss."""
    random.seed(1)
    model, optimizer = make(), Adam(1e-3)
    shape = (4, 1, 28, 28) if make is LeNet else (4, 3, 40, 40)
    x, t = random.normal(shape, dtype="float32"), np.array([1, 2, 3, 4])
    optimizer.setup(model)
    losses = []
    for _ in range(4):
        before = {path: values(p).copy() for path, p in model.named_params() if p.data is not None}
        loss = F.softmax_cross_entropy(model(x), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        losses.append(float(loss))
    assert all((values(p) != before[path]).any() for path, p in model.named_params())
    assert losses[-1] < losses[0]


def narrow_vgg16():
    """VGG16 with 2 maps and 40 outputs everywhere, which is quicker."""
    model = VGG16(classes=2)
    for name in list(vars(model)):
        setattr(model, name, L.Conv2d(2, 3, pad=1) if name.startswith("conv") else L.Linear(40))
    return model


@pytest.mark.parametrize(
    ("make", "shape", "drawn"),
    [(narrow_vgg16, (3, 3, 32, 32), 3 * 2 * 40), (SqueezeNet, (1, 3, 25, 25), 512), (LeNet, (2, 1, 28, 28), 2 * 500)],
)
def test_dropout_is_where_it_belongs(make, shape, drawn):
    """Seen in how many elements draw random bits: none when it is tested."""
    model = make()
    x = random.normal(shape, dtype="float32")
    with no_grad():
        model(x)
        _, position = random.get_state()
        model(x)
        assert random.get_state()[1] - position == drawn
        with test_mode():
            model(x)
        assert random.get_state()[1] - position == drawn


# pretrained=True ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "name", "file"),
    [
        (VGG16, "vgg", "vgg16.npz"),
        (ResNet50, "resnet", "resnet50.npz"),
        (ResNet101, "resnet", "resnet101.npz"),
        (ResNet152, "resnet", "resnet152.npz"),
        (ResNet, "resnet", "resnet152.npz"),
        (SqueezeNet, "squeezenet", "squeezenet1.1-7.onnx"),
    ],
)
def test_pretrained_asks_for_its_own_file(monkeypatch, make, name, file):
    asked = []
    monkeypatch.setattr(getattr(models, name), "load_pretrained", lambda *arguments: asked.append(arguments))
    make()
    assert not asked
    model = make(pretrained=True)
    [(loaded, weights, classes)] = asked
    assert (loaded, weights.name, classes) == (model, file, 1000)
    assert all(url.startswith("https://") and url.endswith(f"/{file}") for url in weights.urls)


@pytest.mark.parametrize("make", [ResNet18, ResNet34])
def test_the_shallow_ones_have_no_published_weights(make):
    with pytest.raises(ValueError, match="pretrained=True needs n_layers to be one of 50, 101, 152, and it is"):
        make(pretrained=True)


def squeezenet_arrays():
    """The arrays of the published file, in its order, with numbers that show where they went."""
    forms = [(64, 3, 3)]
    before = 64
    for squeezed, expanded in [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]:
        forms += [(squeezed, before, 1), (expanded, squeezed, 1), (expanded, squeezed, 3)]
        before = 2 * expanded
    arrays = {}
    for i, (out, into, size) in enumerate([*forms, (1000, 512, 1)]):
        arrays[f"squeezenet0_conv{i}_weight"] = np.full((out, into, size, size), i / 1e3, "float32")
        arrays[f"squeezenet0_conv{i}_bias"] = np.full(out, i / 1e3 + 0.5, "float32")
    return arrays


def test_squeezenet_from_an_onnx_file(tmp_path, monkeypatch):
    (tmp_path / "squeezenet1.1-7.onnx").write_bytes(onnx_file(squeezenet_arrays()))
    monkeypatch.setattr(SqueezeNet, "WEIGHTS", SqueezeNet.WEIGHTS._replace(digest=None))  # others than the published
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path))
    model = SqueezeNet(pretrained=True)
    order = [float(values(p).reshape(-1)[0]) for p in model.params()]
    assert order == pytest.approx([x for i in range(26) for x in (i / 1e3, i / 1e3 + 0.5)])
    assert count(model) == 1_235_496
    assert scores(model, 25).shape == (1, 1000)


def test_squeezenet_from_a_wrong_file(tmp_path, monkeypatch):
    arrays = squeezenet_arrays()
    arrays["squeezenet0_conv3_weight"] = arrays["squeezenet0_conv2_weight"]
    del arrays["squeezenet0_conv25_bias"]
    (tmp_path / "squeezenet1.1-7.onnx").write_bytes(onnx_file(arrays))
    monkeypatch.setattr(SqueezeNet, "WEIGHTS", SqueezeNet.WEIGHTS._replace(digest=None))
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path))
    with pytest.raises(WeightsError, match=r"missing: conv10/b; fire2/expand3x3/W: .* has shape \(64, None, 3, 3\)"):
        SqueezeNet(pretrained=True)


def test_the_published_digest_is_one():
    digest = SqueezeNet.WEIGHTS.digest
    assert len(digest) == len(hashlib.sha256().hexdigest())
    assert set(digest) <= set("0123456789abcdef")
    assert VGG16.WEIGHTS.digest is None  # nobody states one: trusted on first use
