"""The sources of the kernels, beside this file, and how they are compiled and launched.

A source is CUDA C++ without types: what varies with the dtype stands in macros, which `define` writes before it. A
GPU's own compiler makes a kernel of it when it is first needed, and CuPy keeps it on the disk.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

__all__ = ["BLOCK", "NAMES", "atomic", "grid", "kernel", "layer", "rows", "source", "types"]

Macros = tuple[tuple[str, str], ...]

#: The files, without their ending.
NAMES = ("cross_entropy", "index_add", "index_add_sorted", "philox", "windows_adjoint")
#: Threads in a block: divides into teams of any power of two, and suits every device.
BLOCK = 256
#: Blocks of a launch. A thread of a larger problem does more than one element.
MAX_BLOCKS = 1 << 16

_TYPES = {"bool": "bool", "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
          "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int",
          "uint64": "unsigned long long", "float16": "float16", "bfloat16": "bfloat16", "float32": "float",
          "float64": "double"}  # fmt: skip
#: What atomicAdd takes in place of a dtype. Two's complement adds up the same with and without a sign.
_TYPE_NAMES = ("T", "ACC", "ATOMIC", "INDEX")
_ATOMIC = {"int32": "int", "uint32": "unsigned int", "int64": "unsigned long long", "uint64": "unsigned long long",
           "float32": "float", "float64": "double"}  # fmt: skip


@cache
def source(name: str) -> str:
    """Return the text of a source."""
    return files(__package__).joinpath(f"{name}.cu").read_text(encoding="utf-8")


@cache
def types(dtype: str, index: str | None = None) -> Macros:
    """Return the macros for a dtype: T, the type ACC to compute in, ATOMIC if there is one; and INDEX."""
    own = _TYPES[dtype]
    macros = [("T", own), ("ACC", "float" if dtype in ("float16", "bfloat16") else own)]
    if dtype in _ATOMIC:
        macros.append(("ATOMIC", _ATOMIC[dtype]))
    return (*macros, ("INDEX", _TYPES[index])) if index else tuple(macros)


def atomic(dtype: str, index: str) -> Macros | None:
    """Return the macros of index_add, None where the dtype has no atomic addition."""
    macros = dict(types(dtype, index))
    return (("ATOMIC", macros["ATOMIC"]), ("INDEX", macros["INDEX"])) if "ATOMIC" in macros else None


def rows(dtype: str, index: str, team: int) -> Macros:
    """Return the macros of cross_entropy, with so many threads to a row. NVRTC has no <math.h> to name infinity."""
    infinity = "__int_as_float(0x7f800000)"
    return (*types(dtype, index), ("BLOCK", str(BLOCK)), ("TEAM", str(team)), ("INF", infinity))


def layer(dtype: str, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Macros:
    """Return the macros of windows_adjoint."""
    numbers = {"SIZE(a)": size, "STRIDE(a)": stride, "DILATION(a)": dilation}
    return (*types(dtype), ("RANK", str(len(size))), *((name, _choice(values)) for name, values in numbers.items()))


def _choice(numbers: Sequence[int]) -> str:
    """Return a C expression of `a` for the a-th number."""
    *first, last = numbers
    return "".join(f"(a) == {a} ? {n} : " for a, n in enumerate(first)).join(("(", f"{last})"))


def define(macros: Sequence[tuple[str, str]]) -> str:
    """Return the head of a source: the headers that its types need, and its macros."""
    used = {value for _, value in macros}
    headers = [f"cupy/{half}.cuh" for half in ("float16", "bfloat16") if half in used]
    lines = [f"#include <{header}>" for header in (["cupy/carray.cuh", *headers] if headers else [])]
    for name, value in macros:
        lines.append(f"typedef {value} {name};" if name in _TYPE_NAMES else f"#define {name} {value}")
    return "\n".join([*lines, ""])


@lru_cache(maxsize=1024)
def kernel(name: str, function: str, *macros: tuple[str, str]) -> Any:
    """Return a function of a source with these macros, compiled when it is first called on a device."""
    import cupy

    return cupy.RawModule(code=define(macros) + source(name)).get_function(function)


def grid(threads: int) -> tuple[int]:
    """Return the number of blocks for so many threads."""
    return (max(1, min(-(-threads // BLOCK), MAX_BLOCKS)),)
