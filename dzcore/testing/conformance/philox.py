"""Philox4x64-10 in Python's own integers: what the random stream must be, in ten lines that nothing else shares.

J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11.
"""

from functools import lru_cache

__all__ = ["PUBLISHED", "philox4x64", "words"]

_M0, _M1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_W0, _W1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_MASK = 2**64 - 1

# Random123 1.14, tests/kat_vectors: philox4x64 10. Counter, key, answer.
PUBLISHED = (
    (
        "0000000000000000 0000000000000000 0000000000000000 0000000000000000",
        "0000000000000000 0000000000000000",
        "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b",
    ),
    (
        "ffffffffffffffff ffffffffffffffff ffffffffffffffff ffffffffffffffff",
        "ffffffffffffffff ffffffffffffffff",
        "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0",
    ),
    (
        "243f6a8885a308d3 13198a2e03707344 a4093822299f31d0 082efa98ec4e6c89",
        "452821e638d01377 be5466cf34e90c6c",
        "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
    ),
)


def philox4x64(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Return the four 64-bit words of one block."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        p, q = a * _M0, c * _M1
        a, b, c, d = (q >> 64) ^ b ^ k0, q & _MASK, (p >> 64) ^ d ^ k1, p & _MASK
        k0, k1 = k0 + _W0 & _MASK, k1 + _W1 & _MASK
    return a, b, c, d


@lru_cache(maxsize=4096)
def _block(seed: int, number: int) -> tuple[int, ...]:
    """Return block `number` of a stream as eight 32-bit words, the lower half of each 64 bits first."""
    return tuple(half for x in philox4x64((number, 0, 0, 0), (seed, 0)) for half in (x & 0xFFFFFFFF, x >> 32))


def words(seed: int, position: int, count: int) -> list[int]:
    """Return words `position` to `position + count` of the random stream `seed`."""
    return [_block(seed, i // 8)[i % 8] for i in range(position, position + count)]
