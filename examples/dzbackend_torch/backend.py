"""PyTorch's tensors as arrays: five required members, and below them what PyTorch is faster at."""

from collections.abc import Callable
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

from dzcore.backend.base import Backend, HostArray
from dzcore.backend.portable import window_counts

try:
    import torch

    from .namespace import namespace
except ImportError as error:
    _problem: str | None = f"torch cannot be imported ({error}): pip install torch"
else:
    _problem = None

Sizes = tuple[int, ...]
NO_STEPS_BACK = "PyTorch's slices have no negative steps; dzcore flips Variables instead"


class TorchBackend(Backend):
    """Tensors that PyTorch's own autograd knows nothing of."""

    name = "torch"
    api_version = (1, 0)
    known_failures: ClassVar = {
        "Namespace.test_answers[slices backwards]": NO_STEPS_BACK,
        "Primitives.test_own_functions[embed backwards]": NO_STEPS_BACK,
    }

    @classmethod
    def why_unavailable(cls) -> str | None:
        return _problem

    @cached_property
    def xp(self) -> Any:
        return namespace

    def owns(self, obj: object) -> bool:
        return isinstance(obj, torch.Tensor) and obj.device == self.device

    def to_host(self, array: Any) -> HostArray:
        buffer = bytearray(array.nbytes)
        if buffer:
            torch.frombuffer(buffer, dtype=array.dtype).view(array.shape).copy_(array)
        return HostArray(self.dtype_name(array.dtype), tuple(array.shape), buffer)

    def from_host(self, host: HostArray) -> Any:
        dtype, buffer = self.dtype(host.dtype), bytearray(host.buffer)
        flat = torch.frombuffer(buffer, dtype=dtype) if buffer else torch.empty(0, dtype=dtype)
        return flat.view(host.shape).to(self.device)

    # Devices: "torch" is the processor, "torch:cuda:1" the second GPU ------------------------------------------

    def __init__(self, device: str | None = None) -> None:
        super().__init__(device)
        self._device = torch.empty(0, device=device or "cpu").device  # "cuda" becomes "cuda:0"; others raise

    @property
    def device(self) -> Any:
        return self._device

    @classmethod
    def devices(cls) -> list[str]:
        return ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]

    @classmethod
    def default_device(cls) -> str | None:
        return "cpu"

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    # Primitives ----------------------------------------------------------------------------------------------

    def index_add(self, size: int, index: Any, values: Any) -> Any:
        zeros = torch.zeros((size, *values.shape[1:]), dtype=values.dtype, device=self.device)
        return zeros.index_add_(0, index.to(torch.int64), values)

    def windows(self, x: Any, size: Sizes, stride: Sizes, dilation: Sizes) -> Any:
        """Slide a window as a view."""
        batch = x.ndim - len(size)
        out = window_counts(tuple(x.shape[batch:]), size, stride, dilation)
        lead, steps = x.stride()[:batch], x.stride()[batch:]
        inner = [n * d for n, d in zip(steps, dilation, strict=True)]
        outer = [n * s for n, s in zip(steps, stride, strict=True)]
        return x.as_strided((*x.shape[:batch], *size, *out), (*lead, *inner, *outer))

    def windows_adjoint(self, columns: Any, spatial: Sizes, size: Sizes, stride: Sizes, dilation: Sizes) -> Any:
        """Add every window back, one strided slice for each place in the window: slices never collide."""
        out = window_counts(spatial, size, stride, dilation)
        rank, lead = len(size), columns.shape[: columns.ndim - 2 * len(size)]
        x = torch.zeros((*lead, *spatial), dtype=columns.dtype, device=self.device)
        for place in product(*map(range, size)):
            axes = zip(place, dilation, out, stride, strict=True)
            x[..., *[slice(p * d, p * d + (n - 1) * s + 1, s) for p, d, n, s in axes]] += columns[
                ..., *place, *[slice(None)] * rank
            ]
        return x

    def update(self, formula: Callable[..., Any], targets: tuple[Any, ...], *inputs: Any) -> tuple[Any, ...]:
        """Write the results over the targets, whose memory is in the cache by then."""
        own = {target.data_ptr() for target in targets}
        results = [new.clone() if new.data_ptr() in own else new for new in formula(self.ops, *targets, *inputs)]
        for target, new in zip(targets, results, strict=True):
            target.copy_(new)
        return targets

    # dzcore's own functions ----------------------------------------------------------------------------------

    def sigmoid(self, x: Any) -> Any:
        return torch.sigmoid(x)

    def cross_entropy(self, x: Any, t: Any) -> Any:
        return torch.nn.functional.cross_entropy(x, t.to(torch.int64))

    def cross_entropy_gradient(self, gy: Any, x: Any, t: Any) -> Any:
        p = torch.softmax(x, 1)
        p[torch.arange(len(x), device=self.device), t.to(torch.int64)] -= 1
        return p.mul_(gy / len(x))
