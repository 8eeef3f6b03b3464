"""What there is to say about CuPy on this machine."""

from . import probe

__all__ = ["machine", "memory"]


def memory(device: int) -> str:
    """Say how much memory of a device the pool holds; it gives none back, so that this is its peak."""
    import cupy

    pool = cupy.get_default_memory_pool()
    with cupy.cuda.Device(device):
        used, held, limit = pool.used_bytes(), pool.total_bytes(), pool.get_limit()
    ceiling = f", limit {_size(limit)}" if limit else ""
    return f"cupy:{device} {_name(device)}: {_size(used)} in use, {_size(held)} at the peak{ceiling}"


def machine() -> str:
    """Describe CuPy, its devices, and what keeps it from working, a line each."""
    reason = probe.why_unavailable()
    if reason:
        return f"not usable: {reason}"
    import cupy

    runtime = cupy.cuda.runtime
    kind = "ROCm" if runtime.is_hip else "CUDA"
    lines = [f"CuPy {cupy.__version__} for {kind} {runtime.runtimeGetVersion()}, driver {runtime.driverGetVersion()}"]
    for device in range(runtime.getDeviceCount()):
        capability = cupy.cuda.Device(device).compute_capability
        total = runtime.getDeviceProperties(device)["totalGlobalMem"]
        lines.append(f"cupy:{device} {_name(device)}, compute capability {capability}, {_size(total)}")
    if probe.emulated():
        lines.append("emulated, not a GPU: values count, times do not")
    return "\n".join(lines)


def _name(device: int) -> str:
    import cupy

    return str(cupy.cuda.runtime.getDeviceProperties(device)["name"].decode(errors="replace"))


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
