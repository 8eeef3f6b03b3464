"""Checkpoint: the manager of a folder of checkpoints, from which a training continues as if it had never stopped."""

import errno
import os
import re
import warnings
from contextlib import suppress
from typing import Any, Self

from ..errors import CheckpointError, CheckpointWarning, DamagedError
from . import disk, tree
from .background import Background
from .lock import FolderLock
from .parts import check_parts, copy_of, made_by, set_parts, state_of
from .saved import Saved, discard, write_checkpoint

__all__ = ["Checkpoint"]

NAME = re.compile(r"(\d{6,18})-step-(\d{1,18})")
LEFTOVER = re.compile(r"\.tmp-" + NAME.pattern)


class Checkpoint:
    """A folder of checkpoints of a training, each with the states of all `parts` and of dzcore's random numbers.

    A part is anything with `state_dict()` and `load_state_dict(state)`: layers, optimizers, schedules, data loaders,
    generators, objects of one's own, whose states are nested dicts, lists and tuples of arrays, numbers and strings.

    `save` does so at every multiple of `every` steps. The last `keep` checkpoints stay (None: all of them), and the
    `best` ones by `metadata[metric]`, the greatest or, with `mode="min"`, the smallest. With `background`, `save`
    copies the states and a thread writes them; what goes wrong there is raised by the next call. Arrays are written to
    files of up to `file_size` bytes, a greater one to a file of its own.

    A checkpoint gets its name when all of it is on the disk and has been read back. Only one process, and one
    Checkpoint in it, can have the folder, until `close` or the end of the `with` block.

    >>> import tempfile, dzcore
    >>> model, folder = dzcore.layers.Linear(1, in_size=2), tempfile.mkdtemp()
    >>> with Checkpoint(folder, model=model) as checkpoint:
    ...     saved = checkpoint.restore()  # None, since there is none yet
    ...     checkpoint.save(1, {"loss": 0.5})
    True

    Raises:
        CheckpointError: somebody else has the folder.
        OSError: the folder cannot be made, or cannot be written to.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int = 1,
        keep: int | None = 3,
        best: int | None = None,
        metric: str | None = None,
        mode: str = "max",
        background: bool = False,
        file_size: int = 2**30,
        **parts: Any,
    ) -> None:
        for name, number in {"every": every, "keep": keep, "best": best, "file_size": file_size}.items():
            if not (number is None and name in ("keep", "best")) and (type(number) is not int or number < 1):
                raise ValueError(f"{name}={number!r} must be an int of at least 1")
        if mode not in ("max", "min"):
            raise ValueError(f"mode={mode!r} must be 'max' or 'min'")
        if (best is None) != (metric is None):
            raise ValueError(f"best={best} and metric={metric!r} belong together; give both or none")
        self.every, self.keep, self.best, self.metric, self.mode = every, keep, best, metric, mode
        self.background, self.file_size, self.parts = background, file_size, check_parts(parts)
        if not os.fspath(folder):
            raise ValueError("folder='' is no name; give the folder for the checkpoints, such as 'saved'")
        self.folder = os.path.abspath(folder)
        _make(self.folder)
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "nothing can be written to the folder of checkpoints", self.folder)
        self._lock = FolderLock(self.folder)
        self._free = False  # to save: nothing is there, or something was restored
        self._damaged: set[str] = set()  # names of checkpoints
        self._writer = Background()
        try:
            self._sweep()
        except BaseException:
            self._lock.release()  # also while somebody keeps the exception, and with it this object
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"And then: {type(failure).__name__}: {failure}")  # which does not hide the first one

    def close(self) -> None:
        """Wait for what is being saved, and give the folder back.

        Raises:
            OSError, CheckpointError: what went wrong in the background.
        """
        try:
            self._writer.wait()
        finally:
            if not self._writer.busy:  # after Ctrl-C it may be; it has the lock until it is done
                self._lock.release()

    def __repr__(self) -> str:
        return f"<Checkpoint {self.folder!r}: {', '.join(self.parts)}>"

    # Saving --------------------------------------------------------------------------------------------------------

    def save(self, step: int, metadata: dict[str, Any] | None = None, *, force: bool = False) -> bool:
        """Save, if `step` is a multiple of `every`, or with `force`; return whether it did.

        `metadata` are plain values in dicts, lists and tuples, for `restore` and `saved` to return.

        Raises:
            CheckpointError: there are checkpoints in the folder, and none was restored.
            TypeError: a state, or the metadata, holds what cannot be saved.
            OSError: what the system says; whatever was saved before is still there.
        """
        self._check_open()
        self._writer.check()
        if type(step) is not int or not 0 <= step < 10**18:
            raise ValueError(f"step={step!r} must be an int of at least 0")
        if not force and step % self.every:
            return False
        self._writer.wait()
        if not self._free and self._names():
            raise CheckpointError(
                f"{self.folder!r} holds checkpoints already: call restore() to continue from them, or take another "
                f"folder"
            )
        self._free = True
        notes = self._metadata(metadata)
        states = {name: state_of(part) for name, part in self.parts.items()}
        structure, arrays = tree.split(states, "parts")
        content = {"step": step, "structure": structure, "metadata": notes, "made": made_by(arrays)}
        if self.background:
            copies = {name: copy_of(x) for name, x in arrays.items()}
            del states, arrays
            self._writer.start(lambda: self._write(copies, **content), f"the checkpoint of step {step}")
        else:
            self._write(arrays, **content)
        return True

    def _metadata(self, metadata: dict[str, Any] | None) -> Any:
        """Return the structure of the metadata."""
        if not isinstance(metadata, dict | None):
            raise TypeError(f"metadata={metadata!r:.80} must be a dict")
        metadata = metadata or {}
        if self.metric is not None and not _is_number(metadata.get(self.metric)):
            found = repr(metadata[self.metric])[:80] if self.metric in metadata else "not there"
            raise CheckpointError(f"metadata[{self.metric!r}], which says what is best, is {found}; give a number")
        structure, arrays = tree.split(metadata, "metadata")
        if arrays:
            raise CheckpointError(f"metadata: there is an array at {next(iter(arrays))!r}; give numbers, with float(x)")
        return structure or {"dict": {}}

    def _write(self, arrays: dict[str, Any], step: int, **content: Any) -> None:
        """Write a checkpoint, and remove those that need not stay."""
        path = temporary = self.folder
        try:
            self._sweep()
            serial = 1 + max(map(_serial, self._names()), default=0)
            path = self._path(f"{serial:06}-step-{step}")
            temporary = self._path(f".tmp-{serial:06}-step-{step}")
            hosts = ((name, tree.borrow(x)) for name, x in arrays.items())
            write_checkpoint(temporary, hosts, step=step, serial=serial, file_size=self.file_size, **content)
            disk.rename(temporary, path)
            disk.flush_folder(self.folder)
        except BaseException as error:
            if temporary != self.folder:
                with suppress(OSError):  # what stays is swept the next time
                    discard(temporary)
            _name(error, f"saving the checkpoint of step {step} failed", path)
            raise
        try:
            self._retain(path)
        except OSError as error:
            _name(error, f"the checkpoint of step {step} is saved, but removing older ones failed", path)
            raise

    # Restoring -----------------------------------------------------------------------------------------------------

    def restore(self, saved: Saved | None = None) -> Saved | None:
        """Set all parts, and dzcore's random numbers, to the newest checkpoint or to `saved`; or change nothing.

        Returns the checkpoint, or None if there is none. A damaged one is passed over with a CheckpointWarning.

        Raises:
            CheckpointError: there are checkpoints, and each one is damaged; or the parts are others.
            StateError: a state does not fit its part.
        """
        self._check_open()
        self._writer.wait()
        if saved is not None:
            if not isinstance(saved, Saved):
                raise TypeError(
                    f"saved={saved!r:.80} is a {type(saved).__name__}; give one of those that saved() returns"
                )
            return self._set(saved)
        damages = []
        for name in reversed(self._names()):
            try:
                return self._set(self._saved(name))
            except DamagedError as damage:
                self._damaged.add(name)
                damages.append(damage)
                warnings.warn(f"a checkpoint is passed over: {damage}", CheckpointWarning, stacklevel=2)
        if damages:
            causes = "".join(f"\n  {damage}" for damage in damages)
            remedy = "restore a copy of it, or begin anew in another folder"
            raise CheckpointError(f"no checkpoint in {self.folder!r} can be read; {remedy}:{causes}") from damages[0]
        return None

    def saved(self) -> list[Saved]:
        """Return the checkpoints that are there, the oldest first; only those whose manifests are good."""
        self._writer.join()
        return self._survey()[0]

    def _set(self, saved: Saved) -> Saved:
        set_parts(self.parts, saved)
        self._free = True
        return saved

    # The folder ----------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _names(self) -> list[str]:
        """List the names of all checkpoints, good or not, the oldest first."""
        found = [name for name in os.listdir(self.folder) if NAME.fullmatch(name)]
        return sorted(found, key=lambda name: (_serial(name), name))

    def _saved(self, name: str) -> Saved:
        """Open a checkpoint, which must be the one that its name says."""
        path = self._path(name)
        if os.path.islink(path):
            raise DamagedError(f"{path!r} is damaged: it is a link")
        saved = Saved(path)
        if name != f"{saved.serial:06}-step-{saved.step}":
            raise DamagedError(f"{path!r} is damaged: what is in it is number {saved.serial}, of step {saved.step}")
        return saved

    def _survey(self) -> tuple[list[Saved], list[str]]:
        """Return the checkpoints that can be opened, the oldest first, and the paths of damaged ones."""
        good, damaged = [], []
        for name in self._names():
            try:
                if name in self._damaged:
                    raise DamagedError(name)
                good.append(self._saved(name))
            except DamagedError:
                damaged.append(self._path(name))
            except CheckpointError:
                pass  # of a newer version: nobody's to use, and not ours to remove
        return good, damaged

    def _retain(self, newest: str) -> None:
        """Remove the checkpoints that need not stay; the newest, which has just been read back, always stays."""
        self._damaged.discard(os.path.basename(newest))  # the name may be that of one that somebody has removed
        if self.keep is None:
            return
        good, gone = self._survey()
        kept = {newest, *(saved.path for saved in good[-self.keep :])}
        if self.metric is not None and self.best is not None:
            scored = [(saved.metadata.get(self.metric), saved.path) for saved in good]
            ranked = [(score, path) for score, path in scored if _is_number(score) and score == score]  # nan is not
            ranked.sort(key=lambda pair: pair[0], reverse=self.mode == "min")  # of equal ones the later
            kept |= {path for _, path in ranked[-self.best :]}
        gone = [path for path in (*gone, *(saved.path for saved in good)) if path not in kept]
        hidden = [self._path(f".tmp-{os.path.basename(path)}") for path in gone]
        for path, temporary in zip(gone, hidden, strict=True):
            disk.rename(path, temporary)
        if gone:
            disk.flush_folder(self.folder)
        for temporary in hidden:
            discard(temporary)

    def _sweep(self) -> None:
        """Remove what a process that died has left."""
        for name in os.listdir(self.folder):
            if LEFTOVER.fullmatch(name):
                discard(self._path(name))

    def _check_open(self) -> None:
        if not self._lock.held:
            raise CheckpointError(
                f"the Checkpoint of {self.folder!r} is closed, or belongs to the process from which this one was forked"
            )


def _serial(name: str) -> int:
    return int(name.partition("-")[0])


def _is_number(x: object) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _name(error: BaseException, what: str, path: str) -> None:
    """Let an error of the system say what it was about."""
    if isinstance(error, OSError) and error.strerror:
        error.strerror = f"{what}: {error.strerror}"
        error.filename = error.filename or path


def _make(folder: str) -> None:
    """Make a folder and those above it, and see to it that their names are on the disk."""
    if not os.path.isdir(folder):
        _make(os.path.dirname(folder))
        try:
            disk.make_folder(folder)
        except FileExistsError:  # it may be another process that is quicker
            if not os.path.isdir(folder):
                raise
        disk.flush_folder(os.path.dirname(folder))
