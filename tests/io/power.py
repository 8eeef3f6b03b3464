"""What a disk may show after the power went: a record of all that was done to it, and the folders that can remain.

The model is what POSIX promises and no more. What was written to a file is on the disk when the file was flushed after
it: until then each write may be there, or missing, or zeros, or cut. A name (of a new file or folder, a new name, a
removal) is on the disk when the folder it stands in was flushed after it: until then any of them may have happened or
not, each of them as a whole. A folder that was flushed says nothing about the data of the files in it, and a file that
was flushed nothing about its name.
"""

import itertools
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from dzcore.io import disk

__all__ = ["Disk", "recorded"]

#: What can have become of the writes to a file since it was flushed.
FATES = ("lost", "kept", "zeros", "cut", "last only")


@dataclass
class File:
    """A file: what is on the disk for sure, and what was written since."""

    data: bytes = b""
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def after(self, fate: str) -> bytes:
        data = bytearray(self.data)
        writes = {"lost": [], "last only": self.pending[-1:]}.get(fate, self.pending)
        for i, (offset, piece) in enumerate(writes):
            if fate == "cut" and i == len(writes) - 1:
                piece = piece[: len(piece) // 2]
            data.extend(bytes(max(0, offset + len(piece) - len(data))))
            data[offset : offset + len(piece)] = bytes(len(piece)) if fate == "zeros" else piece
        return bytes(data)

    def flush(self) -> None:
        self.data, self.pending = self.after("kept"), []


@dataclass
class Folder:
    """A folder: the names that are on the disk for sure, and the changes since, each of which is a whole."""

    names: dict[str, Any] = field(default_factory=dict)
    pending: list[list[tuple[str, Any]]] = field(default_factory=list)  # (name, what it is or None), ...

    def after(self, happened: tuple[bool, ...]) -> dict[str, Any]:
        names = dict(self.names)
        for change in itertools.compress(self.pending, happened):
            for name, what in change:
                if what is None:
                    names.pop(name, None)
                else:
                    names[name] = what
        return names

    def now(self) -> dict[str, Any]:
        return self.after((True,) * len(self.pending))

    def flush(self) -> None:
        self.names, self.pending = self.now(), []


class Disk:
    """A folder of the disk as it was at each moment of the record."""

    def __init__(self, root: Path, forgets: tuple[str, ...] = ()) -> None:
        """Take what is in a folder for safe; the operations in `forgets` do nothing, to see that the test finds it."""
        self.root, self.forgets = Path(os.path.realpath(root)), forgets
        self.top = _safe(self.root)
        self.moments: list[tuple[str, Folder, Any]] = []  # (what was done, the disk after it, what was promised)
        self.promise: Any = None
        self._open: dict[int, File] = {}
        self._lock = threading.Lock()
        self._remember("the start")

    def promised(self, what: Any) -> None:
        """Note that from now on something has to be there, whatever happens."""
        self.promise = what
        self._remember(f"promised {what}")

    def _remember(self, what: str) -> None:
        self.moments.append((what, deepcopy(self.top), self.promise))

    def _at(self, path: Any) -> tuple[Folder, str]:
        folder, parts = self.top, Path(os.path.realpath(os.path.dirname(path))).relative_to(self.root).parts
        for part in parts:
            folder = folder.now()[part]
        return folder, os.path.basename(path)

    def note(self, operation: str, args: tuple[Any, ...], result: Any, offset: int) -> None:
        """Record one operation that was done."""
        if operation in self.forgets:
            return
        if operation == "create":
            folder, name = self._at(args[0])
            self._open[id(result)] = file = File()
            folder.pending.append([(name, file)])
        elif operation == "write":
            self._open[id(args[0])].pending.append((offset, bytes(memoryview(args[1]))))
        elif operation == "flush":
            self._open[id(args[0])].flush()
        elif operation == "flush_folder":
            folder = self.top
            for part in Path(os.path.realpath(args[0])).relative_to(self.root).parts:
                folder = folder.now()[part]
            folder.flush()
        elif operation == "rename":
            (source, old), (target, new) = map(self._at, args)
            assert source is target, "from one folder to another: not in this model"
            source.pending.append([(new, source.now()[old]), (old, None)])
        elif operation == "make_folder":
            folder, name = self._at(args[0])
            folder.pending.append([(name, Folder())])
        elif operation in ("remove", "remove_folder"):
            folder, name = self._at(args[0])
            if name in folder.now():
                folder.pending.append([(name, None)])
        self._remember(f"{operation} {os.path.basename(getattr(args[0], 'name', args[0]))}")

    def remains(self, limit: int = 64, seed: int = 0) -> Iterator[tuple[str, Any, Callable[[Path], None]]]:
        """Yield what may remain after each moment: (which, what was promised by then, a function that lays it out).

        All there are where these are at most `limit` for a moment; else the extremes, and a sample of the rest.
        """
        rng = random.Random(seed)
        for number, (what, top, promise) in enumerate(self.moments):
            things = [thing for thing in _walk(top) if thing.pending]
            choices = [_choices(thing) for thing in things]
            if prod(map(len, choices)) <= limit:
                picks = set(itertools.product(*choices))
            else:
                picks = {
                    tuple(fate if isinstance(thing, File) else (happened,) * len(thing.pending) for thing in things)
                    for fate in FATES
                    for happened in (False, True)
                }
                while len(picks) < limit:
                    picks.add(tuple(rng.choice(c) for c in choices))
            for pick in sorted(picks, key=repr):
                fates = dict(zip(map(id, things), pick, strict=True))
                yield (
                    f"moment {number}, after {what}: {pick}",
                    promise,
                    lambda path, top=top, fates=fates: _lay_out(top, fates, path),
                )


def _safe(path: Path) -> Any:
    if path.is_dir():
        return Folder({name: _safe(path / name) for name in sorted(os.listdir(path))})
    return File(path.read_bytes())


def _walk(folder: Folder) -> Iterator[Any]:
    """Yield every folder and file that has or had a name, once."""
    seen, todo = set(), [folder]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, Folder):
            todo += thing.names.values()
            todo += [what for change in thing.pending for _, what in change if what is not None]


