"""Text 002, notes in Korean on steps 53 to 55: saving a model, dropout, and how convolutions work."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore.functions as F
from dzcore import Config, Variable
from dzcore.utils import get_conv_outsize

from ..datasets.files import real_data
from .dropout import assert_direct_and_inverted, assert_drops, assert_prints, dropout
from .layers import assert_same_files, nested
from .training import losses, prepare, train


def test_an_array_in_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text 002, listing 1: save and load."""
    x = np.array([1, 2, 3])
    np.save("test.npy", x)

    x = np.load("test.npy")
    print(x)
    assert capsys.readouterr().out == "[1 2 3]\n"


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_arrays_in_a_file(folder: Path, as_dictionary: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Text 002, listings 2 and 3: savez with keywords and with a dictionary."""
    x1 = np.array([1, 2, 3])
    x2 = np.array([4, 5, 6])
    if as_dictionary:
        data = {"x1": x1, "x2": x2}
        np.savez("test.npz", **data)
    else:
        np.savez("test.npz", x1=x1, x2=x2)
    arrays = np.load("test.npz")

    x1 = arrays["x1"]
    x2 = arrays["x2"]
    print(x1)
    print(x2)
    assert capsys.readouterr().out == "[1 2 3]\n[4 5 6]\n"


def test_flatten_params(capsys: pytest.CaptureFixture[str]) -> None:
    """Text 002, listings 4 to 6: nested layers, and the flat dictionary that the text prints."""
    params_dict: dict[str, Any] = {}
    nested()._flatten_params(params_dict)
    print(params_dict)
    assert capsys.readouterr().out == "{'l1/p1': variable(1), 'p2': variable(2), 'p3': variable(3)}\n"


def test_saving_by_hand(folder: Path) -> None:
    """Text 002, listing 7: save_weights and load_weights (where the text keeps what is None, it means what is not)."""
    assert_same_files(np.ones((2, 2), np.float32))


def test_training_goes_on_from_a_file(mnist: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text 002, listings 8 and 9: the imports, and MNIST with `my_mlp.npz` read before and written after training."""
    for _ in range(2):
        train_set, train_loader, model, optimizer = prepare(batch_size=100)
        if os.path.exists("my_mlp.npz"):
            model.load_weights("my_mlp.npz")
        train(train_set, train_loader, model, optimizer, max_epoch=1)
        model.save_weights("my_mlp.npz")
    first, second = losses(capsys.readouterr().out)
    assert second < first


LISTING = """
import os
import sys
import dzcore
import dzcore.functions as F
from dzcore import optimizers
from dzcore import DataLoader
from dzcore.models import MLP

dzcore.random.seed(int(sys.argv[1]))
max_epoch = 3
batch_size = 100

train_set = dzcore.datasets.MNIST(train=True)
train_loader = DataLoader(train_set, batch_size)
model = MLP((1000, 10))
optimizer = optimizers.SGD().setup(model)

if os.path.exists('my_mlp.npz'):
    model.load_weights('my_mlp.npz')

for epoch in range(max_epoch):
    sum_loss = 0

    for x, t in train_loader:
        y = model(x)
        loss = F.softmax_cross_entropy(y, t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        sum_loss += float(loss.data) * len(t)

    print('epoch: {}, loss: {:.4f}'.format(
        epoch + 1, sum_loss / len(train_set)))

model.save_weights('my_mlp.npz')
"""


@pytest.mark.slow
def test_a_new_process_goes_on_with_the_losses_of_the_text(folder: Path) -> None:
    """Text 002, listings 8 and 9, as a script that is run twice over the whole of MNIST; the text has what its second
    run printed."""
    (folder / "listing.py").write_text(LISTING)
    environment = os.environ | {"DZCORE_DATA": str(real_data()), "DZCORE_BACKEND": "numpy"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    first, second = (
        losses(
            subprocess.run(
                [sys.executable, "listing.py", seed], check=True, capture_output=True, text=True, env=environment
            ).stdout
        )
        for seed in "01"
    )
    np.testing.assert_allclose(second, [0.7343, 0.6315, 0.5660], rtol=0.0, atol=0.03)
    assert first == sorted(first, reverse=True)
    assert first[-1] > second[0] + 0.1


def test_dropout_of_arrays() -> None:
    """Text 002, listings 10 and 11: direct dropout and inverted dropout."""
    assert_direct_and_inverted()


def test_modes_by_hand() -> None:
    """Text 002, listing 12: using_config as the text writes it, on dzcore's Config."""

    @contextlib.contextmanager
    def using_config(name: str, value: bool) -> Iterator[None]:
        old_value = getattr(Config, name)
        setattr(Config, name, value)
        try:
            yield
        finally:
            setattr(Config, name, old_value)

    def test_mode() -> Any:
        return using_config("train", False)

    x = np.ones(5)
    with test_mode():
        assert not Config.train
        assert F.dropout(x).data.tolist() == [1.0] * 5
    assert Config.train
    with using_config("enable_backprop", False):
        assert not F.exp(Variable(x)).requires_grad


def test_dropout_by_hand() -> None:
    """Text 002, listing 13: dropout with Config.train and get_array_module."""
    assert_drops(dropout)


def test_what_dropout_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Text 002, listing 14: what F.dropout makes of five ones, while training and in test mode."""
    assert_prints(capsys)


def test_the_size_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Text 002, listing 15: get_conv_outsize, by hand and from dzcore.utils; it prints 4 4."""

    def by_hand(input_size: int, kernel_size: int, stride: int, pad: int) -> int:
        return (input_size + pad * 2 - kernel_size) // stride + 1

    H, W = 4, 4
    KH, KW = 3, 3
    SH, SW = 1, 1
    PH, PW = 1, 1
    for outsize in (by_hand, get_conv_outsize):
        OH = outsize(H, KH, SH, PH)
        OW = outsize(W, KW, SW, PW)
        print(OH, OW)
    assert capsys.readouterr().out == "4 4\n4 4\n"
