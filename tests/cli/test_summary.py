"""`dz summary`: the tables of known networks."""

import pytest

from dzcore.backend import current_backend
from dzcore.cli import parser, summary
from dzcore.models import MLP

from .run import Dz


@pytest.mark.parametrize(
    ("words", "title", "first", "last", "total"),
    [
        ("mlp", "MLP on (1, 64)", "l0 Linear (1, 100) 6,500 26.0 kB 400 B", "l2 Linear (1, 10)", "17,610"),
        ("lenet", "LeNet on (1, 1, 28, 28)", "conv1 Conv2d (1, 20, 24, 24) 520", "fc4 Linear (1, 10)", "431,080"),
        ("lenet --input 3,32,32", "LeNet on (1, 3, 32, 32)", "conv1 Conv2d (1, 20, 28, 28)", "fc4 Linear", "657,080"),
        ("vgg16 --input 3,32,32", "VGG16 on (1, 3, 32, 32)", "conv1_1 Conv2d", "fc8 Linear (1, 1000)", "37,694,248"),
        ("resnet18 --input 3,64,64", "ResNet18 on (1, 3, 64, 64)", "conv1 Conv2d", "fc6 Linear", "11,689,576"),
        ("squeezenet --input 3,64,64", "SqueezeNet on (1, 3, 64, 64)", "conv1 Conv2d", "conv10 Conv2d", "1,235,496"),
    ],
)
def test_the_table(words: str, title: str, first: str, last: str, total: str, dz: Dz) -> None:
    done = dz("summary", *words.split())
    assert (done.status, done.err) == (0, "")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0] == f"{title} float32"
    assert lines[3].startswith(first)
    assert lines[-3].startswith(last)
    assert lines[-1].startswith(f"total {total} ")


def test_a_backend(dz: Dz, strict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make() -> MLP:
        made.append(str(current_backend()))
        return MLP((2,))

    monkeypatch.setitem(summary.NETWORKS, "lenet", (make, (3,)))
    assert dz("summary", "lenet", "--backend", strict).status == 0
    assert made == [strict]
    assert dz("summary", "mlp", "--backend", strict).out == dz("summary", "mlp").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "dz summary: the following arguments are required: MODEL"),
        ("vgg17", "argument MODEL: invalid choice: 'vgg17'"),
        ("mlp --input 3x3", "argument --input: '3x3' is not a list of sizes of at least 1"),
        ("lenet --input 64", "argument --input: lenet cannot take (64,): "),
        ("lenet --input 1,3,3", "argument --input: lenet cannot take (1, 3, 3): "),
        ("mlp --backend cuppy", "argument --backend: No backend 'cuppy'"),
    ],
)
def test_one_line(words: str, message: str, dz: Dz) -> None:
    assert message in dz.fails("summary", *words.split())


def test_the_lists_of_names_agree() -> None:
    assert tuple(summary.NETWORKS) == parser.NETWORKS


def test_help(dz: Dz) -> None:
    assert "squeezenet" in dz("summary", "--help").out
