"""Layers: functions with parameters.

    import dzcore.layers as L
    hidden = L.Linear(100)

They are made without an input size, and find it when they are called.
"""

from ..graph import Parameter
from .base import Buffer, Layer
from .dropout import Dropout
from .linear import Linear

__all__ = ["Buffer", "Dropout", "Layer", "Linear", "Parameter"]
