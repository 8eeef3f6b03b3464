"""How a wrong backend is entered: under a name of its own, with the group of the kit that must catch it."""

from collections.abc import Callable
from typing import Any

from dzcore.backend import Backend

__all__ = ["WRONG", "Over", "caught_by"]

#: name: (class, the group that must catch it)
WRONG: dict[str, tuple[type[Backend], str]] = {}


def caught_by(group: str, priority: int = -1) -> Callable[[type[Backend]], type[Backend]]:
    """Enter a class, under a name of its own."""

    def enter(cls: type[Backend]) -> type[Backend]:
        cls.name = "wrong_" + "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).strip("_")
        cls.priority = priority
        WRONG[cls.name] = cls, group
        return cls

    return enter


class Over:
    """A namespace with some functions replaced."""

    def __init__(self, xp: Any, **functions: Any) -> None:
        vars(self).update(functions)
        self._xp = xp

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)
