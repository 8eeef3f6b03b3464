"""The arguments of `dz`, and what is wrong with them."""

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _ArgumentGroup, _SubParsersAction
from collections.abc import Callable
from typing import Any, NoReturn

from .._version import __version__

__all__ = [
    "ACTIVATIONS",
    "DATASETS",
    "MODELS",
    "NETWORKS",
    "OPTIMIZERS",
    "UsageError",
    "complete",
    "make_parser",
    "separate",
]

DATASETS = ("digits", "mnist", "fashion-mnist", "spiral")
ACTIVATIONS = ("relu", "sigmoid", "tanh")
OPTIMIZERS = ("sgd", "momentum", "adagrad", "adadelta", "adam", "adamw")

#: What each model can be told, and what it is if nothing is said.
MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (100, 100), "activation": "relu", "dropout": 0.0, "batch_size": 32, "epochs": 20},
    "lenet": {"dropout": 0.5, "batch_size": 100, "epochs": 6},
}

NETWORKS = ("mlp", "lenet", "vgg16", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "squeezenet")


#: What belongs to `dz bench --against`, besides that.
AGAINST = (
    "rows", "rounds", "seconds", "limit", "slack", "threads", "no_memory", "quick", "markdown", "table",
)  # fmt: skip


class UsageError(Exception):
    """Wrong arguments: the message names the argument and the remedy."""

    def __init__(self, message: str, command: str | None = None) -> None:
        super().__init__(message)
        self.command = command


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help", self.prog)


def make_parser() -> ArgumentParser:
    """Describe the commands."""
    parser = _Parser(prog="dz", description="Train networks, and use them.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"dzcore {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add(commands, "backends", "list the backends that are installed, and why one cannot be used")
    _add_train(_add(commands, "train", "train a network and save its weights"))
    _add_bench(_add(commands, "bench", "compare backends at a training, or dzcore with other frameworks"))

    evaluate = _add(commands, "evaluate", "measure loss and accuracy of saved weights on test data")
    _add_weights(evaluate)
    evaluate.add_argument("--dataset", choices=DATASETS, help="other test data than those of the training's set")
    _add_places(evaluate)

    predict = _add(commands, "predict", "tell what is in pictures")
    _add_weights(predict)
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="a PNG or JPEG file")
    predict.add_argument("--invert", action="store_true", help="for dark strokes on light paper")
    _add_backend(predict)

    summary = _add(commands, "summary", "show the layers of a network: output shapes, parameters, memory")
    summary.add_argument("network", choices=NETWORKS, metavar="MODEL", help=", ".join(NETWORKS))
    summary.add_argument(
        "--input", type=_sizes, metavar="N,N,...", help="the shape of one sample, such as 3,224,224; default: the usual"
    )
    _add_backend(summary)
    _add_profile(_add(commands, "profile", "train some steps, and tell where the time goes"))
    _add_conformance(_add(commands, "conformance", "test whether a backend does what dzcore expects of it"))
    return parser


def complete(arguments: Namespace) -> None:
    """Fill in what was left out of `dz train` or `dz bench`, and refuse what the model cannot be told."""
    known = MODELS[arguments.model]
    for name in MODELS["mlp"]:
        if getattr(arguments, name) is None:
            setattr(arguments, name, known.get(name))
        elif name not in known:
            raise UsageError(f"argument --{name}: {arguments.model} has layers of its own; leave it out")


def separate(arguments: Namespace) -> None:
    """Refuse arguments of a training beside --against, and those that belong to --against without it."""
    if arguments.against is not None:
        wrong = [name for name, usual in arguments.usual.items() if getattr(arguments, name) != usual]
        reason = "is for a training; leave it out, or leave out --against"
    else:
        wrong = [name for name in AGAINST if getattr(arguments, name)]
        reason = "belongs to --against; give that too"
    if wrong:
        raise UsageError(f"argument --{wrong[0].replace('_', '-')}: it {reason}")


def _add(commands: "_SubParsersAction[_Parser]", name: str, text: str) -> _Parser:
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)


def _add_train(train: _Parser) -> None:
    _add_training(train, epochs=_default("epochs"), default=None)
    _add_backend(train)
    train.add_argument("--output", default="model.npz", metavar="FILE", help="for the weights, default: model.npz")
    train.add_argument("--plot", metavar="FILE", help="for a picture of loss and accuracy, such as curve.png")
    train.add_argument("--checkpoint", metavar="DIR", help="save the state of the training there after every epoch")
    train.add_argument("--checkpoint-every", type=_count, metavar="N", help="and after every N steps")
    train.add_argument("--resume", action="store_true", help="go on where the newest checkpoint was saved")


def _add_bench(bench: _Parser) -> None:
    bench.add_argument(
        "--backends",
        type=_names,
        metavar="NAME,NAME,...",
        help="as in dz backends; the first is the measure. Default: all",
    )
    _add_training(bench, epochs="timed ones, after a first that may compile, default: 5", default=5)
    usual = {action.dest: action.default for action in bench._actions if action.dest not in ("help", "backends")}
    bench.set_defaults(usual=usual)  # for `separate`
    bench.add_argument("--plot", metavar="FILE", help="for a picture of the times, such as bench.png")
    bench.add_argument("--json", metavar="FILE", help="for all that was measured")
    _add_against(bench.add_argument_group("dzcore and other frameworks at the same works, instead of a training"))


