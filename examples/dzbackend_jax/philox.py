"""The stream Philox4x64-10 (Salmon et al., 2011) with JAX's 64-bit integers."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["words"]

MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


def words(seed: int, position: int, count: int, device: Any) -> Any:
    """Return words `position` to `position + count` of the stream; see `Backend.random_bits`."""
    first, skip = divmod(position, 8)
    blocks = -(-(skip + count) // 8)
    rounded = 1 << (blocks - 1).bit_length()  # powers of two, for every other number would be compiled anew
    with jax.default_device(device):
        return _blocks(np.uint64(first), np.uint64(seed), max(rounded, 1))[skip : skip + count]


@partial(jax.jit, static_argnums=2)
def _blocks(first: Any, seed: Any, count: int) -> Any:
    counter = first + jnp.arange(count, dtype=jnp.uint64)
    zero = jnp.zeros_like(counter)

    def one_round(n: Any, c: tuple[Any, ...]) -> tuple[Any, ...]:
        step = jnp.astype(n, jnp.uint64)
        low0, high0 = _multiply(c[0], MULTIPLIERS[0])
        low1, high1 = _multiply(c[2], MULTIPLIERS[1])
        key0, key1 = seed + step * jnp.uint64(WEYL[0]), step * jnp.uint64(WEYL[1])
        return high1 ^ c[1] ^ key0, low1, high0 ^ c[3] ^ key1, low0

    c = jax.lax.fori_loop(0, 10, one_round, (counter, zero, zero, zero))
    halves = jnp.stack([half for x in c for half in (x, x >> 32)], axis=1)
    return jnp.reshape(jnp.astype(halves, jnp.uint32), (-1,))


def _multiply(x: Any, m: int) -> tuple[Any, Any]:
    """Return the lower and the upper 64 bits of x · m, by halves that cannot overflow."""
    low, high = x & 0xFFFFFFFF, x >> 32
    m_low, m_high = jnp.uint64(m & 0xFFFFFFFF), jnp.uint64(m >> 32)
    middle = high * m_low + (low * m_low >> 32)
    carry = low * m_high + (middle & 0xFFFFFFFF)
    return x * jnp.uint64(m), high * m_high + (middle >> 32) + (carry >> 32)
