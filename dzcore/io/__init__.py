"""Files: written whole or not at all, read with every check the format allows, downloaded whole and checked."""

from .atomic import atomic_write
from .downloads import cache_folder, check_digest, check_recorded, download
from .npz import read_npz, write_npz

__all__ = ["atomic_write", "cache_folder", "check_digest", "check_recorded", "download", "read_npz", "write_npz"]
