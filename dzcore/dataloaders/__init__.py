"""Data loaders: data sets in batches."""

from . import sequence
from .loader import DataLoader
from .sequence import *

__all__ = ["DataLoader", *sequence.__all__]
