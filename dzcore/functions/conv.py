"""Convolutions along any number of axes, with their gradients.

A convolution is linear in x and in W. With its transpose in x and its transpose in W it is closed under
differentiation: the gradients of each of the three are the other two. The transpose in x is also known as transposed
convolution or deconvolution.

Each is a product of matrices, one of them holding the windows of x as columns. As that is as many times larger than x
as the kernel has elements, it is made for some images, or some rows of one, at a time.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

from ..graph import Variable, as_variable, rule
from .linalg import _plus
from .shape import astype
from .windows import Geometry, Shape, Sizes, in_sizes, joined, padded, portions, spread, steps

__all__ = ["conv1d", "conv2d", "conv3d", "deconv1d", "deconv2d", "deconv3d"]


# The three -----------------------------------------------------------------------------------------------------------

# The gradient of W comes first: a backend copies two large arrays for it, and there is no third one yet.


@rule(
    extends=True,
    W=lambda xp, gy, x, geometry: xp.convolve_weight(x, gy, geometry),
    x=lambda xp, gy, W, geometry: xp.convolve_input(gy, W, geometry),
)
def _convolve(xp: Any, x: Any, W: Any, /, geometry: Geometry) -> Any:
    """Return y (n, o, *out) with y[n, o, i] = Σ W[o, c, k] x[n, c, i * stride + k * dilation - pad] over c and k.

    x is (n, channels, *spatial), W (o, channels / groups, *size), and c runs over the channels of o's group.
    """
    groups, o, depth = geometry.groups, W.shape[0], prod(W.shape[1:])
    W = xp.reshape(W, (groups, o // groups, depth))
    whole = []
    for images, rows in _windows(xp, x, geometry):
        parts, n = [], images.stop - images.start
        for _, windows in rows:
            out = windows.shape[2 + len(geometry.size) :]
            columns = xp.reshape(windows, (n, groups, depth, prod(out)))
            parts.append(xp.reshape(xp.matmul(W, columns), (n, o, *out)))
        whole.append(joined(xp, parts, 2))
    return joined(xp, whole, 0)


@rule(
    extends=True,
    W=lambda xp, gy, z, geometry: xp.convolve_weight(gy, z, geometry),
    z=lambda xp, gy, W, geometry: xp.convolve(gy, W, geometry),
)
def _convolve_input(xp: Any, z: Any, W: Any, /, geometry: Geometry) -> Any:
    """Return the transpose of `convolve` in x: z (n, o, *out) and W (o, channels / groups, *size) to
    (n, channels, *spatial)."""
    g, (n, o, *out) = geometry, z.shape
    depth, c = prod(W.shape[1:]), W.shape[1] * g.groups
    W = xp.reshape(W, (g.groups, o // g.groups, depth)).mT
    step, reach = g.stride[0], (g.size[0] - 1) * g.dilation[0] + 1
    row = c * prod(g.size) * prod(out[1:])
    whole = []
    for images in portions(xp, n, row * out[0]):
        parts, count = [], images.stop - images.start
        for rows in portions(xp, out[0], count * row, rooms=16):
            # They make the rows of x from where the first of them begins, with those before them that reach so far. As
            # that is done for them twice, the portions are larger here.
            first = max(0, rows.start - (reach - 1) // step)
            end = rows.stop * step if rows.stop < out[0] else g.padded[0]
            extent = max(end, (rows.stop - 1) * step + reach) - first * step
            some = (rows.stop - first, *out[1:])
            values = xp.reshape(z[images, :, first : rows.stop, ...], (count, g.groups, o // g.groups, prod(some)))
            columns = xp.reshape(xp.matmul(W, values), (count, c, *g.size, *some))
            x = xp.backend.windows_adjoint(columns, (extent, *g.padded[1:]), g.size, g.stride, g.dilation)
            part = x[:, :, (rows.start - first) * step : end - first * step, ...]
            parts.append(part if part.shape == x.shape else xp.asarray(part, copy=True))  # a view would keep all of x
        whole.append(joined(xp, parts, 2)[g.inside])
    return joined(xp, whole, 0)


@rule(
    extends=True,
    x=lambda xp, gy, z, geometry: xp.convolve_input(z, gy, geometry),
    z=lambda xp, gy, x, geometry: xp.convolve(x, gy, geometry),
)
def _convolve_weight(xp: Any, x: Any, z: Any, /, geometry: Geometry) -> Any:
    """Return the transpose of `convolve` in W: x (n, channels, *spatial) and z (n, o, *out) to
    (o, channels / groups, *size)."""
    groups, rank, o, c = geometry.groups, len(geometry.size), z.shape[1], x.shape[1]
    depth = c // groups * prod(geometry.size)
    order = (*range(1, 2 + rank), 0, *range(2 + rank, 2 + 2 * rank))
    total: Any = None
    for images, rows in _windows(xp, x, geometry):
        for some, windows in rows:
            values = xp.permute_dims(z[images, :, some, ...], (1, 0, *range(2, 2 + rank)))
            values = xp.reshape(values, (groups, o // groups, prod(values.shape[1:])))
            columns = xp.reshape(xp.permute_dims(windows, order), (groups, depth, values.shape[2]))
            part = xp.matmul(values, columns.mT)
            total = part if total is None else _plus(total, part)
    return xp.reshape(total, (o, c // groups, *geometry.size))


def _windows(xp: Any, x: Any, geometry: Geometry) -> Iterator[tuple[slice, Iterator[tuple[slice, Any]]]]:
    """Yield some images, and of those some rows of windows after the other, as many as there is room for."""
    g, out = geometry, geometry.out
    row = x.shape[1] * prod(g.size) * prod(out[1:]) if max(g.size) > 1 else 0  # else the windows are x, or part of it
    for images in portions(xp, x.shape[0], row * out[0]):
        rows = portions(xp, out[0], (images.stop - images.start) * row)
        yield images, _rows_of_windows(xp, padded(xp, x[images, ...], g), rows, g)


def _rows_of_windows(xp: Any, x: Any, portions: Iterator[slice], g: Geometry) -> Iterator[tuple[slice, Any]]:
    for rows in portions:
        end = (rows.stop - 1) * g.stride[0] + (g.size[0] - 1) * g.dilation[0] + 1
        some = x[:, :, rows.start * g.stride[0] : end, ...]
        yield rows, xp.backend.windows(some, g.size, g.stride, g.dilation)


# With a bias ---------------------------------------------------------------------------------------------------------


def _bias(xp: Any, y: Any, b: Any) -> Any:
    return _plus(y, xp.reshape(b, (-1, *[1] * (y.ndim - 2))))


def _bias_gradient(xp: Any, gy: Any) -> Any:
    return xp.sum(gy, axis=(0, *range(2, gy.ndim)))


@rule(
    extends=True,
    shown="conv",
    W=lambda xp, gy, x, geometry: xp.convolve_weight(x, gy, geometry),
    x=lambda xp, gy, W, geometry: xp.convolve_input(gy, W, geometry),
    b=_bias_gradient,
)
def _convolve_biased(xp: Any, x: Any, W: Any, b: Any, /, geometry: Geometry) -> Any:
    """Return `convolve` with b (o,) added to its channels."""
    return _bias(xp, xp.convolve(x, W, geometry), b)


@rule(
    W=lambda xp, gy, x, geometry: xp.convolve_weight(gy, x, geometry),
    x=lambda xp, gy, W, geometry: xp.convolve(gy, W, geometry),
    b=_bias_gradient,
)
def _deconv(xp: Any, x: Any, W: Any, b: Any, /, geometry: Geometry) -> Any:
    return _bias(xp, xp.convolve_input(x, W, geometry), b)


# Functions of Variables ----------------------------------------------------------------------------------------------


def conv1d(
    x: Any, W: Any, b: Any = None, stride: Sizes = 1, pad: Sizes = 0, dilation: Sizes = 1, groups: int = 1
) -> Variable:
    """Do as `conv2d` along one axis."""
    return _convolution("conv1d", 1, x, W, b, stride, pad, dilation, groups)


def conv2d(
    x: Any, W: Any, b: Any = None, stride: Sizes = 1, pad: Sizes = 0, dilation: Sizes = 1, groups: int = 1
) -> Variable:
    """Slide a kernel over pictures: x (n, c, h, w), W (o, c / groups, kh, kw), b (o,) to (n, o, oh, ow).

    y[n, o, i, j] = b[o] + Σ W[o, c, k, l] x[n, c, i s + k d - p, j s + l d - p] over c, k, l, with stride s, dilation
    d, and zeros where x ends; oh and ow are `get_conv_outsize`. Output channels see the input channels of their own
    group only, one of `groups` equal parts. Stride, padding and dilation are integers or pairs.
    """
    return _convolution("conv2d", 2, x, W, b, stride, pad, dilation, groups)


def conv3d(
    x: Any, W: Any, b: Any = None, stride: Sizes = 1, pad: Sizes = 0, dilation: Sizes = 1, groups: int = 1
) -> Variable:
    """Do as `conv2d` along three axes."""
    return _convolution("conv3d", 3, x, W, b, stride, pad, dilation, groups)


def deconv1d(
    x: Any, W: Any, b: Any = None, stride: Sizes = 1, pad: Sizes = 0, outsize: Sizes | None = None,
    dilation: Sizes = 1, groups: int = 1,
) -> Variable:  # fmt: skip
    """Do as `deconv2d` along one axis."""
    return _deconvolution("deconv1d", 1, x, W, b, stride, pad, outsize, dilation, groups)


def deconv2d(
    x: Any, W: Any, b: Any = None, stride: Sizes = 1, pad: Sizes = 0, outsize: Sizes | None = None,
    dilation: Sizes = 1, groups: int = 1,
) -> Variable:  # fmt: skip
    """Apply the transpose of `conv2d`: x (n, c, h, w), W (c, o / groups, kh, kw), b (o,) to (n, o, oh, ow).

    Every element of x adds the kernel, times itself, to the output (Zeiler et al., Deconvolutional Networks, 2010). A
    convolution with these settings makes the size of x of several sizes where the stride is not 1; the output has the
    least one, `get_deconv_outsize`, or `outsize`.
    """
    return _deconvolution("deconv2d", 2, x, W, b, stride, pad, outsize, dilation, groups)


def deconv3d(
    x: Any, W: Any, b: Any = None, stride: Sizes = 1, pad: Sizes = 0, outsize: Sizes | None = None,
    dilation: Sizes = 1, groups: int = 1,
) -> Variable:  # fmt: skip
    """Do as `deconv2d` along three axes."""
    return _deconvolution("deconv3d", 3, x, W, b, stride, pad, outsize, dilation, groups)


def _convolution(
    name: str, rank: int, x: Any, W: Any, b: Any, stride: Sizes, pad: Sizes, dilation: Sizes, groups: int
) -> Variable:
    xs = _operands(name, rank, groups, x, W, b)
    x, W = xs[:2]
    if x.shape[1] != W.shape[1] * groups:
        raise ValueError(
            f"{name}: x has {x.shape[1]} channels {x.shape}, and W {W.shape} with groups={groups} is for "
            f"{W.shape[1] * groups}"
        )
    _check_bias(name, b, W.shape[0], xs)
    geometry = Geometry(x.shape[2:], W.shape[2:], *steps(rank, stride, pad, dilation), groups)
    return _convolve(x, W, geometry) if b is None else _convolve_biased(*xs, geometry)


def _deconvolution(
    name: str, rank: int, x: Any, W: Any, b: Any, stride: Sizes, pad: Sizes, outsize: Sizes | None, dilation: Sizes,
    groups: int,
) -> Variable:  # fmt: skip
    xs = _operands(name, rank, groups, x, W, b)
    x, W = xs[:2]
    if x.shape[1] != W.shape[0]:
        raise ValueError(f"{name}: x has {x.shape[1]} channels {x.shape}, and W {W.shape} is for {W.shape[0]}")
    _check_bias(name, b, W.shape[1] * groups, xs)
    moves = steps(rank, stride, pad, dilation)
    spatial = _spatial(name, outsize, x.shape[2:], W.shape[2:], *moves)
    geometry = Geometry(spatial, W.shape[2:], *moves, groups)
    return _convolve_input(x, W, geometry) if b is None else _deconv(*xs, geometry)


def _operands(name: str, rank: int, groups: int, x: Any, W: Any, b: Any) -> list[Variable]:
    """Return x, W and, if there is one, b, as Variables of one dtype, with the axes that they must have."""
    x = as_variable(x, W.backend if isinstance(W, Variable) else None)
    xs = [x, as_variable(W, x.backend), *([] if b is None else [as_variable(b, x.backend)])]
    for what, each, axes in (("x", x, "n, channels"), ("W", xs[1], "channels, channels / groups")):
        if each.ndim != 2 + rank:
            raise ValueError(f"{name}: {what} has shape {each.shape}; it must be ({axes}, and {rank} spatial axes)")
    if 0 in (*x.shape[1:], *xs[1].shape):
        raise ValueError(f"{name}: x has shape {x.shape} and W {xs[1].shape}; nothing but the batch may be empty")
    if isinstance(groups, bool) or not hasattr(groups, "__index__") or groups < 1 or xs[1].shape[0] % groups:
        raise ValueError(f"{name}: groups={groups!r} must be a positive integer that divides {xs[1].shape[0]}, "
                         f"the first axis of W {xs[1].shape}")  # fmt: skip
    if any(each.dtype != x.dtype for each in xs):
        common = x.backend.xp.result_type(*[each.dtype for each in xs])
        xs = [astype(each, common) for each in xs]
    return xs


def _check_bias(name: str, b: Any, channels: int, xs: list[Variable]) -> None:
    if b is not None and xs[2].shape != (channels,):
        raise ValueError(f"{name}: b has shape {xs[2].shape}; it must be ({channels},), a number for each channel of y")


def _spatial(
    name: str, outsize: Sizes | None, windows: Shape, size: Shape, stride: Shape, pad: Shape, dilation: Shape
) -> Shape:
    """Return the spatial shape that a deconvolution makes, if there is one with so many windows."""
    if outsize is None:
        return in_sizes(windows, size, stride, pad, dilation)
    wanted = spread("outsize", outsize, len(size))
    least = [s * (n - 1) + d * (k - 1) + 1 - 2 * p
             for n, k, s, p, d in zip(windows, size, stride, pad, dilation, strict=True)]  # fmt: skip
    for axis, (n, low, s) in enumerate(zip(wanted, least, stride, strict=True)):
        if not low <= n < low + s:
            raise ValueError(
                f"{name}: outsize={outsize!r} must be {f'from {max(low, 1)} to {low + s - 1}' if s > 1 else low} along "
                f"spatial axis {axis}; it is of these that a convolution makes {windows[axis]}"
            )
    return wanted
