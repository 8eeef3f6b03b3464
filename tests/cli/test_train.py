"""`dz train`: what it says, what it writes, and that a seed decides everything."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from dzcore import optimizers
from dzcore.backend import get_backend, register_backend, unregister_backend
from dzcore.cli import train as module
from dzcore.dataloaders import DataLoader
from tests.datasets.files import real_data, write_set
from tests.elsewhere import Elsewhere

from .run import Dz

LINE = re.compile(
    r"epoch (\d+): loss (\d+\.\d{4}), accuracy ([01]\.\d+), test accuracy ([01]\.\d+), ([\d,]+) samples/s"
)


def weights(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def test_the_defaults_learn_digits(trained: Path, dz: Dz) -> None:
    done = dz("evaluate", "model.npz")
    loss, accuracy = re.fullmatch(r"digits: loss (.*), accuracy (.*) on 355 test samples\n", done.out).groups()  # type: ignore[union-attr]
    assert float(accuracy) > 0.96
    assert float(loss) < 0.15
    about = json.loads((trained / "model.npz.json").read_text())
    assert about["network"]["hidden"] == [100, 100]
    assert len(about["training"]["history"]) == 20
    assert about["training"]["history"][-1]["test_accuracy"] == pytest.approx(float(accuracy), abs=1e-4)
    assert list(weights(trained / "model.npz")) == ["l0/W", "l0/b", "l1/W", "l1/b", "l2/W", "l2/b"]


def test_a_line_an_epoch(dz: Dz) -> None:
    done = dz("train", "--epochs", 3, "--hidden", 20)
    first, *lines, last = done.out.splitlines()
    assert first == "mlp 64-20-10 (relu) on digits: 1,442 samples, backend numpy"
    found = [LINE.fullmatch(line) for line in lines]
    assert [int(match[1]) for match in found if match] == [1, 2, 3]
    losses = [float(match[2]) for match in found if match]
    assert losses == sorted(losses, reverse=True)
    assert re.fullmatch(r"Test accuracy 0\.\d{4} after \d+\.\d s; weights in model\.npz", last)
    assert (done.status, done.err) == (0, "")


def no_rates(out: str) -> list[str]:
    return [line.rsplit(",", 2)[0] for line in out.splitlines()[1:-1]]


def test_the_seed_decides_everything(dz: Dz, tmp_path: Path) -> None:
    run = ("train", "--epochs", 2, "--hidden", "30,20", "--dropout", 0.3, "--seed")
    outs = [no_rates(dz(*run, seed, "--output", f"{i}.npz").out) for i, seed in enumerate([7, 7, 8])]
    a, b, c = (weights(tmp_path / f"{i}.npz") for i in range(3))
    assert outs[0] == outs[1] != outs[2]
    assert all((a[name] == b[name]).all() for name in a)
    assert all((a[name] != c[name]).any() for name in a)


def test_every_backend_gets_the_same_numbers(dz: Dz, strict: str, tmp_path: Path) -> None:
    run = ("train", "--dataset", "spiral", "--epochs", 2, "--hidden", 10, "--dropout", 0.2, "--backend")
    assert dz(*run, "numpy", "--output", "a.npz").status == 0
    done = dz(*run, "strict:device1", "--output", "b.npz")
    assert done.out.startswith("mlp 2-10-3 (relu) on spiral: 300 samples, backend strict:device1\n")
    a, b = weights(tmp_path / "a.npz"), weights(tmp_path / "b.npz")
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adagrad", "adadelta", "adam", "adamw"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_all_optimizers_and_activations(dz: Dz, optimizer: str, activation: str) -> None:
    done = dz("train", "--optimizer", optimizer, "--activation", activation, "--epochs", 1, "--dataset", "spiral")
    assert done.status == 0
    assert f"({activation})" in done.out


def test_the_learning_rate_arrives() -> None:
    assert isinstance(module.make_optimizer("sgd", 0.5), optimizers.SGD)
    assert module.make_optimizer("sgd", 0.5).lr == 0.5  # type: ignore[attr-defined]
    assert module.make_optimizer("adam", None).lr == 0.001  # type: ignore[attr-defined]
    assert type(module.make_optimizer("adamw", 0.1)) is optimizers.AdamW


def test_dropout_is_off_when_it_is_tested(dz: Dz) -> None:
    done = dz("train", "--dropout", 0.8, "--epochs", 5)
    match = LINE.fullmatch(done.out.splitlines()[5])
    assert match
    assert float(match[4]) > float(match[3]) + 0.2


def test_mnist_from_a_folder(dz: Dz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "data", n=30)
    write_set(tmp_path / "data", "t10k", n=10)
    run = ("train", "--epochs", 1, "--hidden", 5, "--dataset")
    assert "on mnist: 30 samples" in dz(*run, "mnist", "--data", "data").out
    monkeypatch.setenv("DZCORE_DATA", "data")
    assert "on fashion-mnist: 30 samples" in dz(*run, "fashion-mnist").out
    assert "mnist: loss" in dz("evaluate", "model.npz", "--dataset", "mnist", "--data", "data").out


def test_a_curve(dz: Dz, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="curves need matplotlib: pip install 'dzcore[cli]'")
    for name, magic in (("curve.png", b"\x89PNG"), ("curve.svg", b"<?xml")):
        done = dz("train", "--epochs", 2, "--dataset", "spiral", "--plot", name)
        assert f"Curves in {name}\n" in done.out
        assert (tmp_path / name).read_bytes().startswith(magic)


def test_a_loss_that_becomes_infinite(dz: Dz, tmp_path: Path) -> None:
    done = dz("train", "--optimizer", "sgd", "--lr", 1e30, "--epochs", 2)
    assert done.status == 1
    assert "dz train: the loss became" in done.err
    assert done.err.endswith("begin anew with a smaller --lr\n")
    assert not (tmp_path / "model.npz").exists()


def test_a_full_disk_is_one_line(dz: Dz, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "model.npz")

    monkeypatch.setattr(module, "save", save)
    done = dz("train", "--epochs", 1, "--dataset", "spiral")
    assert (done.status, done.err) == (1, "dz train: 'model.npz': No space left on device\n")


def test_the_current_backend_is_left_alone(dz: Dz, strict: str) -> None:
    dz("train", "--dataset", "spiral", "--epochs", 1, "--hidden", 3, "--backend", strict)
    assert get_backend("numpy").owns(DataLoader(([1.0], [1]), 1).backend.asarray([1.0]))


@pytest.mark.slow
def test_mnist_follows_the_book(dz: Dz) -> None:
    """The losses of the notebook in DeZero's book: 1.90, 1.27, 0.92, 0.74, 0.63."""
    run = "train --dataset mnist --model mlp --hidden 1000 --activation sigmoid --optimizer sgd --lr 0.01"
    done = dz(*run.split(), "--batch-size", 100, "--epochs", 2, "--data", real_data())
    losses = [float(match[2]) for line in done.out.splitlines() if (match := LINE.fullmatch(line))]
    assert losses == pytest.approx([1.90, 1.27], abs=0.05)


class Talking(Elsewhere):
    name = "talking"

    def report(self) -> str:
        return "what it has to say"


def test_the_backend_has_its_say_at_the_end(dz: Dz) -> None:
    register_backend(Talking)
    try:
        done = dz("train", "--dataset", "spiral", "--epochs", 1, "--hidden", 4, "--backend", "talking")
    finally:
        unregister_backend("talking")
    assert done.out.splitlines()[-2] == "what it has to say"
    assert "None" not in dz("train", "--dataset", "spiral", "--epochs", 1, "--hidden", 4).out
