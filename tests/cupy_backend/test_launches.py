"""How many kernels things are, counted by the emulator."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .usable import cupy_or_skip, emulated

cupy_or_skip()
pytestmark = pytest.mark.skipif(not emulated, reason="the emulator counts launches; on a GPU, a profiler does")

ONE = ["random_bits", "cross_entropy", "cross_entropy_gradient", "loss", "windows_adjoint", "index_add", "SGD",
       "MomentumSGD", "AdaGrad", "AdaDelta", "Adam", "AdamW"]  # fmt: skip
FUSED = ["sigmoid", "relu", "leaky_relu", "softplus", "elu", "silu", "gelu", "tanh", "exp", "log", "asin", "atanh",
         "cube", "clip", "huber", "sigmoid losses", "binary losses", "scale and shift"]  # fmt: skip


@pytest.fixture(scope="module")
def launches():
    root = Path(__file__).parents[2]
    environment = {**os.environ, "CUPYEMU_TRACE": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, str(Path(__file__).with_name("launches.py"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found, name = {}, None
    for line in done.stderr.splitlines():
        if line.startswith("== "):
            name = line[3:]
            found.setdefault(name, [])
        elif name and "<<<" in line:
            found[name].append(line.removeprefix("cupyemu: ").partition("<<<")[0])
    return found


@pytest.mark.parametrize("name", ONE)
def test_it_is_one_kernel(name, launches):
    assert len(launches[name]) == 1, launches[name]


@pytest.mark.parametrize("name", [each for name in FUSED for each in (name, f"{name} gradient")])
def test_a_fused_rule_is_one_kernel_forward_and_one_backward(name, launches):
    assert len(launches[name]) == 1, launches[name]


def test_windows_are_a_view(launches):
    assert launches["windows"] == []


def test_dropout_is_the_bits_and_one_kernel(launches):
    assert launches["dropout"] == ["philox", "dz__dropped"]


def test_a_kernel_has_the_name_of_its_formula(launches):
    assert launches["Adam"] == ["dz_Adam_formula"]
