"""A file layer that fails: the functions of `dzcore.io.disk`, counted, the n-th of which goes wrong."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dzcore.io import disk

__all__ = ["DONE_FIRST", "FAULTS", "KILLS", "LASTING", "Door", "calls_of", "in_child", "opened", "struck"]

OPERATIONS = (
    "create", "write", "permit", "flush", "flush_folder", "rename", "make_folder", "remove", "remove_folder",
)  # fmt: skip
WITHOUT_A_NAME = {"write", "permit", "flush", "flush_folder"}  # the system's errors of these carry no path
CLEANING = {"remove", "remove_folder"}

Fault = Callable[["Door", str, Callable[..., Any], tuple[Any, ...]], Any]


class Door:
    """What went through: the name of each operation, and the path or the file that it was given."""

    def __init__(self, at: int | None, fault: Fault | None) -> None:
        self.calls: list[tuple[str, str]] = []
        self.at, self.fault = at, fault
        self.struck = False
        self._lock = threading.Lock()

    def __call__(self, operation: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        with self._lock:
            now = len(self.calls) == self.at
            self.calls.append((operation, os.fspath(getattr(args[0], "name", args[0]))))
        if self.fault and (now or (self.struck and getattr(self.fault, "lasts", False))):
            self.struck = True
            return self.fault(self, operation, function, args)
        return function(*args)


@contextmanager
def opened(at: int | None = None, fault: Fault | None = None) -> Iterator[Door]:
    """Stand in the door of the file system: call number `at` meets the fault."""
    door = Door(at, fault)
    originals = {name: getattr(disk, name) for name in OPERATIONS}

    def through(name: str) -> Callable[..., Any]:
        return lambda *args: door(name, originals[name], args)

    for name in OPERATIONS:
        setattr(disk, name, through(name))
    try:
        yield door
    finally:
        for name, original in originals.items():
            setattr(disk, name, original)


def error(code: int, operation: str, args: tuple[Any, ...]) -> OSError:
    """Return the system's error for an operation."""
    if operation in WITHOUT_A_NAME:
        return OSError(code, os.strerror(code))
    return OSError(code, os.strerror(code), *map(os.fspath, args[:1]))


def raising(code: int, lasts: bool = False) -> Fault:
    """Fail without doing anything; if it lasts, all that follows fails too (on a full disk, files can be removed)."""

    def fault(door: Door, operation: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        raise error(code, operation, args)

    def lasting(door: Door, operation: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if code == errno.ENOSPC and operation in CLEANING:  # a full disk lets go of files
            return function(*args)
        raise error(code, operation, args)

    lasting.lasts = True  # type: ignore[attr-defined]
    return lasting if lasts else fault


def do(operation: str, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Write a part of what is to be written; or do wholly what is no write."""
    if operation == "write":
        data = memoryview(args[1])
        data = data.cast("B") if data.nbytes else data
        function(args[0], data[: len(data) // 2])
    else:
        with suppress(OSError):
            made = function(*args)
            if made is not None:
                made.close()


def halfway(door: Door, operation: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Do it, of a write the half, then fail."""
    do(operation, function, args)
    raise error(errno.EIO, operation, args)


def interrupt(door: Door, operation: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Ctrl-C just before."""
    raise KeyboardInterrupt


def interrupt_after(door: Door, operation: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Ctrl-C just after, or in the middle of a write."""
    do(operation, function, args)
    raise KeyboardInterrupt


def kill(door: Door, operation: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """End the process on the spot, as the system does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def kill_halfway(door: Door, operation: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """End the process just after, or in the middle of a write."""
    do(operation, function, args)
    return kill(door, operation, function, args)


FAULTS: dict[str, Fault] = {
    "no space": raising(errno.ENOSPC),
    "no space for long": raising(errno.ENOSPC, lasts=True),
    "input/output error": raising(errno.EIO),
    "a disk that is gone": raising(errno.EIO, lasts=True),
    "read-only": raising(errno.EROFS, lasts=True),
    "no permission": raising(errno.EACCES),
    "over quota": raising(errno.EDQUOT),
    "halfway": halfway,
    "interrupt": interrupt,
    "interrupt after": interrupt_after,
    "kill": kill,
    "kill halfway": kill_halfway,
}
KILLS = {"kill", "kill halfway"}
LASTING = {"no space for long", "a disk that is gone", "read-only"}
DONE_FIRST = {"halfway", "interrupt after", "kill halfway"}  # all but a write has happened when these strike


def struck(action: Callable[[], Any], at: int, fault: str) -> BaseException | None:
    """Let call number `at` of an action meet a fault; return the error that comes out, if any does."""
    if fault in KILLS:

        def killed() -> None:
            with opened(at, FAULTS[fault]):
                action()

        assert in_child(killed) == -signal.SIGKILL
        return None
    with opened(at, FAULTS[fault]):
        try:
            action()
        except (OSError, KeyboardInterrupt) as e:
            return e
    return None


def calls_of(action: Callable[[], Any]) -> list[tuple[str, str]]:
    """Return the calls that an action makes, and what each was given."""
    with opened() as door:
        action()
    return door.calls


def in_child(action: Callable[[], Any]) -> int:
    """Run something in a forked process; return its exit code, negative for a signal, 0 if it ended well."""
    child = os.fork()
    if not child:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
