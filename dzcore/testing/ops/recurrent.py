"""Recurrent networks, from their formulas."""

from collections.abc import Callable
from typing import Any

from .table import R, op

Step = Callable[..., tuple[Any, ...]]


def _sigmoid(xp: Any, x: Any) -> Any:
    return 1 / (1 + xp.exp(-x))


def _gates(x: Any, count: int) -> list[Any]:
    width = x.shape[-1] // count
    return [x[..., k * width : (k + 1) * width] for k in range(count)]


def _rnn_step(xp: Any, a: Any, hU: Any, h: Any) -> tuple[Any, ...]:
    return (xp.tanh(a + hU),)


def _lstm_step(xp: Any, a: Any, hU: Any, h: Any, c: Any) -> tuple[Any, ...]:
    f, i, o, u = _gates(a + hU, 4)
    c = _sigmoid(xp, f) * c + _sigmoid(xp, i) * xp.tanh(u)
    return _sigmoid(xp, o) * xp.tanh(c), c


def _gru_step(xp: Any, a: Any, hU: Any, h: Any) -> tuple[Any, ...]:
    (ar, az, an), (hr, hz, hn) = _gates(a, 3), _gates(hU, 3)
    z = _sigmoid(xp, az + hz)
    return ((1 - z) * xp.tanh(an + _sigmoid(xp, ar + hr) * hn) + z * h,)


def _sequence(xp: Any, step: Step, x: Any, W: Any, b: Any, U: Any, d: Any, *state: Any) -> list[Any]:
    """Return every h, and the other parts of the last state."""
    hs = []
    for t in range(x.shape[0]):
        state = step(xp, xp.matmul(x[t, ...], W) + b, xp.matmul(state[0], U) + d, *state)
        hs.append(state[0])
    return [xp.stack(hs), *state[1:]]


for _steps in (1, 3):
    _x = R(_steps, 2, 4)
    op("rnn", _x, R(4, 3), R(3), R(3, 3), R(2, 3), label=f"steps={_steps}",
       reference=lambda xp, x, W, b, U, h: _sequence(xp, _rnn_step, x, W, b, U, 0, h)[0])  # fmt: skip
    op("gru", _x, R(4, 9), R(9), R(3, 9), R(9), R(2, 3), label=f"steps={_steps}",
       reference=lambda xp, *xs: _sequence(xp, _gru_step, *xs)[0])  # fmt: skip
    for _part, _name in enumerate(("h", "c")):
        op("lstm", _x, R(4, 12), R(12), R(3, 12), R(2, 3), R(2, 3), label=f"{_name},steps={_steps}",
           call=lambda xp, *xs, k=_part: xp.lstm(*xs)[k],
           reference=lambda xp, *xs, k=_part: _sequence(xp, _lstm_step, *xs[:4], 0, *xs[4:])[k])  # fmt: skip
