"""Every kernel of the package, for every dtype, through NVIDIA's own compiler, which needs no device."""

import importlib.util
import subprocess
import sys
from itertools import product

import pytest

from dzbackend_cupy import kernels
from dzbackend_cupy.kernels import types

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
INFINITY = ("INF", "__int_as_float(0x7f800000)")  # as in launch.py


def variants():
    """Yield names of sources, and macros for them."""
    yield "philox", ()
    for dtype, index in product(["bool", *INTEGERS, *FLOATS], INTEGERS):
        macros = dict(types(dtype, index=index))
        if "ATOMIC" in macros:
            yield "index_add", tuple((name, macros[name]) for name in ("ATOMIC", "INDEX"))
    for dtype in ["bool", *INTEGERS, *FLOATS]:
        yield "index_add_sorted", types(dtype)
        for rank in (1, 2, 3):
            layer = [("SIZE(a)", "(a + 2)"), ("STRIDE(a)", "(a + 1)"), ("DILATION(a)", "2")]
            yield "windows_adjoint", (*types(dtype), ("RANK", str(rank)), *layer)
    for dtype, index in product(FLOATS, INTEGERS):
        yield "cross_entropy", (*types(dtype, index=index), ("BLOCK", "256"), ("TEAM", "16"), INFINITY)
    for dtype, team in product(FLOATS, (4, 256)):
        yield "cross_entropy", (*types(dtype, index="int64"), ("BLOCK", "256"), ("TEAM", str(team)), INFINITY)


def test_every_source_is_among_the_variants():
    assert {name for name, _ in variants()} == set(kernels.NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_kernels_are_valid_cuda(architecture, tmp_path):
    if importlib.util.find_spec("cupyemu") is None or importlib.util.find_spec("nvidia") is None:
        pytest.skip("NVRTC is not installed: it comes with cupyemu[nvrtc]")
    sources = {kernels.define(macros) + kernels.source(name): name for name, macros in variants()}
    for i, (text, name) in enumerate(sources.items()):
        (tmp_path / f"{i:03}_{name}.cu").write_text("// OPTION --std=c++17\n" + text, encoding="utf-8")
    command = [sys.executable, "-m", "cupyemu.nvrtc", str(tmp_path), architecture]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout
    assert f"{len(sources)} of {len(sources)} compiled" in done.stdout
    print(done.stdout)


def test_the_launches_use_these_macros():
    launch = (kernels.files("dzbackend_cupy") / "launch.py").read_text(encoding="utf-8")
    assert INFINITY[1] in launch
