"""Convolutions and pooling. The references are loops over the elements of the result, in another order than ours."""

from itertools import product
from math import prod
from typing import Any

from .table import R, op

Shape = tuple[int, ...]


def _settings(rank: int, *sizes: Any) -> list[Shape]:
    return [(size,) * rank if isinstance(size, int) else tuple(size) for size in sizes]


def _window(x: Any, at: Shape, size: Shape, stride: Shape, pad: Shape, dilation: Shape) -> list[tuple[Shape, Shape]]:
    """Return the places of one window that are inside of x (..., *spatial), in the window and in x."""
    places = []
    for k in product(*map(range, size)):
        i = tuple(a * s + d * each - p for a, s, d, each, p in zip(at, stride, dilation, k, pad, strict=True))
        if all(0 <= each < n for each, n in zip(i, x.shape[-len(size) :], strict=True)):
            places.append((k, i))
    return places


def _count(n: int, k: int, s: int, p: int, d: int, ceil: bool = False) -> int:
    """Count windows by laying them down one after another."""
    count = 0
    while count * s + d * (k - 1) < n + 2 * p:
        count += 1
    if ceil and (count - 1) * s + k < n + 2 * p and count * s < n + p:
        count += 1
    return count


def _out(x: Any, size: Shape, moves: list[Shape], ceil: bool = False) -> Shape:
    each = zip(x.shape[2:], size, *moves, strict=True)
    return tuple(_count(n, k, s, p, d, ceil) for n, k, s, p, d in each)


