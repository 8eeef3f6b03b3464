"""The only door to arrays: the contract, the discovery of backends, and the choice among them."""

from .base import API_VERSION, Backend, HostArray
from .discovery import InstalledBackend, installed_backends
from .registry import (
    BackendInfo,
    available_backends,
    describe_backends,
    get_backend,
    refresh_backends,
    register_backend,
    unregister_backend,
)
from .select import (
    Selection,
    accelerator_backend,
    backend_of,
    current_backend,
    explain_backend,
    host_backend,
    set_default_backend,
    use_backend,
)
from .threads import get_num_threads, set_num_threads

__all__ = [
    "API_VERSION",
    "Backend",
    "BackendInfo",
    "HostArray",
    "InstalledBackend",
    "Selection",
    "accelerator_backend",
    "available_backends",
    "backend_of",
    "current_backend",
    "describe_backends",
    "explain_backend",
    "get_backend",
    "get_num_threads",
    "host_backend",
    "installed_backends",
    "refresh_backends",
    "register_backend",
    "set_default_backend",
    "set_num_threads",
    "unregister_backend",
    "use_backend",
]
