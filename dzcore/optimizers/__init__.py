"""Optimizers, and hooks that change the gradients on their way."""

from .base import Optimizer
from .hooks import ClipGrad, FreezeParam, WeightDecay
from .rules import SGD, AdaDelta, AdaGrad, Adam, AdamW, MomentumSGD

__all__ = [
    "SGD", "AdaDelta", "AdaGrad", "Adam", "AdamW", "ClipGrad", "FreezeParam", "MomentumSGD", "Optimizer", "WeightDecay",
]  # fmt: skip
