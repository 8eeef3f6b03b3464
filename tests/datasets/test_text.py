"""Text: characters and their numbers, and what a model goes on with."""

import hashlib
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable, get_backend, random, use_backend
from dzcore.backend import Backend
from dzcore.dataloaders import SeqDataLoader
from dzcore.datasets import Shakespear, Shakespeare, Text
from dzcore.errors import DataError
from dzcore.graph.modes import recording, training
from dzcore.optimizers import Adam

from .test_base import host

SAID = "to be, or not to be: that is the question.\n" * 3


@given(text=st.text("abcäß字 \n", min_size=2, max_size=50))
def test_pairs(text: str) -> None:
    data = Text(text)
    assert len(data) == len(text) - 1
    assert data.decode(data.data) == text[:-1]
    assert data.decode(data.label) == text[1:]
    assert data.decode(data.encode(text)) == text
    assert data.characters == "".join(dict.fromkeys(text))
    assert data.id_to_char == dict(enumerate(data.characters))
    assert {data.id_to_char[i]: i for i in data.id_to_char} == data.char_to_id


def test_on_every_backend(backend: Backend) -> None:
    data = Text("abcab")
    x, t = data.batch(range(4))
    for ids, wanted in ((x, [0, 1, 2, 0]), (t, [1, 2, 0, 1])):
        assert backend.owns(ids)
        assert backend.dtype_name(ids.dtype) == "int64"
        assert host(ids, backend).tolist() == wanted
    assert data[1][1] == 2
    assert data.decode(t) == data.decode(Variable(t)) == data.decode([1, 2, 0, 1]) == "bcab"
    assert backend.owns(data.encode("cab"))


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes("Ωmega\r\nä".encode())
    assert Text(file).decode(Text(file).label) == "mega\nä"
    with pytest.raises(ValueError, match=r"text='.*text.txt' is the name of a file; give pathlib.Path\("):
        Text(str(file))
    with pytest.raises(DataError, match="other.txt' cannot be read: No such file"):
        Text(tmp_path / "other.txt")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        Text(tmp_path)
    file.write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(DataError, match="text.txt' is no text in UTF-8"):
        Text(file)


def test_characters_of_another_text() -> None:
    first = Text("abcd")
    second = Text("dada", first.characters)
    assert second.data.tolist() == [3, 0, 3]
    assert second.characters == "abcd"
    with pytest.raises(DataError, match="the character 'x' is none of 'abcd'"):
        Text("dax", first.characters)
    with pytest.raises(DataError, match="the character 'é' is none of"):
        first.encode("é")
    with pytest.raises(ValueError, match="characters='abca' has one of them twice"):
        Text("abc", "abca")


@pytest.mark.parametrize("text", ["", "x"])
def test_too_short(text: str) -> None:
    with pytest.raises(ValueError, match=f"text='{text}' is too short"):
        Text(text)


def test_options(strict: str) -> None:
    data = Text("abc", transform=lambda x: x + 10, target_transform=lambda t: t + 20)
    assert [(int(x), t) for x, t in data] == [(10, 21), (11, 22)]
    assert Text("abc", backend=strict).backend is get_backend(strict)


# Sampling ------------------------------------------------------------------------------------------------------------


class Scores:
    """A model of fixed probabilities that records what it is asked, and in what modes."""

    def __init__(self, *probabilities: float) -> None:
        self.scores = [[math.log(p) if p else -math.inf for p in probabilities]]
        self.asked: list[Any] = []

    def reset_state(self) -> None:
        self.asked.append("reset")

    def __call__(self, ids: Any) -> Variable:
        assert not recording.get()
        assert not training.get()
        own = Variable(ids).backend
        assert own.dtype_name(ids.dtype) == "int64"
        self.asked.append(host(ids, own).tolist())
        return Variable(self.scores)


def test_what_the_model_is_asked(backend: Backend) -> None:
    data, model = Text("abc"), Scores(0.0, 0.0, 1.0)
    assert data.sample(model, "ab", 3) == "abccc"
    assert model.asked == ["reset", [0], [1], [2], [2], [2], "reset"]
    assert data.sample(lambda ids: Scores(0.0, 1.0, 0.0)(ids), "a", 0) == "a"


def test_frequencies(backend: Backend) -> None:
    """The shares of the characters lie within five deviations of their probabilities; never one of probability 0."""
    random.seed(12)
    n = 100 if backend.name != "numpy" else 2000
    for temperature in (1.0, 2.0):
        p = [0.0, 0.5, 0.0, 0.3, 0.2, 0.0]
        found = Counter(Text("abcdef").sample(Scores(*p), "a", n, temperature)[1:])
        weights = [q ** (1 / temperature) if q else 0.0 for q in p]
        for letter, weight in zip("abcdef", weights, strict=True):
            share = weight / sum(weights)
            assert abs(found[letter] - n * share) <= 5 * math.sqrt(n * share * (1 - share)), (letter, temperature)


