"""JAX's arrays, which nothing can write into: five required members, and below them what `jax.jit` makes faster."""

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

from dzcore.backend import portable
from dzcore.backend.base import Backend, HostArray
from dzcore.backend.namespace import EXTENSIONS

try:
    import jax
    import numpy as np

    from . import philox
    from .namespace import namespace
except ImportError as error:
    _problem: str | None = f"jax cannot be imported ({error}): pip install jax"
else:
    _problem = None

Sizes = tuple[int, ...]


class JaxBackend(Backend):
    """Arrays of one of JAX's devices. Opening it switches `jax_enable_x64` on for the process."""

    name = "jax"
    api_version = (1, 0)

    @classmethod
    def why_unavailable(cls) -> str | None:
        return _problem

    @cached_property
    def xp(self) -> Any:
        return namespace

    def owns(self, obj: object) -> bool:
        return isinstance(obj, jax.Array) and not isinstance(obj, jax.core.Tracer) and obj.device == self.device

    def to_host(self, array: Any) -> HostArray:
        host = np.asarray(array)
        return HostArray(self.dtype_name(array.dtype), host.shape, host.tobytes())

    def from_host(self, host: HostArray) -> Any:
        view = np.ndarray(host.shape, self.dtype(host.dtype), host.buffer)
        return jax.device_put(view.copy(), self.device)  # a copy, for JAX may go on using the memory that it is given

    # Devices: "jax" is the processor, "jax:gpu:1" the second GPU -----------------------------------------------

    def __init__(self, device: str | None = None) -> None:
        super().__init__(device)
        jax.config.update("jax_enable_x64", True)  # without it, JAX makes 32-bit numbers of all 64-bit ones
        kind, _, index = (device or "cpu").partition(":")
        self._device = jax.devices(kind)[int(index or 0)]

    @property
    def device(self) -> Any:
        return self._device

    @classmethod
    def devices(cls) -> list[str]:
        return [f"{device.platform}:{device.id}" for device in {*jax.devices("cpu"), *jax.devices()}]

    @classmethod
    def default_device(cls) -> str | None:
        return "cpu:0"

    def synchronize(self) -> None:
        jax.block_until_ready(jax.live_arrays())

    # Primitives ----------------------------------------------------------------------------------------------

    def index_add(self, size: int, index: Any, values: Any) -> Any:
        return self.xp.zeros((size, *values.shape[1:]), dtype=values.dtype, device=self.device).at[index].add(values)

    def windows(self, x: Any, size: Sizes, stride: Sizes, dilation: Sizes) -> Any:
        return _compiled(portable.windows, self.xp, (2, 3, 4))(x, size, stride, dilation)

    def windows_adjoint(self, columns: Any, spatial: Sizes, size: Sizes, stride: Sizes, dilation: Sizes) -> Any:
        return _compiled(portable.windows_adjoint, self.xp, (2, 3, 4, 5))(columns, spatial, size, stride, dilation)

    def random_bits(self, seed: int, position: int, count: int) -> Any:
        return philox.words(seed, position, count, self.device)

    def fuse(self, formula: Callable[..., Any]) -> Callable[..., Any]:
        return _compiled(formula, self.ops)

    def update(self, formula: Callable[..., Any], targets: tuple[Any, ...], *inputs: Any) -> tuple[Any, ...]:
        return tuple(self.fuse(formula)(*targets, *inputs))

    # dzcore's own functions, compiled as they stand ------------------------------------------------------------

    def sigmoid(self, x: Any) -> Any:
        return _compiled(EXTENSIONS["sigmoid"], self.ops)(x)

    def cross_entropy(self, x: Any, t: Any) -> Any:
        return _compiled(EXTENSIONS["cross_entropy"], self.ops)(x, t)

    def cross_entropy_gradient(self, gy: Any, x: Any, t: Any) -> Any:
        return _compiled(EXTENSIONS["cross_entropy_gradient"], self.ops)(gy, x, t)


@lru_cache(maxsize=4096)
def _compiled(formula: Callable[..., Any], xp: Any, static: Sizes = ()) -> Callable[..., Any]:
    """Compile `formula(xp, …)`, once for each shape and dtype; numbers are arguments, so new ones compile nothing."""
    call = jax.jit(formula, static_argnums=(0, *static))
    return lambda *inputs: call(xp, *inputs)
