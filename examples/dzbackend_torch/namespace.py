"""array_api_compat's namespace for PyTorch, with what it lacks and without autograd."""

from types import ModuleType
from typing import Any, NamedTuple

import array_api_compat.torch
import torch

__all__ = ["namespace"]

compat: Any = array_api_compat.torch


class UniqueAll(NamedTuple):
    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


def _unique_all(x: Any, /) -> UniqueAll:
    """Find first occurrences too: the first of each run when the elements are sorted, ties in their order."""
    values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
    order = torch.argsort(inverse.flatten(), stable=True)
    return UniqueAll(values, order[torch.cumsum(counts, 0) - counts], inverse, counts)


def _asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    """Make a tensor that PyTorch's own autograd does not follow."""
    if dtype is None and device is None and not copy and isinstance(obj, torch.Tensor):
        return obj.detach() if obj.requires_grad else obj
    return compat.asarray(obj, dtype=dtype, device=device, copy=copy, requires_grad=False)


def _can_cast(from_: Any, to: Any, /) -> bool:
    """Tell whether promotion allows it; PyTorch's own says yes to everything of one kind."""
    return bool(compat.result_type(getattr(from_, "dtype", from_), to) == to)


namespace = ModuleType("dzbackend_torch.xp", "The array API on PyTorch.")
vars(namespace).update(
    (name, getattr(compat, name)) for name in dir(compat) if not name.startswith("_") or name.startswith("__array")
)
vars(namespace).update(asarray=_asarray, can_cast=_can_cast, unique_all=_unique_all)
