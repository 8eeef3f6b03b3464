"""Keep freed memory in the process: an array in fresh memory costs a page fault for every 4 KiB of it.

By default glibc gives large blocks back to the system when they are freed and asks for new ones at the next
operation, which takes as long as the operation itself. Here up to `KEPT` bytes that are free at the end of its heap
stay, and blocks below `MAPPED` come from there. (mallopt(3))
"""

import ctypes
import os

__all__ = ["keep"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h

KEPT = 256 << 20
MAPPED = 32 << 20  # the largest that glibc takes


def keep() -> bool:
    """Set it for this process, and tell whether that went well: elsewhere than on glibc it does not.

    Nor does it where the user has settings of their own in the environment.
    """
    if {"GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # TypeError: None names nothing on Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MAPPED) and mallopt(M_TRIM_THRESHOLD, KEPT))
