"""Whether CuPy works on this machine, and if not, why and what helps.

That `import cupy` succeeds says nothing: CuPy imports without a driver, without a device, and without the libraries
that compile its kernels and multiply its matrices. So each of them is asked; at last a kernel and a product are run.
"""

import os
from importlib.util import find_spec
from typing import Any

__all__ = ["diagnose", "emulated", "why_unavailable"]

_EXTRAS = "pip install 'dzbackend-cupy[cuda12]' (or [cuda13]; [rocm] for AMD)"
_KERNEL = 'extern "C" __global__ void dz_probe(int* out) { *out = 42; }'


def why_unavailable() -> str | None:
    """Return None if CuPy works here, else what is missing and how to get it. Never raises."""
    try:
        import cupy
    except Exception as error:
        if isinstance(error, ImportError) and find_spec("cupy") is None:
            return f"CuPy is not installed: {_EXTRAS}"
        return (
            f"CuPy is installed and cannot be imported ({_say(error)}): the wheel must fit the machine's CUDA or ROCm, "
            f"and be the only one of CuPy's; {_EXTRAS}"
        )
    try:
        return diagnose(cupy)
    except Exception as error:
        return f"CuPy is installed and does not work ({_say(error)})"


def diagnose(cupy: Any) -> str | None:
    """Return what keeps this CuPy from working, None if nothing does."""
    version = str(cupy.__version__)
    if int(version.split(".")[0]) < 14:
        return f"CuPy {version} is older than 14: upgrade it with {_EXTRAS}"
    return _driver(cupy, version) or _devices(cupy, version) or _libraries(cupy, version)


def emulated() -> bool:
    """Tell whether CuPy, which works here, runs on an emulator and not on a GPU."""
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"]
    return b"emulated" in name


def _driver(cupy: Any, version: str) -> str | None:
    runtime = cupy.cuda.runtime
    maker, tool = ("AMD", "rocminfo") if runtime.is_hip else ("NVIDIA", "nvidia-smi")
    driver = runtime.driverGetVersion()
    if driver == 0:
        return (
            f"CuPy {version} is installed, and there is no {maker} driver on this machine: install it with the "
            f"system's package manager, until `{tool}` lists a device"
        )
    built = runtime.runtimeGetVersion()
    if not runtime.is_hip and driver // 1000 < built // 1000:
        return (
            f"CuPy {version} needs a driver for CUDA {built // 1000}, and this one is for CUDA {driver // 1000}: "
            f"update the driver, or pip install 'dzbackend-cupy[cuda{driver // 1000}]' in place of the other CuPy"
        )
    return None


def _devices(cupy: Any, version: str) -> str | None:
    runtime = cupy.cuda.runtime
    try:
        count, why = runtime.getDeviceCount(), "it counts 0 devices"
    except Exception as error:
        count, why = 0, _say(error)
    if count:
        return None
    variable = "HIP_VISIBLE_DEVICES" if runtime.is_hip else "CUDA_VISIBLE_DEVICES"
    hidden = f"; {variable}={os.environ[variable]!r} may hide it" if variable in os.environ else ""
    return f"CuPy {version} finds the driver and no usable device ({why}): is there a GPU, and may you use it{hidden}?"


def _libraries(cupy: Any, version: str) -> str | None:
    runtime = cupy.cuda.runtime
    extra = "rocm" if runtime.is_hip else f"cuda{runtime.runtimeGetVersion() // 1000}"
    names = ("hipRTC", "hipBLAS") if runtime.is_hip else ("NVRTC", "cuBLAS")
    for name, purpose, use in zip(
        names, ("compiles kernels", "multiplies matrices"), (_compile, _multiply), strict=True
    ):
        try:
            right = use(cupy)
        except Exception as error:
            if _is_missing(error):
                return (
                    f"CuPy {version} cannot load {name}, which {purpose} ({_say(error)}): "
                    f"pip install 'dzbackend-cupy[{extra}]' brings it"
                )
            return f"CuPy {version} fails on the device when {name} {purpose} ({_say(error)})"
        if not right:
            return f"CuPy {version} gives a wrong result on this device where {name} {purpose}"
    return None


def _compile(cupy: Any) -> bool:
    out = cupy.zeros(1, dtype="int32")
    cupy.RawKernel(_KERNEL, "dz_probe")((1,), (1,), (out,))
    return int(out[0]) == 42


def _multiply(cupy: Any) -> bool:
    x = cupy.full((2, 2), 2.0, dtype="float32")
    return float(cupy.matmul(x, x)[0, 0]) == 8.0


def _is_missing(error: BaseException) -> bool:
    """Tell whether a library was not found: an ImportError, or CUDA's own error of this kind."""
    return isinstance(error, ImportError) or "NotFound" in type(error).__name__ or "Failure finding" in str(error)


def _say(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
