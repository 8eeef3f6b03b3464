"""Overhead: microseconds per operation, forward and backward together, on arrays of 8 by 8 float32."""

from collections.abc import Callable

import dezero
import dezero.functions as DF
import numpy as np
import torch
from harness import Result, compete, geometric_mean

import dzcore
import dzcore.functions as F

LENGTH = 20  # operations in a chain

#: name: what dzcore, DeZero and PyTorch do to y and a second operand z, and how many operations that is
CASES: dict[str, tuple[Callable, Callable, Callable, int]] = {
    "y + z": (lambda y, z: y + z, lambda y, z: y + z, lambda y, z: y + z, 1),
    "y * z": (lambda y, z: y * z, lambda y, z: y * z, lambda y, z: y * z, 1),
    "y / z": (lambda y, z: y / z, lambda y, z: y / z, lambda y, z: y / z, 1),
    "y * 0.5 + 0.5": (lambda y, z: y * 0.5 + 0.5, lambda y, z: y * 0.5 + 0.5, lambda y, z: y * 0.5 + 0.5, 2),
    "exp(-y)": (lambda y, z: F.exp(-y), lambda y, z: DF.exp(-y), lambda y, z: torch.exp(-y), 2),
    "tanh(y)": (lambda y, z: F.tanh(y), lambda y, z: DF.tanh(y), lambda y, z: torch.tanh(y), 1),
    "sigmoid(y)": (lambda y, z: F.sigmoid(y), lambda y, z: DF.sigmoid(y), lambda y, z: torch.sigmoid(y), 1),
    "relu(y)": (lambda y, z: F.relu(y), lambda y, z: DF.relu(y), lambda y, z: torch.relu(y), 1),
    "y @ z": (lambda y, z: y @ z, lambda y, z: DF.matmul(y, z), lambda y, z: y @ z, 1),
    "y - mean(y, 1)": (
        lambda y, z: y - F.mean(y, axis=1, keepdims=True),
        lambda y, z: y - DF.sum(y, axis=1, keepdims=True) / 8.0,
        lambda y, z: y - torch.mean(y, dim=1, keepdim=True),
        2,
    ),
    "y.T": (lambda y, z: y.T, lambda y, z: y.T, lambda y, z: y.T, 1),
    "reshape(y)": (
        lambda y, z: y.reshape(4, 16).reshape(8, 8),
        lambda y, z: y.reshape(4, 16).reshape(8, 8),
        lambda y, z: y.reshape(4, 16).reshape(8, 8),
        2,
    ),
}


def run(rounds: int) -> tuple[list[Result], float]:
    """Time every case; return the results and the geometric mean of the ratios to PyTorch."""
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(0.9, 1.1, (8, 8)).astype(np.float32) for _ in range(2))
    results = []
    for name, (ours, theirs, torchs, count) in CASES.items():
        steps = {
            "dzcore": _chain(ours, dzcore.Variable(a), dzcore.Variable(b)),
            "DeZero": _chain(theirs, dezero.Variable(a), dezero.Variable(b)),
            "PyTorch": _torch_chain(torchs, torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)),
        }
        results.append(compete(name, steps, ours="dzcore", units=LENGTH * count, rounds=rounds, seconds=0.02))
    return results, geometric_mean([result.ratios["PyTorch"][1] for result in results])


def _chain(operation: Callable, x: object, z: object) -> Callable[[], None]:
    def step() -> None:
        y = x
        for _ in range(LENGTH):
            y = operation(y, z)
        y.backward()
        x.cleargrad()
        z.cleargrad()

    return step


def _torch_chain(operation: Callable, x: torch.Tensor, z: torch.Tensor) -> Callable[[], None]:
    ones = torch.ones(8, 8)

    def step() -> None:
        y = x
        for _ in range(LENGTH):
            y = operation(y, z)
        y.backward(ones)
        x.grad = z.grad = None

    return step
