"""Functions that are evaluated once, also where several threads ask for the first time together.

`functools.cache` lets each of them evaluate, and keeps what came last: here the others would have addresses within a
compiler, or handles of a library, that goes away.
"""

import os
import threading
from collections.abc import Callable, Hashable
from functools import wraps
from typing import TypeVar

__all__ = ["lock", "once"]

Result = TypeVar("Result")

#: Whoever makes something that is kept has it, and makes what that needs meanwhile. A process is forked when nobody
#: does, for in the child nobody would end it.
lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def once(function: Callable[..., Result]) -> Callable[..., Result]:
    """Keep the result of a function, for each of its arguments."""
    kept: dict[tuple[Hashable, ...], Result] = {}

    @wraps(function)
    def call(*given: Hashable) -> Result:
        try:
            return kept[given]
        except KeyError:
            pass
        with lock:
            if given not in kept:
                kept[given] = function(*given)
            return kept[given]

    call.kept = kept  # type: ignore[attr-defined]  # to mypy a function has no attributes; tests begin anew by it
    return call
