"""Files: written whole or not at all, read with every check the format allows."""

from .atomic import atomic_write
from .npz import read_npz, write_npz

__all__ = ["atomic_write", "read_npz", "write_npz"]
