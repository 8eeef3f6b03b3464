"""Whether the extras of `dzbackend-numpy[fast]` are to be used: the compiler of formulas, the library of kernels."""

import os

__all__ = ["allowed"]


def allowed() -> bool:
    """Tell whether the environment variable DZCORE_NUMPY_FAST is anything but 0."""
    return os.environ.get("DZCORE_NUMPY_FAST", "1") != "0"
