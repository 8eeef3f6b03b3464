"""Work in the background, one job at a time."""

import sys
import weakref
from collections.abc import Callable
from threading import Thread

__all__ = ["Background"]


class Background:
    """A thread for one job at a time. What goes wrong in it is raised by who asks next, or printed when nobody will.

    The process does not end before the job does.
    """

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._failed: list[tuple[str, BaseException]] = []
        weakref.finalize(self, _report, self._failed)  # at exit too, after the threads

    @property
    def busy(self) -> bool:
        """Whether a job is not done yet."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, job: Callable[[], object], what: str) -> None:
        """Start a job, after `wait`; `what` says what it was for, where nobody asks."""
        self._thread = Thread(target=_run, args=(job, what, self._failed), name=what, daemon=False)
        self._thread.start()

    def join(self) -> None:
        """Wait for the job."""
        if self._thread is not None:
            self._thread.join()

    def check(self) -> None:
        """Raise what went wrong, once."""
        if self._failed:
            _, error = self._failed.pop()
            try:
                raise error
            finally:
                del error  # its traceback holds this frame

    def wait(self) -> None:
        """Wait for the job, and raise what went wrong."""
        self.join()
        self.check()


def _run(job: Callable[[], object], what: str, failed: list[tuple[str, BaseException]]) -> None:
    try:
        job()
    except BaseException as error:
        failed.append((what, error))


def _report(failed: list[tuple[str, BaseException]]) -> None:
    for what, error in failed:
        print(f"dzcore: {what} failed in the background: {type(error).__name__}: {error}", file=sys.stderr)
