"""`dz evaluate`: loss and accuracy of saved weights."""

import math
from argparse import Namespace

from ..backend import use_backend
from .measure import evaluate_model, open_backend
from .parser import UsageError
from .recipe import class_names, load, open_dataset

__all__ = ["evaluate"]


def evaluate(arguments: Namespace) -> int:
    """Measure the weights on the test part of a data set."""
    backend = open_backend(arguments.backend)
    with use_backend(backend):
        model, recipe = load(arguments.weights)
        name = arguments.dataset or recipe.dataset
        dataset = open_dataset(name, arguments.data, train=False, flat=recipe.flat)
        inputs, classes = math.prod(dataset[0][0].shape), len(class_names(name))
        if (inputs, classes) != (recipe.inputs, recipe.classes):
            raise UsageError(
                f"argument --dataset: {name} has {inputs} inputs and {classes} classes, and the network "
                f"{recipe.inputs} and {recipe.classes}; it was trained on {recipe.dataset}"
            )
        loss, accuracy = evaluate_model(model, dataset, backend)
    print(f"{name}: loss {loss:.4f}, accuracy {accuracy:.4f} on {len(dataset):,} test samples")
    return 0
