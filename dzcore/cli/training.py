"""A training of `dz`: what belongs to it, and its steps."""

import math
from argparse import Namespace
from collections.abc import Iterator
from typing import Any, NamedTuple

from .. import functions as F
from .. import random
from ..dataloaders import DataLoader
from ..datasets import Dataset
from ..models import Model
from ..optimizers import SGD, AdaDelta, AdaGrad, Adam, AdamW, MomentumSGD, Optimizer
from .measure import Tally
from .parser import UsageError
from .recipe import Recipe, build, check_model, class_names, open_dataset

__all__ = ["RULES", "Training", "make_optimizer", "prepare", "steps"]

RULES: dict[str, Any] = {
    "sgd": SGD, "momentum": MomentumSGD, "adagrad": AdaGrad, "adadelta": AdaDelta, "adam": Adam, "adamw": AdamW,
}  # fmt: skip


class Training(NamedTuple):
    """A network, what trains it, and how far it has come."""

    model: Model
    optimizer: Optimizer
    loader: DataLoader
    test: Dataset
    tally: Tally  #: of the epoch under way
    about: dict[str, Any]  #: what is written beside the weights

    @property
    def history(self) -> list[dict[str, Any]]:
        """What each epoch has come to; it grows."""
        return self.about["training"]["history"]  # type: ignore[no-any-return]


def prepare(arguments: Namespace, optimizer: Optimizer) -> tuple[Recipe, Model, DataLoader]:
    """Open the training data and make the network, with the weights that follow from the seed."""
    check_model(arguments.model, arguments.dataset)
    training = open_dataset(arguments.dataset, arguments.data, True, flat=arguments.model == "mlp")
    random.seed(arguments.seed)
    recipe = Recipe(
        arguments.dataset, arguments.model, math.prod(training[0][0].shape), arguments.hidden or (),
        len(class_names(arguments.dataset)), arguments.activation or "relu", arguments.dropout,
    )  # fmt: skip
    model = build(recipe)
    optimizer.setup(model)
    return recipe, model, DataLoader(training, arguments.batch_size)


def steps(model: Model, optimizer: Optimizer, loader: DataLoader, tally: Tally) -> Iterator[None]:
    """Train for one epoch, a step at a time; nothing is read back from the device."""
    for x, t in loader:
        y = model(x)
        loss = F.softmax_cross_entropy(y, t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        tally.add(loss.data, y.data, t)
        yield


def make_optimizer(name: str, lr: float | None) -> Optimizer:
    """Make the optimizer, with its own learning rate or the one given."""
    if lr is None:
        return RULES[name]()  # type: ignore[no-any-return]
    if name == "adadelta":
        raise UsageError("argument --lr: adadelta has no learning rate; leave it out, or give another --optimizer")
    return RULES[name](lr=lr)  # type: ignore[no-any-return]
