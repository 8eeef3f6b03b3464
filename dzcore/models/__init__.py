"""Models: layers that are whole networks."""

from .base import Model, Sequential
from .mlp import MLP

__all__ = ["MLP", "Model", "Sequential"]
