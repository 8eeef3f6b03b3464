"""Sliding windows: how many there are, taking them out of an array, and adding them back.

An array is (n, channels, *spatial), with any number of spatial axes. Sizes are integers, one for each of them or one
for all.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from operator import index
from typing import Any, NamedTuple

from ..graph import Variable, as_variable, rule
from .shape import permute_dims, reshape

__all__ = ["col2im", "im2col"]

Sizes = int | Sequence[int]
Shape = tuple[int, ...]


# Sizes ---------------------------------------------------------------------------------------------------------------


class Geometry(NamedTuple):
    """Where windows lie, axis by axis: window i begins at i * stride - pad, and takes `size` elements from there, every
    `dilation`-th one. `groups` is how many parts a convolution divides the channels into."""

    spatial: Shape
    size: Shape
    stride: Shape
    pad: Shape
    dilation: Shape
    groups: int = 1

    @property
    def out(self) -> Shape:
        """How many windows there are along each axis."""
        return _out(self)

    @property
    def padded(self) -> Shape:
        """The spatial shape with the padding."""
        return tuple([n + 2 * p for n, p in zip(self.spatial, self.pad, strict=True)])

    @property
    def inside(self) -> tuple[Any, ...]:
        """The index of the array within the padded one."""
        return (..., *[slice(p, p + n) for n, p in zip(self.spatial, self.pad, strict=True)])


def steps(rank: int, stride: Sizes, pad: Sizes, dilation: Sizes = 1) -> tuple[Shape, Shape, Shape]:
    """Return stride, padding and dilation of each of `rank` axes."""
    return spread("stride", stride, rank), spread("pad", pad, rank, least=0), spread("dilation", dilation, rank)


def spread(name: str, sizes: Any, rank: int, least: int = 1) -> Shape:
    """Return one integer for each of `rank` axes, none below `least`."""
    try:
        each = tuple([index(size) for size in sizes]) if hasattr(sizes, "__iter__") else (index(sizes),) * rank
    except TypeError:
        raise TypeError(f"{name}={sizes!r} must be an integer, or one for each spatial axis") from None
    if len(each) != rank:
        raise ValueError(f"{name}={sizes!r} has {len(each)} numbers, and there are {rank} spatial axes; one is for all")
    if min(each, default=least) < least:
        raise ValueError(f"{name}={sizes!r} must be at least {least}")
    return each


def get_conv_outsize(input_size: int, kernel_size: int, stride: int, pad: int, dilation: int = 1) -> int:
    """Return how many windows fit along an axis: (input_size + 2 pad - dilation (kernel_size - 1) - 1) // stride + 1.

    Raises:
        ValueError: not even one does.
    """
    (k,), (s,), (p,), (d,) = spread("kernel_size", kernel_size, 1), *steps(1, stride, pad, dilation)
    reach, room = d * (k - 1) + 1, input_size + 2 * p
    if room < reach:
        raise ValueError(
            f"a window of {reach} (kernel_size={k}, dilation={d}) does not fit into {room} "
            f"(input_size={input_size}, pad={p} on both sides)"
        )
    return (room - reach) // s + 1


def get_deconv_outsize(size: int, k: int, s: int, p: int, dilation: int = 1) -> int:
    """Return the least input size for which there are `size` windows: s (size - 1) + dilation (k - 1) + 1 - 2 p.

    Raises:
        ValueError: nothing is left without the padding.
    """
    (k,), (s,), (p,), (d,) = spread("k", k, 1), *steps(1, s, p, dilation)
    covered = s * (size - 1) + d * (k - 1) + 1
    if size < 1 or covered <= 2 * p:
        raise ValueError(
            f"size={size} windows (k={k}, s={s}, dilation={d}) cover {covered if size > 0 else 0}; nothing is left "
            f"without the padding (p={p} on both sides)"
        )
    return covered - 2 * p


@lru_cache(maxsize=1024)
def _out(g: Geometry) -> Shape:
    return _each(get_conv_outsize, g.spatial, g.size, g.stride, g.pad, g.dilation)


def in_sizes(out: Shape, size: Shape, stride: Shape, pad: Shape, dilation: Shape) -> Shape:
    """Return `get_deconv_outsize` for each axis."""
    return _each(get_deconv_outsize, out, size, stride, pad, dilation)


def _each(outsize: Any, lengths: Shape, *sizes: Shape) -> Shape:
    """Apply a formula to each axis; an error names the axis."""
    found = []
    for axis, numbers in enumerate(zip(lengths, *sizes, strict=True)):
        try:
            found.append(outsize(*numbers))
        except ValueError as error:
            raise ValueError(f"spatial axis {axis} of {lengths}: {error}") from None
    return tuple(found)


def with_spatial_axes(name: str, x: Any) -> Variable:
    """Return x as a Variable, if it has the axes (n, channels, *spatial)."""
    y: Variable = as_variable(x)
    if y.ndim < 3 or 0 in y.shape[2:]:
        raise ValueError(
            f"{name}: x has shape {y.shape}; it must be (n, channels, *spatial), with spatial axes, none empty"
        )
    return y


# Windows and their transpose -----------------------------------------------------------------------------------------


def padded(xp: Any, x: Any, geometry: Geometry) -> Any:
    """Put zeros around the spatial axes of a raw array."""
    return xp.embed(x, geometry.inside, (*x.shape[:2], *geometry.padded)) if any(geometry.pad) else x


#: How many elements of windows there may be at a time, on the host (a few caches full) and on an accelerator.
ROOM = (2**19, 2**26)


def portions(xp: Any, count: int, size: int, rooms: int = 1) -> Iterator[slice]:
    """Divide `count` things that take `size` elements each into slices that fit; one if there are none."""
    step = max(1, rooms * ROOM[bool(xp.backend.accelerator)] // max(1, size))
    return (slice(start, min(start + step, count)) for start in range(0, max(count, 1), step))


def joined(xp: Any, parts: list[Any], axis: int) -> Any:
    """Put portions of results together."""
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=axis)


@rule(extends=True, x=lambda xp, gy, geometry: xp.fold(gy, geometry))
def _unfold(xp: Any, x: Any, /, geometry: Geometry) -> Any:
    """Take all windows: (n, channels, *spatial) to (n, channels, *size, *out); zeros in the padding."""
    return xp.backend.windows(padded(xp, x, geometry), geometry.size, geometry.stride, geometry.dilation)


@rule(extends=True, x=lambda xp, gy, geometry: xp.unfold(gy, geometry))
def _fold(xp: Any, x: Any, /, geometry: Geometry) -> Any:
    """Add windows to where they came from: (n, channels, *size, *out) to (n, channels, *spatial)."""
    g = geometry
    y = xp.backend.windows_adjoint(x, g.padded, g.size, g.stride, g.dilation)
    return y[g.inside] if any(g.pad) else y


# DeZero's two functions ----------------------------------------------------------------------------------------------


def im2col(x: Any, kernel_size: Sizes, stride: Sizes = 1, pad: Sizes = 0, to_matrix: bool = True) -> Variable:
    """Make a row of each window of x (n, c, *spatial), zeros in the padding: (n · ∏ out, c · ∏ kernel).

    Without `to_matrix`, the result is (n, c, *kernel, *out).
    """
    x = with_spatial_axes("im2col", x)
    n, c, rank = x.shape[0], x.shape[1], x.ndim - 2
    g = Geometry(x.shape[2:], spread("kernel_size", kernel_size, rank), *steps(rank, stride, pad))
    rows = n * prod(g.out)  # raises before anything is computed
    y: Variable = _unfold(x, g)
    if not to_matrix:
        return y
    return reshape(permute_dims(y, (0, *range(2 + rank, 2 + 2 * rank), *range(1, 2 + rank))), (rows, c * prod(g.size)))


def col2im(
    x: Any, input_shape: Sequence[int], kernel_size: Sizes, stride: Sizes = 1, pad: Sizes = 0, to_matrix: bool = True
) -> Variable:
    """Add what `im2col` makes of an array of `input_shape` back to where it came from: the transpose, no inverse."""
    x = as_variable(x)
    if len(input_shape) < 3:
        raise ValueError(f"input_shape={tuple(input_shape)} must be (n, c) and one spatial axis at least")
    n, c, *lengths = input_shape
    rank = len(lengths)
    g = Geometry(tuple(lengths), spread("kernel_size", kernel_size, rank), *steps(rank, stride, pad))
    wanted = (n * prod(g.out), c * prod(g.size)) if to_matrix else (n, c, *g.size, *g.out)
    if x.shape != wanted:
        raise ValueError(f"col2im: x has shape {x.shape}; for input_shape={tuple(input_shape)} it must be {wanted}")
    if to_matrix:
        x = reshape(x, (n, *g.out, c, *g.size))
        x = permute_dims(x, (0, *range(1 + rank, 2 + 2 * rank), *range(1, 1 + rank)))
    y: Variable = _fold(x, g)
    return y


def im2col_array(img: Any, kernel_size: Sizes, stride: Sizes, pad: Sizes, to_matrix: bool = True) -> Any:
    """Do as `im2col` with a raw array, and return one."""
    return im2col(as_variable(img).detach(), kernel_size, stride, pad, to_matrix).data


def col2im_array(
    col: Any, img_shape: Sequence[int], kernel_size: Sizes, stride: Sizes, pad: Sizes, to_matrix: bool = True
) -> Any:
    """Do as `col2im` with a raw array, and return one."""
    return col2im(as_variable(col).detach(), img_shape, kernel_size, stride, pad, to_matrix).data
