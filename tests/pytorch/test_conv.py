"""Convolutions and pooling against PyTorch, over a grid of geometries: values, first and second derivatives."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable
from dzcore.layers.conv import _Kernels

from .compare import assert_same, assert_same_gradients, compare, draw, same_weights, tensor, torch

RTOL = 1e-9
SIZES = {1: (9,), 2: (9, 7), 3: (5, 4, 6)}


def second(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray) -> None:
    """Compare the gradients of a nonlinear function of the gradients."""
    xs, ts = [Variable(a.copy()) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*xs), theirs(*ts)
    g = draw(*y.shape, seed=7)
    first = dzcore.grad((y * y * g).sum(), xs, create_graph=True)
    torch_first = torch.autograd.grad((z * z * torch.tensor(g)).sum(), ts, create_graph=True)
    total = sum((u * u * draw(*u.shape, seed=8)).sum() for u in first)
    torch_total = sum((u * u * torch.tensor(draw(*u.shape, seed=8))).sum() for u in torch_first)
    for a, b in zip(dzcore.grad(total, xs), torch.autograd.grad(torch_total, ts), strict=True):
        assert_same(a, b, RTOL)


def geometries(rank: int) -> list[tuple[Any, ...]]:
    """Kernel, stride, padding, dilation, groups: all combinations along one axis, chosen ones along several."""
    if rank == 1:
        return list(product((1, 3), (1, 3), (0, 2), (1, 2), (1, 2)))
    pairs: list[tuple[Any, ...]] = [
        (3, 1, 1, 1, 1), (3, 2, 1, 1, 1), ((3, 2), 1, (1, 0), 1, 2), ((1, 4), (2, 3), (0, 2), 1, 1), (1, 1, 0, 1, 2),
        (1, 2, 0, 1, 1), ((2, 3), (3, 1), (2, 1), (2, 1), 2), (2, (4, 3), 0, (1, 3), 4), ((5, 3), 2, 2, (2, 1), 1),
    ]  # fmt: skip
    return pairs if rank == 2 else [(p if i < 4 and isinstance(p, int) else (*p, 1) if i < 4 else p for i, p in
                                     enumerate(case)) for case in pairs[:6]]  # fmt: skip


CASES = [(rank, *geometry) for rank in (1, 2, 3) for geometry in geometries(rank)]


@pytest.mark.parametrize(("rank", "size", "stride", "pad", "dilation", "groups"), CASES)
def test_convolution(rank: int, size: Any, stride: Any, pad: Any, dilation: Any, groups: int) -> None:
    size = (size,) * rank if isinstance(size, int) else size
    x, W, b = draw(2, 4, *SIZES[rank]), draw(8, 4 // groups, *size, seed=1), draw(8, seed=2)
    f, t = getattr(F, f"conv{rank}d"), getattr(torch.nn.functional, f"conv{rank}d")
    if any(
        n + 2 * p < d * (k - 1) + 1 for n, k, p, d in zip(SIZES[rank], size, *_each(rank, pad, dilation), strict=True)
    ):
        with pytest.raises(ValueError, match="does not fit"):
            f(x, W, b, stride, pad, dilation, groups)
        return
    settings = stride, pad, dilation, groups
    for arrays in ((x, W, b), (x, W)):
        b_less = () if len(arrays) == 3 else (None,)
        both = (lambda *xs, e=b_less: f(*xs, *e, *settings)), (lambda *xs, e=b_less: t(*xs, *e, *settings))
        compare(*both, *arrays, rtol=RTOL)
        second(*both, *arrays)


def _each(rank: int, *sizes: Any) -> list[tuple[int, ...]]:
    return [(size,) * rank if isinstance(size, int) else size for size in sizes]


@pytest.mark.parametrize(("rank", "size", "stride", "pad", "dilation", "groups"), CASES)
def test_transposed_convolution(rank: int, size: Any, stride: Any, pad: Any, dilation: Any, groups: int) -> None:
    """Of all sizes that are possible, the least and the largest."""
    size, stride, pad, dilation = _each(rank, size, stride, pad, dilation)
    shape = tuple(n // 2 + 1 for n in SIZES[rank])
    x, W, b = draw(2, 4, *shape), draw(4, 6 // groups if groups < 4 else 2, *size, seed=1), None
    b = draw(W.shape[1] * groups, seed=2)
    f, t = getattr(F, f"deconv{rank}d"), getattr(torch.nn.functional, f"conv_transpose{rank}d")
    least = [(n - 1) * s + d * (k - 1) + 1 - 2 * p
             for n, k, s, p, d in zip(shape, size, stride, pad, dilation, strict=True)]  # fmt: skip
    for more in ((0,) * rank, tuple(s - 1 for s in stride)):
        if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)):
            continue  # PyTorch refuses
        outsize = tuple(n + m for n, m in zip(least, more, strict=True)) if any(more) else None
        if min(outsize or least) < 1:
            with pytest.raises(ValueError, match=r"nothing is left|outsize"):
                f(x, W, b, stride, pad, outsize, dilation, groups)
            continue
        both = (
            (lambda *xs, o=outsize: f(*xs, stride, pad, o, dilation, groups)),
            (lambda *xs, m=more: t(*xs, stride, pad, m, groups, dilation)),
        )
        compare(*both, x, W, b, rtol=RTOL)
        second(*both, x, W, b)


POOLS = [
    (rank, *case)
    for rank in (1, 2, 3)
    for case in product((2, 3), (1, 2, 3), (0, 1), (False, True))
    if 2 * case[2] <= case[0] and (rank < 3 or case[0] == 3)
]
OBLONG = [(2, (3, 2), (1, 2), (1, 0), False), (2, (2, 4), (3, 2), (0, 2), True), (2, (4, 3), (2, 4), (2, 1), True)]


@pytest.mark.parametrize(("rank", "size", "stride", "pad", "ceil"), [*POOLS, *OBLONG])
def test_pooling(rank: int, size: Any, stride: Any, pad: Any, ceil: bool) -> None:
    x = draw(2, 3, *SIZES[rank])
    repeated = np.round(x * 2)  # full of equal elements
    for f, t in ((F.pooling, f"max_pool{rank}d"), (F.average_pooling, f"avg_pool{rank}d")):
        theirs = getattr(torch.nn.functional, t)
        both = (
            (lambda x, f=f: f(x, size, stride, pad, ceil)),
            (lambda x, t=theirs: t(x, size, stride, pad, ceil_mode=ceil)),
        )
        compare(*both, x, rtol=RTOL)
        compare(*both, repeated, rtol=RTOL)
        second(*both, x)


def test_windows() -> None:
    """`unfold` and `fold` of PyTorch have the rows of ours as columns."""
    x = draw(2, 3, 7, 6)

    def rows(columns: Any) -> Any:
        return columns.permute(0, 2, 1).reshape(-1, columns.shape[1])

    compare(
        lambda x: F.im2col(x, (3, 2), (2, 1), (1, 0)),
        lambda x: rows(torch.nn.functional.unfold(x, (3, 2), padding=(1, 0), stride=(2, 1))),
        x,
    )
    columns = rows(torch.nn.functional.unfold(tensor(x), (3, 2), padding=(1, 0), stride=(2, 1)))
    compare(
        lambda c: F.col2im(c, (2, 3, 7, 6), (3, 2), (2, 1), (1, 0)),
        lambda c: torch.nn.functional.fold(
            c.reshape(2, -1, 18).permute(0, 2, 1), (7, 6), (3, 2), padding=(1, 0), stride=(2, 1)
        ),
        draw(*columns.shape, seed=3),
    )


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "Conv3d", "Deconv1d", "Deconv2d", "Deconv3d"])
@pytest.mark.parametrize("nobias", [False, True])
def test_layers(name: str, nobias: bool) -> None:
    rank = int(name[-2])
    module = getattr(torch.nn, name.replace("Deconv", "ConvTranspose"))(
        4, 6, 3, stride=2, padding=1, dilation=1, groups=2, bias=not nobias, dtype=torch.float64
    )
    layer: _Kernels = getattr(L, name)(6, 3, 2, 1, nobias, "float64", dilation=1, groups=2)
    x = draw(2, 4, *SIZES[rank])
    layer(Variable(x))
    names = {"W": "weight"} if nobias else {"W": "weight", "b": "bias"}
    same_weights(layer, module, names)
    ours, theirs = layer(Variable(x)), module(torch.tensor(x))
    assert_same(ours, theirs, RTOL)
    (ours * ours).sum().backward()
    (theirs * theirs).sum().backward()
    assert_same_gradients(layer, module, names, rtol=RTOL)


@pytest.mark.parametrize(
    ("layer", "module"),
    [
        (L.Pool(3, 2, 1), torch.nn.MaxPool2d(3, 2, 1)),
        (L.Pool((2, 3), 2, ceil_mode=True), torch.nn.MaxPool2d((2, 3), 2, ceil_mode=True)),
        (L.AveragePool(3, 2, 1), torch.nn.AvgPool2d(3, 2, 1)),
        (L.GlobalAveragePool(), torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())),
        (L.Flatten(), torch.nn.Flatten()),
    ],
    ids=["Pool", "Pool-ceil", "AveragePool", "GlobalAveragePool", "Flatten"],
)
def test_layers_without_weights(layer: L.Layer, module: Any) -> None:
    compare(layer, module, draw(2, 3, 8, 8), rtol=RTOL)


def test_a_network_in_float32() -> None:
    """Convolution, pooling and a linear layer, in the precision that networks are trained in."""
    x = draw(8, 3, 12, 12).astype("f4")
    W1, W2 = draw(6, 3, 3, 3, seed=1).astype("f4"), draw(8, 6, 5, 5, seed=2).astype("f4")

    def ours(x: Any, W1: Any, W2: Any) -> Any:
        h = F.pooling(F.tanh(F.conv2d(x, W1, None, 1, 1)), 3, 2, 1)
        return F.global_average_pooling(F.average_pooling(F.conv2d(h, W2, None, 1, 2), 2, 2))

    def theirs(x: Any, W1: Any, W2: Any) -> Any:
        f = torch.nn.functional
        h = f.max_pool2d(torch.tanh(f.conv2d(x, W1, None, 1, 1)), 3, 2, 1)
        return f.avg_pool2d(f.conv2d(h, W2, None, 1, 2), 2, 2).mean((2, 3))

    compare(ours, theirs, x, W1, W2, rtol=1e-5)
