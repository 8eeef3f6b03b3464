"""Normalizing layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from .. import functions as F
from ..backend import Backend
from ..graph import Parameter, Variable, as_variable
from .base import Buffer, Layer
from .linear import _floating, _positive

__all__ = ["BatchNorm", "GroupNorm", "LayerNorm"]


class _Norm(Layer):
    """What they share: gamma, which starts as ones, and beta, as zeros, both of a shape that may be found later."""

    def __init__(self, shape: Sequence[int | None], eps: float, dtype: Any) -> None:
        if not eps > 0:
            raise ValueError(f"eps={eps!r} must be positive")
        self.eps = float(eps)
        self.dtype = _floating(dtype)
        self._shape = tuple(n if n is None else _positive("size", n) for n in shape)
        self.gamma, self.beta = (
            Parameter(None, name=name, dtype=self.dtype, lazy_shape=self._shape) for name in ("gamma", "beta")
        )

    def _start(self, shape: tuple[int, ...], backend: Backend) -> None:
        for name, value in self.named_state():
            if value._data is None:
                make = backend.xp.ones if name in ("gamma", "avg_var") else backend.xp.zeros
                value._set(make(shape, dtype=backend.dtype(self.dtype), device=backend.device), backend)

    def _start_now(self) -> None:
        """Make everything, if the shape is known."""
        from ..backend import current_backend

        if None not in self._shape:
            self._start(self._shape, current_backend())  # type: ignore[arg-type]

    def _disagreement(self, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
        own = {name: shapes[name] for name in ("gamma", "beta", "avg_mean", "avg_var") if name in shapes}
        if len(set(own.values())) > 1:
            return f"{', '.join(f'{name} {list(shape)}' for name, shape in own.items())} must have one shape"
        return None

    def _started(self, x: Any, axis: int) -> Variable:
        """Return x as a Variable; without a shape so far, take the length of its `axis`."""
        x = as_variable(x)
        values = [value for _, value in self.named_state()]
        if any(value._data is None for value in values):
            sized = next((value for value in values if value._data is not None), None)
            if sized is not None:  # a part was loaded
                self._start(sized.shape, sized.backend)
            elif -x.ndim <= axis < x.ndim and x.shape[axis]:
                self._start((x.shape[axis],), x.backend)
            else:
                raise ValueError(
                    f"x has shape {x.shape}; a {type(self).__name__} without size takes its size from axis {axis}"
                )
        return x  # type: ignore[no-any-return]


class BatchNorm(_Norm):
    """`dzcore.functions.batch_norm`: each channel of (n, c, …) over all other axes.

    Parameters gamma, beta (c,), and buffers avg_mean, avg_var (c,): running statistics, which test mode takes. Every
    call while training brings them closer to those of its input, also under no_grad. Without `size`, c is found at the
    first call.
    """

    def __init__(self, size: int | None = None, decay: float = 0.9, eps: float = 2e-5, dtype: Any = "float32") -> None:
        super().__init__([size], eps, dtype)
        if not 0 <= decay <= 1:
            raise ValueError(f"decay={decay!r} must be between 0 and 1")
        self.decay = float(decay)
        self.avg_mean, self.avg_var = (
            Buffer(None, name=name, dtype=self.dtype, lazy_shape=self._shape) for name in ("avg_mean", "avg_var")
        )
        self._start_now()

    def forward(self, x: Any) -> Variable:
        """Normalize x (n, c) or (n, c, …)."""
        x = self._started(x, 1)
        return F.batch_norm(x, self.gamma, self.beta, self.avg_mean, self.avg_var, self.decay, self.eps)


class LayerNorm(_Norm):
    """`dzcore.functions.layer_norm`: each sample over its last axis, or its last axes if `size` is a sequence.

    Parameters gamma, beta of that shape. Without `size`, the length of the last axis is found at the first call.
    """

    def __init__(self, size: int | Sequence[int] | None = None, eps: float = 1e-5, dtype: Any = "float32") -> None:
        super().__init__([_positive("size", n) for n in size] if isinstance(size, Sequence) else [size], eps, dtype)
        self._start_now()

    def forward(self, x: Any) -> Variable:
        """Normalize x (…, *size)."""
        return F.layer_norm(self._started(x, -1), self.gamma, self.beta, self.eps)


class GroupNorm(_Norm):
    """`dzcore.functions.group_norm`: each sample of (n, c, …) over each of `groups` groups of channels.

    Parameters gamma, beta (c,). Without `size`, c is found at the first call.
    """

    def __init__(self, groups: int, size: int | None = None, eps: float = 1e-5, dtype: Any = "float32") -> None:
        self.groups = _positive("groups", groups)
        super().__init__([size], eps, dtype)
        self._start_now()

    def _start(self, shape: tuple[int, ...], backend: Backend) -> None:
        if problem := self._disagreement({"gamma": shape}):
            raise ValueError(problem)
        super()._start(shape, backend)

    def _disagreement(self, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
        channels = shapes.get("gamma") or shapes.get("beta") or (0,)
        if channels[0] % self.groups:
            return f"groups={self.groups} does not divide the {channels[0]} channels"
        return super()._disagreement(shapes)

    def forward(self, x: Any) -> Variable:
        """Normalize x (n, c) or (n, c, …)."""
        return F.group_norm(self._started(x, 1), self.groups, self.gamma, self.beta, self.eps)
