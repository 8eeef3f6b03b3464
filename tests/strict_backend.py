"""array-api-strict as a backend: whatever is not in the standard fails here, and `device1` cannot be read by NumPy."""

from functools import cached_property
from typing import Any

import array_api_strict
import numpy as np

from dzcore.backend.base import Backend, HostArray


class StrictBackend(Backend):
    """The five required members and nothing more; `StrictBackend("device1")` is an accelerator to all appearances."""

    name = "strict"
    api_version = (1, 0)

    @classmethod
    def why_unavailable(cls) -> str | None:
        return None

    @cached_property
    def xp(self) -> Any:
        return array_api_strict

    @cached_property
    def device(self) -> Any:
        return array_api_strict.Device(self.device_name or "CPU_DEVICE")

    def owns(self, obj: object) -> bool:
        return isinstance(obj, array_api_strict._array_object.Array) and obj.device == self.device

    def to_host(self, array: Any) -> HostArray:
        host = np.array(array_api_strict.asarray(array, device=array_api_strict.Device("CPU_DEVICE")), order="C")
        return HostArray(self.dtype_name(array.dtype), host.shape, host.tobytes())

    def from_host(self, host: HostArray) -> Any:
        own = np.ndarray(host.shape, dtype=host.dtype, buffer=host.buffer).copy()
        return array_api_strict.asarray(own, device=self.device)

    @classmethod
    def default_device(cls) -> str | None:
        return "CPU_DEVICE"

    @classmethod
    def devices(cls) -> list[str]:
        return ["CPU_DEVICE", "device1", "device2"]
