"""Wrong arguments: one line that names the argument and the remedy, before any work is done."""

import json
import sys
from pathlib import Path

import pytest

from dzcore.cli import parser, recipe, train
from dzcore.datasets import MNIST

from .run import Dz


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "dz: the following arguments are required: COMMAND; see dz --help"),
        ("trian", "dz: argument COMMAND: invalid choice: 'trian'"),
        ("train --lr 0", "dz train: argument --lr: '0' is not a number above 0; give one such as 0.01"),
        ("train --lr inf", "argument --lr: 'inf' is not a number above 0"),
        ("train --lr nan", "argument --lr: 'nan' is not a number above 0"),
        ("train --lr fast", "argument --lr: 'fast' is not"),
        ("train --dropout 1", "argument --dropout: '1' is not a number in [0, 1); give one such as 0.5"),
        ("train --dropout -0.1", "argument --dropout"),
        ("train --epochs 0", "argument --epochs: '0' is not a whole number of at least 1"),
        ("train --epochs 1.5", "argument --epochs: '1.5' is not a whole number"),
        ("train --batch-size 0", "argument --batch-size: '0' is not"),
        ("train --seed -1", "argument --seed"),
        (
            "train --seed 18446744073709551616",
            "argument --seed: '18446744073709551616' is not a whole number in [0, 2**64)",
        ),
        (
            "train --hidden 100,",
            "argument --hidden: '100,' is not a list of sizes of at least 1; give one such as 100,100",
        ),
        ("train --hidden 0", "argument --hidden: '0' is not"),
        ("train --hidden 10x10", "argument --hidden: '10x10' is not"),
        ("train --dataset cifar", "argument --dataset: invalid choice: 'cifar'"),
        ("train --optimizer adm", "argument --optimizer: invalid choice: 'adm'"),
        ("train --activation gelu", "argument --activation: invalid choice: 'gelu'"),
        ("train --model cnn", "argument --model: invalid choice: 'cnn'"),
        ("train --epoch 3", "unrecognized arguments: --epoch 3"),
        ("train --lr", "argument --lr: expected one argument"),
        ("train --backend cuppy", "argument --backend: No backend 'cuppy'. Installed:"),
        ("train --backend numpy:7", "argument --backend: "),
        ("train --backend :", "argument --backend: backend=':' is incomplete"),
        ("train --optimizer adadelta --lr 1", "argument --lr: adadelta has no learning rate; leave it out"),
        ("train --data .", "argument --data: digits needs no folder; leave it out, or give --dataset mnist"),
        ("train --dataset mnist --data none", "argument --data: root='none' does not exist; name the folder"),
        ("train --dataset mnist --data .", "argument --data: root='.' holds no train-images-idx3-ubyte.gz"),
        ("train --output model", "argument --output: 'model' does not end in .npz; give one such as model.npz"),
        ("train --output none/model.npz", "argument --output: the folder"),
        ("train --output /dev/null/model.npz", "argument --output: the folder"),
        ("train --output /proc/model.npz", "argument --output: '/proc' cannot be written to"),
        ("train --output folder.npz", "argument --output: 'folder.npz' is a folder"),
        ("train --plot curve.txt", "argument --plot: 'curve.txt' ends in none of"),
        ("train --plot none/curve.png", "argument --plot: the folder"),
        ("evaluate", "dz evaluate: the following arguments are required: WEIGHTS"),
        ("evaluate none.npz", "argument WEIGHTS: 'none.npz.json' does not exist; dz train writes it"),
        (
            "evaluate model.npz --dataset spiral",
            "argument --dataset: spiral has 2 inputs and 3 classes, and the network 64 and 10",
        ),
        ("evaluate model.npz --data .", "argument --data: digits needs no folder"),
        ("evaluate model.npz --backend nmpy", "argument --backend: No backend 'nmpy'"),
        ("predict model.npz", "the following arguments are required: IMAGE"),
    ],
)
def test_one_line(words: str, message: str, dz: Dz, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("the training has begun")

    (trained / "folder.npz").mkdir()
    before = sorted(trained.iterdir())
    monkeypatch.setattr(train, "run_epoch", never)
    assert message in dz.fails(*words.split())
    assert sorted(trained.iterdir()) == before  # and nothing lies about


def test_a_data_folder_in_the_environment(dz: Dz, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DZCORE_DATA", "/none")
    assert "dz train: DZCORE_DATA='/none' does not exist" in dz.fails("train", "--dataset", "mnist", status=1)


def test_no_data_at_all(dz: Dz, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "mirrors", ())
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert "pip install 'dzcore[data]'" in dz.fails("train", "--dataset", "mnist", status=1)


def test_no_matplotlib(dz: Dz, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert "pip install 'dzcore[cli]'" in dz.fails("train", "--plot", "curve.png")


def test_version_and_help(dz: Dz) -> None:
    assert dz("--version").out.startswith("dzcore 0.")
    for words in (["--help"], ["train", "--help"], ["evaluate", "--help"], ["predict", "-h"], ["backends", "-h"]):
        done = dz(*words)
        assert (done.status, done.err) == (0, "")
        assert done.out.startswith("usage: dz")


def test_the_lists_of_names_agree() -> None:
    assert tuple(recipe.SETS) == parser.DATASETS
    assert tuple(train.RULES) == parser.OPTIMIZERS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "{", "does not describe a network"),
        (lambda text: "[]", "does not describe a network"),
        (lambda text: text.replace("dzcore network", "other"), "it is not of the format 'dzcore network'"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "version 1"),
        (lambda text: text.replace('"inputs": 64', '"inputs": "64"'), "is no network that this dzcore knows"),
        (lambda text: text.replace('"dataset": "digits"', '"dataset": "x"'), "is no network that this dzcore knows"),
        (lambda text: text.replace('"hidden"', '"hid"'), "'hidden' is missing"),
        (lambda text: text.replace('"inputs": 64', '"inputs": 65'), "does not fit this MLP"),
    ],
)
def test_a_damaged_description(dz: Dz, trained: Path, change: object, message: str) -> None:
    file = trained / "model.npz.json"
    json.loads(file.read_text())
    file.write_text(change(file.read_text()))  # type: ignore[operator]
    error = dz.fails("evaluate", "model.npz")
    assert "dz evaluate: argument WEIGHTS: " in error
    assert message in error


def test_damaged_weights(dz: Dz, trained: Path) -> None:
    whole = (trained / "model.npz").read_bytes()
    (trained / "model.npz").write_bytes(whole[:-100])
    assert "argument WEIGHTS: 'model.npz'" in dz.fails("evaluate", "model.npz")
    (trained / "model.npz").unlink()
    assert "argument WEIGHTS: 'model.npz' does not exist" in dz.fails("evaluate", "model.npz")


def test_an_interrupt_before_the_training(dz: Dz, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "open_dataset", interrupt)
    done = dz("train")
    assert (done.status, done.err) == (130, "\nInterrupted; no weights were saved.\n")
