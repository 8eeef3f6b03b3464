"""PyTorch as a dzcore backend."""

from .backend import TorchBackend

__all__ = ["TorchBackend"]
__version__ = "0.1.0"
