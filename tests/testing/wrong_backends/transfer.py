"""Wrong copies, and wrong claims of arrays."""

from typing import Any

import array_api_strict
import numpy as np

from dzbackend_numpy import NumpyBackend
from dzcore.backend import HostArray
from tests.strict_backend import StrictBackend

from .base import caught_by


@caught_by("Transfer")
class LosesADtype(NumpyBackend):
    def from_host(self, host: HostArray) -> Any:
        x = super().from_host(host)
        return x.astype("float32") if host.dtype == "float16" else x


@caught_by("Transfer")
class KeepsTheBuffer(NumpyBackend):
    """What comes in is a view of the caller's buffer."""

    def from_host(self, host: HostArray) -> Any:
        return np.ndarray(host.shape, dtype=self.dtype(host.dtype), buffer=host.buffer)


@caught_by("Transfer")
class GivesItsMemoryAway(NumpyBackend):
    """What goes out is a view of the array."""

    def to_host(self, array: Any) -> HostArray:
        if not array.flags.c_contiguous or not array.size:
            return super().to_host(array)
        return HostArray(self.dtype_name(array.dtype), array.shape, array.reshape(-1).view(np.uint8).data)


@caught_by("Transfer")
class WrongOrderOut(NumpyBackend):
    """An array that is not contiguous goes out in the order of memory."""

    def to_host(self, array: Any) -> HostArray:
        return HostArray(self.dtype_name(array.dtype), array.shape, array.tobytes("A"))


@caught_by("Transfer")
class WrongOrderIn(NumpyBackend):
    """The buffer is read in Fortran's order."""

    def from_host(self, host: HostArray) -> Any:
        return np.ndarray(host.shape, dtype=self.dtype(host.dtype), buffer=host.buffer, order="F").copy()


@caught_by("Transfer")
class LosesPayloads(NumpyBackend):
    """Every nan becomes the usual one."""

    def to_host(self, array: Any) -> HostArray:
        return super().to_host(np.where(np.isnan(array), np.asarray(np.nan, array.dtype), array)
                               if array.dtype.kind == "f" else array)  # fmt: skip


@caught_by("Transfer")
class ScalarsGetAnAxis(NumpyBackend):
    def to_host(self, array: Any) -> HostArray:
        return super().to_host(np.atleast_1d(array))


@caught_by("Transfer")
class IgnoresTheDevice(StrictBackend):
    """Everything is made on the default device."""

    spec = "wrong_ignores_the_device:device1"

    def from_host(self, host: HostArray) -> Any:
        own = np.ndarray(host.shape, dtype=host.dtype, buffer=host.buffer).copy()
        return array_api_strict.asarray(own, device=array_api_strict.Device("CPU_DEVICE"))


@caught_by("Transfer")
class OwnsEverything(NumpyBackend):
    def owns(self, obj: object) -> bool:
        return True


@caught_by("Transfer")
class OwnsOtherDevices(StrictBackend):
    def owns(self, obj: object) -> bool:
        return isinstance(obj, array_api_strict._array_object.Array)


@caught_by("Transfer")
class OwnsNoScalars(NumpyBackend):
    def owns(self, obj: object) -> bool:
        return isinstance(obj, np.ndarray)
