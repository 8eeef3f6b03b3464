"""Layers: functions with parameters.

    import dzcore.layers as L
    hidden = L.Linear(100)

They are made without an input size, and find it when they are called.
"""

from ..graph import Parameter
from . import conv, embed, norm, pool, recurrent
from .base import Buffer, Layer
from .conv import *
from .dropout import Dropout
from .embed import *
from .linear import Linear
from .norm import *
from .pool import *
from .recurrent import *

__all__ = [
    "Buffer", "Dropout", "Layer", "Linear", "Parameter", *conv.__all__, *embed.__all__, *norm.__all__, *pool.__all__,
    *recurrent.__all__,
]  # fmt: skip
