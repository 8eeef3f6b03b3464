"""Read what installed distributions announce in the entry-point group `dzcore.backends`, and import one of them."""

import re
import threading
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import BackendError, BackendLoadError, IncompatibleBackendError
from .base import API_VERSION, Backend

__all__ = ["InstalledBackend", "installed_backends"]

GROUP = "dzcore.backends"

#: Held while foreign code runs. Reentrant, since a plugin may ask for another backend while it is imported.
import_lock = threading.RLock()


class InstalledBackend(NamedTuple):
    """What a distribution's metadata says of one backend."""

    name: str
    distribution: str
    version: str
    target: str  #: `module:class`, what the entry point leads to

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


class Failure(NamedTuple):
    """Why there is no class behind a name. Kept as parts: an exception raised twice would drag its old frames along."""

    kind: type[BackendError]
    message: str
    cause: BaseException | None = None

    def exception(self) -> BackendError:
        """Make the exception anew, with its cause chained."""
        error = self.kind(self.message)
        error.__cause__ = self.cause
        return error


_scan_lock = threading.Lock()
_installed: tuple[InstalledBackend, ...] | None = None
_loaded: dict[InstalledBackend, type[Backend] | Failure] = {}


def installed_backends() -> list[InstalledBackend]:
    """List what is installed, by name, from metadata alone: nothing is imported."""
    global _installed
    with _scan_lock:
        if _installed is None:
            from importlib import metadata  # 20 ms that `import dzcore` need not spend

            entries = metadata.entry_points(group=GROUP)
            _installed = tuple(sorted({InstalledBackend(e.name, *_origin(e.dist), e.value) for e in entries}))
        return list(_installed)


def forget() -> None:
    """Forget what was found, loaded and refused, and what Python remembers of the folders on its path."""
    global _installed
    import importlib
    from importlib import metadata

    importlib.invalidate_caches()
    metadata.MetadataPathFinder().invalidate_caches()  # Python 3.11 and 3.12 leave this to the caller
    with import_lock, _scan_lock:
        _installed = None
        _loaded.clear()


def load(claim: InstalledBackend) -> type[Backend] | Failure:
    """Import the class that an entry point leads to, once."""
    with import_lock:
        if claim not in _loaded:
            _loaded[claim] = _import(claim)
        return _loaded[claim]


def _import(claim: InstalledBackend) -> type[Backend] | Failure:
    from importlib import metadata

    label = f"Backend {claim.name!r} of {claim}"
    try:
        cls = metadata.EntryPoint(claim.name, claim.target, GROUP).load()
    except Exception as error:
        remedy = f"Repair it with pip install --upgrade --force-reinstall {claim.distribution}, or uninstall it."
        return Failure(BackendLoadError, f"{label} fails to import: {say(error)}. {remedy}", error)
    try:
        check_class(cls, label)
    except IncompatibleBackendError as error:
        return Failure(IncompatibleBackendError, str(error))
    except (TypeError, ValueError) as error:
        return Failure(BackendLoadError, f"{error}. Tell the author of {claim.distribution}.", error)
    if cls.name != claim.name:
        message = f"{label} leads to {claim.target}, whose name is {cls.name!r}. Tell the author to write one of them."
        return Failure(BackendLoadError, message)
    return cls  # type: ignore[no-any-return]  # an entry point may lead to anything; check_class has looked


def check_class(cls: object, label: str) -> None:
    """Raise unless `cls` is a complete Backend class with a good name, for this version of the interface."""
    if not (isinstance(cls, type) and issubclass(cls, Backend)):
        raise TypeError(f"{label}: {cls!r} is not a subclass of dzcore.backend.Backend")
    name, version = getattr(cls, "name", None), getattr(cls, "api_version", None)
    if not (isinstance(name, str) and re.fullmatch("[a-z][a-z0-9_]*", name)):
        raise ValueError(f"{label}: name={name!r} of {cls.__qualname__} does not match [a-z][a-z0-9_]*")
    if not (isinstance(version, tuple) and len(version) == 2 and all(isinstance(part, int) for part in version)):
        raise TypeError(f"{label}: api_version={version!r} of {cls.__qualname__} is not a pair such as {API_VERSION}")
    if version[0] != API_VERSION[0] or version[1] > API_VERSION[1]:
        theirs, ours = (".".join(map(str, pair)) for pair in (version, API_VERSION))
        older = "dzcore" if version > API_VERSION else "the backend"
        who = f"{label}: {cls.__qualname__}" if label == "register_backend" else label
        raise IncompatibleBackendError(
            f"{who} is written for backend interface {theirs}, and this dzcore offers {ours}. Upgrade {older}."
        )
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise TypeError(f"{label}: {cls.__qualname__} lacks {comma(missing)}")


def _origin(dist: object) -> tuple[str, str]:
    return str(getattr(dist, "name", None) or "unknown"), str(getattr(dist, "version", None) or "unknown")


def comma(words: Iterable[str]) -> str:
    """Join words for a message."""
    return ", ".join(words) or "none"


def say(error: BaseException) -> str:
    """Put an exception into a message."""
    return f"{type(error).__name__}: {str(error).rstrip('.')}"
