"""The team of threads that compiled loops and the kernel library compute with, which is libgomp's, and OpenBLAS's own.

Threads of several pools fight: those of one spin, waiting for work, on the cores that another needs. So what is worth
several threads goes to the team, products of float32 included (`onednn/product.py`), and OpenBLAS wakes its threads for
the rest: products of float64 and of stacks, and what else a program does with NumPy. Left to themselves these look for
work for some 20 ms afterwards, so that a step of an attention layer took 45 ms instead of 15; `_Blas.calm` lets them
sleep after 0.1 ms.

(OpenBLAS would give its work to the team, by `set_threads_callback_function`. But then a thread of the program that was
in LAPACK meanwhile, in `dgetrf_parallel`, waited forever, while OpenBLAS's own thread slept: seen with 0.3.31.)

Without libgomp our loops are those of the calling thread.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .once import once

__all__ = ["gomp", "parallel", "run", "set_threads", "size", "threads"]

#: How often a thread of the team looks for work before it goes to sleep. That is about half a millisecond: longer than
#: what Python does between two products, and much shorter than what anybody else would miss.
SPIN = "30000"

#: How long a thread of OpenBLAS does, as a power of two of the processor's ticks.
TIMEOUT = "OPENBLAS_THREAD_TIMEOUT", "18"

_number: int | None = None  #: what set_threads was given
_forked = False  #: whether this process was forked from one that had a team
_here = threading.local()  #: the number that the runtime knows of in this thread


@once
def gomp() -> ctypes.CDLL | None:
    """Load the OpenMP runtime; None where there is none. One that is there already keeps its settings."""
    mine = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    if mine:
        os.environ["GOMP_SPINCOUNT"] = SPIN  # which it reads as it is loaded
    try:
        library = ctypes.CDLL("libgomp.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None
    finally:
        if mine:
            del os.environ["GOMP_SPINCOUNT"]
    os.register_at_fork(after_in_child=_alone)
    if (blas := _blas()) is not None:
        blas.calm()
    return library


class _Blas:
    """OpenBLAS, as NumPy has loaded it."""

    def __init__(self, path: str, name: Callable[[str], str]) -> None:
        library = ctypes.PyDLL(path)  # which keeps Python's lock: nobody begins a product meanwhile
        self.get: Any = library[name("get_num_threads")]
        self.set: Any = library[name("set_num_threads")]
        self.library = library

    def calm(self) -> bool:
        """Let the threads go to sleep soon after their work, and tell whether that was done.

        It takes new threads, for the old ones have read how long they wait. So it is not done while another thread of
        the program might be in a product; where the user has said how long; or with a build of OpenBLAS that keeps
        these functions to itself, as that of NumPy 2.5 does.
        """
        variable, value = TIMEOUT
        try:
            steps = [self.library[name] for name in ("openblas_read_env", "blas_thread_shutdown_", "blas_thread_init")]
        except AttributeError:
            return False
        if variable in os.environ or not _others_sleep():
            return False
        os.environ[variable] = value
        try:
            for step in steps:
                step()
        finally:
            del os.environ[variable]
        return True


def _others_sleep() -> bool:
    """Tell whether no other thread of Python computes, which stays so for a while: for 5 ms after a pause, in which
    whoever waits for Python's lock has had it, nobody can ask for it again."""
    for _ in range(20):
        others = [thread.native_id for thread in threading.enumerate() if thread is not threading.current_thread()]
        if not others:
            return True
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            return False
        time.sleep(0.001)
        if all(map(_sleeps, others)):
            return True
    return False


def _sleeps(thread: int | None) -> bool:
    """Ask Linux for the state of a thread, with Python's lock in hand."""
    kernel = ctypes.PyDLL(None)
    file = kernel.open(f"/proc/self/task/{thread}/stat".encode(), os.O_RDONLY)
    if file < 0:
        return False
    about = ctypes.create_string_buffer(256)
    kernel.read(file, about, 255)
    kernel.close(file)
    return about.value.rpartition(b") ")[2][:1] == b"S"  # behind the name, which may have brackets of its own


@once
def _blas() -> _Blas | None:
    """Find the OpenBLAS of NumPy; None where it has something else."""
    np.zeros((1, 1)).dot(np.zeros((1, 1)))  # so that it is there
    folder = Path(np.__file__).parent
    bundled = [*folder.parent.glob("numpy.libs/*openblas*"), *folder.glob(".dylibs/*openblas*")]
    paths = [str(path) for path in bundled] or _loaded("openblas")
    for path in paths:
        for prefix, suffix in (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")):
            try:
                return _Blas(path, lambda name, p=prefix, s=suffix: f"{p}openblas_{name}{s}")  # type: ignore[misc]
            except (AttributeError, OSError):
                continue
    return None


def _loaded(word: str) -> list[str]:
    """Return the libraries in this process whose names have the word, where the system tells."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    paths = {"/" + line.partition("/")[2] for line in lines}
    return sorted(path for path in paths if word in os.path.basename(path))


def threads() -> int:
    """Return how many threads compute: what `set_threads` was given, else what OpenBLAS begins with.

    That is the number of cores, or OPENBLAS_NUM_THREADS, or OMP_NUM_THREADS.
    """
    global _number
    if _number is None:
        blas = _blas()
        _number = int(blas.get()) if blas is not None else len(os.sched_getaffinity(0))
    return _number


def set_threads(number: int) -> None:
    """Let `number` threads compute."""
    global _number
    _number = number
    blas = _blas()
    if blas is not None:
        blas.set(number)


def size() -> int:
    """Return how many threads the team has for the calling one, and see to it that the runtime agrees."""
    library = gomp()
    number = 1 if library is None or _forked else threads()
    if library is not None and getattr(_here, "number", None) != number:
        library.omp_set_num_threads(number)  # which each thread of Python has a number of its own of
        _here.number = number
    return number


@once
def parallel() -> Any:
    """Return `call(address, data, number, 0)`, which calls a C function with data in a number of threads."""
    function = gomp().GOMP_parallel  # type: ignore[union-attr]  # nobody asks who has no team
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


_ALONE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def run(address: int, call: Any, number: int) -> None:
    """Call a C function with data in a number of threads, the calling one among them."""
    if number == 1:
        _ALONE(address)(call)
    else:
        parallel()(address, call, number, 0)


def _alone() -> None:
    """Leave the team in a forked process, where its threads are not."""
    global _forked
    _forked = True
