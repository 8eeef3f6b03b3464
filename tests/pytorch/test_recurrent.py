"""Recurrent layers against PyTorch's, for twenty steps: outputs, states, and the gradients of everything."""

from typing import Any

import numpy as np
import pytest

import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable

from .compare import assert_same, draw, torch

STEPS, ROWS, IN, HIDDEN = 20, 3, 4, 5
CELLS = {L.RNN: torch.nn.RNNCell, L.LSTM: torch.nn.LSTMCell, L.GRU: torch.nn.GRUCell}
NETWORKS = {L.RNN: torch.nn.RNN, L.LSTM: torch.nn.LSTM, L.GRU: torch.nn.GRU}
#: The place of PyTorch's gates in ours; i, f, u, o there and f, i, o, u here.
ORDER = {L.RNN: (0,), L.LSTM: (1, 0, 3, 2), L.GRU: (0, 1, 2)}

torch.set_num_threads(1)


def columns(kind: Any, array: np.ndarray) -> np.ndarray:
    """Turn a weight (gates · hidden, …) of PyTorch into ours, (…, gates · hidden)."""
    gates = np.split(array, len(ORDER[kind]))
    return np.ascontiguousarray(np.concatenate([gates[i] for i in ORDER[kind]]).T)


def copy_weights(layer: Any, module: Any, suffix: str = "") -> None:
    """Copy PyTorch's weights; where we have one bias it has two, which add up."""
    kind, theirs = type(layer), {name: p.detach().numpy() for name, p in module.named_parameters()}
    layer.x2h.W.data = columns(kind, theirs[f"weight_ih{suffix}"])
    layer.h2h.W.data = columns(kind, theirs[f"weight_hh{suffix}"])
    inner, outer = theirs[f"bias_ih{suffix}"], theirs[f"bias_hh{suffix}"]
    layer.x2h.b.data = columns(kind, inner if kind is L.GRU else inner + outer)
    if kind is L.GRU:
        layer.h2h.b.data = columns(kind, outer)


def assert_same_gradients(layer: Any, module: Any, suffix: str = "") -> None:
    kind, theirs = type(layer), dict(module.named_parameters())
    pairs = {"weight_ih": layer.x2h.W, "weight_hh": layer.h2h.W, "bias_ih": layer.x2h.b}
    pairs["bias_hh"] = layer.h2h.b if kind is L.GRU else layer.x2h.b
    for name, param in pairs.items():
        wanted = torch.tensor(columns(kind, theirs[name + suffix].grad.numpy()))
        assert_same(param.grad, wanted, what=name)


def parts(state: Any) -> list[Any]:
    return list(state) if isinstance(state, tuple) else [state]


@pytest.mark.parametrize("kind", CELLS)
def test_cell_step_by_step(kind: Any) -> None:
    """From a given state, with a loss over all steps and the last state."""
    cell = CELLS[kind](IN, HIDDEN).double()
    layer = kind(HIDDEN, in_size=IN, dtype="float64")
    copy_weights(layer, cell)
    x, weight = draw(STEPS, ROWS, IN), draw(STEPS, ROWS, HIDDEN, seed=1)
    start = [draw(ROWS, HIDDEN, seed=2 + i) for i in range(len(layer.carried))]
    xs, state = Variable(x), [Variable(s) for s in start]
    txs, tstate = torch.tensor(x, requires_grad=True), [torch.tensor(s, requires_grad=True) for s in start]
    for part, value in zip(layer.carried, state, strict=True):
        setattr(layer, part, value)
    now: Any = tuple(tstate) if len(tstate) > 1 else tstate[0]
    total, torch_total = 0.0, 0.0
    for t in range(STEPS):
        y, now = layer(xs[t]), cell(txs[t], now)
        for part, theirs in zip(layer.carried, parts(now), strict=True):
            assert_same(getattr(layer, part), theirs, what=f"{part} after step {t}")
        total, torch_total = total + F.sum(y * weight[t]), torch_total + (parts(now)[0] * torch.tensor(weight[t])).sum()
    last = [getattr(layer, part) for part in layer.carried]
    (total + sum(F.sum(each * each) for each in last)).backward()
    (torch_total + sum((each * each).sum() for each in parts(now))).backward()
    assert_same(xs.grad, txs.grad, what="inputs")
    for ours, theirs in zip(state, tstate, strict=True):
        assert_same(ours.grad, theirs.grad, what="first state")
    assert_same_gradients(layer, cell)


