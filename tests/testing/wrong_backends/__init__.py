"""Backends that are wrong on purpose: each is a few lines over a right one, and names the group that must catch it.

python -m tests.testing.wrong_backends [NAME …]    # runs that group on each, and prints what caught it, as JSON
"""

from . import functions, namespaces, primitives, stream, transfer  # they enter what they define
from .base import WRONG

__all__ = ["WRONG"]
