"""The CuPy backend of dzcore. It imports without a GPU and without CuPy, and says what is missing."""

from .backend import CupyBackend
from .settings import allow_tf32, repeatable_sums, set_memory_limit

__all__ = ["CupyBackend", "__version__", "allow_tf32", "repeatable_sums", "set_memory_limit"]
__version__ = "0.1.0"
