"""`--model lenet`: its own defaults, its own form of pictures, and the same commands as for the other network."""

import gzip
import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

import dzcore
from dzcore.cli.parser import complete, make_parser
from dzcore.cli.recipe import Recipe, build, load
from dzcore.datasets import MNIST
from dzcore.models import LeNet
from tests.datasets.files import idx, real_data, write_set

from .run import Dz
from .test_train import LINE, weights

NETWORK = {
    "dataset": "mnist", "model": "lenet", "inputs": 784, "hidden": (), "classes": 10,
    "activation": "relu", "dropout": 0.5,
}  # fmt: skip
RUN = ("train", "--model", "lenet", "--dataset", "mnist", "--data", "data")


@pytest.fixture
def data(dz: Dz, tmp_path: Path) -> Path:
    """The folder data/, with 40 pictures to train with and 10 to test."""
    write_set(tmp_path / "data", "t10k", n=10)
    return write_set(tmp_path / "data", n=40)


def test_train_evaluate_predict(dz: Dz, data: Path, tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image", reason="dz predict needs Pillow: pip install pillow")
    done = dz(*RUN, "--epochs", 2, "--batch-size", 20)
    assert (done.status, done.err) == (0, "")
    first, *lines, _ = done.out.splitlines()
    assert first == "lenet on mnist: 40 samples, backend numpy"
    assert len([line for line in lines if LINE.fullmatch(line)]) == 2
    names = [f"{layer}/{p}" for layer in ("conv1", "conv2", "fc3", "fc4") for p in "Wb"]
    assert list(weights(tmp_path / "model.npz")) == names
    about = json.loads((tmp_path / "model.npz.json").read_text())
    assert about["version"] == 1
    assert about["network"] == NETWORK | {"hidden": []}
    accuracy = about["training"]["history"][-1]["test_accuracy"]
    assert f"accuracy {accuracy:.4f} on 10 test samples" in dz("evaluate", "model.npz", "--data", "data").out

    test = MNIST(train=False, root=data, flat=False)
    for i in range(3):
        Image.fromarray(test.data[i, 0]).save(f"{i}.png")
    lines = dz("predict", "model.npz", "0.png", "1.png", "2.png").out.splitlines()
    model, _ = load("model.npz")
    assert isinstance(model, LeNet)
    with dzcore.test_mode():
        p = dzcore.functions.softmax(model(test.batch(range(3))[0])).data
    assert lines == [f"{i}.png: {p[i].argmax()} ({p[i].max():.4f})" for i in range(3)]


def test_the_seed_decides_everything(dz: Dz, data: Path, tmp_path: Path) -> None:
    for i, seed in enumerate((7, 7, 8)):
        dz(*RUN, "--epochs", 1, "--seed", seed, "--output", f"{i}.npz")
    a, b, c = (weights(tmp_path / f"{i}.npz") for i in range(3))
    assert all((a[name] == b[name]).all() for name in a)
    assert all((a[name] != c[name]).any() for name in a)


def test_every_backend_gets_the_same_numbers(dz: Dz, data: Path, strict: str, tmp_path: Path) -> None:
    for name in ("numpy", "strict:device1"):
        assert dz(*RUN, "--epochs", 1, "--batch-size", 20, "--backend", name, "--output", f"{name[:5]}.npz").status == 0
    a, b = weights(tmp_path / "numpy.npz"), weights(tmp_path / "stric.npz")
    for name in a:
        # Adam divides a gradient by its own size: where it is next to zero, a weight moves by its rounding.
        assert np.linalg.norm(a[name] - b[name]) <= 1e-4 * np.linalg.norm(b[name])


def test_bench(dz: Dz, data: Path) -> None:
    done = dz("bench", *RUN[1:], "--epochs", 1, "--backends", "numpy")
    assert done.out.startswith("lenet on mnist: 40 samples, batches of 100\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "argument --model: lenet takes pictures of at least 16×16 pixels, and digits has 8×8; give --dataset"),
        ("--dataset spiral", "lenet takes pictures of at least 16×16 pixels, and spiral has none; give --dataset"),
        ("--dataset mnist --hidden 10", "argument --hidden: lenet has layers of its own; leave it out"),
        ("--dataset mnist --activation tanh", "argument --activation: lenet has layers of its own; leave it out"),
    ],
)
@pytest.mark.parametrize("command", ["train", "bench"])
def test_what_it_cannot_be_told(dz: Dz, command: str, words: str, message: str) -> None:
    assert message in dz.fails(command, "--model", "lenet", *words.split())


