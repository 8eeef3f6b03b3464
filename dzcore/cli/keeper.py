"""The checkpoints of `dz train`: saving them, and going on from one."""

import sys
import warnings
from argparse import Namespace
from types import TracebackType
from typing import Any

from ..errors import DzcoreError
from ..io import Checkpoint, CheckpointWarning, Saved
from .parser import UsageError
from .training import Training

__all__ = ["Keeper", "check_checkpoint"]

KEPT = 3  #: checkpoints


def check_checkpoint(arguments: Namespace) -> None:
    """Raise UsageError for what makes no sense without a folder."""
    if arguments.checkpoint is None:
        for name in ("resume", "checkpoint_every"):
            if getattr(arguments, name):
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"argument {flag}: nothing is saved without a folder; give --checkpoint DIR too")


class Keeper:
    """Saves a training in the folder of `--checkpoint`, and restores it; without one, nothing here does anything.

    Restoring it, in the beginning, finds everything that is wrong with the folder and with `--resume`.
    """

    def __init__(self, training: Training, arguments: Namespace) -> None:
        self.training, self.where = training, ""  #: where it goes on, in words
        self.checkpoint: Checkpoint | None = None
        if arguments.checkpoint is None:
            return
        try:
            self.checkpoint = Checkpoint(
                arguments.checkpoint, every=arguments.checkpoint_every or sys.maxsize, keep=KEPT, background=True,
                model=training.model, optimizer=training.optimizer, loader=training.loader, epoch=training.tally,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            if isinstance(error, DzcoreError):
                raise
            reason = error.strerror if isinstance(error, OSError) else "it is no name"
            raise UsageError(
                f"argument --checkpoint: {arguments.checkpoint!r} cannot be used: {reason}; name a folder of your own"
            ) from error
        try:
            self._begin(self.checkpoint, arguments)
        except BaseException:
            self.checkpoint.close()
            raise

    def save(self, force: bool = False) -> None:
        """Save the training if it is time, or `force`; raise what has gone wrong with the last checkpoint."""
        if self.checkpoint is not None:
            self.checkpoint.save(self.training.optimizer.t, self.training.about, force=force)

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.checkpoint is not None:
            self.checkpoint.__exit__(kind, error, trace)

    def _begin(self, checkpoint: Checkpoint, arguments: Namespace) -> None:
        """Restore the newest checkpoint that is whole, or begin."""
        folder = arguments.checkpoint
        known = checkpoint.saved()
        if known and not arguments.resume:
            raise UsageError(
                f"argument --checkpoint: {folder!r} holds the checkpoints of a training; give --resume to go on with "
                "it, or another folder"
            )
        if known:
            self._compare(known[-1], arguments)
        saved = _restore(checkpoint)
        if saved is None:
            if arguments.resume:
                self.where = f"There are no checkpoints in {folder} yet; it begins at the beginning"
            return
        history = self.training.history
        history[:] = saved.metadata["training"]["history"]
        begun = len(history) + (self.training.tally.samples > 0)
        if begun > arguments.epochs:
            raise UsageError(
                f"argument --epochs: the training in {folder!r} is in epoch {begun}; give at least {begun}"
            )
        if len(history) == arguments.epochs:
            self.where = f"All {len(history)} epochs were done already; the weights are written again"
        else:
            self.where = f"Going on after step {saved.step}, in epoch {len(history) + 1} of {arguments.epochs}"

    def _compare(self, saved: Saved, arguments: Namespace) -> None:
        """Raise UsageError unless the training was begun with the same arguments."""
        folder, about, begun = arguments.checkpoint, self.training.about, saved.metadata
        if any(begun.get(name) != about[name] for name in ("format", "version")):
            raise UsageError(
                f"argument --checkpoint: the checkpoints in {folder!r} are not those of a dz train of this version; "
                "give another folder"
            )
        differences = []
        for part in ("network", "training"):
            for name, now in about[part].items():
                before = begun[part].get(name)
                if hasattr(arguments, name) and before != now:  # what has no argument follows from those that have
                    differences.append(f"--{name.replace('_', '-')} {_word(before)} and not {_word(now)}")
        if differences:
            raise UsageError(
                f"argument --resume: the training in {folder!r} was begun with {', '.join(differences)}; give the same "
                "arguments, or another --checkpoint"
            )


def _restore(checkpoint: Checkpoint) -> Saved | None:
    """Restore, and say in a line what was damaged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CheckpointWarning)
        try:
            return checkpoint.restore()
        finally:
            for warning in caught:
                print(f"dz train: warning: {' '.join(str(warning.message).split())}", file=sys.stderr)


def _word(value: Any) -> str:
    """Write a value as on the command line."""
    if value is None:
        return "its default"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
