"""The arguments of `dz`, and what is wrong with them."""

import math
from argparse import ArgumentParser, ArgumentTypeError, _SubParsersAction
from collections.abc import Callable
from typing import NoReturn

from .._version import __version__

__all__ = ["ACTIVATIONS", "DATASETS", "OPTIMIZERS", "UsageError", "make_parser"]

DATASETS = ("digits", "mnist", "fashion-mnist", "spiral")
ACTIVATIONS = ("relu", "sigmoid", "tanh")
OPTIMIZERS = ("sgd", "momentum", "adagrad", "adadelta", "adam", "adamw")


class UsageError(Exception):
    """Wrong arguments: the message names the argument and the remedy."""

    def __init__(self, message: str, command: str | None = None) -> None:
        super().__init__(message)
        self.command = command


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help", self.prog)


def make_parser() -> ArgumentParser:
    """Describe the four commands."""
    parser = _Parser(prog="dz", description="Train networks, and use them.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"dzcore {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add(commands, "backends", "list the backends that are installed, and why one cannot be used")
    _add_train(_add(commands, "train", "train a network and save its weights"))

    evaluate = _add(commands, "evaluate", "measure loss and accuracy of saved weights on test data")
    _add_weights(evaluate)
    evaluate.add_argument("--dataset", choices=DATASETS, help="other test data than those of the training's set")
    _add_places(evaluate)

    predict = _add(commands, "predict", "tell what is in pictures")
    _add_weights(predict)
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="a PNG or JPEG file")
    predict.add_argument("--invert", action="store_true", help="for dark strokes on light paper")
    _add_backend(predict)
    return parser


def _add(commands: "_SubParsersAction[_Parser]", name: str, text: str) -> _Parser:
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)


def _add_train(train: _Parser) -> None:
    train.add_argument("--dataset", choices=DATASETS, default="digits", help="default: digits, which is always there")
    _add_places(train)
    train.add_argument("--model", choices=("mlp",), default="mlp", help="default: mlp")
    train.add_argument(
        "--hidden",
        type=_sizes,
        default=(100, 100),
        metavar="N,N,...",
        help="sizes of the hidden layers, default: 100,100",
    )
    train.add_argument("--activation", choices=ACTIVATIONS, default="relu", help="default: relu")
    train.add_argument(
        "--dropout", type=_dropout, default=0.0, metavar="P", help="the share of values that is dropped, default: 0"
    )
    train.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="default: adam")
    train.add_argument("--lr", type=_rate, metavar="RATE", help="learning rate, default: the optimizer's")
    train.add_argument("--epochs", type=_count, default=20, metavar="N", help="default: 20")
    train.add_argument("--batch-size", type=_count, default=32, metavar="N", help="default: 32")
    train.add_argument(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="of weights, order and dropout, default: 0; same seed, same run",
    )
    train.add_argument("--output", default="model.npz", metavar="FILE", help="for the weights, default: model.npz")
    train.add_argument("--plot", metavar="FILE", help="for a picture of loss and accuracy, such as curve.png")


def _add_weights(parser: _Parser) -> None:
    parser.add_argument("weights", metavar="WEIGHTS", help="a file that dz train has written, such as model.npz")


def _add_places(parser: _Parser) -> None:
    parser.add_argument("--data", metavar="DIR", help="folder with the files of mnist or fashion-mnist")
    _add_backend(parser)


def _add_backend(parser: _Parser) -> None:
    parser.add_argument("--backend", metavar="NAME", help="what dz backends lists, also NAME:DEVICE")


# Types: each turns a word into a value, or says what would be right ----------------------------------------------


def _number(kind: Callable[[str], float], text: str, right: Callable[[float], bool], remedy: str) -> float:
    try:
        value = kind(text)
        if right(value):
            return value
    except ValueError:
        pass
    raise ArgumentTypeError(f"{text!r} is not {remedy}")


def _count(text: str) -> int:
    return int(_number(int, text, lambda n: n >= 1, "a whole number of at least 1; give one such as 20"))


def _seed(text: str) -> int:
    return int(_number(int, text, lambda n: 0 <= n < 2**64, "a whole number in [0, 2**64); give one such as 0"))


def _rate(text: str) -> float:
    return _number(float, text, lambda x: 0 < x < math.inf, "a number above 0; give one such as 0.01")


def _dropout(text: str) -> float:
    return _number(float, text, lambda x: 0 <= x < 1, "a number in [0, 1); give one such as 0.5")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(word) for word in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ArgumentTypeError(f"{text!r} is not a list of sizes of at least 1; give one such as 100,100")
    return sizes
