"""The sources of the kernels: data that is read, and packaged, without a GPU and without CuPy."""

import re
import tomllib
from pathlib import Path

import pytest

from dzbackend_cupy import kernels

FOLDER = Path(kernels.__file__).parent


def test_every_source_has_a_name():
    assert sorted(path.stem for path in FOLDER.glob("*.cu")) == sorted(kernels.NAMES)


@pytest.mark.parametrize("name", kernels.NAMES)
def test_a_source_is_readable_and_says_what_it_does(name):
    text = kernels.source(name)
    assert text.startswith("// ")
    assert text.isascii()
    assert f'extern "C" __global__ void {name}(' in text


@pytest.mark.parametrize("name", kernels.NAMES)
def test_indices_are_wide_enough(name):
    """What counts elements or places is `long long`: with `int`, arrays of 2**31 elements would wrap around."""
    text = kernels.source(name)
    narrow = re.findall(r"\bint (\w+)", text)
    allowed = {"round", "w", "k", "a", "me", "half", "AXIS", "skip"}  # bounded by the kernel, the block or the layer
    assert set(narrow) <= allowed
    assert "(long long)blockIdx.x * " in text  # the product of two unsigned ints would be one


def test_no_kernel_relies_on_warps():
    for name in kernels.NAMES:
        assert not re.search(r"__shfl|__ballot|warpSize|__syncwarp|__activemask", kernels.source(name))


def test_the_wheel_takes_the_sources():
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert "**/*.cu" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]


def test_types_are_those_of_the_dtypes():
    assert kernels.types("float32") == (("T", "float"), ("ACC", "float"), ("ATOMIC", "float"))
    assert kernels.types("float16", index="uint8") == (("T", "float16"), ("ACC", "float"), ("INDEX", "unsigned char"))
    assert dict(kernels.types("int64"))["ATOMIC"] == "unsigned long long"
    head = kernels.define((*kernels.types("bfloat16"), ("TEAM", "8")))
    assert "#include <cupy/bfloat16.cuh>" in head
    assert "typedef bfloat16 T;" in head
    assert "#define TEAM 8" in head


def test_the_macros_of_a_launch():
    assert kernels.atomic("int64", "uint8") == (("ATOMIC", "unsigned long long"), ("INDEX", "unsigned char"))
    assert kernels.atomic("float16", "int64") is None
    names = ("T", "ACC", "INDEX", "BLOCK", "TEAM", "INF")
    assert tuple(name for name, _ in kernels.rows("float16", "int32", 8)) == names
    assert dict(kernels.rows("float64", "int32", 8))["TEAM"] == "8"
    layer = dict(kernels.layer("int8", (3, 5), (1, 2), (4, 6)))
    assert layer["RANK"] == "2"
    assert layer["SIZE(a)"] == "((a) == 0 ? 3 : 5)"
    assert (layer["STRIDE(a)"], layer["DILATION(a)"]) == ("((a) == 0 ? 1 : 2)", "((a) == 0 ? 4 : 6)")
    assert dict(kernels.layer("int8", (3,), (1,), (1,)))["SIZE(a)"] == "(3)"


def test_a_grid_has_at_least_one_block_and_ends():
    assert [kernels.grid(n) for n in (0, 1, 256, 257)] == [(1,), (1,), (1,), (2,)]
    assert kernels.grid(2**40) == (kernels.MAX_BLOCKS,)
