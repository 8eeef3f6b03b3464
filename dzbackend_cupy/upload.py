"""Copies to a device that neither wait for it nor keep it waiting.

Only pinned memory can be copied while the host goes on, so everything passes through some. What is small goes in the
stream that computes. What is large goes in a stream of its own, so that it travels while kernels run: by chunks into
staging memory, from where the computing stream takes them over. Events say when a chunk has left its place; a host
that is ahead by all the chunks that there may be waits for the oldest of them:

    host memory -> pinned memory -> (copied) -> staging memory -> (taken) -> the array
                   host writes      copying stream                computing stream
"""

import threading
from collections import deque
from typing import Any

import cupy
import numpy as np

__all__ = ["Uploader"]

#: Bytes up to which an array goes in the computing stream.
SMALL = 1 << 18
#: Bytes of a chunk, and the most chunks that are on their way: 64 MiB of pinned memory and of the device's.
CHUNK = 1 << 23
SLOTS = 8

_HOST_TO_DEVICE, _DEVICE_TO_DEVICE = 1, 3  # cudaMemcpyKind


class _Slot:
    """Room for one chunk in pinned memory and on the device."""

    def __init__(self, computing: Any) -> None:
        self.pinned = cupy.cuda.alloc_pinned_memory(CHUNK)
        self.host = np.ndarray(CHUNK, np.uint8, buffer=self.pinned)
        self.staging = cupy.empty(CHUNK, dtype=np.uint8)
        self.copied, self.taken = _event(), _event()
        self.taken.record(computing)  # what had this memory before may still be at work there


class Uploader:
    """Copies to one device, which is the current one at every call. Threads take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copying: Any = None  # a stream, made when there is something large
        self._slots: deque[_Slot] = deque()
        self._lent: deque[tuple[Any, Any]] = deque()  # events, and the pinned memory that is free after them

    def __call__(self, source: Any, target: Any) -> None:
        """Fill the array `target` on the device from bytes on the host, which may change as soon as this returns."""
        computing = cupy.cuda.get_current_stream()
        with self._lock:
            if len(source) <= SMALL:
                self._small(source, target.data.ptr, computing)
            else:
                for start in range(0, len(source), CHUNK):
                    self._chunk(source[start : start + CHUNK], target.data.ptr + start, computing)

    def _small(self, source: Any, target: int, computing: Any) -> None:
        while self._lent and self._lent[0][0].done:
            self._lent.popleft()
        pinned = cupy.cuda.alloc_pinned_memory(len(source))
        np.ndarray(len(source), np.uint8, buffer=pinned)[...] = source
        cupy.cuda.runtime.memcpyAsync(target, pinned.ptr, len(source), _HOST_TO_DEVICE, computing.ptr)
        copied = _event()
        copied.record(computing)
        self._lent.append((copied, pinned))

    def _chunk(self, source: Any, target: int, computing: Any) -> None:
        slot, size, memcpy = self._slot(computing), len(source), cupy.cuda.runtime.memcpyAsync
        if not slot.copied.done:  # all slots are under way, and the device is behind by as much
            slot.copied.synchronize()
        slot.host[:size] = source
        self._copying.wait_event(slot.taken)
        memcpy(slot.staging.data.ptr, slot.pinned.ptr, size, _HOST_TO_DEVICE, self._copying.ptr)
        slot.copied.record(self._copying)
        computing.wait_event(slot.copied)
        memcpy(target, slot.staging.data.ptr, size, _DEVICE_TO_DEVICE, computing.ptr)
        slot.taken.record(computing)

    def _slot(self, computing: Any) -> _Slot:
        """Return the slot that was used longest ago, or a new one while that is busy and there may be more."""
        if self._copying is None:
            self._copying = cupy.cuda.Stream(non_blocking=True)
        if not self._slots or (len(self._slots) < SLOTS and not self._slots[0].taken.done):
            self._slots.append(_Slot(computing))
        else:
            self._slots.rotate(-1)
        return self._slots[-1]


def _event() -> Any:
    return cupy.cuda.Event(disable_timing=True)
