"""CuPy as a dzcore backend: the GPUs of NVIDIA, and those of AMD."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from dzcore.backend.base import Backend, HostArray
from dzcore.backend.namespace import EXTENSIONS, Namespace
from dzcore.backend.portable import window_counts

from . import probe, report, settings

try:
    import cupy
    import numpy as np

    from . import launch
    from .fuse import Fused
    from .namespace import namespace
    from .upload import Uploader

    _failure = ""
except Exception as error:  # nothing below is called before `why_unavailable` has been asked, which says what is wrong
    _failure = f"{type(error).__name__}: {error}"

__all__ = ["CupyBackend"]


class CupyBackend(Backend):
    """Arrays in the memory of one GPU: of the device that is named, or of the first one, "0".

    CuPy's current device does not matter: `"cupy:1"` names another, and CUDA_VISIBLE_DEVICES says which are counted.
    Where the machine has several devices, an operation makes its backend's device the current one of its thread, and
    leaves it so. On a machine with one device nothing is ever switched.
    """

    name = "cupy"
    api_version = (1, 0)
    priority = 0
    accelerator = True

    def __init__(self, device: str | None = None) -> None:
        """Open the backend on device "0", "1" … of those that `devices` lists."""
        super().__init__(device)
        known = self.devices()
        if device is not None and device not in known:
            raise ValueError(f"device={device!r}: this machine has {', '.join(known)}; say 'cupy:{known[0]}' or 'cupy'")
        self.id: int = int(device or self.default_device())
        self._several = len(known) > 1
        self._upload = Uploader()  # here, for threads that send at the same time need the same one
        self._namespace = Namespace(self)

    @classmethod
    def why_unavailable(cls) -> str | None:
        """Return None, or which of CuPy, driver, device and libraries is missing, and what brings it."""
        reason = probe.why_unavailable()
        if reason is None and _failure:
            return f"CuPy works, and dzbackend-cupy cannot be imported with it ({_failure}): upgrade both"
        return reason

    @classmethod
    def devices(cls) -> list[str]:
        """List the devices that are visible, by their numbers."""
        return [str(i) for i in range(cupy.cuda.runtime.getDeviceCount())]

    @classmethod
    def default_device(cls) -> str:
        """Return "0": the first device that is visible."""
        return "0"

    def _enter(self) -> None:
        """Make the device the current one. Every operation of dzcore passes here, by `xp`, `ops` or a primitive."""
        if self._several:
            cupy.cuda.runtime.setDevice(self.id)

    @property
    def xp(self) -> Any:
        """The namespace `array_api_compat.cupy`, with short cuts."""
        self._enter()
        return namespace

    @property
    def ops(self) -> Namespace:
        """`xp` for rules."""
        self._enter()
        return self._namespace

    @cached_property
    def dtypes(self) -> dict[str, Any]:
        """CuPy's dtypes by their standard names; bfloat16 where ml_dtypes is installed."""
        own = {**super().dtypes, "float16": np.float16}
        try:
            import ml_dtypes  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            return own
        return {**own, "bfloat16": ml_dtypes.bfloat16}

    def owns(self, obj: object) -> bool:
        """Tell whether `obj` is a CuPy array on this device."""
        return isinstance(obj, cupy.ndarray) and obj.data.device_id == self.id

    def to_host(self, array: Any) -> HostArray:
        """Copy an array out, when everything that it depends on is done."""
        self._enter()
        own = array.get(order="C")
        # As bytes, for the buffer protocol has no bfloat16.
        return HostArray(self.dtype_name(own.dtype), own.shape, own.reshape(-1).view(np.uint8).data)

    def from_host(self, host: HostArray) -> Any:
        """Make an array of a copy of `host`, while the device goes on computing, see `dzbackend_cupy.upload`."""
        self._enter()
        array = cupy.empty(host.shape, dtype=self.dtype(host.dtype))
        if array.size:
            self._upload(np.ndarray(array.nbytes, np.uint8, buffer=host.buffer), array)
        return array

    def synchronize(self) -> None:
        """Wait until the device has done all its work."""
        cupy.cuda.Device(self.id).synchronize()

    def report(self) -> str | None:
        """Say how much memory it took."""
        return report.memory(self.id)

    # Primitives ----------------------------------------------------------------------------------------------

    def index_add(self, size: int, index: Any, values: Any) -> Any:
        """Add up rows: atomically, or in a fixed order where `repeatable_sums` asks for it or the dtype has to."""
        self._enter()
        return launch.index_add(size, index, values, self.dtype_name(values.dtype), settings.repeatable)

    def windows(self, x: Any, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Any:
        """Slide a window over the last N axes, as a view: nothing is computed. CuPy has no views that are read-only."""
        batch = x.ndim - len(size)
        out = window_counts(x.shape[batch:], size, stride, dilation)
        lead, steps = x.strides[:batch], x.strides[batch:]
        within = [n * d for n, d in zip(steps, dilation, strict=True)]
        between = [n * s for n, s in zip(steps, stride, strict=True)]
        return cupy.lib.stride_tricks.as_strided(x, (*x.shape[:batch], *size, *out), (*lead, *within, *between))

    def windows_adjoint(
        self,
        columns: Any,
        spatial: tuple[int, ...],
        size: tuple[int, ...],
        stride: tuple[int, ...],
        dilation: tuple[int, ...],
    ) -> Any:
        """Add every window back, in one kernel that gathers: always the same sum, without atomic operations."""
        self._enter()
        out = window_counts(spatial, size, stride, dilation)
        return launch.windows_adjoint(columns, spatial, out, size, stride, dilation, self.dtype_name(columns.dtype))

    def random_bits(self, seed: int, position: int, count: int) -> Any:
        """Return words of the stream as uint32, from one kernel."""
        self._enter()
        return launch.random_bits(seed, position, count)

    def update(
        self, formula: Callable[..., tuple[Any, ...]], targets: tuple[Any, ...], *inputs: Any
    ) -> tuple[Any, ...]:
        """Write the formula's results over the targets, in one kernel."""
        fused: Fused = self.ops.loops[formula]
        return fused.update(targets, inputs)

    def fuse(self, formula: Callable[..., Any]) -> "Fused":
        """Make one kernel of the formula, see `dzbackend_cupy.fuse`."""
        return Fused(self.ops, formula)

    # dzcore's own functions ----------------------------------------------------------------------------------

    def cross_entropy(self, x: Any, t: Any) -> Any:
        """Return the mean of log Σⱼ exp(xⱼ) - x_t over the rows of x, from one kernel; nan for a class out of range."""
        if not x.size:
            return EXTENSIONS["cross_entropy"](self.ops, x, t)
        self._enter()
        return launch.cross_entropy(x, t, self.dtype_name(x.dtype))

    def cross_entropy_gradient(self, gy: Any, x: Any, t: Any) -> Any:
        """Return the gradient of `cross_entropy` times gy (), in one kernel; nan where a class is out of range."""
        if not x.size or type(gy) is not cupy.ndarray or gy.dtype != x.dtype:
            return EXTENSIONS["cross_entropy_gradient"](self.ops, gy, x, t)
        self._enter()
        return launch.cross_entropy_gradient(gy, x, t, self.dtype_name(x.dtype))
