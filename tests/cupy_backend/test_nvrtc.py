"""Every kernel of the package, for every dtype, through NVIDIA's own compiler, which needs no device."""

import importlib.util
import subprocess
import sys
from itertools import product

import pytest

from dzbackend_cupy import kernels
from dzbackend_cupy.kernels import atomic, layer, rows, types

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]


def variants():
    """Yield names of sources, and macros for them, made as the launches make them."""
    yield "philox", ()
    for dtype, index in product(["bool", *INTEGERS, *FLOATS], INTEGERS):
        if macros := atomic(dtype, index):
            yield "index_add", macros
    for dtype in ["bool", *INTEGERS, *FLOATS]:
        yield "index_add_sorted", types(dtype)
        for rank in (1, 2, 3):
            yield "windows_adjoint", layer(dtype, (2, 3, 4)[:rank], (1, 2, 3)[:rank], (2, 2, 1)[:rank])
    for dtype, index in product(FLOATS, INTEGERS):
        yield "cross_entropy", rows(dtype, index, 16)
    for dtype, team in product(FLOATS, (4, 256)):
        yield "cross_entropy", rows(dtype, "int64", team)


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
