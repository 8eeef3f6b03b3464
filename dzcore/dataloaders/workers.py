"""Workers: threads or processes that make batches ahead of time."""

from collections.abc import Callable
from contextvars import copy_context
from typing import Any
from weakref import finalize

from .. import random
from ..backend import Backend, HostArray, backend_of, use_backend
from ..datasets.base import items, numbers
from ..errors import DzcoreError
from ..graph import Variable
from ..graph.variable import transfer
from .sources import Stream

__all__ = ["END", "KINDS", "Workers", "make", "send"]

KINDS = ("thread", "process")
END = object()  #: what comes after the last batch of a stream

Collate = Callable[[list[Any]], Any]


def make(source: Any, indices: Any, collate: Collate | None, generator: random.Generator) -> Any:
    """Make one batch: of the items at `indices`, or of the next of a stream, as many as `indices` says.

    Whatever is random draws from `generator`, so that a batch is the same wherever and whenever it is made.
    """
    with random.use_generator(generator):
        if isinstance(source, Stream):
            taken = source.take(indices)
            return (collate or source.collate)(taken) if taken else END
        return source.batch(indices) if collate is None else collate(items(source, numbers(indices, source.backend)))


def over(batch: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to all arrays in a batch, in tuples, lists and dicts; leave everything else as it is."""
    if isinstance(batch, (Variable, HostArray)) or (hasattr(batch, "shape") and hasattr(batch, "dtype")):
        return function(batch)
    if isinstance(batch, dict):
        return {key: over(each, function) for key, each in batch.items()}
    if isinstance(batch, (tuple, list)):
        parts = [over(each, function) for each in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def send(batch: Any, target: Backend, own: Backend) -> Any:
    """Move the arrays of a batch to a backend: from `own`, or from wherever else they are."""

    def move(array: Any) -> Any:
        if isinstance(array, HostArray):
            return target.from_host(array)
        if isinstance(array, Variable):
            return transfer(array.data, array.backend, target)
        return transfer(array, own if own.owns(array) else backend_of(array), target)

    return over(batch, move)


class Workers:
    """A pool for the batches of one epoch: those that follow the one that is asked for are made in the meantime.

    Threads suit what waits or leaves Python (files, Pillow, array libraries), processes what is Python itself. Each new
    process gets a pickled copy of the data set. They are ended by `close`, and when nobody refers to this any more.
    """

    def __init__(self, count: int, kind: str, source: Any, collate: Collate | None) -> None:
        self.count, self.source, self.collate = count, source, collate
        self._pool: Any = _threads(count) if kind == "thread" else _processes(count, source, collate)
        self._remote = kind == "process"
        self._futures: dict[int, Any] = {}
        self.close = finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)

    def __contains__(self, i: int) -> bool:
        return i in self._futures

    def begin(self, i: int, indices: Any, generator: random.Generator) -> None:
        """Let batch `i` be made."""
        from concurrent.futures import BrokenExecutor

        try:
            if self._remote:
                job = self._pool.submit(_remotely, indices, generator)
            else:
                job = self._pool.submit(copy_context().run, make, self.source, indices, self.collate, generator)
        except BrokenExecutor as error:
            raise self._broken(i) from error
        self._futures[i] = job

    def ready(self, i: int) -> bool:
        """Tell whether `result(i)` would return at once."""
        return i in self and self._futures[i].done()

    def result(self, i: int) -> Any:
        """Wait for batch `i`, and return it or raise what happened to it."""
        from concurrent.futures import BrokenExecutor

        future = self._futures[i]
        try:
            batch = future.result()
        except BrokenExecutor as error:
            raise self._broken(i) from error
        except Exception:  # but after Ctrl-C, it is still in the making
            del self._futures[i]
            raise
        finally:
            del future  # its exception refers to this frame
        del self._futures[i]
        return batch

    def _broken(self, i: int) -> DzcoreError:
        self.close()
        return DzcoreError(
            f"a worker process ended before batch {i} was made: it was killed (out of memory?) or did not start. "
            "A script that starts processes needs `if __name__ == '__main__':`, and its data set a module that can be "
            "imported; kind='thread' needs neither"
        )


def _threads(count: int) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(count, thread_name_prefix="dzcore-loader")


def _processes(count: int, source: Any, collate: Collate | None) -> Any:
    import pickle
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    try:
        parcel = pickle.dumps((source, collate))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"dataset cannot be sent to another process: {error}; define classes and functions at the top of a module "
            "(lambdas cannot be sent), or give kind='thread'"
        ) from error
    # New interpreters: a forked one would share the locks of threads and devices that it does not have.
    return ProcessPoolExecutor(count, get_context("spawn"), _arrive, (parcel,))


_here: tuple[Any, Collate | None]  # in a worker process: what it works on


def _arrive(parcel: bytes) -> None:
    """Make a new process ready: Ctrl-C is for the main one, and it ends when that one does, killed perhaps."""
    import pickle
    import signal
    import threading

    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()
    _here = pickle.loads(parcel)


def _follow() -> None:
    """Wait for the end of the main process, and end this one."""
    import os
    from multiprocessing import parent_process

    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _remotely(indices: Any, generator: random.Generator) -> Any:
    """Make a batch in a worker process, in a form that every backend can be sent in."""
    source, collate = _here
    try:
        with use_backend(source.backend):
            return over(make(source, indices, collate, generator), _packed)
    except Exception as error:
        if not _portable(error):
            known = DzcoreError(f"{type(error).__name__} in a worker process: {error}")
            known.__notes__ = getattr(error, "__notes__", [])  # which item it was
            raise known from None
        raise


def _packed(array: Any) -> HostArray:
    raw = array.data if isinstance(array, Variable) else array
    host = raw if isinstance(raw, HostArray) else backend_of(raw).to_host(raw)
    return HostArray(host.dtype, tuple(host.shape), bytes(host.buffer))


def _portable(error: Exception) -> bool:
    """Tell whether an exception survives being pickled; one that does not would break the pool."""
    import pickle

    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False
