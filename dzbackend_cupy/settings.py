"""What a program may choose about the GPU: how much memory, which precision of products, which order of sums."""

from typing import Any

from dzcore.errors import BackendError, BackendUnavailableError

from . import probe

__all__ = ["allow_tf32", "repeatable_sums", "set_memory_limit"]

#: Whether `index_add` of floats has the same bits every time.
repeatable = False
#: The least limit in bytes: less was meant to be a share.
_LEAST = 1 << 20


def repeatable_sums(enabled: bool = True) -> None:
    """Let the gradients of indexing have the same bits in every run: rows are sorted by index before they are added.

    Without it, and to begin with, float32 and float64 are added by atomic operations, which are faster and come in any
    order. float16, bfloat16 and integers are the same in every run either way. It is for all devices and threads, and
    raises nothing, CuPy or not.
    """
    global repeatable
    repeatable = bool(enabled)


def set_memory_limit(limit: int | float | None) -> None:
    """Let CuPy's memory pool take at most `limit` of every device: bytes (int), a share (float) or anything (None).

    The type decides: `1.0` is the whole device, and `1` would be one byte. Arrays beyond the limit raise
    `cupy.cuda.memory.OutOfMemoryError`, which says so.

    Raises:
        TypeError: `limit` is neither int nor float nor None.
        ValueError: it is less than a MiB, or a share outside of (0, 1].
        BackendError: memory does not come from CuPy's default pool, so that it would have no effect.
        BackendUnavailableError: CuPy cannot be used here.
    """
    cupy = _cupy("set_memory_limit")
    share = isinstance(limit, float)
    if isinstance(limit, bool) or not (limit is None or isinstance(limit, int | float)):
        raise TypeError(f"limit={limit!r} is a {type(limit).__name__}; give bytes (int), a share (float), or None")
    if limit is not None and (not 0 < limit <= 1 if share else limit < _LEAST):
        raise ValueError(
            f"limit={limit} must be at least {_LEAST} as bytes (int), which is 1 MiB, or in (0, 1] as a share (float); "
            "the whole device is 1.0"
        )
    pool = cupy.get_default_memory_pool()
    if cupy.cuda.get_allocator() != pool.malloc:
        raise BackendError(
            f"limit={limit}: memory does not come from CuPy's default pool, whose limit this would be; "
            "take back cupy.cuda.set_allocator(...), or set the limit of the allocator that you chose"
        )
    for device in range(cupy.cuda.runtime.getDeviceCount()):
        with cupy.cuda.Device(device):
            if share:
                pool.set_limit(fraction=limit)
            else:
                pool.set_limit(size=limit or 0)


def allow_tf32(enabled: bool = True) -> None:
    """Let products of float32 matrices use TF32: 10 bits of mantissa instead of 23, and several times the speed.

    Off to begin with, unless CUPY_TF32=1 is set. It takes an NVIDIA GPU of compute capability 8.0 or higher.

    It is for all devices and threads.

    Raises:
        BackendError: it would have no effect here, with the reason.
        BackendUnavailableError: CuPy cannot be used here.
    """
    cupy = _cupy("allow_tf32")
    linalg: Any = cupy._core._routines_linalg
    if enabled:
        why = _no_tf32(cupy)
        if why:
            raise BackendError(f"allow_tf32: {why}; float32 products stay exact to 23 bits")
    cupy._core.set_compute_type("float32", linalg.COMPUTE_TYPE_TF32 if enabled else linalg.COMPUTE_TYPE_DEFAULT)


def _no_tf32(cupy: Any) -> str | None:
    """Return why TF32 would have no effect."""
    if cupy.cuda.runtime.is_hip:
        return "CuPy for ROCm has no such choice" + (", and this is an emulator" if probe.emulated() else "")
    old = [
        f"device {i} has compute capability {capability}, and TF32 needs 80"
        for i in range(cupy.cuda.runtime.getDeviceCount())
        if int(capability := cupy.cuda.Device(i).compute_capability) < 80
    ]
    return old[0] if old else None


def _cupy(name: str) -> Any:
    """Return CuPy, or raise the reason why it cannot be used."""
    reason = probe.why_unavailable()
    if reason:
        raise BackendUnavailableError(f"{name}: {reason}")
    import cupy

    return cupy
