"""Choose the backend for what has no array among its inputs, and find the one that owns an array.

In order: the innermost `use_backend` of this thread or task, `set_default_backend`, the variable `DZCORE_BACKEND`,
the usable backend of highest priority. What was asked for by name is used or raises: there is no silent fallback.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import NamedTuple

from ..errors import BackendError, BackendNotFoundError, BackendUnavailableError
from . import registry
from .base import Backend
from .discovery import comma
from .registry import get_backend

__all__ = [
    "Selection",
    "accelerator_backend",
    "backend_of",
    "current_backend",
    "explain_backend",
    "host_backend",
    "set_default_backend",
    "use_backend",
]

VARIABLE = "DZCORE_BACKEND"


class Selection(NamedTuple):
    """A backend, and what made it the current one."""

    backend: Backend
    reason: str


_scoped: ContextVar[Selection | None] = ContextVar("dzcore_backend", default=None)
_default: Selection | None = None
_automatic: tuple[tuple[int, int], Selection] | None = None  # holds for one stamp of the registry
_environment: tuple[int, str] | None = None  # holds until the next refresh


def use_backend(spec: str | Backend) -> AbstractContextManager[Backend]:
    """Make `spec` the current backend of a `with` block, in this thread or asyncio task only.

    The backend is opened at once, so that an error shows here and not inside the block.

    >>> with use_backend("numpy"):  # doctest: +SKIP
    ...     x = dzcore.zeros((2, 3))
    """
    backend = get_backend(spec)
    return _using(Selection(backend, f"use_backend({str(backend)!r})"))


@contextmanager
def _using(selection: Selection) -> Iterator[Backend]:
    token = _scoped.set(selection)
    try:
        yield selection.backend
    finally:
        _scoped.reset(token)


def set_default_backend(spec: str | Backend | None) -> None:
    """Make `spec` the current backend of the whole process, wherever no `use_backend` applies; None takes it back."""
    global _default
    if spec is None:
        _default = None
    else:
        backend = get_backend(spec)
        _default = Selection(backend, f"set_default_backend({str(backend)!r})")


def current_backend() -> Backend:
    """Return the backend on which arrays are made when nothing else decides."""
    return explain_backend().backend


def explain_backend() -> Selection:
    """Return the current backend and the reason why it is the one.

    Raises:
        BackendNotFoundError: nothing is installed, or `DZCORE_BACKEND` names something unknown.
        BackendUnavailableError: nothing that is installed can be used; each with its reason.
        BackendError: what else `get_backend` raises for the value of `DZCORE_BACKEND`.
    """
    global _automatic
    selection = _scoped.get() or _default
    if selection is not None:
        return selection
    stamp = registry.stamp()
    if _automatic is None or _automatic[0] != stamp:
        _automatic = stamp, _from_environment(stamp[0]) or _by_priority()
    return _automatic[1]


def _from_environment(refreshes: int) -> Selection | None:
    global _environment
    if _environment is None or _environment[0] != refreshes:
        _environment = refreshes, os.environ.get(VARIABLE, "").strip()
    spec = _environment[1]
    if not spec:
        return None
    try:
        return Selection(get_backend(spec), f"{VARIABLE}={spec}")
    except (BackendError, ValueError) as error:
        raise type(error)(f"{VARIABLE}={spec}: {error}") from error


def _by_priority() -> Selection:
    found = registry.resolve_all()
    if not found:
        raise BackendNotFoundError(registry.NONE_INSTALLED)
    classes = _ranked()
    problems = [answer.message for answer in found.values() if not isinstance(answer, type)]
    backend = _first_usable(classes, problems)
    if backend is None:
        raise BackendUnavailableError("\n  ".join(["No installed backend can be used here.", *sorted(problems)]))
    names = comma(sorted(cls.name for cls in classes))
    return Selection(backend, f"the usable backend of highest priority among: {names}")


def _first_usable(classes: Iterable[type[Backend]], problems: list[str]) -> Backend | None:
    for cls in classes:
        try:
            return get_backend(cls.name)
        except BackendError as error:
            problems.append(str(error))
    return None


def _ranked() -> list[type[Backend]]:
    """Every class that loads, the highest priority first. The lower ones need not even be asked whether they work."""
    classes = [answer for answer in registry.resolve_all().values() if isinstance(answer, type)]
    return sorted(classes, key=lambda cls: (-cls.priority, cls.name))


def host_backend() -> Backend:
    """Return the current backend if it is no accelerator, else the usable one of highest priority that is none."""
    return _of_kind(accelerator=False)


def accelerator_backend() -> Backend:
    """Return the current backend if it is an accelerator, else the usable accelerator of highest priority.

    Raises:
        BackendNotFoundError: no accelerator is installed.
        BackendUnavailableError: none can be used here; each with its reason.
    """
    return _of_kind(accelerator=True)


def _of_kind(*, accelerator: bool) -> Backend:
    with suppress(BackendError):
        current = current_backend()
        if current.accelerator == accelerator:
            return current
    kind = "accelerator" if accelerator else "host"
    problems: list[str] = []
    backend = _first_usable((cls for cls in _ranked() if cls.accelerator == accelerator), problems)
    if backend is not None:
        return backend
    if problems:
        raise BackendUnavailableError("\n  ".join([f"No {kind} backend can be used here.", *sorted(problems)]))
    broken = [answer.message for answer in registry.resolve_all().values() if not isinstance(answer, type)]
    installed = f"Installed: {comma(registry.resolve_all())}."
    remedy = " For an NVIDIA GPU: pip install 'dzbackend-cupy[cuda12]' (or [cuda13])." if accelerator else ""
    raise BackendNotFoundError("\n  ".join([f"No {kind} backend is installed. {installed}{remedy}", *broken]))


def backend_of(array: object) -> Backend:
    """Return the backend that owns a raw array: the current one if it does, else one that is open, else any usable one.

    Raises:
        TypeError: no backend owns it.
    """
    for backend in _candidates():
        if backend.owns(array):
            return backend
    current_backend()  # if the choice itself is wrong, that comes first
    kind = f"{type(array).__module__}.{type(array).__qualname__}"
    names = comma(registry.available_backends())
    raise TypeError(f"array: {kind} is an array of no usable backend ({names}); make one with dzcore.asarray")


def _candidates() -> Iterator[Backend]:
    with suppress(BackendError):  # the array may belong to a backend that was opened by its own name
        yield current_backend()
    yield from registry.open_backends()
    for cls in _ranked():
        for device in (None, *registry.devices(cls)):
            try:
                yield get_backend(cls.name if device is None else f"{cls.name}:{device}")
            except BackendError:
                break
