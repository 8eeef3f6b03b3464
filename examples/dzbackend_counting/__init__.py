"""A dzcore backend that counts the operations and bytes of another one."""

from .backend import CountingBackend

__all__ = ["CountingBackend"]
__version__ = "0.1.0"