def _conv(
    xp: Any, x: Any, W: Any, b: Any = None, stride: Any = 1, pad: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    size = W.shape[2:]
    moves = _settings(len(size), stride, pad, dilation)
    out = _out(x, size, moves)
    y = xp.zeros((x.shape[0], W.shape[0], *out))
    per = W.shape[0] // groups
    for o, at in product(range(W.shape[0]), product(*map(range, out))):
        first = o // per * W.shape[1]
        for k, i in _window(x, at, size, *moves):
            y[(slice(None), o, *at)] += x[(slice(None), slice(first, first + W.shape[1]), *i)] @ W[(o, slice(None), *k)]
        if b is not None:
            y[(slice(None), o, *at)] += b[o]
    return y


def _deconv(
    xp: Any, x: Any, W: Any, b: Any = None, stride: Any = 1, pad: Any = 0, outsize: Any = None, dilation: Any = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    size = W.shape[2:]
    stride, pad, dilation = moves = _settings(len(size), stride, pad, dilation)
    each = zip(x.shape[2:], size, stride, pad, dilation, strict=True)
    least = tuple((n - 1) * s + d * (k - 1) + 1 - 2 * p for n, k, s, p, d in each)
    spatial = least if outsize is None else _settings(len(size), outsize)[0]
    y = xp.zeros((x.shape[0], W.shape[1] * groups, *spatial))
    per = x.shape[1] // groups
    for c, at in product(range(x.shape[1]), product(*map(range, x.shape[2:]))):
        first = c // per * W.shape[1]
        for k, i in _window(y, at, size, *moves):
            here = (slice(None), slice(first, first + W.shape[1]), *i)
            y[here] += x[(slice(None), c, *at)][:, None] * W[(c, slice(None), *k)]
    return y if b is None else y + b.reshape(-1, *[1] * len(size))


def _pool(
    xp: Any, x: Any, kernel_size: Any, stride: Any = 1, pad: Any = 0, ceil_mode: bool = False, average: bool = False
) -> Any:
    size, *moves = _settings(x.ndim - 2, kernel_size, stride, pad, 1)
    out = _out(x, size, moves, ceil_mode)
    y = xp.zeros((*x.shape[:2], *out))
    for at in product(*map(range, out)):
        elements = [x[(slice(None), slice(None), *i)] for _, i in _window(x, at, size, *moves)]
        each = zip(at, size, moves[0], moves[1], x.shape[2:], strict=True)
        inside = [range(n + 2 * p)[a * s : a * s + k] for a, k, s, p, n in each]
        y[(slice(None), slice(None), *at)] = (
            sum(elements) / prod(map(len, inside)) if average else xp.max(xp.stack(elements), axis=0)
        )
    return y


def _columns(xp: Any, x: Any, kernel_size: Any, stride: Any = 1, pad: Any = 0, to_matrix: bool = True) -> Any:
    size, *moves = _settings(x.ndim - 2, kernel_size, stride, pad, 1)
    out = _out(x, size, moves)
    y = xp.zeros((*x.shape[:2], *size, *out))
    for at in product(*map(range, out)):
        for k, i in _window(x, at, size, *moves):
            y[(slice(None), slice(None), *k, *at)] = x[(slice(None), slice(None), *i)]
    return _rows(xp, y, x.ndim - 2) if to_matrix else y


def _rows(xp: Any, columns: Any, rank: int) -> Any:
    last = range(2, 2 + rank)
    moved = xp.moveaxis(columns, [k + rank for k in last], [k - 1 for k in last])
    return moved.reshape(prod(moved.shape[: 1 + rank]), prod(moved.shape[1 + rank :]))


def _sums(
    xp: Any, x: Any, input_shape: Shape, kernel_size: Any, stride: Any = 1, pad: Any = 0, to_matrix: bool = True
) -> Any:
    """Add up by the transpose: the windows of the numbers of the places of x say where each element goes."""
    places = xp.arange(1, 1 + prod(input_shape)).reshape(input_shape)
    where = _columns(xp, places, kernel_size, stride, pad, to_matrix).astype("int64")
    return xp.bincount(where.ravel(), x.ravel(), 1 + prod(input_shape))[1:].reshape(input_shape)


def _both(name: str, reference: Any, *inputs: Any, label: str, **settings: Any) -> None:
    op(name, *inputs, label=label, reference=lambda xp, *xs: reference(xp, *xs, **settings), **settings)


# Convolutions ---------------------------------------------------------------------------------------------------------

_CONV2D: dict[str, tuple[Shape, Shape, bool, dict[str, Any]]] = {
    "plain": ((2, 3, 5, 4), (4, 3, 3, 2), False, {}),
    "bias": ((2, 3, 5, 4), (4, 3, 3, 2), True, {}),
    "stride,pad": ((2, 2, 6, 7), (3, 2, 3, 2), True, {"stride": (2, 3), "pad": (1, 2)}),
    "leftover": ((1, 2, 8, 7), (2, 2, 2, 3), False, {"stride": (4, 3)}),
    "gaps": ((1, 2, 7, 5), (2, 2, 1, 2), False, {"stride": 3}),
    "dilation": ((1, 2, 7, 6), (2, 2, 3, 2), True, {"dilation": (2, 3), "pad": (2, 0), "stride": (1, 2)}),
    "groups": ((2, 4, 4, 3), (6, 2, 2, 2), True, {"groups": 2, "pad": 1, "stride": (1, 2)}),
    "depthwise": ((1, 3, 4, 4), (6, 1, 2, 3), False, {"groups": 3}),
    "1x1": ((2, 3, 3, 2), (2, 3, 1, 1), True, {}),
    "1x1,stride": ((2, 3, 3, 4), (2, 3, 1, 1), False, {"stride": 2}),
    "wide-pad": ((1, 1, 2, 2), (1, 1, 2, 3), False, {"pad": (3, 2), "stride": 2}),
}
for _label, (_x, _W, _biased, _options) in _CONV2D.items():
    _both("conv2d", _conv, R(*_x), R(*_W), *([R(_W[0])] if _biased else []), label=_label, **_options)
_both("conv1d", _conv, R(2, 3, 7), R(4, 3, 3), R(4), label="bias", stride=2, pad=1)
_both("conv1d", _conv, R(1, 4, 6), R(4, 2, 2), label="groups", dilation=2, groups=2)
_both("conv3d", _conv, R(1, 2, 3, 4, 3), R(2, 2, 2, 3, 1), R(2), label="bias", stride=(1, 2, 1), pad=(1, 0, 1))
_both("conv3d", _conv, R(1, 2, 3, 2, 4), R(2, 1, 2, 1, 2), label="groups", dilation=(1, 1, 2), groups=2)

_DECONV2D: dict[str, tuple[Shape, Shape, int, dict[str, Any]]] = {
    "plain": ((2, 3, 3, 2), (3, 2, 3, 2), 0, {}),
    "bias": ((2, 3, 3, 2), (3, 2, 3, 2), 2, {}),
    "stride,pad": ((1, 2, 3, 4), (2, 3, 3, 2), 3, {"stride": (2, 3), "pad": (1, 0)}),
    "outsize": ((1, 2, 3, 2), (2, 2, 2, 3), 2, {"stride": (2, 3), "pad": (0, 1), "outsize": (7, 5)}),
    "dilation": ((1, 2, 2, 3), (2, 2, 3, 2), 0, {"dilation": (2, 3), "pad": (2, 1), "stride": 2}),
    "groups": ((2, 4, 2, 3), (4, 3, 2, 2), 6, {"groups": 2, "stride": (1, 2)}),
    "gaps": ((1, 1, 3, 2), (1, 2, 1, 2), 0, {"stride": 3, "outsize": (9, 7)}),
}
for _label, (_x, _W, _biases, _options) in _DECONV2D.items():
    _both("deconv2d", _deconv, R(*_x), R(*_W), *([R(_biases)] if _biases else []), label=_label, **_options)
_both("deconv1d", _deconv, R(2, 3, 4), R(3, 2, 3), R(2), label="bias", stride=2, pad=1, outsize=8)
_both("deconv1d", _deconv, R(1, 2, 4), R(2, 2, 2), label="groups", groups=2, dilation=2)
_both("deconv3d", _deconv, R(1, 2, 2, 3, 2), R(2, 1, 2, 1, 3), R(1), label="bias", stride=(2, 1, 1), pad=(0, 0, 1))

# Pooling --------------------------------------------------------------------------------------------------------------

_POOL: dict[str, tuple[Shape, dict[str, Any]]] = {
    "plain": ((2, 3, 4, 5), {"kernel_size": 2}),
    "oblong": ((2, 2, 5, 6), {"kernel_size": (3, 2), "stride": (2, 3)}),
    "pad": ((1, 2, 5, 4), {"kernel_size": (3, 4), "stride": (2, 1), "pad": (1, 2)}),
    "leftover": ((1, 2, 6, 5), {"kernel_size": 2, "stride": (3, 4)}),
    "gaps": ((1, 2, 6, 5), {"kernel_size": 1, "stride": 2}),
    "ceil": ((1, 2, 6, 5), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "ceil,pad": ((1, 1, 6, 8), {"kernel_size": (3, 2), "stride": (2, 4), "pad": (1, 0), "ceil_mode": True}),
    "ceil,dropped": ((1, 1, 4, 7), {"kernel_size": 2, "stride": 3, "pad": 1, "ceil_mode": True}),
    "1d": ((2, 2, 7), {"kernel_size": 3, "stride": 2, "pad": 1}),
    "3d": ((1, 2, 3, 4, 2), {"kernel_size": (2, 3, 1), "stride": (1, 2, 1), "pad": (1, 0, 0)}),
}
for _label, (_x, _options) in _POOL.items():
    _both("pooling", _pool, R(*_x), label=_label, **_options)
    op("average_pooling", R(*_x), label=_label, **_options,
       reference=lambda xp, x, options=_options: _pool(xp, x, **options, average=True))  # fmt: skip
op("global_average_pooling", R(2, 3, 4, 2), reference=lambda xp, x: xp.mean(x, axis=(2, 3)))
op("global_average_pooling", R(2, 3, 5), label="1d", reference=lambda xp, x: xp.mean(x, axis=2))

# Windows --------------------------------------------------------------------------------------------------------------

_WINDOWS: dict[str, tuple[Shape, Shape, Shape, dict[str, Any]]] = {  #: and the shapes of the windows, both ways
    "plain": ((2, 3, 4, 3), (16, 18), (2, 3, 3, 2, 2, 4), {"kernel_size": (3, 2), "pad": (0, 1), "stride": (1, 1)}),
    "stride": ((1, 2, 5, 6), (6, 12), (1, 2, 2, 3, 2, 3), {"kernel_size": (2, 3), "pad": (0, 1), "stride": (3, 2)}),
    "1d": ((2, 2, 5), (4, 6), (2, 2, 3, 2), {"kernel_size": 3, "stride": 2}),
}
for _label, (_x, _matrix, _apart, _options) in _WINDOWS.items():
    for _shape, _to_matrix in ((_matrix, True), (_apart, False)):
        _more = {**_options, "to_matrix": _to_matrix}
        _name = f"{_label},{'matrix' if _to_matrix else 'apart'}"
        _both("im2col", _columns, R(*_x), label=_name, **_more)
        _both("col2im", _sums, R(*_shape), label=_name, input_shape=_x, **_more)
