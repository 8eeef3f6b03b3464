"""Recurrent networks over whole sequences, each one node of the graph, with their gradients.

The inputs of all steps pass through one product, a = x W + b. A step is a product with the matrix U of the state, and a
*cell*: two elementwise formulas, from which a backend makes a loop each. The first makes of the gates' columns and of
the old state the new state and whatever else the second will want to see again; that one makes of the gradient of the
new state those of the columns and of the old state. What the first made is kept, so that the backward pass computes
nothing twice. Only where derivatives of the derivative are wanted, it is made anew of Variables, for there it is a
function of the inputs.

The gradients of the matrices are one product each at the end. For that the results of all steps must lie in one array,
and a library whose arrays can be written to puts them there itself (`fused_into`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..graph import Variable, as_variable, rule
from ..graph.rule import extension
from .linalg import _plus
from .shape import astype

__all__ = ["gru", "lstm", "rnn"]

Arrays = Sequence[Any]
Formula = Callable[..., tuple[Any, ...]]


class Cell(NamedTuple):
    """One step, for all elements of the state alike. The letters in its formulas are those of the functions below."""

    gates: int
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


RNN = Cell(1, _rnn_ahead, 1, _rnn_back)
LSTM = Cell(4, _lstm_ahead, 7, _lstm_back, direct=1)
GRU = Cell(3, _gru_ahead, 5, _gru_back, reset=True, direct=1)


# All steps -----------------------------------------------------------------------------------------------------------


@extension
def _fused_into(xp: Any, out: Arrays | None, formula: Formula, *inputs: Any) -> Any:
    """Evaluate an elementwise formula with several results, into the arrays in `out` if the library can.

    `out` has an array for each result, which shares memory with nothing else, or None for a new one. That a result is
    such an array tells that it was written there; it is so with all of them or with none.
    """
    return xp.fused(formula, *inputs)


def _columns(cell: Cell, x: Any) -> list[Any]:
    """Return the columns of each gate."""
    width = x.shape[-1] // cell.gates
    return [x[..., k * width : (k + 1) * width] for k in range(cell.gates)]


def _steps(xp: Any, cell: Cell, x: Any) -> list[tuple[Any, ...]]:
    """Return the columns of each gate in each step."""
    return list(zip(*[xp.unstack(column) for column in _columns(cell, x)], strict=True))


def _ahead(
    xp: Any, cell: Cell, x: Any, W: Any, b: Any, U: Any, d: Arrays, state: Arrays, rows: Arrays = ()
) -> list[tuple[Any, ...]]:
    """Return what the cell makes in each step; every h' is in its row if the library can write there."""
    steps, n, _ = x.shape
    a = xp.reshape(_plus(xp.matmul(xp.reshape(x, (steps * n, W.shape[0])), W), b), (steps, n, W.shape[1]))
    bias = [column for each in d for column in _columns(cell, each)]
    made: list[tuple[Any, ...]] = []
    for t, columns in enumerate(_steps(xp, cell, a)):
        hU = xp.matmul(state[0], U)
        out = (rows[t], *[None] * (cell.makes - 1)) if rows else None
        results = xp.fused_into(out, cell.ahead, *columns, *_columns(cell, hU), *bias, *state)
        state = results[: len(state)]
        made.append(results)
    return made


def _states(xp: Any, cell: Cell, x: Any, W: Any, b: Any, U: Any, d: Arrays, state: Arrays, known: list[Any]) -> Any:
    """Return every h' and, below, the other parts of the last state; and keep in `known` what the cell makes."""
    steps, others = x.shape[0], len(state) - 1
    y = xp.empty((steps + others, *state[0].shape), dtype=x.dtype, device=xp.backend.device)
    rows = xp.unstack(y)
    known += _ahead(xp, cell, x, W, b, U, d, state, rows)
    last = known[-1][1 : 1 + others]
    if any(results[0] is not row for results, row in zip(known, rows, strict=False)):
        return xp.stack([*[results[0] for results in known], *last])
    for k, part in enumerate(last, steps):
        y[k, ...] = part
    return y


