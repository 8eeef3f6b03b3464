"""Recurrent networks over whole sequences, each one node of the graph, with their gradients.

The inputs of all steps pass through one product, a = x W + b. A step is a product with the matrix U of the state, and a
*cell*: two elementwise formulas, from which a backend makes a loop each. The first makes of the gates' columns and of
the old state the new state and whatever else the second will want to see again; that one makes of the gradient of the
new state those of the columns and of the old state. What the first made is kept, so that the backward pass computes
nothing twice. Only where derivatives of the derivative are wanted, it is made anew of Variables, for there it is a
function of the inputs.

The gradients of the matrices are one product each at the end. Between the products lie two loops over the steps, each
of which a backend may have in one piece (`steps_ahead`, `steps_back`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..graph import Variable, as_variable, rule
from ..graph.rule import extension
from .shape import astype

__all__ = ["gru", "lstm", "rnn"]

Arrays = Sequence[Any]
Formula = Callable[..., tuple[Any, ...]]


class Cell(NamedTuple):
    """One step, for all elements of the state alike. The letters in its formulas are those of the functions below."""

    gates: int
    parts: int  #: of the state
    #: From the gates' columns of a, of h U and of the bias, and the old state: the new state, and what is kept.
    ahead: Formula
    makes: int  #: how many results that has
    #: From these results, the old state, the gradient of h' in two parts, and that of c': the gradients of the gates'
    #: columns of a, of those of h U where they differ, and of the old state as far as it is not in the product.
    back: Formula
    reset: bool = False  #: whether they differ
    direct: int = 0  #: how many parts of the old state have a gradient outside of the product


# The cells -----------------------------------------------------------------------------------------------------------


def _rnn_ahead(xp: Any, a: Any, hU: Any, h: Any) -> tuple[Any, ...]:
    return (xp.tanh(a + hU),)


def _rnn_back(xp: Any, new: Any, h: Any, gy: Any, gh: Any) -> tuple[Any, ...]:
    return ((gy + gh) * (1.0 - new * new),)


def _lstm_ahead(
    xp: Any, af: Any, ai: Any, ao: Any, au: Any, hUf: Any, hUi: Any, hUo: Any, hUu: Any, h: Any, c: Any
) -> tuple[Any, ...]:
    f, i, o, u = xp.sigmoid(af + hUf), xp.sigmoid(ai + hUi), xp.sigmoid(ao + hUo), xp.tanh(au + hUu)
    c = f * c + i * u
    t = xp.tanh(c)
    return o * t, c, f, i, o, u, t


def _lstm_back(
    xp: Any, new: Any, newc: Any, f: Any, i: Any, o: Any, u: Any, t: Any, h: Any, c: Any, gy: Any, gh: Any, gc: Any
) -> tuple[Any, ...]:
    gh = gy + gh
    gc = gc + gh * o * (1.0 - t * t)
    return (
        gc * c * (f * (1.0 - f)), gc * u * (i * (1.0 - i)), gh * t * (o * (1.0 - o)), gc * i * (1.0 - u * u), gc * f
    )  # fmt: skip


def _gru_ahead(
    xp: Any, ar: Any, az: Any, an: Any, hUr: Any, hUz: Any, hUn: Any, dr: Any, dz: Any, dn: Any, h: Any
) -> tuple[Any, ...]:
    r, z, s = xp.sigmoid(ar + (hUr + dr)), xp.sigmoid(az + (hUz + dz)), hUn + dn
    n = xp.tanh(an + r * s)
    return n + z * (h - n), r, z, n, s


def _gru_back(xp: Any, new: Any, r: Any, z: Any, n: Any, s: Any, h: Any, gy: Any, gh: Any) -> tuple[Any, ...]:
    gh = gy + gh
    gn = gh * (1.0 - z) * (1.0 - n * n)
    gr, gz = gn * s * (r * (1.0 - r)), gh * (h - n) * (z * (1.0 - z))
    return gr, gz, gn, gr, gz, gn * r, gh * z


RNN = Cell(1, 1, _rnn_ahead, 1, _rnn_back)
LSTM = Cell(4, 2, _lstm_ahead, 7, _lstm_back, direct=1)
GRU = Cell(3, 1, _gru_ahead, 5, _gru_back, reset=True, direct=1)


# All steps -----------------------------------------------------------------------------------------------------------


def _columns(cell: Cell, x: Any) -> list[Any]:
    """Return the columns of each gate."""
    width = x.shape[-1] // cell.gates
    return [x[..., k * width : (k + 1) * width] for k in range(cell.gates)]


@extension
def _steps_ahead(xp: Any, cell: Cell, a: Any, b: Any, U: Any, d: Arrays, state: Arrays) -> tuple[Any, Arrays]:
    """Take all steps from a = x W (steps, n, gates · hidden) and the state, each part of which is (n, hidden).

    Return (1 + steps + others, n, hidden), every h from the first state's on and, below, the other parts of the last
    state; and for `steps_back` whatever the cell makes: `kept[k][t]` is result k of step t. Of what belongs to the
    state, `kept[k][0]` is the first state, and the results are one place further.
    """
    parts = cell.parts
    bias = [column for each in d for column in _columns(cell, each)]
    kept = [[part] for part in state] + [[] for _ in range(cell.makes - parts)]
    for columns in zip(*[xp.unstack(column) for column in _columns(cell, a + b)], strict=True):
        old = [part[-1] for part in kept[:parts]]
        hU = xp.matmul(old[0], U)
        results = xp.fused(cell.ahead, *columns, *_columns(cell, hU), *bias, *old)
        for values, result in zip(kept, results, strict=True):
            values.append(result)
    return xp.stack([*kept[0], *[part[-1] for part in kept[1:parts]]]), tuple([tuple(values) for values in kept])


@extension
def _steps_back(xp: Any, cell: Cell, gy: Any, U: Any, kept: Arrays) -> tuple[Any, Any, Arrays]:
    """Go back through all steps, from what `steps_ahead` kept and the gradient of its h' and of the last state below.

    Return the gradients of a + b and of h U, both (steps, n, gates · hidden) and one array where they are the same,
    and those of the parts of the first state.
    """
    k, parts = cell.gates, cell.parts
    gys = xp.unstack(gy)
    steps = len(gys) - parts + 1
    gstate = [xp.zeros_like(gys[0]), *gys[steps:]]
    rows: list[Any] = []
    hrows: list[Any] = []
    for t in reversed(range(steps)):
        made = [*[part[t + 1] for part in kept[:parts]], *[values[t] for values in kept[parts:]]]
        results = xp.fused(cell.back, *made, *[part[t] for part in kept[:parts]], gys[t], *gstate)
        rows.append(xp.concat(results[:k], axis=-1))
        if cell.reset:
            hrows.append(xp.concat(results[k : 2 * k], axis=-1))
        gh = xp.matmul((hrows or rows)[-1], U.T)
        direct = results[len(results) - cell.direct :]
        gstate = [gh + direct[0]] if cell.reset else [gh, *direct]
    ga = xp.stack(rows[::-1])
    return ga, xp.stack(hrows[::-1]) if cell.reset else ga, tuple(gstate)


def _states(xp: Any, cell: Cell, x: Any, W: Any, b: Any, U: Any, d: Arrays, state: Arrays, known: list[Any]) -> Any:
    """Return every h' and, below, the other parts of the last state; put into `known` what `steps_ahead` returns."""
    steps, n, size = x.shape
    a = xp.reshape(xp.matmul(xp.reshape(x, (steps * n, size)), W), (steps, n, W.shape[1]))
    known += xp.steps_ahead(cell, a, b, U, d, state)
    return known[0][1:, ...]