def _add_against(bench: _ArgumentGroup) -> None:
    bench.add_argument("--against", type=_frameworks, metavar="NAME,NAME,...", help="those of the table's folder")
    bench.add_argument("--rows", type=_rows, metavar="NAME,...", help="these works only, or groups of them")
    bench.add_argument("--rounds", type=_count, metavar="N", help="how often each takes its turn, default: 20")
    bench.add_argument("--seconds", type=_rate, metavar="S", help="of a turn, default: 0.2")
    bench.add_argument("--limit", type=_rate, metavar="S", help="begin no round after S seconds of a row, default: 60")
    bench.add_argument("--slack", type=_rate, metavar="F", help="multiply all targets by F, default: 1")
    bench.add_argument("--threads", type=_count, metavar="N", help="processors for everybody, default: all")
    bench.add_argument("--no-memory", action="store_true", help="do not measure memory")
    bench.add_argument("--quick", action="store_true", help="tiny sizes and few rounds, to see that all works")
    bench.add_argument("--markdown", metavar="FILE", help="for the table; between its marks, if the file has them")
    bench.add_argument("--table", metavar="DIR", help="the folder with the works, default: benchmarks/table of a clone")


def _add_profile(profile: _Parser) -> None:
    _add_training(profile, epochs=None, default=None)
    _add_backend(profile)
    profile.add_argument("--steps", type=_count, default=50, metavar="N", help="profiled ones, default: 50")
    profile.add_argument("--warm-up", type=_count, default=5, metavar="N", help="steps before them, default: 5")
    profile.add_argument("--trace", metavar="FILE", help="for a trace, which a browser's trace viewer opens")


def _add_training(train: _Parser, epochs: str | None, default: int | None) -> None:
    """Add what decides the numbers of a training; without `epochs`, its length is said otherwise."""
    train.add_argument("--dataset", choices=DATASETS, default="digits", help="default: digits, which is always there")
    _add_data(train)
    train.add_argument("--model", choices=tuple(MODELS), default="mlp", help="default: mlp; lenet is for mnist")
    train.add_argument(
        "--hidden",
        type=_sizes,
        metavar="N,N,...",
        help="sizes of the hidden layers of mlp, default: 100,100",
    )
    train.add_argument("--activation", choices=ACTIVATIONS, help="of mlp, default: relu")
    train.add_argument(
        "--dropout", type=_dropout, metavar="P", help=f"the share of values that is dropped, {_default('dropout')}"
    )
    train.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="default: adam")
    train.add_argument("--lr", type=_rate, metavar="RATE", help="learning rate, default: the optimizer's")
    if epochs is None:
        train.set_defaults(epochs=1)
    else:
        train.add_argument("--epochs", type=_count, default=default, metavar="N", help=epochs)
    train.add_argument("--batch-size", type=_count, metavar="N", help=_default("batch_size"))
    train.add_argument(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="of weights, order and dropout, default: 0; same seed, same run",
    )


def _default(name: str) -> str:
    return f"default: {MODELS['mlp'][name]}, for lenet {MODELS['lenet'][name]}"


def _add_weights(parser: _Parser) -> None:
    parser.add_argument("weights", metavar="WEIGHTS", help="a file that dz train has written, such as model.npz")


def _add_places(parser: _Parser) -> None:
    _add_data(parser)
    _add_backend(parser)


def _add_data(parser: _Parser) -> None:
    parser.add_argument("--data", metavar="DIR", help="folder with the files of mnist or fashion-mnist")


def _add_backend(parser: _Parser) -> None:
    parser.add_argument("--backend", metavar="NAME", help="what dz backends lists, also NAME:DEVICE")


def _add_conformance(parser: _Parser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="a backend of dz backends, also NAME:DEVICE")
    parser.add_argument(
        "--group", action="append", metavar="GROUP", help="run this one only, such as Transfer; repeat for more"
    )
    parser.add_argument("--require", action="store_true", help="fail where a backend cannot be used here")


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


def _list(text: str, what: str, remedy: str) -> list[str]:
    names = [word.strip() for word in text.split(",")]
    if not all(names):
        raise ArgumentTypeError(f"{text!r} is not a list of {what}; give {remedy}, with commas between")
    return names


def _names(text: str) -> list[str]:
    return _list(text, "backends", "names from dz backends")


def _frameworks(text: str) -> list[str]:
    names = _list(text, "frameworks", "names of the files in_NAME.py in the table's folder")
    if not all(name.isidentifier() for name in names):
        raise ArgumentTypeError(f"{text!r} is not a list of frameworks; their names have no other signs than letters")
    return names


def _rows(text: str) -> list[str]:
    return _list(text, "works", "names of rows or of groups")
