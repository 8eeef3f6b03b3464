"""`dz summary`: the layers of a network, their shapes, parameters and memory."""

from argparse import Namespace
from collections.abc import Callable

from .. import models
from ..backend import use_backend
from ..models import Model
from .measure import open_backend
from .parser import UsageError

__all__ = ["NETWORKS", "summary"]

#: How each is made, and the shape of its usual input.
NETWORKS: dict[str, tuple[Callable[[], Model], tuple[int, ...]]] = {
    "mlp": (lambda: models.MLP((100, 100, 10)), (64,)),
    "lenet": (models.LeNet, (1, 28, 28)),
    "vgg16": (models.VGG16, (3, 224, 224)),
    "resnet18": (models.ResNet18, (3, 224, 224)),
    "resnet34": (models.ResNet34, (3, 224, 224)),
    "resnet50": (models.ResNet50, (3, 224, 224)),
    "resnet101": (models.ResNet101, (3, 224, 224)),
    "resnet152": (models.ResNet152, (3, 224, 224)),
    "squeezenet": (models.SqueezeNet, (3, 224, 224)),
}


def summary(arguments: Namespace) -> int:
    """Print the table for an input of the usual shape or the one given, a batch of one."""
    backend = open_backend(arguments.backend)
    make, usual = NETWORKS[arguments.network]
    shape = (1, *(arguments.input or usual))
    with use_backend(backend):
        model = make()
        try:
            table = model.summary(shape)
        except (ValueError, IndexError) as error:
            raise UsageError(f"argument --input: {arguments.network} cannot take {shape[1:]}: {error}") from error
        except MemoryError as error:
            raise UsageError(f"argument --input: {shape[1:]} is too large for the memory; give less") from error
    print(table)
    return 0
