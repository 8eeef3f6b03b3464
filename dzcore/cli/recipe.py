"""What a network is made of: enough to build it again, in a file beside its weights."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from .. import functions as F
from ..datasets import MNIST, Dataset, Digits, FashionMNIST, Pictures, Spiral
from ..errors import DataError, FileError
from ..io import atomic_write
from ..models import MLP, LeNet, Model
from .parser import ACTIVATIONS, DATASETS, UsageError

__all__ = ["SETS", "Recipe", "build", "check_model", "describe", "load", "open_dataset", "save"]

SETS: dict[str, type[Dataset]] = {"digits": Digits, "mnist": MNIST, "fashion-mnist": FashionMNIST, "spiral": Spiral}
FORMAT = "dzcore network"
VERSION = 1
SMALLEST = 16  #: pixels a side of the pictures that LeNet takes


@dataclass(frozen=True)
class Recipe:
    """A network, and the data set that it was trained on."""

    dataset: str
    model: str
    inputs: int
    hidden: tuple[int, ...]
    classes: int
    activation: str
    dropout: float

    def __post_init__(self) -> None:
        sizes = (self.inputs, *self.hidden, self.classes)
        right = (
            self.dataset in DATASETS
            and (self.model == "mlp" or (self.model == "lenet" and _suits_lenet(self)))
            and self.activation in ACTIVATIONS
            and all(type(n) is int and n >= 1 for n in sizes)
            and type(self.dropout) in (int, float)
            and 0 <= self.dropout < 1
        )
        if not right:
            raise ValueError(f"{self} is no network that this dzcore knows")

    @property
    def flat(self) -> bool:
        """Whether the network takes pictures as vectors."""
        return self.model == "mlp"

    def __str__(self) -> str:
        if self.model != "mlp":
            return self.model
        return f"{self.model} {'-'.join(map(str, (self.inputs, *self.hidden, self.classes)))} ({self.activation})"


def _suits_lenet(recipe: Recipe) -> bool:
    size = picture_size(recipe.dataset)
    return size is not None and min(size) >= SMALLEST and math.prod(size) == recipe.inputs and not recipe.hidden


def check_model(model: str, dataset: str) -> None:
    """Raise UsageError for a network that cannot take what is in a data set."""
    size = picture_size(dataset)
    if model == "lenet" and (size is None or min(size) < SMALLEST):
        what = f"lenet takes pictures of at least {SMALLEST}×{SMALLEST} pixels, and {dataset} has "
        what += "none" if size is None else f"{size[0]}×{size[1]}"
        raise UsageError(f"argument --model: {what}; give --dataset mnist, or --model mlp")


def build(recipe: Recipe) -> Model:
    """Make the network, with new weights."""
    if recipe.model == "lenet":
        return LeNet(recipe.classes, dropout=recipe.dropout)
    activation = {"relu": F.relu, "sigmoid": F.sigmoid, "tanh": F.tanh}[recipe.activation]
    sizes = (*recipe.hidden, recipe.classes)
    return MLP(sizes, activation, dropout=recipe.dropout, in_size=recipe.inputs)


def describe(recipe: Recipe, training: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be known about a network and its training, for JSON."""
    network = {**asdict(recipe), "hidden": list(recipe.hidden)}
    return {"format": FORMAT, "version": VERSION, "network": network, "training": training}


def save(model: Model, about: dict[str, Any], path: str) -> None:
    """Write the weights, and what `describe` returned into `path`.json."""
    model.save_weights(path)
    with atomic_write(f"{path}.json") as file:
        file.write(json.dumps(about, indent=1).encode() + b"\n")


def load(path: str) -> tuple[Model, Recipe]:
    """Build the network whose weights are at `path`."""
    recipe = _read(path)
    model = build(recipe)
    try:
        model.load_weights(path)
    except FileNotFoundError:
        raise UsageError(f"argument WEIGHTS: {path!r} does not exist; dz train writes such a file") from None
    except FileError as error:
        raise UsageError(f"argument WEIGHTS: {error}") from error
    return model, recipe


def _read(path: str) -> Recipe:
    beside = f"{path}.json"
    try:
        with open(beside, encoding="utf-8") as file:
            content = json.load(file)
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise ValueError(f"it is not of the format {FORMAT!r}, version {VERSION}")
        network = {field.name: content["network"][field.name] for field in fields(Recipe)}
        return Recipe(**{**network, "hidden": tuple(network["hidden"])})
    except FileNotFoundError:
        what = f"argument WEIGHTS: {beside!r} does not exist; dz train writes it beside the weights"
        raise UsageError(f"{what}, and it says which network they are for") from None
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise UsageError(
            f"argument WEIGHTS: {beside!r} does not describe a network: {reason}; train it again"
        ) from error


def open_dataset(name: str, data: str | None, train: bool, flat: bool = True) -> Dataset:
    """Open one part of a data set, from the folder `data` if one is given; pictures are vectors if they are `flat`."""
    known = SETS[name]
    options: dict[str, Any] = {"flat": flat} if issubclass(known, Pictures) else {}
    if data is None:
        return known(train=train, **options)
    if not issubclass(known, MNIST):
        raise UsageError(f"argument --data: {name} needs no folder; leave it out, or give --dataset mnist")
    try:
        return known(train=train, root=data, **options)
    except DataError as error:
        raise UsageError(f"argument --data: {error}") from error


def class_names(name: str) -> tuple[str, ...]:
    """Return the names of the classes of a data set."""
    known: Any = SETS[name]
    return known.classes  # type: ignore[no-any-return]


def picture_size(name: str) -> tuple[int, int] | None:
    """Return height and width of the pictures of a data set, or None if it has none."""
    known = SETS[name]
    return known.size if issubclass(known, Pictures) else None
