"""Every exception that dzcore raises on purpose, in one tree."""

__all__ = [
    "AmbiguousBackendError",
    "BackendError",
    "BackendLoadError",
    "BackendNotFoundError",
    "BackendUnavailableError",
    "DataError",
    "DzcoreError",
    "GraphError",
    "IncompatibleBackendError",
    "MixedBackendError",
    "WeightsError",
]


class DzcoreError(Exception):
    """The root of the tree: `except DzcoreError` catches all of them."""


class BackendError(DzcoreError):
    """Something about a backend."""


class BackendNotFoundError(BackendError, LookupError):
    """No installed or registered backend has this name."""


class AmbiguousBackendError(BackendError, LookupError):
    """Two distributions claim one name; `name@distribution` picks one."""


class BackendLoadError(BackendError, ImportError):
    """The plugin is installed and fails to import; the cause is chained."""


class BackendUnavailableError(BackendError, RuntimeError):
    """The plugin imports, and says why it cannot be used here."""


class IncompatibleBackendError(BackendError, RuntimeError):
    """The plugin was written for another version of the backend interface."""


class MixedBackendError(BackendError, TypeError):
    """The operands of one operation belong to different backends."""


class GraphError(DzcoreError, RuntimeError):
    """A gradient was asked for that does not exist, or one came out with a wrong shape, dtype or backend."""


class WeightsError(DzcoreError, ValueError):
    """A weight file does not fit the model, or cannot be read."""


class DataError(DzcoreError, ValueError):
    """A data file is missing, damaged, or not what its name says."""
