"""Data sets: things with a length, whose items are pairs (x, t), and which gather whole batches at once."""

from .base import ArrayDataset, Dataset, stack
from .digits import Digits
from .mnist import MNIST, FashionMNIST
from .pictures import Pictures
from .spiral import Spiral, get_spiral

__all__ = ["MNIST", "ArrayDataset", "Dataset", "Digits", "FashionMNIST", "Pictures", "Spiral", "get_spiral", "stack"]
