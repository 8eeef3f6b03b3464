"""Optimizers, schedules of their learning rates, and hooks that change the gradients on their way."""

from . import schedules
from .base import Optimizer
from .hooks import ClipGrad, FreezeParam, WeightDecay
from .rules import SGD, AdaDelta, AdaGrad, Adam, AdamW, MomentumSGD
from .schedules import *

__all__ = [
    "SGD", "AdaDelta", "AdaGrad", "Adam", "AdamW", "ClipGrad", "FreezeParam", "MomentumSGD", "Optimizer", "WeightDecay",
    *schedules.__all__,
]  # fmt: skip