def arguments(*words: str) -> Namespace:
    found = make_parser().parse_args(list(words))
    complete(found)
    return found


def test_each_model_has_its_defaults() -> None:
    mlp, lenet = arguments("train"), arguments("train", "--model", "lenet")
    assert (mlp.hidden, mlp.activation, mlp.dropout, mlp.batch_size, mlp.epochs) == ((100, 100), "relu", 0.0, 32, 20)
    assert (lenet.hidden, lenet.activation, lenet.dropout, lenet.batch_size) == (None, None, 0.5, 100)
    assert lenet.epochs < mlp.epochs
    assert arguments("bench", "--model", "lenet").epochs == arguments("bench").epochs == 5
    given = arguments("train", "--model", "lenet", "--dropout", "0", "--epochs", "3", "--batch-size", "7")
    assert (given.dropout, given.epochs, given.batch_size) == (0.0, 3, 7)


def test_the_help_states_the_defaults(dz: Dz) -> None:
    text = " ".join(dz("train", "--help").out.split())
    lenet = arguments("train", "--model", "lenet")
    assert f"default: 20, for lenet {lenet.epochs}" in text
    assert f"default: 32, for lenet {lenet.batch_size}" in text
    assert f"default: 0.0, for lenet {lenet.dropout}" in text
    assert "{mlp,lenet}" in text


def test_files_from_before_are_read(dz: Dz, trained: Path) -> None:
    """The description that the first version wrote, word for word but for the training."""
    (trained / "model.npz.json").write_text(
        '{\n "format": "dzcore network",\n "version": 1,\n "network": {\n  "dataset": "digits",\n  "model": "mlp",\n'
        '  "inputs": 64,\n  "hidden": [\n   100,\n   100\n  ],\n  "classes": 10,\n  "activation": "relu",\n'
        '  "dropout": 0.0\n },\n "training": {}\n}\n'
    )
    assert dz("evaluate", "model.npz").out.startswith("digits: loss")


def test_the_description_is_what_is_built() -> None:
    model = build(Recipe(**NETWORK | {"dropout": 0.25}))  # type: ignore[arg-type]
    assert isinstance(model, LeNet)
    assert (model.dropout, model.fc4.out_size) == (0.25, 10)


@pytest.mark.parametrize(
    "change",
    [{"inputs": 785}, {"hidden": (3,)}, {"dataset": "digits", "inputs": 64}, {"dataset": "spiral", "inputs": 2}],
)
def test_a_description_that_is_none(change: dict[str, object]) -> None:
    Recipe(**NETWORK)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is no network that this dzcore knows"):
        Recipe(**NETWORK | change)  # type: ignore[arg-type]


def test_other_test_data(dz: Dz, data: Path) -> None:
    dz(*RUN, "--epochs", 1)
    assert "fashion-mnist: loss" in dz("evaluate", "model.npz", "--dataset", "fashion-mnist", "--data", "data").out
    for name, n in (("digits", 64), ("spiral", 2)):
        message = f"argument --dataset: {name} has {n} inputs"
        assert message in dz.fails("evaluate", "model.npz", "--dataset", name)


@pytest.mark.slow
def test_it_learns_from_a_part_of_mnist(dz: Dz, tmp_path: Path) -> None:
    """The whole of it, by the bare command, gives above 0.99, and takes some minutes."""
    for part, n in (("train", 6000), ("t10k", 1000)):
        for kind, size, head in (("images-idx3", 784, 16), ("labels-idx1", 1, 8)):
            with gzip.open(real_data() / "mnist" / f"{part}-{kind}-ubyte.gz") as file:
                content = file.read()[head : head + n * size]
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(idx((n, 28, 28) if size > 1 else (n,), content))
    done = dz("train", "--model", "lenet", "--dataset", "mnist", "--data", tmp_path, "--epochs", 3)
    assert float(done.out.splitlines()[-1].split()[2]) > 0.95