def network(kind: Any, layers: int, both_ways: bool) -> tuple[Any, list[tuple[Any, str]]]:
    """Return a network of ours, and its recurrent layers with the ends of the names of PyTorch's weights."""
    made: list[tuple[Any, str]] = []

    def one(level: int, end: str) -> Any:
        size = IN if level == 0 else HIDDEN * (2 if both_ways else 1)
        made.append((kind(HIDDEN, in_size=size, dtype="float64"), f"_l{level}{end}"))
        return made[-1][0]

    levels = [L.Bidirectional(one(i, ""), one(i, "_reverse")) if both_ways else one(i, "") for i in range(layers)]
    return (levels[0] if layers == 1 else L.Stacked(*levels)), made


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", NETWORKS)
def test_sequence(kind: Any, layers: int, both_ways: bool) -> None:
    module = NETWORKS[kind](IN, HIDDEN, num_layers=layers, bidirectional=both_ways).double()
    ours, made = network(kind, layers, both_ways)
    for layer, suffix in made:
        copy_weights(layer, module, suffix)
    x = draw(STEPS, ROWS, IN)
    xs, txs = Variable(x), torch.tensor(x, requires_grad=True)
    ys, (theirs, state) = ours.sequence(xs), module(txs)
    assert_same(ys, theirs)
    for part, values in zip(made[0][0].carried, parts(state), strict=True):
        for (layer, suffix), value in zip(made, values, strict=True):
            assert_same(getattr(layer, part), value, what=f"{part}{suffix}")
    weight = draw(*ys.shape, seed=7)
    F.sum(ys * weight).backward()
    (theirs * torch.tensor(weight)).sum().backward()
    assert_same(xs.grad, txs.grad)
    for layer, suffix in made:
        assert_same_gradients(layer, module, suffix)


@pytest.mark.parametrize("kind", NETWORKS)
def test_truncated(kind: Any) -> None:
    """Two pieces with a cut between them are what PyTorch computes with a detached state."""
    module = NETWORKS[kind](IN, HIDDEN).double()
    layer = kind(HIDDEN, in_size=IN, dtype="float64")
    copy_weights(layer, module, "_l0")
    x, state = draw(STEPS, ROWS, IN), None
    for piece in (x[:12], x[12:]):
        ys, (theirs, state) = layer.sequence(piece), module(torch.tensor(piece), state)
        assert_same(ys, theirs)
        loss = F.mean(ys * ys)
        loss.backward()
        loss.unchain_backward()
        (theirs * theirs).mean().backward()
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
    assert_same_gradients(layer, module, "_l0")


@pytest.mark.parametrize("kind", NETWORKS)
def test_second_derivatives(kind: Any) -> None:
    """The gradient of the squared norm of a gradient."""
    module = NETWORKS[kind](IN, HIDDEN).double()
    layer = kind(HIDDEN, in_size=IN, dtype="float64")
    copy_weights(layer, module, "_l0")
    x = draw(6, ROWS, IN)
    xs, txs = Variable(x), torch.tensor(x, requires_grad=True)
    F.sum(layer.sequence(xs) ** 2).backward(create_graph=True)
    g = xs.grad
    xs.cleargrad()
    layer.cleargrads()
    F.sum(g * g).backward()
    (tg,) = torch.autograd.grad((module(txs)[0] ** 2).sum(), txs, create_graph=True)
    (tg * tg).sum().backward()
    assert_same(xs.grad, txs.grad)
    assert_same_gradients(layer, module, "_l0")