def test_the_best_one() -> None:
    random.seed(3)
    assert Text("abc").sample(Scores(0.3, 0.4, 0.3), "a", 20, temperature=0) == "a" + 20 * "b"
    assert random.get_state() == (3, 0)
    assert set(Text("abc").sample(Scores(0.3, 0.4, 0.3), "a", 50, temperature=0.01)) == {"a", "b"}


def test_large_scores(backend: Backend) -> None:
    assert Text("abc").sample(lambda ids: Variable([[1000.0, 1100.0, -1e4]]), "a", 5) == "abbbbb"


def test_the_ends_of_the_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least and the largest that there are pick no character of probability 0."""
    for u in (0.0, 1 - 2.0**-24):
        monkeypatch.setattr("dzcore.random.uniform", lambda shape, backend, u=u: np.full(shape, u, np.float32))
        assert Text("abc").sample(Scores(0.2, 0.5, 0.3), "a", 1)[-1] == ("a" if u == 0 else "c")
        assert Text("abc").sample(Scores(0.0, 1.0, 0.0), "a", 1)[-1] == "b"


def test_sampling_is_the_same_everywhere(backend: Backend) -> None:
    samples = []
    for own in (get_backend("numpy"), backend):
        with use_backend(own):
            random.seed(5)
            samples.append(Text("abcd").sample(Scores(0.1, 0.2, 0.3, 0.4), "a", 60))
            assert random.get_state() == (5, 60)
    assert samples[0] == samples[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": ""}, "start='' gives the model nothing to continue"),
        ({"temperature": -1.0}, "temperature=-1.0 must be at least 0"),
        ({"temperature": math.nan}, "temperature=nan must be at least 0"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Text("abc").sample(Scores(1.0, 0.0, 0.0), **{"start": "a", "length": 1} | options)


def test_a_network_learns_a_text() -> None:
    """An LSTM reads a text until it knows it, and then says it."""
    random.seed(0)
    data = Text("abcacb" * 10)
    table = np.eye(3, dtype=np.float32)
    network = L.Stacked(lambda ids: table[ids], L.LSTM(12), L.Linear(3))
    optimizer = Adam(0.05).setup(network)
    for _ in range(25):
        loss: Any = 0.0
        network.reset_state()
        for x, t in SeqDataLoader(data, 4):
            loss = loss + F.softmax_cross_entropy(network(x), t)
        network.cleargrads()
        loss.backward()
        optimizer.update()
    assert data.sample(network, "abca", 8, temperature=0) == "abcacbabcacb"
    assert network.layers[1].h is None


# Shakespeare ---------------------------------------------------------------------------------------------------------


def test_shakespear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the user's folder, in two parts that number the characters alike."""
    for folder in (tmp_path, tmp_path / "shakespeare"):
        folder.mkdir(exist_ok=True)
        (folder / "input.txt").write_text(SAID + "!", "utf-8")
        train, test = Shakespear(root=tmp_path), Shakespear(False, root=tmp_path)
        assert train.decode(train.data) + train.decode(train.label)[-1] + test.decode(test.data) == SAID
        assert len(train) + 1 == (len(SAID) + 1) * 9 // 10
        assert (train.train, test.train) == (True, False)
        assert train.characters == test.characters == "".join(dict.fromkeys(SAID + "!"))
        (folder / "input.txt").unlink()
    (tmp_path / "input.txt").write_text(SAID, "utf-8")
    monkeypatch.setenv("DZCORE_DATA", str(tmp_path))
    assert len(Shakespear()) == len(SAID) * 9 // 10 - 1
    assert Shakespeare is Shakespear
    with pytest.raises(DataError, match="holds no input.txt"):
        Shakespear(root=tmp_path.parent / tmp_path.name / ".." / tmp_path.name / "shakespeare")


def test_shakespear_is_downloaded_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address and the digest are those that the store is given; what it does with them is tested with it."""
    seen: list[Any] = []

    def locate(*arguments: Any, **options: Any) -> list[str]:
        seen.append((arguments, options))
        (tmp_path / "input.txt").write_text(SAID, "utf-8")
        return [str(tmp_path / "input.txt")]

    monkeypatch.setattr("dzcore.datasets.text.locate", locate)
    Shakespear()
    ((folder, checksums, mirrors, root), options) = seen[0]
    assert (folder, root, options) == ("shakespeare", None, {"packed": False})
    assert mirrors[0].endswith("/karpathy/char-rnn/master/data/tinyshakespeare/")
    assert [len(digest) for digest in checksums.values()] == [hashlib.sha256().digest_size * 2]
    assert list(checksums) == ["input.txt"]
