"""Text 004, a chapter in Japanese: arrays, lists, dictionaries and networks in files; its exercises.

Each listing is there three times, for MXNet, PyTorch and TensorFlow; here it is once, in dzcore's words.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Model, Variable, random
from dzcore.backend import Backend

SUFFIXES = [".npz", ".safetensors"]


@pytest.fixture(params=SUFFIXES)
def suffix(request: pytest.FixtureRequest) -> str:
    """The format, by the name of the file."""
    return str(request.param)


def same(found: Any, x: Any) -> None:
    """A Variable with the values and the dtype of another one."""
    assert isinstance(found, Variable)
    np.testing.assert_array_equal(found.data, x.data, strict=True)


def test_an_array(folder: Path, suffix: str) -> None:
    """Text 004, listings 1 and 2: save an array, and load it."""
    x = dzcore.arange(4)
    dzcore.save("x-file" + suffix, x)

    x2 = dzcore.load("x-file" + suffix)
    same(x2, x)


def test_a_list(folder: Path, suffix: str) -> None:
    """Text 004, listing 3: a list of arrays."""
    x, y = dzcore.arange(4), dzcore.zeros(4)
    dzcore.save("x-files" + suffix, [x, y])
    x2, y2 = dzcore.load("x-files" + suffix)
    same(x2, x)
    same(y2, y)


def test_a_dictionary(folder: Path, suffix: str) -> None:
    """Text 004, listing 4: a dictionary from names to arrays; and, as the summary says, a network's parameters."""
    x, y = dzcore.arange(4), dzcore.zeros(4)
    mydict = {"x": x, "y": y}
    dzcore.save("mydict" + suffix, mydict)
    mydict2 = dzcore.load("mydict" + suffix)
    assert list(mydict2) == ["x", "y"]
    same(mydict2["x"], x)
    same(mydict2["y"], y)


def test_one_in_the_other(folder: Path, suffix: str) -> None:
    """A dictionary of lists of arrays, with numbers and words beside them."""
    x, y = dzcore.arange(4), dzcore.zeros((2, 0))
    tree = {"pair": [x, (y, x)], "epoch": 3, "loss": 0.25, "note": "学習済み", "rest": None}
    dzcore.save("tree" + suffix, tree)
    found = dzcore.load("tree" + suffix)
    assert {key: value for key, value in found.items() if key != "pair"} == {
        "epoch": 3, "loss": 0.25, "note": "学習済み", "rest": None,
    }  # fmt: skip
    (x2, (y2, x3)) = found["pair"]
    assert isinstance(found["pair"][1], tuple)
    for a, b in ((x2, x), (y2, y), (x3, x)):
        same(a, b)


class MLP(Model):
    """The network of the text; its layers find their sizes at the first call."""

    def __init__(self) -> None:
        self.hidden = L.Linear(256)
        self.output = L.Linear(10)

    def forward(self, x: Any) -> Variable:
        return self.output(F.relu(self.hidden(x)))  # type: ignore[no-any-return]


def network() -> tuple[MLP, Variable, Variable]:
    """Text 004, listing 5: the network, an input and its output."""
    net = MLP()
    X = random.normal((2, 20))
    return net, X, net(X)


def test_a_network(folder: Path, suffix: str) -> None:
    """Text 004, listings 5 to 8: save a network's parameters, load them into a clone, and compare what both compute."""
    net, X, Y = network()
    net.save_weights("mlp" + suffix)

    clone = MLP()
    clone.load_weights("mlp" + suffix)

    Y_clone = clone(X)
    assert (Y_clone == Y).data.all()
    assert Y.data.any()


def test_a_network_as_a_dictionary(folder: Path, suffix: str) -> None:
    """Text 004, listings 6 and 7 as PyTorch has them: the state of a network is saved like any other dictionary."""
    net, X, Y = network()
    dzcore.save("mlp" + suffix, net.state_dict())
    clone = MLP()
    clone.load_state_dict(dzcore.load("mlp" + suffix))
    assert (clone(X) == Y).data.all()

    other = MLP()
    other.load_weights("mlp" + suffix)  # what both write is the same
    assert (other(X) == Y).data.all()


class Deeper(Model):
    """Another architecture, which begins with the layers of the first one."""

    def __init__(self) -> None:
        self.first = L.Linear(256)
        self.second = L.Linear(10)
        self.third = L.Linear(5)

    def forward(self, x: Any) -> Variable:
        return self.third(F.relu(self.second(F.relu(self.first(x)))))  # type: ignore[no-any-return]


def test_the_first_two_layers_of_that_network(folder: Path, suffix: str) -> None:
    """Text 004, exercise 2: a part of a network in another one, where the layers have other names."""
    net, X, Y = network()
    net.save_weights("mlp" + suffix)

    other = Deeper()
    names = {f"{theirs}/{kind}": f"{ours}/{kind}"
             for theirs, ours in (("hidden", "first"), ("output", "second")) for kind in "Wb"}  # fmt: skip
    unmatched = other.load_weights("mlp" + suffix, strict=False, names=names)
    assert unmatched == (("third/W", "third/b"), ())
    assert other(X).shape == (2, 5)
    assert (other.second(F.relu(other.first(X))) == Y).data.all()


def test_and_the_new_network_learns(folder: Path) -> None:
    """Text 004, exercise 2: what was taken over goes on learning, or stays as it is."""
    net, X, _ = network()
    net.save_weights("mlp.npz")
    other = Deeper()
    other.load_weights("mlp.npz", strict=False, names=lambda name: name.replace("hidden", "first") if "hidden" in name
                       else None)  # fmt: skip
    other(X)
    before = other.state_dict()
    optimizer = dzcore.optimizers.SGD().setup(other.third)
    F.sum(other(X) ** 2.0).backward()
    optimizer.update()
    same(other.first.W.detach(), before["first/W"])
    same(other.first.W.detach(), net.hidden.W)
    assert (before["third/W"] != other.third.W).data.any()


def test_weights_of_an_accelerator_for_a_cpu(gpu: Backend, folder: Path, suffix: str) -> None:
    """Text 004, exercise 1, and its beginning: a network trained on one device is deployed on another."""
    net, X, Y = network()
    net.to_gpu()
    assert all(p.backend is gpu for p in net.params())
    net.save_weights("mlp" + suffix)
    assert all(p.backend is gpu for p in net.params()), "saving leaves it there"
    clone = MLP()
    clone.load_weights("mlp" + suffix)
    assert all(isinstance(p.data, np.ndarray) for p in clone.params())
    assert (clone(X) == Y).data.all()


def test_the_architecture_is_code(folder: Path, suffix: str) -> None:
    """Text 004, exercise 3: a file has the parameters alone, and refuses another architecture by name."""
    net, _, _ = network()
    net.save_weights("mlp" + suffix)
    with pytest.raises(dzcore.WeightsError, match="missing: first/W; .*unexpected: hidden/W float32"):
        Deeper().load_weights("mlp" + suffix)
