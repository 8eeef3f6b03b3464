"""Normalization and embedding."""

from typing import Any

from ...graph import test_mode
from .table import I, P, R, op


def _normalized(xp: Any, x: Any, axes: tuple[int, ...], eps: float) -> Any:
    d = x - xp.mean(x, axis=axes, keepdims=True)
    return d / xp.sqrt(xp.mean(d**2, axis=axes, keepdims=True) + eps)


def _batch_norm(xp: Any, x: Any, gamma: Any, beta: Any) -> Any:
    """Train, from running statistics that are there for this call only."""
    return xp.batch_norm(x, gamma, beta, xp.zeros_like(gamma), xp.ones_like(gamma))


def _tested(xp: Any, *inputs: Any) -> Any:
    with test_mode():
        return xp.batch_norm(*inputs)


def _wide(xp: Any, x: Any, *channels: Any) -> Any:
    """Return arrays (c,) with the axes that broadcast them against x (n, c, …)."""
    return [xp.reshape(each, (-1, *[1] * (x.ndim - 2))) for each in channels]


def _batch_reference(xp: Any, x: Any, *channels: Any) -> Any:
    gamma, beta = _wide(xp, x, *channels)
    return gamma * _normalized(xp, x, (0, *range(2, x.ndim)), 2e-5) + beta


def _tested_reference(xp: Any, x: Any, *channels: Any) -> Any:
    gamma, beta, mean, var = _wide(xp, x, *channels)
    return gamma * (x - mean) / xp.sqrt(var + 2e-5) + beta


def _group_reference(xp: Any, x: Any, *channels: Any) -> Any:
    gamma, beta = _wide(xp, x, *channels)
    grouped = xp.reshape(x, (x.shape[0], 2, x.shape[1] // 2, *x.shape[2:]))
    return gamma * xp.reshape(_normalized(xp, grouped, tuple(range(2, grouped.ndim)), 1e-5), x.shape) + beta


for _shape in ((5, 3), (2, 3, 4), (2, 3, 2, 2)):
    _label = f"{len(_shape)}d"
    op("batch_norm", R(*_shape), R(3), R(3), label=_label, call=_batch_norm, reference=_batch_reference)
    op("batch_norm", R(*_shape), R(3), R(3), R(3), P(3), label=f"{_label},test", call=_tested,
       reference=_tested_reference)  # fmt: skip
op("layer_norm", R(3, 4), R(4), R(4), label="last",
   reference=lambda xp, x, gamma, beta: gamma * _normalized(xp, x, (-1,), 1e-5) + beta)  # fmt: skip
op("layer_norm", R(2, 3, 4), R(3, 4), R(3, 4), label="two", call=lambda xp, *xs: xp.layer_norm(*xs, eps=1e-3),
   reference=lambda xp, x, gamma, beta: gamma * _normalized(xp, x, (-2, -1), 1e-3) + beta)  # fmt: skip
for _shape in ((3, 4), (2, 4, 3), (2, 4, 2, 2)):
    op("group_norm", R(*_shape), R(4), R(4), label=f"{len(_shape)}d", reference=_group_reference,
       call=lambda xp, x, gamma, beta: xp.group_norm(x, 2, gamma, beta))  # fmt: skip

op("embed_id", I(5), R(3, 4), reference=lambda xp, i, W: W[i])
op("embed_id", I(2, 4), R(3), label="2d", reference=lambda xp, i, W: W[i])
