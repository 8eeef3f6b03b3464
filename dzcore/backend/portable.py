"""The backend's primitives in array-API-standard functions only: slower than an override, and the measure of it.

Every function takes the namespace `xp` first. Nothing is written in place and nothing depends on the values in the
arrays but the loop bound of `index_add`, so that libraries with immutable or lazy arrays are served too.
"""

from itertools import chain
from typing import Any

__all__ = ["index_add", "philox", "random_bits", "window_counts", "windows", "windows_adjoint"]


def device_of(array: Any) -> Any:
    """Return the device of an array, also where its library does not follow the standard in this."""
    from array_api_compat import device  # not at the top: it makes `import dzcore` half as slow again

    return device(array)


def index_add(xp: Any, size: int, index: Any, values: Any) -> Any:
    """Add up rows by a segmented sum: sort by index, add each row to the one 1, 2, 4 … places before it, as long as
    both belong to the same index, and read every total off the last row of its segment."""
    device = device_of(values)
    tail = (1,) * (values.ndim - 1)
    if index.shape[0] == 0 or size == 0:
        return xp.zeros((size, *values.shape[1:]), dtype=values.dtype, device=device)
    index = xp.astype(index, xp.int64, copy=False)
    order = xp.argsort(index, stable=True)
    index, sums = xp.take(index, order), xp.take(values, order, axis=0)
    slots = xp.arange(size, dtype=xp.int64, device=device)
    starts = xp.searchsorted(index, slots, side="left")
    ends = xp.searchsorted(index, slots, side="right")
    longest, step = int(xp.max(ends - starts)), 1
    while step < longest:
        same = xp.reshape(index[step:] == index[:-step], (-1, *tail))
        later = sums[step:, ...]
        sums = xp.concat((sums[:step, ...], xp.where(same, later + sums[:-step, ...], later)))
        step *= 2
    # `where` and not a product: an inf or nan must not leak into rows that it does not belong to.
    totals = xp.take(sums, xp.where(ends > starts, ends - 1, xp.zeros_like(ends)), axis=0)
    return xp.where(xp.reshape(ends > starts, (-1, *tail)), totals, xp.zeros_like(totals))


