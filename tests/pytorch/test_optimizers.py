"""Optimizers beside torch.optim: 100 steps of a small network in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dzcore.functions as F
from dzcore import Parameter, Variable
from dzcore.models import MLP
from dzcore.optimizers import SGD, AdaDelta, AdaGrad, Adam, AdamW, ClipGrad, MomentumSGD, Optimizer, WeightDecay

from .compare import assert_same, draw, same_weights, torch

NAMES = {f"l{i}/{ours}": f"{2 * i}.{theirs}" for i in range(3) for ours, theirs in (("W", "weight"), ("b", "bias"))}

#: Ours and theirs. The formulas agree, also in where eps stands; PyTorch's velocity has no lr in it and ours, as
#: DeZero's, has, which is the same as long as lr is constant. AdaDelta has no lr here, as in the paper: theirs is 1.
PAIRS: dict[str, tuple[Callable[[], Optimizer], Callable[[Any], Any]]] = {
    "SGD": (lambda: SGD(0.1), lambda ps: torch.optim.SGD(ps, lr=0.1)),
    "MomentumSGD": (lambda: MomentumSGD(0.05, 0.9), lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9)),
    "MomentumSGD without": (lambda: MomentumSGD(0.05, 0.0), lambda ps: torch.optim.SGD(ps, lr=0.05)),
    "AdaGrad": (lambda: AdaGrad(0.05, eps=1e-6), lambda ps: torch.optim.Adagrad(ps, lr=0.05, eps=1e-6)),
    "AdaDelta": (lambda: AdaDelta(0.9, 1e-5), lambda ps: torch.optim.Adadelta(ps, lr=1.0, rho=0.9, eps=1e-5)),
    "Adam": (lambda: Adam(0.01), lambda ps: torch.optim.Adam(ps, lr=0.01)),
    "Adam with others": (
        lambda: Adam(0.02, beta1=0.7, beta2=0.95, eps=1e-3),
        lambda ps: torch.optim.Adam(ps, lr=0.02, betas=(0.7, 0.95), eps=1e-3),
    ),
    "AdamW": (lambda: AdamW(0.01, weight_decay=0.1), lambda ps: torch.optim.AdamW(ps, lr=0.01, weight_decay=0.1)),
    "AdamW by default": (lambda: AdamW(), lambda ps: torch.optim.AdamW(ps)),
}
DECAYED: dict[str, tuple[Callable[[], Optimizer], Callable[[Any], Any]]] = {
    "SGD": (lambda: SGD(0.1), lambda ps: torch.optim.SGD(ps, lr=0.1, weight_decay=0.02)),
    "MomentumSGD": (
        lambda: MomentumSGD(0.05, 0.9), lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=0.02),
    ),
    "AdaGrad": (
        lambda: AdaGrad(0.05, eps=1e-6), lambda ps: torch.optim.Adagrad(ps, lr=0.05, eps=1e-6, weight_decay=0.02),
    ),
    "AdaDelta": (lambda: AdaDelta(0.9, 1e-5),
                 lambda ps: torch.optim.Adadelta(ps, lr=1.0, rho=0.9, eps=1e-5, weight_decay=0.02)),
    "Adam": (lambda: Adam(0.01), lambda ps: torch.optim.Adam(ps, lr=0.01, weight_decay=0.02)),
    "AdamW": (lambda: AdamW(0.01, weight_decay=0.1), lambda ps: torch.optim.AdamW(ps, lr=0.01, weight_decay=0.1)),
}  # fmt: skip


def run(optimizer: Optimizer, theirs: Callable[[Any], Any], clip: float | None = None, steps: int = 100) -> float:
    """Train both on the same batches, compare all parameters at every step, and count how often gradients were clipped.

    clip_grad_norm_ divides by the norm + 1e-6, and ours by the norm, so that PyTorch only tells the norm here.
    """
    model = MLP((8, 6, 3), activation=F.tanh, in_size=4)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 6), torch.nn.Tanh(),
                                 torch.nn.Linear(6, 3)).double()  # fmt: skip
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(torch.tensor(draw(*p.shape, seed=i)))
    same_weights(model, module, NAMES, transposed=["W"])
    optimizer.setup(model)
    other = theirs(module.parameters())
    parameters = dict(module.named_parameters())
    clipped, losses = 0, []
    for step in range(steps):
        x, t = draw(16, 4, seed=step % 5), np.random.default_rng(step % 5).integers(0, 3, 16)
        loss = F.softmax_cross_entropy(model(Variable(x)), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        other.zero_grad()
        torch_loss = torch.nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(t))
        torch_loss.backward()
        if clip is not None:
            norm = float(torch.nn.utils.clip_grad_norm_(module.parameters(), float("inf")))
            clipped += norm > clip
            for p in module.parameters():
                p.grad *= min(1.0, clip / norm)
        other.step()
        assert_same(loss, torch_loss, 1e-9, f"loss at step {step}")
        for path, param in model.named_params():
            want = parameters[NAMES[path]]
            assert_same(param, want.T if path.endswith("W") else want, 1e-9, f"{path} at step {step}")
        losses.append(float(loss))
    assert losses[-5] < losses[0], "the same batch"
    return clipped


@pytest.mark.parametrize("name", PAIRS)
def test_100_steps(name: str) -> None:
    ours, theirs = PAIRS[name]
    run(ours(), theirs)


@pytest.mark.parametrize("name", DECAYED)
def test_weight_decay(name: str) -> None:
    """The hook is PyTorch's `weight_decay`, for every rule; AdamW's own is the decoupled one."""
    ours, theirs = DECAYED[name]
    optimizer = ours()
    if name != "AdamW":
        optimizer.add_hook(WeightDecay(0.02))
    run(optimizer, theirs)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_clipping(name: str) -> None:
    """The hook is clip_grad_norm_, but for its 1e-6 beside the norm."""
    ours, theirs = PAIRS[name]
    assert 0 < run(ours().add_hook(ClipGrad(0.3)), theirs, clip=0.3) < 100


def test_clipping_itself() -> None:
    """One set of gradients, and the difference that 1e-6 makes."""
    arrays = [draw(3, 4), draw(4, seed=1)]
    params = [Parameter(a) for a in arrays]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    for p, t, a in zip(params, tensors, arrays, strict=True):
        p.grad, t.grad = Variable(a * 5.0).detach(), torch.tensor(a * 5.0)
    ClipGrad(0.5)(params)
    torch.nn.utils.clip_grad_norm_(tensors, 0.5)
    for p, t in zip(params, tensors, strict=True):
        assert_same(p.grad, t.grad, rtol=1e-6)