def _back(
    xp: Any, cell: Cell, gy: Any, x: Any, W: Any, b: Any, U: Any, d: Arrays, state: Arrays, known: list[Any],
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    """Return the gradients of x, W, b, U, d and the state, from that of `_states`."""
    if isinstance(gy, Variable):
        _states(xp, cell, x, W, b, U, d, state, known := [])
    states, kept = known
    ga, ghU, gstate = xp.steps_back(cell, gy, U, kept)
    steps, n, size = x.shape
    hidden, width = U.shape
    ga, ghU = (xp.reshape(each, (steps * n, width)) for each in (ga, ghU))
    gx = xp.reshape(xp.matmul(ga, W.T), x.shape) if needs[0] else None
    gW = xp.matmul(xp.reshape(x, (steps * n, size)).T, ga) if needs[1] else None
    gb = xp.sum(ga, axis=0) if needs[2] else None
    gU = xp.matmul(xp.reshape(states[:steps, ...], (steps * n, hidden)).T, ghU) if needs[3] else None
    return gx, gW, gb, gU, *[xp.sum(ghU, axis=0) for _ in d], *gstate


@rule(
    shown="rnn",
    joint=lambda xp, gy, x, W, b, U, h, known, needs: _back(xp, RNN, gy, x, W, b, U, (), (h,), known, needs),
)
def _rnn(xp: Any, x: Any, W: Any, b: Any, U: Any, h: Any, /, known: list[Any]) -> Any:
    return _states(xp, RNN, x, W, b, U, (), (h,), known)


@rule(
    shown="lstm",
    joint=lambda xp, gy, x, W, b, U, h, c, known, needs: _back(xp, LSTM, gy, x, W, b, U, (), (h, c), known, needs),
)
def _lstm(xp: Any, x: Any, W: Any, b: Any, U: Any, h: Any, c: Any, /, known: list[Any]) -> Any:
    return _states(xp, LSTM, x, W, b, U, (), (h, c), known)


@rule(
    shown="gru",
    joint=lambda xp, gy, x, W, b, U, d, h, known, needs: _back(xp, GRU, gy, x, W, b, U, (d,), (h,), known, needs),
)
def _gru(xp: Any, x: Any, W: Any, b: Any, U: Any, d: Any, h: Any, /, known: list[Any]) -> Any:
    return _states(xp, GRU, x, W, b, U, (d,), (h,), known)


# As functions --------------------------------------------------------------------------------------------------------


def rnn(x: Any, W: Any, b: Any, U: Any, h: Any) -> Variable:
    """Calculate h' = tanh(x W + b + h U) step by step from h (n, hidden): x (steps, n, size) to (steps, n, hidden).

    W is (size, hidden), b (hidden), U (hidden, hidden).
    """
    return _rnn(*_prepared("rnn", RNN, {"x": x, "W": W, "b": b, "U": U, "h": h}), [])


def lstm(x: Any, W: Any, b: Any, U: Any, h: Any, c: Any) -> tuple[Variable, Variable]:
    """Calculate the steps of long short-term memory (see `dzcore.layers.LSTM`) from h and c (n, hidden).

        f, i, o, u = σ, σ, σ, tanh, each of its own columns of x W + b + h U
        c' = f c + i u
        h' = o tanh(c')

    Return every h' and the last c': x (steps, n, size) to (steps, n, hidden) and (n, hidden). W is (size, 4 · hidden),
    b (4 · hidden), U (hidden, 4 · hidden).
    """
    states = _lstm(*_prepared("lstm", LSTM, {"x": x, "W": W, "b": b, "U": U, "h": h, "c": c}), [])
    return states[:-1], states[-1]


def gru(x: Any, W: Any, b: Any, U: Any, d: Any, h: Any) -> Variable:
    """Calculate the steps of gated recurrent units (see `dzcore.layers.GRU`) from h (n, hidden).

        r, z = σ, σ, each of its own columns of x W + b + h U + d
        n = tanh(x W + b + r (h U + d)), of the last columns
        h' = (1 - z) n + z h

    Return every h': x (steps, n, size) to (steps, n, hidden). W is (size, 3 · hidden), b (3 · hidden), U (hidden,
    3 · hidden), d (3 · hidden).
    """
    return _gru(*_prepared("gru", GRU, {"x": x, "W": W, "b": b, "U": U, "d": d, "h": h}), [])


def _prepared(name: str, cell: Cell, given: dict[str, Any]) -> list[Variable]:
    """Return Variables of one dtype, of shapes that fit."""
    backend = next((x.backend for x in given.values() if isinstance(x, Variable)), None)
    xs = {key: as_variable(x, backend) for key, x in given.items()}
    x, W = xs["x"], xs["W"]
    if x.ndim != 3 or not x.shape[0] or W.ndim != 2 or x.shape[2] != W.shape[0]:
        raise ValueError(
            f"{name}: x has shape {x.shape} and W {W.shape}; x must be (steps, n, size) with one step at least, and "
            f"the last axis of x must be the first of W"
        )
    n, width = x.shape[1], W.shape[1]
    hidden = width // cell.gates
    if width % cell.gates:
        raise ValueError(f"{name}: W has shape {W.shape}; its columns are those of {cell.gates} gates, of equal width")
    shapes = {"U": (hidden, width), "b": (width,), "d": (width,), "h": (n, hidden), "c": (n, hidden)}
    for key, each in xs.items():
        if each.shape != shapes.get(key, each.shape):
            raise ValueError(
                f"{name}: {key} has shape {each.shape}; for x of shape {x.shape} and W of shape {W.shape} it must be "
                f"{shapes[key]}"
            )
    dtype = x.backend.xp.result_type(*[each.dtype for each in xs.values()])
    return [each if each.dtype == dtype else astype(each, dtype) for each in xs.values()]
