"""`xp` as rules see it: the array library's functions, and what dzcore adds to them, on raw arrays."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Backend

__all__ = ["EXTENSIONS", "Namespace"]

#: Functions `f(xp, *arrays, **options)` that rules may call as `xp.f(*arrays, **options)`. A backend that has a method
#: of the name is called instead, as `backend.f(*arrays, **options)`.
EXTENSIONS: dict[str, Callable[..., Any]] = {}


class Namespace:
    """The array-API namespace of one backend, with its primitives in `backend` and the `EXTENSIONS` beside them.

    Attributes are looked up once and then kept.
    """

    def __init__(self, backend: "Backend") -> None:
        self.backend = backend
        self.fuses_from = backend.fuses_from

    def fused(self, formula: Callable[..., Any], x: Any, *others: Any) -> Any:
        """Evaluate `formula(xp, x, *others)`, which is elementwise: in one pass over memory where x is large enough."""
        size = self.fuses_from
        if size is None or x.size < size:
            return formula(self, x, *others)
        return self.backend.fuse(formula)(x, *others)

    def __getattr__(self, name: str) -> Any:
        extension = EXTENSIONS.get(name)
        if extension is None:
            found = getattr(self.backend.xp, name)
        else:
            found = getattr(self.backend, name, None) or partial(extension, self)
        setattr(self, name, found)
        return found