def _choices(thing: Any) -> list[Any]:
    if isinstance(thing, File):
        return list(FATES)
    if len(thing.pending) > 12:  # in order, and some out of it
        n = len(thing.pending)
        rng = random.Random(n)
        return [tuple(i < k for i in range(n)) for k in range(n + 1)] + [
            tuple(rng.random() < 0.5 for _ in range(n)) for _ in range(50)
        ]
    return list(itertools.product((False, True), repeat=len(thing.pending)))


def _lay_out(thing: Any, fates: dict[int, Any], path: Path) -> None:
    if isinstance(thing, File):
        path.write_bytes(thing.after(fates[id(thing)]) if thing.pending else thing.data)
        return
    if path.exists():
        shutil.rmtree(path)
    path.mkdir()
    for name, what in (thing.after(fates[id(thing)]) if thing.pending else thing.names).items():
        _lay_out(what, fates, path / name)


@contextmanager
def recorded(root: Path, forgets: tuple[str, ...] = ()) -> Iterator[Disk]:
    """Record everything that is done to a folder through `dzcore.io.disk`."""
    record = Disk(root, forgets)
    operations = ("create", "write", "flush", "flush_folder", "rename", "make_folder", "remove", "remove_folder")
    originals = {name: getattr(disk, name) for name in operations}

    def through(name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            with record._lock:
                offset = args[0].tell() if name == "write" else 0
                result = originals[name](*args)
                record.note(name, args, result, offset)
                return result

        return call

    for name in operations:
        setattr(disk, name, through(name))
    try:
        yield record
    finally:
        for name, original in originals.items():
            setattr(disk, name, original)
