"""DeZero's door to the GPU, under its old names: whatever is said here holds for every accelerator's backend.

`gpu_enable` tells whether there is one; it is found out when it is asked for.
"""

from typing import Any

from .backend import accelerator_backend, host_backend
from .errors import BackendError
from .graph import as_array, as_variable

__all__ = ["as_cupy", "as_numpy", "get_array_module", "gpu_enable"]

gpu_enable: bool


def __getattr__(name: str) -> Any:
    if name != "gpu_enable":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    try:
        accelerator_backend()
    except BackendError:
        return False
    return True


def get_array_module(x: Any) -> Any:
    """Return the functions for x's array: the namespace of its backend, or of the current one for numbers and lists."""
    return as_variable(x).backend.xp


def as_numpy(x: Any) -> Any:
    """Return the array of a Variable, array of any backend, number or list on the host's backend."""
    return as_array(x, host_backend())


def as_cupy(x: Any) -> Any:
    """Return the array of a Variable, array of any backend, number or list on the best accelerator.

    Raises:
        BackendError: there is none that can be used, and why.
    """
    return as_array(x, accelerator_backend())
