"""jax.numpy, with the one result that is not the standard's."""

from types import ModuleType
from typing import Any

import jax.numpy as jnp

__all__ = ["namespace"]


def _searchsorted(x1: Any, x2: Any, /, **options: Any) -> Any:
    return jnp.astype(jnp.searchsorted(x1, x2, **options), jnp.int64)  # JAX's are int32, its other indices are not


namespace = ModuleType("dzbackend_jax.xp", "The array API on JAX.")
vars(namespace).update(
    (name, getattr(jnp, name)) for name in dir(jnp) if not name.startswith("_") or name.startswith("__array")
)
vars(namespace).update(searchsorted=_searchsorted)
