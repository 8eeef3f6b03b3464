"""NumPy as a dzcore backend: the host, and the reference for the others."""

import sys
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import product
from typing import Any

from dzcore.backend.base import Backend, HostArray
from dzcore.backend.portable import window_counts
from dzcore.functions.recurrent import Cell
from dzcore.functions.windows import Geometry

try:
    import numpy as np

    from . import convolution, losses, memory, pooling, recurrent, team
    from .fuse import Fused
    from .namespace import namespace
    from .onednn import product as products
    from .scalars import scalars
    from .updates import Updates

    _problem = None if int(np.__version__.split(".")[0]) >= 2 else f"numpy {np.__version__} is older than 2.0"
except ImportError as error:
    _problem = f"numpy cannot be imported ({error})"

__all__ = ["NumpyBackend"]


class NumpyBackend(Backend):
    """Arrays in main memory."""

    name = "numpy"
    api_version = (1, 0)
    priority = 100  # the host is the default everywhere; an accelerator is asked for
    accelerator = False

    def __init__(self, device: str | None = None) -> None:
        """Open the backend; `device` has to be None, for there is only one."""
        if device is not None:
            raise ValueError(f"device={device!r}: backend numpy has one device and no names for it; say 'numpy'")
        super().__init__()
        self._local = threading.local()
        memory.keep()

    @classmethod
    def why_unavailable(cls) -> str | None:
        """Return None, or what is wrong with NumPy on this machine."""
        return _problem and f"{_problem}: pip install 'numpy>=2'"

    @cached_property
    def xp(self) -> Any:
        """The namespace `array_api_compat.numpy`, with short cuts."""
        return namespace

    @cached_property
    def dtypes(self) -> dict[str, Any]:
        """NumPy's dtypes by their standard names; bfloat16 where ml_dtypes is installed."""
        own = {**super().dtypes, "float16": np.float16}
        try:
            import ml_dtypes  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            return own
        return {**own, "bfloat16": ml_dtypes.bfloat16}

    def owns(self, obj: object) -> bool:
        """Tell whether `obj` is a NumPy array or array scalar."""
        return isinstance(obj, np.ndarray | np.generic)

    def to_host(self, array: Any) -> HostArray:
        """Copy an array out, whatever its layout and byte order."""
        dtype = array.dtype.newbyteorder("=")
        own = np.array(array, dtype=dtype, order="C", copy=True)
        # As bytes, for the buffer protocol has no bfloat16.
        return HostArray(self.dtype_name(dtype), own.shape, own.reshape(-1).view(np.uint8).data)

    def from_host(self, host: HostArray) -> Any:
        """Make an array of a copy of `host`."""
        return np.ndarray(host.shape, dtype=self.dtype(host.dtype), buffer=host.buffer).copy()

    def number(self, x: float, dtype: Any) -> Any:
        """Return a number as an array without axes, made once: for NumPy that is as much work as the operation."""
        return scalars[x, dtype]

    def adopt(self, host: HostArray) -> Any:
        """Make an array in the memory of `host`, if one may write there."""
        array = np.ndarray(host.shape, dtype=self.dtype(host.dtype), buffer=host.buffer)
        return array if array.flags.writeable else array.copy()

    # Primitives ----------------------------------------------------------------------------------------------

    def index_add(self, size: int, index: Any, values: Any) -> Any:
        """Add up rows with `np.add.at`, on one axis: its fast path, 2 to 5 times faster than rows at a time."""
        width = values[0].size if len(values) else 0
        out = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
        if width > 1:
            index = (index.astype(np.int64)[:, None] * width + np.arange(width)).reshape(-1)
        if width:
            np.add.at(out.reshape(-1), index, values.reshape(-1))
        return out

    def windows(self, x: Any, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Any:
        """Slide a window over the last N axes, as a read-only view."""
        batch = x.ndim - len(size)
        out = window_counts(x.shape[batch:], size, stride, dilation)
        lead, steps = x.strides[:batch], x.strides[batch:]
        return np.lib.stride_tricks.as_strided(
            x,
            (*x.shape[:batch], *size, *out),
            (
                *lead,
                *(n * d for n, d in zip(steps, dilation, strict=True)),
                *(n * s for n, s in zip(steps, stride, strict=True)),
            ),
            writeable=False,
        )

    def windows_adjoint(
        self,
        columns: Any,
        spatial: tuple[int, ...],
        size: tuple[int, ...],
        stride: tuple[int, ...],
        dilation: tuple[int, ...],
    ) -> Any:
        """Add every window back: one strided slice for each place in the window, as slices never collide."""
        out = window_counts(spatial, size, stride, dilation)
        lead = columns.shape[: columns.ndim - 2 * len(size)]
        x = np.zeros((*lead, *spatial), dtype=columns.dtype)
        for place in product(*map(range, size)):
            target: tuple[Any, ...] = tuple(
                slice(p * d, p * d + (n - 1) * s + 1, s)
                for p, d, n, s in zip(place, dilation, out, stride, strict=True)
            )
            x[..., *target] += columns[..., *place, *[slice(None)] * len(size)]
        return x

    def linear(self, x: Any, W: Any, b: Any) -> Any:
        """Multiply matrices and add the bias, see `dzbackend_numpy.onednn.product`."""
        return products.linear(x, W, b)

    def convolve(self, x: Any, W: Any, geometry: Geometry) -> Any:
        """Convolve, see `dzbackend_numpy.convolution`."""
        return convolution.convolve(self.ops, x, W, geometry)

    def convolve_biased(self, x: Any, W: Any, b: Any, geometry: Geometry) -> Any:
        """Convolve and add the bias."""
        return convolution.convolve_biased(self.ops, x, W, b, geometry)

    def convolve_input(self, z: Any, W: Any, geometry: Geometry) -> Any:
        """Apply the transpose of `convolve` in x."""
        return convolution.convolve_input(self.ops, z, W, geometry)

    def convolve_weight(self, x: Any, z: Any, geometry: Geometry) -> Any:
        """Apply the transpose of `convolve` in W."""
        return convolution.convolve_weight(self.ops, x, z, geometry)

    def largest(self, x: Any, geometry: Geometry) -> Any:
        """Find the largest element of each window, see `dzbackend_numpy.pooling`."""
        return pooling.largest(self.ops, x, geometry)

    def window_put(self, z: Any, winner: Any, geometry: Geometry) -> Any:
        """Add numbers to the elements that won."""
        return pooling.window_put(self.ops, z, winner, geometry)

    def window_sum(self, x: Any, geometry: Geometry) -> Any:
        """Add up each window."""
        return pooling.window_sum(self.ops, x, geometry)

    def window_spread(self, z: Any, geometry: Geometry) -> Any:
        """Add each number to all elements of its window."""
        return pooling.window_spread(self.ops, z, geometry)

    def cross_entropy(self, x: Any, t: Any) -> Any:
        """Compute the mean cross-entropy of rows, see `dzbackend_numpy.losses`."""
        return losses.cross_entropy(self.ops, x, t)

    def cross_entropy_gradient(self, gy: Any, x: Any, t: Any) -> Any:
        """Compute its gradient."""
        return losses.cross_entropy_gradient(self.ops, gy, x, t)

    def random_bits(self, seed: int, position: int, count: int) -> Any:
        """Return words of the stream, from NumPy's own Philox; a thread keeps one, for making one takes 12 us."""
        try:
            philox = self._local.philox
        except AttributeError:
            philox = self._local.philox = np.random.Philox()
        first, skip = divmod(position, 8)
        # NumPy counts up before it computes a block; the block before the first is all ones.
        counter = (first - 1, 0, 0, 0) if first else (2**64 - 1,) * 4
        philox.state = {
            "bit_generator": "Philox",
            "state": {"counter": counter, "key": (seed, 0)},
            "buffer": (0, 0, 0, 0),
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        raw = philox.random_raw((skip + count + 1) // 2)
        words = raw.view(np.uint32) if sys.byteorder == "little" else raw.astype("<u8").view("<u4").astype(np.uint32)
        return words[skip : skip + count]

    def get_num_threads(self) -> int:
        """Return how many threads compute: those of matrix products, fused formulas and convolutions are one team."""
        return team.threads()

    def set_num_threads(self, number: int) -> None:
        """Let that many threads compute, also where NumPy is used without dzcore: OpenBLAS knows one number."""
        team.set_threads(number)

    def update(
        self, formula: Callable[..., tuple[Any, ...]], targets: tuple[Any, ...], *inputs: Any
    ) -> tuple[Any, ...]:
        """Write the formula's results over the targets, in one pass; into new arrays where a target is read-only."""
        fused: Fused = self.ops.loops[formula].__self__
        return fused.update(targets, inputs)

    def updater(
        self, formula: Callable[..., tuple[Any, ...]], targets: Sequence[tuple[Any, ...]]
    ) -> Callable[[Sequence[Any], tuple[float, ...]], Sequence[tuple[Any, ...]]]:
        """Write over all targets in one go, where they are whole arrays of their own."""
        if type(self).update is not NumpyBackend.update:  # a subclass has an update of its own
            return super().updater(formula, targets)
        return Updates(self.ops.loops[formula].__self__, targets)

    def steps_ahead(
        self, cell: Cell, a: Any, b: Any, U: Any, d: Sequence[Any], state: Sequence[Any]
    ) -> tuple[Any, Sequence[Any]]:
        """Take all steps of a recurrent layer, see `dzbackend_numpy.recurrent`."""
        return recurrent.steps_ahead(self.ops, cell, a, b, U, d, state)

    def steps_back(self, cell: Cell, gy: Any, U: Any, kept: Sequence[Any]) -> tuple[Any, Any, Sequence[Any]]:
        """Go back through them."""
        return recurrent.steps_back(self.ops, cell, gy, U, kept)

    def fuse(self, formula: Callable[..., Any]) -> Callable[..., Any]:
        """Compile the formula, see `dzbackend_numpy.fuse`."""
        return Fused(self.ops, formula).call
