"""`xp` as rules see it: the array library's functions, and what dzcore adds to them, on raw arrays."""

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Backend

__all__ = ["EXTENSIONS", "FORMULAS", "Loops", "Namespace"]

#: Functions `f(xp, *arrays, **options)` that rules may call as `xp.f(*arrays, **options)`. A backend that has a method
#: of the name is called instead, as `backend.f(*arrays, **options)`.
EXTENSIONS: dict[str, Callable[..., Any]] = {}


#: Those of them that are elementwise formulas: `xp.f` is what the backend's `fuse` makes of `f` then.
FORMULAS: set[str] = set()


class Loops(dict[Callable[..., Any], Any]):
    """By formula, what the backend makes of it: `fuse(formula)`, made once as long as formulas are not made anew."""

    def __init__(self, backend: "Backend") -> None:
        super().__init__()
        self.backend = backend

    def __missing__(self, formula: Callable[..., Any]) -> Any:
        """Fuse the formula."""
        if len(self) >= 4096:
            self.clear()
        loop = self[formula] = self.backend.fuse(formula)
        return loop


class Namespace:
    """The array-API namespace of one backend, with its primitives in `backend` and the `EXTENSIONS` beside them.

    Attributes are looked up once and then kept.
    """

    def __init__(self, backend: "Backend") -> None:
        self.backend = backend
        self.loops = Loops(backend)

    def fused(self, formula: Callable[..., Any], *inputs: Any) -> Any:
        """Evaluate `formula(xp, *inputs)`, which is elementwise, in one pass over memory if the backend can."""
        return self.loops[formula](*inputs)

    def __getattr__(self, name: str) -> Any:
        extension = EXTENSIONS.get(name)
        if extension is None:
            found = getattr(self.backend.xp, name)
        else:
            found = getattr(self.backend, name, None)
            if found is None:
                found = self.loops[extension] if name in FORMULAS else MethodType(extension, self)
        setattr(self, name, found)
        return found
