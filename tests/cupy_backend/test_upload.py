"""The order of copies, events and waits, on streams that do their work as late and as unevenly as they may.

Neither the emulator, where every call is finished when it returns, nor a fast GPU would show a missing wait.
"""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .usable import cupy_or_skip

cupy_or_skip()
from dzbackend_cupy import upload  # noqa: E402  # imports CuPy


class Place:
    """An address: an array of bytes, and how far into it."""

    def __init__(self, array, offset=0):
        self.array, self.offset = array, offset

    def __add__(self, offset):
        return Place(self.array, self.offset + offset)

    def bytes(self, size):
        assert self.offset + size <= len(self.array)
        return self.array[self.offset : self.offset + size]


class Pinned(np.ndarray):
    """Pinned memory, which is somebody else's, and overwritten, as soon as nobody holds it."""

    @property
    def ptr(self):
        return Place(self.base)

    def __del__(self):
        self.base[...] = 0xEE


class Event:
    def __init__(self, cuda):
        self.cuda, self.recorded, self.reached = cuda, 0, 0

    def record(self, stream):
        self.recorded += 1
        number = self.recorded

        def reach():
            self.reached = max(self.reached, number)
            return True

        stream.queue.append(reach)

    @property
    def done(self):
        self.cuda.progress(self.cuda.random.randrange(3))
        return self.reached == self.recorded

    def synchronize(self):
        while self.reached < self.recorded:
            self.cuda.progress(1)


class Stream:
    def __init__(self, cuda):
        self.cuda, self.queue, self.ptr = cuda, [], self
        cuda.streams.append(self)

    def wait_event(self, event):
        number = event.recorded
        self.queue.append(lambda: event.reached >= number)


class Cuda:
    """Streams as queues. What is at the head of a queue is done at some later time, or has to wait for an event."""

    def __init__(self, seed):
        self.random, self.streams, self.errors, self.pinned = random.Random(seed), [], [], 0
        self.computing = Stream(self)
        cuda = SimpleNamespace(
            runtime=SimpleNamespace(memcpyAsync=self.copy),
            get_current_stream=lambda: self.computing,
            Stream=lambda non_blocking: Stream(self),
            Event=lambda disable_timing: Event(self),
            alloc_pinned_memory=self.pin,
        )
        self.module = SimpleNamespace(cuda=cuda, empty=self.empty)

    def array(self, size):
        memory = np.full(size, 0xDD, np.uint8)
        return SimpleNamespace(data=SimpleNamespace(ptr=Place(memory)), memory=memory)

    def empty(self, size, dtype):
        """Return memory from the pool: kernels that were launched before may still read what was there."""
        array = self.array(size)
        self.compute(lambda: np.all(array.memory == 0xDD) or self.errors.append("memory was overwritten in use"))
        return array

    def pin(self, size):
        self.pinned += 1
        return np.zeros(size, np.uint8).view(Pinned)

    def copy(self, target, source, size, kind, stream):
        stream.queue.append(lambda: (target.bytes(size).__setitem__(..., source.bytes(size)), True)[1])

    def compute(self, work):
        """Launch a kernel, which takes some time."""
        self.computing.queue.append(lambda: self.random.random() < 0.2)
        self.computing.queue.append(lambda: (work(), True)[1])

    def progress(self, steps):
        for _ in range(steps):
            busy = [stream for stream in self.streams if stream.queue]
            if busy:
                stream = self.random.choice(busy)
                if stream.queue[0]():
                    stream.queue.pop(0)

    def finish(self):
        for _ in range(100_000):
            if not any(stream.queue for stream in self.streams):
                return
            self.progress(1)
        raise AssertionError("the streams wait for each other")


@pytest.fixture
def cuda(monkeypatch):
    return small(Cuda(0), monkeypatch)


def small(cuda, patch):
    for name, value in {"SMALL": 8, "CHUNK": 16, "SLOTS": 3, "cupy": cuda.module}.items():
        patch.setattr(upload, name, value)
    return cuda


@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_kernels_read_what_was_sent(seed, sizes):
    with pytest.MonkeyPatch.context() as patch:
        cuda, sent = small(Cuda(seed), patch), []
        copy = upload.Uploader()
        for i, size in enumerate(sizes):
            source = np.random.default_rng(i).integers(0, 200, size).astype(np.uint8)
            target, read = cuda.array(size), np.empty(size, np.uint8)
            copy(source, target)
            cuda.compute(lambda read=read, target=target: read.__setitem__(..., target.memory))
            sent.append((source.copy(), read))
            source[...] = 0xAA  # it is the caller's again
        cuda.finish()
    assert not cuda.errors
    assert len(copy._slots) <= 3
    for source, read in sent:
        np.testing.assert_array_equal(read, source)


def test_small_copies_never_wait_for_the_device(cuda):
    copy = upload.Uploader()
    cuda.computing.queue.append(lambda: False)  # a kernel that does not end
    for _ in range(20):
        copy(np.ones(4, np.uint8), cuda.array(4))
    assert len(copy._lent) == cuda.pinned == 20  # each has its memory until it is copied


def test_pinned_memory_comes_back(cuda):
    copy = upload.Uploader()
    for _ in range(20):
        copy(np.ones(4, np.uint8), cuda.array(4))
        cuda.finish()
    assert len(copy._lent) == 1


def test_the_sizes_are_those_that_the_readme_promises():
    readme = (Path(upload.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert (upload.SMALL, upload.CHUNK, upload.SLOTS) == (256 << 10, 8 << 20, 8)
    assert "up to 256 KiB never wait" in readme
    assert "more than 64 MiB may wait" in readme


@pytest.mark.parametrize("sizes", [[48], [16, 16, 16], [9, 9, 9], [20, 16]])
def test_large_copies_wait_only_for_chunks_of_their_own(sizes, cuda, monkeypatch):
    """As many chunks as there are slots go without waiting, however long a kernel takes; the next waits for the first.

    A small array never counts.
    """

    def synchronize(event):
        assert event.reached < event.recorded  # otherwise it would cost, for nothing
        raise TimeoutError

    monkeypatch.setattr(Event, "synchronize", synchronize)
    copy = upload.Uploader()
    cuda.computing.queue.append(lambda: False)  # a kernel that does not end
    for size in sizes:
        copy(np.ones(8, np.uint8), cuda.array(8))
        copy(np.ones(size, np.uint8), cuda.array(size))
        cuda.progress(20)
    assert len(copy._slots) == 3
    copy(np.ones(8, np.uint8), cuda.array(8))
    with pytest.raises(TimeoutError):
        copy(np.ones(9, np.uint8), cuda.array(9))


def test_large_copies_travel_while_a_kernel_runs(cuda):
    copy = upload.Uploader()
    copy(np.ones(16, np.uint8), cuda.array(16))
    cuda.finish()
    running = [True]
    cuda.computing.queue.append(lambda: not running[0])
    source, target = np.arange(48, dtype=np.uint8), cuda.array(48)
    copy(source, target)
    cuda.progress(1000)
    staged = {bytes(slot.staging.memory) for slot in copy._slots}
    assert bytes(source[:16]) in staged  # there is memory that nobody used before, and the way to it was free
    assert np.all(target.memory == 0xDD)
    running[0] = False
    cuda.finish()
    np.testing.assert_array_equal(target.memory, source)