def window_counts(
    spatial: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, ...]:
    """Return how many windows fit along each axis: `(spatial - dilation * (size - 1) - 1) // stride + 1`.

    Raises ValueError where not even one does.
    """
    room = [n - d * (k - 1) - 1 for n, k, d in zip(spatial, size, dilation, strict=True)]
    if min((*size, *stride, *dilation), default=1) < 1 or min(room, default=0) < 0:
        raise ValueError(
            f"size={size} with stride={stride} and dilation={dilation} does not fit into spatial={spatial}: "
            "all must be positive, and dilation * (size - 1) + 1 at most the extent; pad first"
        )
    return tuple(r // s + 1 for r, s in zip(room, stride, strict=True))


def windows(xp: Any, x: Any, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Any:
    """Take window offset + window start along each axis: (..., *spatial) to (..., *size, *out)."""
    rank, batch = len(size), x.ndim - len(size)
    out = window_counts(tuple(x.shape[batch:]), size, stride, dilation)
    lead = tuple(x.shape[:batch])
    for axis in range(rank):
        offset = xp.arange(size[axis], dtype=xp.int64, device=device_of(x)) * dilation[axis]
        start = xp.arange(out[axis], dtype=xp.int64, device=device_of(x)) * stride[axis]
        where = xp.reshape(xp.reshape(offset, (-1, 1)) + start, (-1,))
        x = xp.take(x, where, axis=batch + axis)
    x = xp.reshape(x, (*lead, *chain.from_iterable(zip(size, out, strict=True))))
    last = range(batch, batch + 2 * rank)
    return xp.permute_dims(x, (*range(batch), *last[0::2], *last[1::2]))


def windows_adjoint(
    xp: Any,
    columns: Any,
    spatial: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Any:
    """Add every window back to where it came from: (..., *size, *out) to (..., *spatial), one axis after another."""
    rank, batch = len(size), columns.ndim - 2 * len(size)
    window_counts(spatial, size, stride, dilation)
    for axis in range(rank):
        # The axis to fold is always the first of the sizes, `batch`, and the first of the outs, `batch + left`; it
        # goes to the end as (..., size, out) and comes back as the last of the spatial ones.
        left = rank - axis
        rest = [i for i in range(columns.ndim) if i not in (batch, batch + left)]
        columns = xp.permute_dims(columns, (*rest, batch, batch + left))
        columns = _fold(xp, columns, spatial[axis], stride[axis], dilation[axis])
    return columns


def _fold(xp: Any, y: Any, extent: int, stride: int, dilation: int) -> Any:
    """Add up `out[k * dilation + m * stride] = sum of y[..., k, m]`: (..., size, out) to (..., extent)."""

    def zeros(*shape: int) -> Any:
        return xp.zeros((*lead, size, *shape), dtype=y.dtype, device=device_of(y))

    *lead, size, count = y.shape
    if stride > 1:
        y = xp.concat((xp.expand_dims(y, axis=-1), zeros(count, stride - 1)), axis=-1)
        count = (count - 1) * stride + 1
        y = xp.reshape(y, (*lead, size, -1))[..., :count] if 0 not in y.shape else zeros(count)
    # Row k has to move right by k * dilation. Rows that are `dilation` too long do it by themselves when they are
    # read again at the length `extent`.
    y = xp.concat((y, zeros(extent + dilation - count)), axis=-1)
    y = xp.reshape(y, (*lead, size * (extent + dilation)))[..., : size * extent]
    return xp.sum(xp.reshape(y, (*lead, size, extent)), axis=-2, dtype=y.dtype)


# Philox4x64-10: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11.
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW = 0xFFFFFFFF


def random_bits(xp: Any, seed: int, position: int, count: int, device: Any = None) -> Any:
    """Return words `position` to `position + count` of the Philox4x64-10 stream with key (seed, 0), as int64."""
    first, skip = divmod(position, 8)
    counter = first + xp.arange(-(-(skip + count) // 8), dtype=xp.int64, device=device)
    zero = xp.zeros_like(counter)
    blocks = philox(xp, [counter & _LOW, counter >> 32, *[zero] * 6], (seed, 0))
    return xp.reshape(xp.stack(blocks, axis=1), (-1,))[skip : skip + count]


def philox(xp: Any, counter: list[Any], key: tuple[int, int]) -> list[Any]:
    """Run ten rounds of Philox4x64 on eight int64 arrays of 32-bit words, the lower half of each 64 bits first."""
    c = counter
    for n in range(10):
        k0, k1 = ((k + n * w) % 2**64 for k, w in zip(key, _WEYL, strict=True))
        low0, high0 = _multiply(c[0:2], _MULTIPLIERS[0])
        low1, high1 = _multiply(c[4:6], _MULTIPLIERS[1])
        left = [high1[0] ^ c[2] ^ (k0 & _LOW), high1[1] ^ c[3] ^ (k0 >> 32)]
        right = [high0[0] ^ c[6] ^ (k1 & _LOW), high0[1] ^ c[7] ^ (k1 >> 32)]
        c = [*left, *low1, *right, *low0]
    return c


def _multiply(x: list[Any], m: int) -> tuple[list[Any], list[Any]]:
    """Multiply 64 bits (two words of 32) by the constant m: the lower 64 bits of the product, and the upper 64."""
    # Words times 16-bit limbs of m are 48 bits wide; sums of a few of them stay far from the sign bit.
    low = [x[0] * (m >> 16 * j & 0xFFFF) for j in range(4)]
    high = [x[1] * (m >> 16 * j & 0xFFFF) for j in range(4)]
    a = low[0] + ((low[1] & 0xFFFF) << 16)
    b = (a >> 32) + (low[1] >> 16) + low[2] + ((low[3] & 0xFFFF) << 16) + high[0] + ((high[1] & 0xFFFF) << 16)
    c = (b >> 32) + (low[3] >> 16) + (high[1] >> 16) + high[2] + ((high[3] & 0xFFFF) << 16)
    d = (c >> 32) + (high[3] >> 16)
    return [a & _LOW, b & _LOW], [c & _LOW, d]
