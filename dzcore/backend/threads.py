"""How many threads of the processor a backend computes with."""

from operator import index

from .base import Backend
from .registry import get_backend
from .select import current_backend

__all__ = ["get_num_threads", "set_num_threads"]


def get_num_threads(backend: str | Backend | None = None) -> int:
    """Return how many threads `backend` (the current one) computes with.

    Raises:
        BackendError: it does not say.
    """
    return _opened(backend).get_num_threads()


def set_num_threads(number: int, backend: str | Backend | None = None) -> None:
    """Let `number` threads compute on `backend` (the current one), in the whole process.

    Raises:
        ValueError: unless number >= 1.
        BackendError: the backend's library decides for itself.
    """
    count = index(number)
    if isinstance(number, bool) or count < 1:
        raise ValueError(f"number={number!r} must be a whole number of threads, at least 1")
    _opened(backend).set_num_threads(count)


def _opened(backend: str | Backend | None) -> Backend:
    return current_backend() if backend is None else get_backend(backend)
