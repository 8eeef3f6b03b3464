"""Data sets: things with a length, whose items are pairs (x, t), and which gather whole batches at once."""

from . import cifar, folder, imagenet, series, text
from .base import ArrayDataset, Dataset, stack
from .cifar import *
from .digits import Digits
from .folder import *
from .imagenet import *
from .mnist import MNIST, FashionMNIST
from .pictures import Pictures
from .series import *
from .spiral import Spiral, get_spiral
from .text import *

__all__ = [
    "MNIST", "ArrayDataset", "Dataset", "Digits", "FashionMNIST", "Pictures", "Spiral", "get_spiral", "stack",
    *cifar.__all__, *folder.__all__, *imagenet.__all__, *series.__all__, *text.__all__,
]  # fmt: skip
