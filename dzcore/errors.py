"""Every exception that dzcore raises on purpose, in one tree."""

__all__ = [
    "AmbiguousBackendError",
    "BackendError",
    "BackendLoadError",
    "BackendNotFoundError",
    "BackendUnavailableError",
    "CheckpointError",
    "CheckpointWarning",
    "DamagedError",
    "DataError",
    "DzcoreError",
    "FileError",
    "GraphError",
    "IncompatibleBackendError",
    "MixedBackendError",
    "StateError",
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


class FileError(DzcoreError, ValueError):
    """A file cannot be what was asked of it: it is damaged, of another format, or holds what a format cannot."""


class StateError(DzcoreError, ValueError):
    """A saved state does not fit the object that is to continue from it."""


class WeightsError(FileError, StateError):
    """Weights do not fit the model."""


class CheckpointError(FileError):
    """A checkpoint cannot be written or read, or its folder is in use."""


class DamagedError(CheckpointError):
    """A checkpoint is not what was written; its file and array are named."""


class CheckpointWarning(UserWarning):
    """Something about checkpoints that somebody should look at, while the work goes on."""


class DataError(DzcoreError, ValueError):
    """A data file is missing, damaged, or not what its name says."""
