"""Find backends: those announced by installed distributions, and those registered at run time.

Listing reads metadata and imports nothing. Getting a backend imports exactly that one, once, under a lock; success
and failure are both remembered until `refresh_backends()`.
"""

import re
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar, overload

from ..errors import AmbiguousBackendError, BackendError, BackendNotFoundError, BackendUnavailableError
from . import discovery
from .base import Backend
from .discovery import Failure, InstalledBackend, check_class, comma, import_lock, installed_backends, load, say

__all__ = [
    "BackendInfo",
    "available_backends",
    "describe_backends",
    "get_backend",
    "refresh_backends",
    "register_backend",
    "unregister_backend",
]

NONE_INSTALLED = "No backend is installed. pip install dzbackend-numpy"

BackendClass = TypeVar("BackendClass", bound=type[Backend])


class BackendInfo(NamedTuple):
    """One line of `dz backends`."""

    name: str
    distribution: str | None  #: None where it was registered at run time
    version: str | None
    usable: bool  #: whether `get_backend(name)` opens it
    reason: str | None  #: why not
    priority: int = 0
    accelerator: bool = False
    devices: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()


# Not the lock of imports: a plugin may call `register_backend` while it is imported, and two threads would wait for
# each other, one of them inside Python's own import lock.
_register_lock = threading.Lock()

_registered: dict[str, type[Backend]] = {}
_instances: dict[tuple[type[Backend], str | None], Backend] = {}
_reasons: dict[type[Backend], str | None] = {}
_by_spec: dict[str, Backend] = {}
_stamp = (0, 0)


# Registering ---------------------------------------------------------------------------------------------------


@overload
def register_backend(cls: BackendClass, /, *, replace: bool = False) -> BackendClass: ...
@overload
def register_backend(*, replace: bool = False) -> Callable[[BackendClass], BackendClass]: ...
def register_backend(
    cls: BackendClass | None = None, /, *, replace: bool = False
) -> BackendClass | Callable[[BackendClass], BackendClass]:
    """Make a Backend class known under its `name`, and return it: a call, or a decorator.

    It takes precedence over an installed backend of that name, and hides it only with `replace=True`.

    Raises:
        TypeError: `cls` is no Backend, or lacks required members.
        ValueError: its `name` is not of the form `[a-z][a-z0-9_]*`.
        IncompatibleBackendError: its `api_version` does not fit this dzcore.
        AmbiguousBackendError: the name is taken.
    """
    global _by_spec, _stamp
    if cls is None:
        return lambda cls: register_backend(cls, replace=replace)
    check_class(cls, "register_backend")
    with _register_lock:
        known = _registered.get(cls.name)
        if known is cls:
            return cls
        owner = f"the registered {known.__qualname__}" if known else ", ".join(map(str, _claims(cls.name)))
        if owner and not replace:
            raise AmbiguousBackendError(
                f"The name {cls.name!r} of {cls.__qualname__} is taken by {owner}. "
                f"Give the class another name, or hide the other one with register_backend(..., replace=True)."
            )
        _registered[cls.name] = cls
        _by_spec, _stamp = {}, (_stamp[0], _stamp[1] + 1)
    return cls


def unregister_backend(name: str) -> None:
    """Take back `register_backend`; an installed backend of that name comes to light again."""
    global _by_spec, _stamp
    with _register_lock:
        if _registered.pop(name, None) is None:
            raise BackendNotFoundError(f"name={name!r} is not registered. Registered: {comma(sorted(_registered))}.")
        _by_spec, _stamp = {}, (_stamp[0], _stamp[1] + 1)


def refresh_backends() -> None:
    """Look again: forget what was found, what failed and why, and the value of DZCORE_BACKEND.

    What was registered at run time stays, and so do backends that are already open: their arrays remain theirs.
    """
    global _by_spec, _stamp
    with import_lock, _register_lock:
        discovery.forget()
        _reasons.clear()
        _by_spec, _stamp = {}, (_stamp[0] + 1, _stamp[1])


# Listing -------------------------------------------------------------------------------------------------------


def available_backends() -> list[str]:
    """List the names that `get_backend` would open here. Imports every plugin; a broken one is left out."""
    return [name for name, found in resolve_all().items() if isinstance(found, type) and why_unavailable(found) is None]


def describe_backends() -> list[BackendInfo]:
    """Describe every backend that is registered or installed, by name, the unusable ones with the reason."""
    infos = [_describe(name, None, cls) for name, cls in _registered.items()]
    for claim in installed_backends():
        found = _resolve(claim.name, None)
        if claim.name in _registered:
            choice = f"{claim.name}@{claim.distribution}"
            found = Failure(AmbiguousBackendError, f"hidden by a registered backend; {choice!r} opens it")
        infos.append(_describe(claim.name, claim, found))
    return sorted(infos, key=lambda info: (info.name, info.distribution or ""))


def _describe(name: str, claim: InstalledBackend | None, found: type[Backend] | Failure) -> BackendInfo:
    distribution, version = (claim.distribution, claim.version) if claim else (None, None)
    if isinstance(found, Failure):
        return BackendInfo(name, distribution, version, usable=False, reason=found.message)
    reason = why_unavailable(found)
    return BackendInfo(
        name,
        distribution,
        version,
        usable=reason is None,
        reason=reason,
        priority=found.priority,
        accelerator=found.accelerator,
        devices=() if reason else devices(found),
        capabilities=tuple(found.capabilities()),
    )


