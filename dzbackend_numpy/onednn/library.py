"""The door to the kernel library oneDNN: where it is, and calls of its C interface, version 3, every status checked."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import suppress
from ctypes import byref, c_int, c_size_t, c_void_p
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from .. import team
from ..once import once

__all__ = ["Handle", "OneDNNError", "available", "call", "engine", "library", "make"]

DISTRIBUTION = "onednn-cpu-gomp"
FILE = "libdnnl.so.3"
CPU = 1
STATUSES = ("success", "out of memory", "invalid arguments", "unimplemented", "last implementation reached",
            "runtime error", "not required")  # fmt: skip


class OneDNNError(RuntimeError):
    """The kernel library did not do what it was asked for."""


class Handle(c_void_p):
    """A thing that the library made, destroyed with this object."""

    destroy: Any = None  # known to each object, for at the end of the process there are no modules any more

    def __del__(self) -> None:
        if self.destroy is not None:
            self.destroy(self)


class _Version(ctypes.Structure):
    _fields_ = (("major", c_int), ("minor", c_int), ("patch", c_int))


@once
def available() -> bool:
    """Tell whether there is such a library."""
    return _found() is not None


@once
def library() -> ctypes.CDLL:
    """Load the library, after that of the team, whose threads it takes.

    Raises:
        OneDNNError: there is none.
    """
    found = _found()
    if found is None:
        raise OneDNNError("oneDNN 3 is not installed; pip install 'dzbackend-numpy[fast]'")
    found.dnnl_memory_desc_get_size.restype = c_size_t
    found.dnnl_primitive_desc_query_md.restype = c_void_p
    found.dnnl_memory_set_data_handle.argtypes = (c_void_p, c_void_p)
    return found


def _found() -> ctypes.CDLL | None:
    path = next((path for path in _places() if path.is_file()), None)
    if path is None or team.gomp() is None:
        return None
    found = ctypes.CDLL(str(path))
    found.dnnl_version.restype = ctypes.POINTER(_Version)
    return found if found.dnnl_version().contents.major == 3 else None


def _places() -> Iterator[Path]:
    """Yield where the distribution put it, and where the environment keeps libraries."""
    with suppress(PackageNotFoundError):
        yield from (Path(str(file.locate())) for file in files(DISTRIBUTION) or () if file.name == FILE)
    yield Path(sys.prefix, "lib", FILE)


def call(name: str, *arguments: Any) -> None:
    """Call `dnnl_<name>`.

    Raises:
        OneDNNError: it did not succeed.
    """
    status = getattr(library(), f"dnnl_{name}")(*arguments)
    if status:
        reason = STATUSES[status] if status < len(STATUSES) else f"status {status}"
        raise OneDNNError(f"oneDNN: {name}: {reason}")


def make(kind: str, create: str, *arguments: Any) -> Handle:
    """Return what `dnnl_<create>(&handle, *arguments)` makes, which `dnnl_<kind>_destroy` will destroy.

    Raises:
        OneDNNError: nothing was made.
    """
    handle = Handle()
    call(create, byref(handle), *arguments)
    handle.destroy = getattr(library(), f"dnnl_{kind}_destroy")
    return handle


@once
def engine() -> Handle:
    """Return the CPU as the library sees it."""
    return make("engine", "engine_create", CPU, c_size_t(0))
