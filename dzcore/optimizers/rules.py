"""Update rules. Write p for the parameter, g for its gradient, t for the number of the step."""

from math import sqrt
from typing import Any

from .base import Optimizer, fraction, not_negative, positive

__all__ = ["SGD", "AdaDelta", "AdaGrad", "Adam", "AdamW", "MomentumSGD"]


class SGD(Optimizer):
    """Stochastic gradient descent: p ← p - lr g."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__()
        positive(lr=lr)
        self.lr = lr

    def numbers(self) -> tuple[float, ...]:
        return (self.lr,)

    @staticmethod
    def formula(xp: Any, p: Any, g: Any, lr: Any) -> tuple[Any, ...]:
        return (p - g * lr,)


class MomentumSGD(Optimizer):
    """Gradient descent with momentum (Polyak, 1964): v ← momentum v - lr g, p ← p + v."""

    states = 1

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__()
        positive(lr=lr)
        fraction(momentum=momentum)
        self.lr = lr
        self.momentum = momentum

    def numbers(self) -> tuple[float, ...]:
        return (self.lr, self.momentum)

    @staticmethod
    def formula(xp: Any, p: Any, v: Any, g: Any, lr: Any, momentum: Any) -> tuple[Any, ...]:
        v = v * momentum - g * lr
        return p + v, v


class AdaGrad(Optimizer):
    """AdaGrad (Duchi et al., JMLR 12, 2011): h ← h + g², p ← p - lr g / (√h + eps)."""

    states = 1

    def __init__(self, lr: float = 0.001, eps: float = 1e-8) -> None:
        super().__init__()
        positive(lr=lr, eps=eps)
        self.lr = lr
        self.eps = eps

    def numbers(self) -> tuple[float, ...]:
        return (self.lr, self.eps)

    @staticmethod
    def formula(xp: Any, p: Any, h: Any, g: Any, lr: Any, eps: Any) -> tuple[Any, ...]:
        h = h + g * g
        return p - g * lr / (xp.sqrt(h) + eps), h


class AdaDelta(Optimizer):
    """AdaDelta (Zeiler, arXiv:1212.5701, 2012).

    h ← rho h + (1 - rho) g², d = √((s + eps) / (h + eps)) g, s ← rho s + (1 - rho) d², p ← p - d.
    """

    states = 2

    def __init__(self, rho: float = 0.95, eps: float = 1e-6) -> None:
        super().__init__()
        positive(eps=eps)
        fraction(rho=rho)
        self.rho = rho
        self.eps = eps

    def numbers(self) -> tuple[float, ...]:
        return (self.rho, 1 - self.rho, self.eps)

    @staticmethod
    def formula(xp: Any, p: Any, h: Any, s: Any, g: Any, rho: Any, rest: Any, eps: Any) -> tuple[Any, ...]:
        h = h * rho + g * g * rest
        d = xp.sqrt((s + eps) / (h + eps)) * g
        return p - d, h, s * rho + d * d * rest


class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015).

    m ← beta1 m + (1 - beta1) g, v ← beta2 v + (1 - beta2) g²,
    p ← p - alpha m / (1 - beta1ᵗ) / (√(v / (1 - beta2ᵗ)) + eps). `lr` is another name for alpha.
    """

    states = 2

    def __init__(
        self,
        alpha: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        *,
        lr: float | None = None,
    ) -> None:
        super().__init__()
        self.lr = alpha if lr is None else lr
        positive(lr=self.lr, eps=eps)
        fraction(beta1=beta1, beta2=beta2)
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps

    @property
    def alpha(self) -> float:
        """The learning rate, under the paper's name."""
        return self.lr

    @alpha.setter
    def alpha(self, alpha: float) -> None:
        self.lr = alpha

    def numbers(self) -> tuple[float, ...]:
        scale = sqrt(1 - self.beta2**self.t)
        step = self.lr / (1 - self.beta1**self.t) * scale
        return (step, 1 - self.beta1, 1 - self.beta2, self.eps * scale)

    @staticmethod
    def formula(
        xp: Any, p: Any, m: Any, v: Any, g: Any, step: Any, rest1: Any, rest2: Any, eps: Any
    ) -> tuple[Any, ...]:
        m = m + (g - m) * rest1
        v = v + (g * g - v) * rest2
        return p - m * step / (xp.sqrt(v) + eps), m, v


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019): also p ← p - lr weight_decay p."""

    def __init__(
        self,
        alpha: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        lr: float | None = None,
    ) -> None:
        super().__init__(alpha, beta1, beta2, eps, lr=lr)
        not_negative(weight_decay=weight_decay)
        self.weight_decay = weight_decay

    def numbers(self) -> tuple[float, ...]:
        return (1 - self.lr * self.weight_decay, *super().numbers())

    @staticmethod
    def formula(xp: Any, p: Any, m: Any, v: Any, g: Any, keep: Any, *numbers: Any) -> tuple[Any, ...]:
        return Adam.formula(xp, p * keep, m, v, g, *numbers)
