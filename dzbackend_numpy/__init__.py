"""The NumPy backend of dzcore."""

from .backend import NumpyBackend

__all__ = ["NumpyBackend", "__version__"]
__version__ = "0.1.0"