class _Gates:
    """The gradients of the gates' columns in all steps."""

    def __init__(self, xp: Any, cell: Cell, shape: tuple[int, ...], like: Any) -> None:
        self.xp, self.whole = xp, None
        self.rows: list[Any] = [None] * shape[0]
        self.columns: Any = [(None,) * cell.gates] * shape[0]
        if not isinstance(like, Variable):
            self.whole = xp.empty(shape, dtype=like.dtype, device=xp.backend.device)
            self.rows, self.columns = list(xp.unstack(self.whole)), _steps(xp, cell, self.whole)

    def row(self, t: int, columns: Arrays) -> Any:
        """Return the gradients of step t side by side."""
        if columns[0] is not self.columns[t][0]:
            self.whole = None
            self.rows[t] = self.xp.concat(columns, axis=-1)
        return self.rows[t]

    def joined(self) -> Any:
        """Return those of all steps, (steps · n, gates · hidden)."""
        whole = self.xp.stack(self.rows) if self.whole is None else self.whole
        return self.xp.reshape(whole, (-1, whole.shape[2]))


def _back(
    xp: Any, cell: Cell, gy: Any, y: Any, x: Any, W: Any, b: Any, U: Any, d: Arrays, state: Arrays, known: Arrays,
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    """Return the gradients of x, W, b, U, d and the state, from that of `_states`, which is y."""
    made = _ahead(xp, cell, x, W, b, U, d, state) if isinstance(gy, Variable) else known
    ga, ghU, gstate = _through_time(xp, cell, gy, U, state, made, needs[-len(state)])
    steps, n, size = x.shape
    gx = xp.reshape(xp.matmul(ga, W.T), x.shape) if needs[0] else None
    gW = xp.matmul(xp.reshape(x, (steps * n, size)).T, ga) if needs[1] else None
    gb = xp.sum(ga, axis=0) if needs[2] else None
    gU = None
    if needs[3]:
        gU = xp.matmul(state[0].T, ghU[:n, :])
        if steps > 1:
            gU = gU + xp.matmul(xp.reshape(y[: steps - 1, ...], ((steps - 1) * n, U.shape[0])).T, ghU[n:, :])
    return gx, gW, gb, gU, *[xp.sum(ghU, axis=0) for _ in d], *gstate


def _through_time(
    xp: Any, cell: Cell, gy: Any, U: Any, state: Arrays, made: Arrays, first: bool
) -> tuple[Any, Any, tuple[Any, ...]]:
    """Return the gradients of a and of h U in all steps, and of the first state, that of h if it is wanted."""
    k, parts, steps = cell.gates, len(state), len(made)
    old = [tuple(state), *[results[:parts] for results in made[:-1]]]
    gys = xp.unstack(gy)
    gstate = (xp.zeros_like(state[0]), *gys[steps:])
    shape = (steps, state[0].shape[0], U.shape[1])
    ga = _Gates(xp, cell, shape, gy)
    ghU = _Gates(xp, cell, shape, gy) if cell.reset else ga
    for t in reversed(range(steps)):
        out = (*ga.columns[t], *(ghU.columns[t] if cell.reset else ()), *[None] * cell.direct)
        results = xp.fused_into(out, cell.back, *made[t], *old[t], gys[t], *gstate)
        row = ga.row(t, results[:k])
        if cell.reset:
            row = ghU.row(t, results[k : 2 * k])
        gh = xp.matmul(row, U.T) if t or first else None
        direct = results[len(results) - cell.direct :]
        gstate = (gh, *direct) if not cell.reset else (gh if gh is None else gh + direct[0],)
    flat = ga.joined()
    return flat, ghU.joined() if cell.reset else flat, gstate


@rule(
    shown="rnn",
    joint=lambda xp, gy, y, x, W, b, U, h, known, needs: _back(xp, RNN, gy, y, x, W, b, U, (), (h,), known, needs),
)
def _rnn(xp: Any, x: Any, W: Any, b: Any, U: Any, h: Any, /, known: list[Any]) -> Any:
    return _states(xp, RNN, x, W, b, U, (), (h,), known)


@rule(
    shown="lstm",
    joint=lambda xp, gy, y, x, W, b, U, h, c, known, needs: _back(
        xp, LSTM, gy, y, x, W, b, U, (), (h, c), known, needs
    ),
)
def _lstm(xp: Any, x: Any, W: Any, b: Any, U: Any, h: Any, c: Any, /, known: list[Any]) -> Any:
    return _states(xp, LSTM, x, W, b, U, (), (h, c), known)


@rule(
    shown="gru",
    joint=lambda xp, gy, y, x, W, b, U, d, h, known, needs: _back(xp, GRU, gy, y, x, W, b, U, (d,), (h,), known, needs),
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
