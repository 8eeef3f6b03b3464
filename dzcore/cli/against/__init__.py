"""`dz bench --against`: dzcore and other frameworks at the same works, on the same machine, in the same run."""

from .command import against
from .table import Row

__all__ = ["Row", "against"]
