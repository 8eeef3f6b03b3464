"""Files: written whole or not at all, read with every check the format allows, downloaded whole and checked."""

from ..errors import CheckpointError, CheckpointWarning, DamagedError
from .archive import Archive, Form, open_archive, write_archive
from .atomic import atomic_write
from .checkpoint import Checkpoint
from .downloads import cache_folder, check_digest, check_recorded, download
from .saved import Saved

__all__ = ["Archive", "Checkpoint", "CheckpointError", "CheckpointWarning", "DamagedError", "Form", "Saved",
           "atomic_write", "cache_folder", "check_digest", "check_recorded", "download",
           "open_archive", "write_archive"]  # fmt: skip
