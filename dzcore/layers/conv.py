"""Convolutional layers."""

from math import prod, sqrt
from typing import Any, ClassVar

from .. import functions as F
from .. import random
from ..backend import Backend
from ..functions.windows import Sizes, spread, steps
from ..graph import Parameter, Variable, as_variable
from .base import Layer
from .linear import _floating, _positive

__all__ = ["Conv1d", "Conv2d", "Conv3d", "Deconv1d", "Deconv2d", "Deconv3d"]


class _Kernels(Layer):
    """W and b of a convolution along `rank` axes, either way.

    W starts as normal numbers with variance groups / (in_channels · ∏ kernel_size), the number of elements that a
    kernel sees (LeCun et al., Efficient BackProp, 1998), b as zeros. Without `in_channels` both are made at the first
    call, for its input and on its backend.
    """

    rank: ClassVar[int]

    def __init__(
        self, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, pad: Sizes = 0, nobias: bool = False,
        dtype: Any = "float32", in_channels: int | None = None, *, dilation: Sizes = 1, groups: int = 1,
    ) -> None:  # fmt: skip
        self.out_channels, self.groups = _positive("out_channels", out_channels), _positive("groups", groups)
        self._divides("out_channels", self.out_channels)
        self.kernel_size = spread("kernel_size", kernel_size, self.rank)
        self.stride, self.pad, self.dilation = steps(self.rank, stride, pad, dilation)
        if not isinstance(nobias, bool):
            raise TypeError(f"nobias={nobias!r} must be True or False; the input's channels are in_channels={nobias!r}")
        self.dtype = _floating(dtype)
        self.W = Parameter(None, name="W", dtype=self.dtype, lazy_shape=self._shape(None))
        self.b = None if nobias else Parameter(None, name="b", dtype=self.dtype, lazy_shape=(self.out_channels,))
        if in_channels is not None:
            from ..backend import current_backend

            self._start(_positive("in_channels", in_channels), current_backend())

    def _shape(self, in_channels: int | None) -> tuple[int | None, ...]:
        """Return the shape of W for a number of input channels, None being any."""
        raise NotImplementedError

    @property
    def in_channels(self) -> int | None:
        """How many channels the input has; None while it is not known."""
        raise NotImplementedError

    def _divides(self, name: str, channels: int) -> None:
        if channels % self.groups:
            raise ValueError(f"{name}={channels} cannot be divided into groups={self.groups} equal parts")

    def _start(self, in_channels: int, backend: Backend) -> None:
        self._divides("in_channels", in_channels)
        std = sqrt(self.groups / (in_channels * prod(self.kernel_size)))
        shape: Any = self._shape(in_channels)  # all of it known by now
        if self.W._data is None:
            self.W._set(random.normal(shape, std=std, dtype=self.dtype, backend=backend), backend)
        if self.b is not None and self.b._data is None:
            zeros = backend.xp.zeros(self.out_channels, dtype=backend.dtype(self.dtype), device=backend.device)
            self.b._set(zeros, backend)

    def _started(self, x: Any) -> Any:
        """Make the parameters for x if there are none."""
        if self.W._data is None or (self.b is not None and self.b._data is None):
            x = as_variable(x)
            if x.ndim != 2 + self.rank or not x.shape[1]:
                raise ValueError(
                    f"x has shape {x.shape}; {type(self).__name__} takes (n, channels, and {self.rank} spatial axes)"
                )
            self._start(x.shape[1], x.backend)
        return x


class _Conv(_Kernels):
    def _shape(self, in_channels: int | None) -> tuple[int | None, ...]:
        return self.out_channels, in_channels and in_channels // self.groups, *self.kernel_size

    @property
    def in_channels(self) -> int | None:
        """How many channels the input has; None while it is not known."""
        return None if self.W._data is None else self.W.shape[1] * self.groups

    def forward(self, x: Any) -> Variable:
        """Map x (n, in_channels, *spatial) to (n, out_channels, *out)."""
        function = (F.conv1d, F.conv2d, F.conv3d)[self.rank - 1]
        return function(self._started(x), self.W, self.b, self.stride, self.pad, self.dilation, self.groups)


class _Deconv(_Kernels):
    def _shape(self, in_channels: int | None) -> tuple[int | None, ...]:
        return in_channels, self.out_channels // self.groups, *self.kernel_size

    @property
    def in_channels(self) -> int | None:
        """How many channels the input has; None while it is not known."""
        return None if self.W._data is None else self.W.shape[0]

    def forward(self, x: Any, outsize: Sizes | None = None) -> Variable:
        """Map x (n, in_channels, *out) to (n, out_channels, *spatial), the least possible, or `outsize`."""
        function = (F.deconv1d, F.deconv2d, F.deconv3d)[self.rank - 1]
        return function(self._started(x), self.W, self.b, self.stride, self.pad, outsize, self.dilation, self.groups)


class Conv1d(_Conv):
    """`dzcore.functions.conv1d` with W (out_channels, in_channels / groups, k) and b (out_channels,)."""

    rank = 1


class Conv2d(_Conv):
    """`dzcore.functions.conv2d` with W (out_channels, in_channels / groups, kh, kw) and b (out_channels,).

    W starts as normal numbers with variance groups / (in_channels kh kw) (LeCun et al., Efficient BackProp, 1998), b as
    zeros. Without `in_channels` both are made at the first call, for its input and on its backend.
    """

    rank = 2


class Conv3d(_Conv):
    """`dzcore.functions.conv3d` with W (out_channels, in_channels / groups, kd, kh, kw) and b (out_channels,)."""

    rank = 3


class Deconv1d(_Deconv):
    """`dzcore.functions.deconv1d` with W (in_channels, out_channels / groups, k) and b (out_channels,)."""

    rank = 1


class Deconv2d(_Deconv):
    """`dzcore.functions.deconv2d` with W (in_channels, out_channels / groups, kh, kw) and b (out_channels,).

    Both start as those of `Conv2d`.
    """

    rank = 2


class Deconv3d(_Deconv):
    """`dzcore.functions.deconv3d` with W (in_channels, out_channels / groups, kd, kh, kw) and b (out_channels,)."""

    rank = 3
