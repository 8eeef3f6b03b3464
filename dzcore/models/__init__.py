"""Models: layers that are whole networks."""

from . import lenet, resnet, squeezenet, vgg
from .base import Model, Sequential
from .lenet import *
from .mlp import MLP
from .resnet import *
from .squeezenet import *
from .vgg import *

__all__ = ["MLP", "Model", "Sequential", *lenet.__all__, *resnet.__all__, *squeezenet.__all__, *vgg.__all__]
