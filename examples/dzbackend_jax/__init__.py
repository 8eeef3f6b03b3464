"""JAX as a dzcore backend."""

from .backend import JaxBackend

__all__ = ["JaxBackend"]
__version__ = "0.1.0"