def resolve_all() -> dict[str, type[Backend] | Failure]:
    """Map every known name, in order, to its class, or to the reason why there is none."""
    return {name: _resolve(name, None) for name in _names()}


def why_unavailable(cls: type[Backend]) -> str | None:
    """Ask `cls` once whether it works here; an exception counts as a no."""
    with import_lock:
        if cls not in _reasons:
            try:
                reason = cls.why_unavailable()
                if not (reason is None or isinstance(reason, str)):
                    raise TypeError(f"{cls.__qualname__}.why_unavailable gave {reason!r} and not None or a sentence")
                _reasons[cls] = reason
            except Exception as error:
                _reasons[cls] = say(error)
        return _reasons[cls]


def devices(cls: type[Backend]) -> tuple[str, ...]:
    """List the devices of `cls`; none where it cannot say."""
    try:
        return tuple(cls.devices())
    except Exception:
        return ()


def open_backends() -> list[Backend]:
    """List the backends that are open, in the order of their opening."""
    return list(_instances.values())


def stamp() -> tuple[int, int]:
    """Count the refreshes and the registrations so far: a conclusion drawn from the registry holds while both stay."""
    return _stamp


# Getting -------------------------------------------------------------------------------------------------------


def get_backend(spec: "str | Backend") -> Backend:
    """Return the backend that `spec` names, always the same one for the same class and device.

    `spec` is `"name"`, `"name:device"`, `"name@distribution"` or `"name:device@distribution"`; a Backend is
    returned as it is.

    >>> get_backend("numpy")  # doctest: +SKIP
    <backend numpy>

    Raises:
        BackendNotFoundError: no backend has this name.
        AmbiguousBackendError: several distributions offer it.
        BackendLoadError: its plugin fails to import.
        IncompatibleBackendError: it was written for another version of the interface.
        BackendUnavailableError: it says that it cannot work here, or the device cannot be opened.
    """
    if isinstance(spec, Backend):
        return spec
    cache = _by_spec  # a registration meanwhile puts another dict in its place, and this answer is not kept
    if not isinstance(spec, str):
        raise TypeError(f"backend={spec!r} is neither a Backend nor a str such as 'name' or 'name:device'")
    if spec not in cache:
        name, device, distribution = _parse(spec)
        cls = _resolve(name, distribution)
        if isinstance(cls, Failure):
            raise cls.exception()
        cache[spec] = _open(cls, device, "registered" if _registered.get(name) is cls else "installed")
    return cache[spec]


def _parse(spec: str) -> tuple[str, str | None, str | None]:
    head, at, distribution = spec.rpartition("@") if "@" in spec else (spec, "", "")
    name, colon, device = head.partition(":")
    if not name or (colon and not device) or (at and not distribution):
        raise ValueError(f"backend={spec!r} is incomplete; write 'name', 'name:device' or 'name:device@distribution'")
    return name, device or None, distribution or None


def _resolve(name: str, distribution: str | None) -> type[Backend] | Failure:
    if distribution is None and name in _registered:
        return _registered[name]
    claims = _claims(name)
    if distribution is not None and claims:
        wanted = [claim for claim in claims if _normal(claim.distribution) == _normal(distribution)]
        if not wanted:
            owners = comma(claim.distribution for claim in claims)
            return Failure(BackendNotFoundError, f"No backend {name!r} in {distribution!r}. Offered by: {owners}.")
        claims = wanted
    if not claims:
        return _not_found(name)
    if len(claims) > 1:
        owners = " and ".join(map(str, claims))
        choices = " or ".join(repr(f"{name}@{claim.distribution}") for claim in claims)
        return Failure(AmbiguousBackendError, f"Backend {name!r} is offered by {owners}. Write {choices}.")
    return load(claims[0])


def _not_found(name: str) -> Failure:
    names = _names()
    if not names:
        return Failure(BackendNotFoundError, NONE_INSTALLED)
    import difflib

    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.7)
    hint = f"Did you mean {close[0]!r}?" if close else f"Is it a package such as dzbackend-{name}? Install that first."
    return Failure(BackendNotFoundError, f"No backend {name!r}. Installed: {comma(names)}. {hint}")


def _open(cls: type[Backend], device: str | None, state: str) -> Backend:
    label = cls.name if device is None else f"{cls.name}:{device}"
    with import_lock:
        reason = why_unavailable(cls)
        if reason is not None:
            raise BackendUnavailableError(f"Backend {cls.name!r} is {state} but unusable: {reason.rstrip('.')}.")
        try:
            device = None if device is not None and device == cls.default_device() else device
            if (cls, device) not in _instances:
                _instances[cls, device] = cls(device)
        except BackendError:
            raise
        except Exception as error:
            known = comma(devices(cls))
            raise BackendUnavailableError(
                f"Backend {label!r} cannot be opened: {say(error)}. Devices: {known}."
            ) from error
        return _instances[cls, device]


# Small helpers -------------------------------------------------------------------------------------------------


def _names() -> list[str]:
    return sorted({*_registered, *(claim.name for claim in installed_backends())})


def _claims(name: str) -> list[InstalledBackend]:
    return [claim for claim in installed_backends() if claim.name == name]


def _normal(distribution: str) -> str:
    return re.sub("[-_.]+", "-", distribution).lower()
