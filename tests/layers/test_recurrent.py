"""Recurrent layers: the formulas, whole sequences, the state, truncated back-propagation."""

import gc
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore.functions as F
import dzcore.layers as L
from dzcore import Parameter, Variable, get_backend, no_grad, optimizers, random, use_backend
from dzcore.backend import Backend
from dzcore.errors import WeightsError
from dzcore.graph.node import Value
from dzcore.layers import Layer
from dzcore.models import Sequential
from dzcore.testing import assert_close, check_gradients, values

LAYERS = [L.RNN, L.LSTM, L.GRU]
GATES = {L.RNN: 1, L.LSTM: 4, L.GRU: 3}


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    random.seed(0)


def host(x: Variable) -> np.ndarray:
    array = x.to_host()
    return np.frombuffer(bytes(array.buffer), array.dtype).reshape(array.shape)


def sequence(*shape: int, seed: int = 1, dtype: str = "float64") -> Variable:
    return Variable(random.Generator(seed).uniform(shape, -1.0, 1.0, dtype))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# The formulas ------------------------------------------------------------------------------------------------------


def single(layer: Any, weights: list[float], biases: list[float], state: list[float], *more: float) -> Any:
    """Give a layer of one unit and one input its numbers."""
    layer.x2h.W.data = np.array([weights])
    layer.x2h.b.data = np.array(biases)
    layer.h2h.W.data = np.array([state])
    if more:
        layer.h2h.b.data = np.array(more)
    return layer


def test_rnn_by_hand() -> None:
    rnn = single(L.RNN(1, in_size=1, dtype="float64"), [0.7], [0.1], [-0.4])
    first = math.tanh(0.7 * 2 + 0.1)
    assert rnn(np.array([[2.0]])).item() == pytest.approx(first, rel=1e-14)
    second = math.tanh(0.7 * -1 + 0.1 - 0.4 * first)
    assert rnn(np.array([[-1.0]])).item() == pytest.approx(second, rel=1e-14)
    assert rnn.h.item() == pytest.approx(second, rel=1e-14)


def test_lstm_by_hand() -> None:
    """Its columns are f, i, o, u."""
    weights, biases, state = [0.7, -0.3, 0.2, 0.9], [0.1, 0.2, -0.1, 0.3], [-0.4, 0.5, 0.6, -0.8]
    lstm = single(L.LSTM(1, in_size=1, dtype="float64"), weights, biases, state)
    h = c = 0.0
    for x in (2.0, -1.0, 0.5):
        f, i, o, u = (w * x + b + s * h for w, b, s in zip(weights, biases, state, strict=True))
        c = sigmoid(f) * c + sigmoid(i) * math.tanh(u)
        h = sigmoid(o) * math.tanh(c)
        assert lstm(np.array([[x]])).item() == pytest.approx(h, rel=1e-14)
        assert lstm.c.item() == pytest.approx(c, rel=1e-14)


def test_gru_by_hand() -> None:
    """Its columns are r, z, n; the bias of the state's part is inside of the reset."""
    weights, biases, state, inner = [0.7, -0.3, 0.9], [0.1, 0.2, 0.3], [-0.4, 0.5, -0.8], [0.2, -0.6, 0.7]
    gru = single(L.GRU(1, in_size=1, dtype="float64"), weights, biases, state, *inner)
    h = 0.0
    for x in (2.0, -1.0, 0.5):
        a = [w * x + b for w, b in zip(weights, biases, strict=True)]
        s = [w * h + b for w, b in zip(state, inner, strict=True)]
        r, z = sigmoid(a[0] + s[0]), sigmoid(a[1] + s[1])
        n = math.tanh(a[2] + r * s[2])
        h = (1 - z) * n + z * h
        assert gru(np.array([[x]])).item() == pytest.approx(h, rel=1e-14)


# Sizes and weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("in_size", [None, 3])
def test_shapes_and_dtypes(kind: Any, in_size: int | None, backend: Backend) -> None:
    rnn = kind(5, in_size)
    y = rnn(sequence(4, 3, dtype="float32"))
    width = GATES[kind] * 5
    assert y.shape == (4, 5)
    shapes = {path: p.shape for path, p in rnn.named_params()}
    wanted = {"x2h/W": (3, width), "x2h/b": (width,), "h2h/W": (5, width)}
    assert shapes == wanted | ({"h2h/b": (width,)} if kind is L.GRU else {})
    F.sum(rnn(sequence(4, 3, dtype="float32")) ** 2).backward()
    for p in rnn.params():
        assert backend.dtype_name(p.dtype) == backend.dtype_name(p.grad.dtype) == "float32"
        assert p.backend is backend
    assert backend.dtype_name(y.dtype) == "float32"
    assert rnn.sequence(sequence(7, 4, 3, dtype="float32")).shape == (7, 4, 5)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(kind: Any, dtype: str) -> None:
    rnn = kind(5, dtype=dtype)
    ys = rnn.sequence(sequence(3, 4, 2, dtype=dtype))
    F.sum(ys).backward()
    assert {str(x.dtype) for x in (ys, *rnn.params(), *(p.grad for p in rnn.params()))} == {dtype}
    assert {str(getattr(rnn, part).dtype) for part in rnn.carried} == {dtype}


@pytest.mark.parametrize("kind", LAYERS)
def test_weights_are_the_same_with_and_without_in_size(kind: Any, backend: Backend) -> None:
    random.seed(3)
    early = kind(5, in_size=2)
    random.seed(3)
    late = kind(5)
    late(sequence(1, 2, dtype="float32"))
    for p, q in zip(early.params(), late.params(), strict=True):
        assert values(p) == values(q)


@pytest.mark.parametrize("kind", LAYERS)
def test_weights_start_like_those_of_linear(kind: Any) -> None:
    rnn = kind(100, in_size=25)
    assert host(rnn.x2h.W).std() == pytest.approx(1 / 5, rel=0.1)
    assert host(rnn.h2h.W).std() == pytest.approx(1 / 10, rel=0.1)
    assert not host(rnn.x2h.b).any()


@pytest.mark.parametrize("kind", LAYERS)
def test_it_is_made_where_its_first_input_is(kind: Any, strict: str) -> None:
    rnn = kind(2)
    with use_backend(strict):
        x = sequence(3, 2)
    rnn(x)
    rnn(x)
    assert {p.backend.name for p in rnn.params()} == {"strict"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_size": 0}, "hidden_size=0 must be a positive integer"),
        ({"hidden_size": 2.5}, "hidden_size=2.5 must be"),
        ({"hidden_size": 2, "in_size": -1}, "in_size=-1 must be"),
    ],
)
def test_wrong_sizes(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        L.LSTM(**arguments)
    with pytest.raises(TypeError, match="dtype='int64' is not one that can learn"):
        L.GRU(2, dtype="int64")


def test_wrong_inputs() -> None:
    rnn = L.LSTM(4, in_size=3)
    with pytest.raises(ValueError, match=r"x has shape \(2, 5, 3\); a step takes \(n, in_size\), and sequence\(\)"):
        rnn(sequence(2, 5, 3))
    with pytest.raises(ValueError, match=r"xs has shape \(5, 3\); it must be \(steps, n, in_size\)"):
        rnn.sequence(sequence(5, 3))
    with pytest.raises(ValueError, match=r"xs has shape \(0, 5, 3\).* one step at least"):
        rnn.sequence(np.zeros((0, 5, 3)))
    with pytest.raises(ValueError, match="the last axis of x must be the first of W"):
        rnn(sequence(5, 2))
    assert rnn.h is None  # what was refused has left no trace


def test_an_empty_batch(backend: Backend) -> None:
    for kind in LAYERS:
        assert kind(4, in_size=3).sequence(Variable(np.zeros((2, 0, 3), "float32")).to(backend)).shape == (2, 0, 4)


# Derivatives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("whole", [False, True])
def test_derivatives(kind: Any, whole: bool, backend: Backend) -> None:
    """Of three steps, in the inputs, the first state, and every weight."""
    rnn = kind(2, in_size=3, dtype="float64")
    params = list(rnn.named_params())
    state = [sequence(2, 2, seed=5 + i) for i in range(len(rnn.carried))]

    def f(xs: Variable, *rest: Variable) -> Variable:
        for (path, _), value in zip(params, rest, strict=False):
            layer, _, name = path.partition("/")
            setattr(getattr(rnn, layer), name, value)
        for part, value in zip(rnn.carried, rest[len(params) :], strict=True):
            setattr(rnn, part, value)
        return rnn.sequence(xs) if whole else F.stack([rnn(x) for x in xs])

    check_gradients(f, sequence(3, 2, 3), *[p.alias() for _, p in params], *state, directions=1)


# Sequences -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
def test_a_sequence_is_its_steps(kind: Any, backend: Backend) -> None:
    """Also from a state in the middle, in values, states and gradients."""
    xs, rnn = sequence(6, 4, 3), kind(5, dtype="float64")
    results = []
    for whole in (False, True):
        rnn.reset_state()
        rnn.cleargrads()
        xs.cleargrad()
        first = rnn(xs[0])
        ys = rnn.sequence(xs[1:]) if whole else F.stack([rnn(x) for x in xs[1:]])
        (F.sum(ys * ys) + F.sum(first)).backward()
        state = [getattr(rnn, part) for part in rnn.carried]
        results.append([ys, *state, xs.grad, *[p.grad for p in rnn.params()]])
    for one, other in zip(*results, strict=True):
        assert_close(one.detach(), host(other.detach()).tolist(), rtol=1e-12, atol=1e-14)
    assert_close(rnn.h.detach(), host(ys[-1].detach()).tolist())


@given(cuts=st.sets(st.integers(1, 8), max_size=4), kind=st.sampled_from(LAYERS))
def test_a_sequence_may_come_in_pieces(cuts: set[int], kind: Any) -> None:
    random.seed(1)
    xs, rnn = sequence(9, 2, 3), kind(4, in_size=3, dtype="float64")
    whole = rnn.sequence(xs)
    rnn.reset_state()
    bounds = [0, *sorted(cuts), 9]
    pieces = [rnn.sequence(xs[a:b]) for a, b in pairwise(bounds)]
    np.testing.assert_allclose(F.concat(pieces).data, whole.data, rtol=1e-12)


def test_a_sequence_of_one_step(backend: Backend) -> None:
    for kind in LAYERS:
        rnn, xs = kind(4, dtype="float64"), sequence(1, 3, 2)
        ys = rnn.sequence(xs)
        rnn.reset_state()
        assert ys.shape == (1, 3, 4)
        assert_close(ys[0].detach(), host(rnn(xs[0])).tolist(), rtol=1e-12)


def test_split() -> None:
    x = sequence(6, 4)
    (only,) = F.split(x, 1)
    assert values(only) == values(x)
    for sections, axis in ((4, 0), (3, -1), (0, 0), (-2, 0)):
        with pytest.raises(ValueError, match=rf"sections={sections} must divide the length of axis . of x.*\(6, 4\)"):
            F.split(x, sections, axis)


def test_rows_do_not_see_each_other() -> None:
    for kind in LAYERS:
        rnn, xs = kind(4, in_size=3, dtype="float64"), sequence(5, 3, 3)
        together = rnn.sequence(xs)
        rnn.reset_state()
        np.testing.assert_allclose(rnn.sequence(xs[:, 1:2]).data, together.data[:, 1:2], rtol=1e-12)


def test_a_long_sequence_takes_linear_time() -> None:
    """The backward pass makes arrays whose sizes add up to a multiple of the sequence, not of its square."""
    made: dict[int, int] = {}
    rnn, own = L.RNN(1, in_size=1), get_backend("numpy")
    embed, xp = own.ops.embed, own.ops

    def counting(x: Any, index: Any, shape: Any) -> Any:
        made[steps] = made.get(steps, 0) + math.prod(shape)
        return embed(x, index, shape)

    xp.embed = counting
    try:
        for steps in (20, 80):
            rnn.reset_state()
            F.sum(rnn.sequence(Variable(np.ones((steps, 1, 1), "float32")))).backward()
    finally:
        xp.embed = embed
    assert made.get(80, 0) <= 5 * made.get(20, 0)


# Chains --------------------------------------------------------------------------------------------------------------


def test_stacked(backend: Backend) -> None:
    """Each reads the outputs of the one before, in steps and in sequences, whatever stands between them."""
    random.seed(2)
    a, b, head = L.LSTM(4), L.GRU(3), L.Linear(2)
    stacked = L.Stacked(a, L.Dropout(0.0), F.tanh, b, head)
    xs = sequence(5, 2, 3, dtype="float32")
    whole = stacked.sequence(xs)
    assert whole.shape == (5, 2, 2)
    stacked.reset_state()
    assert a.h is a.c is b.h is None
    steps = F.stack([stacked(x) for x in xs])
    assert_close(steps.detach(), host(whole.detach()).tolist(), rtol=1e-5, atol=1e-6)
    stacked.reset_state()
    by_hand = head(b.sequence(F.tanh(a.sequence(xs))))
    assert_close(by_hand.detach(), host(whole.detach()).tolist(), rtol=1e-6, atol=1e-7)
    assert [path for path, _ in stacked.named_params()][::3] == ["layers/0/x2h/W", "layers/3/x2h/W", "layers/3/h2h/b"]


def test_stacks_of_stacks() -> None:
    inner = L.RNN(3)
    stacked = L.Stacked(L.Stacked(inner, L.RNN(2)), L.RNN(2))
    xs = sequence(4, 2, 3)
    ys = stacked.sequence(xs)
    assert ys.shape == (4, 2, 2)
    stacked.reset_state()
    assert inner.h is None
    np.testing.assert_allclose(F.stack([stacked(x) for x in xs]).data, ys.data, rtol=1e-6)
    with pytest.raises(TypeError, match=r"layers\[1\]=3 cannot be called"):
        L.Stacked(L.RNN(2), 3)  # type: ignore[arg-type]


def test_bidirectional(backend: Backend) -> None:
    ahead, back = L.GRU(3, dtype="float64"), L.RNN(2, dtype="float64")
    both = L.Bidirectional(ahead, back)
    xs = sequence(5, 2, 4)
    ys = both.sequence(xs)
    assert ys.shape == (5, 2, 5)
    again = both.sequence(xs)  # nothing goes on from the last call
    assert values(again) == values(ys)
    both.reset_state()
    assert ahead.h is back.h is None
    one = F.stack([ahead(xs[t]) for t in range(5)])
    other = F.stack([back(xs[t]) for t in reversed(range(5))][::-1])
    assert_close(ys[..., :3].detach(), host(one).tolist(), rtol=1e-12)
    assert_close(ys[..., 3:].detach(), host(other).tolist(), rtol=1e-12)


def test_what_bidirectional_refuses() -> None:
    rnn = L.RNN(2)
    with pytest.raises(ValueError, match="ahead and back are one layer"):
        L.Bidirectional(rnn, rnn)
    stacked = L.Stacked(L.Bidirectional(rnn, L.RNN(2)), L.Linear(1))
    with pytest.raises(TypeError, match=r"both ends; call sequence\(xs\)"):
        stacked(sequence(2, 3))


# The state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
def test_reset(kind: Any, backend: Backend) -> None:
    rnn, x = kind(4), sequence(3, 2, dtype="float32")
    assert rnn.h is None
    first, second = rnn(x), rnn(x)
    assert rnn.h is second
    assert values(first) != values(second)
    rnn.reset_state()
    assert all(getattr(rnn, part) is None for part in rnn.carried)
    assert values(rnn(x)) == values(first)


@pytest.mark.parametrize("kind", LAYERS)
def test_another_batch_size(kind: Any) -> None:
    rnn = kind(4)
    rnn(sequence(3, 2))
    with pytest.raises(
        ValueError, match=r"the state h has shape \(3, 4\) and this step needs \(2, 4\).*reset_state\(\)"
    ):
        rnn(sequence(2, 2))
    with pytest.raises(ValueError, match=r"reset_state\(\)"):
        rnn.sequence(sequence(5, 1, 2))
    assert rnn.h.shape == (3, 4)
    rnn.reset_state()
    assert rnn(sequence(2, 2)).shape == (2, 4)


def test_a_state_may_be_given(backend: Backend) -> None:
    """As a Variable, which gets a gradient, or as an array."""
    rnn, x = L.RNN(2, in_size=2, dtype="float64"), sequence(3, 2)
    h = sequence(3, 2, seed=4)
    rnn.h = h
    y = rnn(x)
    F.sum(y).backward()
    assert h.grad.shape == (3, 2)
    rnn.h = h.data
    assert values(rnn(x)) == values(y)


@pytest.mark.parametrize("kind", LAYERS)
def test_the_state_is_not_saved(kind: Any, tmp_path: Path, backend: Backend) -> None:
    rnn = kind(4)
    y = rnn(sequence(3, 2, dtype="float32"))
    assert {id(v) for _, v in rnn.named_state()}.isdisjoint({id(y), id(rnn.h)})
    assert all(isinstance(v, Parameter) for _, v in rnn.named_state())
    rnn.save_weights(tmp_path / "rnn.npz")
    with np.load(tmp_path / "rnn.npz") as file:
        assert sorted(file) == sorted(path for path, _ in rnn.named_params())
    other = kind(4)
    other.load_weights(tmp_path / "rnn.npz")
    assert other.h is None
    assert values(other(sequence(3, 2, dtype="float32"))) == values(y)


def test_weights_of_another_hidden_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"x2h/W": np.zeros((3, 4), "f4"), "x2h/b": np.zeros(4, "f4"),
                                    "h2h/W": np.zeros((5, 4), "f4")})  # fmt: skip
    with pytest.raises(WeightsError, match=r"h2h/W: the model has shape \(4, 4\).*float32\[5, 4\]"):
        L.RNN(4).load_weights(tmp_path / "w.npz")


def test_weights_of_dezero(tmp_path: Path) -> None:
    """An LSTM's eight matrices are two here, side by side."""
    rng = np.random.default_rng(0)
    theirs = {f"{a}2{g}/W": rng.normal(size=(n, 4)) for a, n in (("x", 3), ("h", 4)) for g in "fiou"}
    theirs |= {f"x2{g}/b": rng.normal(size=4) for g in "fiou"}
    ours = {f"{k}2h/W": np.concatenate([theirs[f"{k}2{g}/W"] for g in "fiou"], -1) for k in "xh"}
    ours["x2h/b"] = np.concatenate([theirs[f"x2{g}/b"] for g in "fiou"], -1)
    np.savez(tmp_path / "lstm.npz", **ours)
    lstm = L.LSTM(4, dtype="float64")
    lstm.load_weights(tmp_path / "lstm.npz")
    h = c = np.zeros((2, 4))
    for x in np.asarray(sequence(5, 2, 3).data):
        f, i, o, u = (x @ theirs[f"x2{g}/W"] + theirs[f"x2{g}/b"] + h @ theirs[f"h2{g}/W"] for g in "fiou")
        c = c / (1 + np.exp(-f)) + np.tanh(u) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        np.testing.assert_allclose(lstm(x).data, h, rtol=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("target", ["strict", "strict:device1"])
def test_the_state_moves_with_the_layer(kind: Any, target: str, strict: str) -> None:
    """Deep in a model too, between two steps, after a cut; the numbers go on as if nothing had been."""
    x = sequence(3, 2)
    runs = []
    for moving in (False, True):
        random.seed(4)
        rnn = kind(4, in_size=2, dtype="float64")
        model = Layer()
        model.parts = [rnn, Sequential(L.Linear(1, dtype="float64", in_size=4))]
        loss = F.sum(model.parts[1](rnn(x)))
        loss.backward()
        loss.unchain_backward()
        own = get_backend(target if moving else "numpy")
        model.cleargrads()
        model.to(own)
        with use_backend(own):
            y = model.parts[1](rnn(x.detach().to(own)))
            F.sum(y).backward()
        assert rnn.h.backend is own
        assert all(p.backend is p.grad.backend is own for p in model.params())
        runs.append([host(y), *[host(p.grad) for p in model.params()]])
    for one, other in zip(*runs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


# Truncated back-propagation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_stop_at_the_cut(kind: Any, backend: Backend) -> None:
    """After unchain_backward the state is as good as a constant of the same values."""
    xs = sequence(6, 2, 3)
    rnn = kind(4, in_size=3, dtype="float64")
    loss = F.sum(rnn.sequence(xs[:3]))
    loss.backward()
    before = [getattr(rnn, part) for part in rnn.carried]
    numbers = [values(part) for part in before]
    loss.unchain_backward()
    assert [values(getattr(rnn, part)) for part in rnn.carried] == numbers
    rnn.cleargrads()
    xs.cleargrad()
    F.sum(rnn.sequence(xs[3:])).backward()
    assert not host(xs.grad)[:3].any()
    assert host(xs.grad)[3:].all()
    found = [host(p.grad) for p in rnn.params()]
    for part, value in zip(rnn.carried, before, strict=True):
        setattr(rnn, part, value.detach())
    rnn.cleargrads()
    F.sum(rnn.sequence(xs[3:])).backward()
    for p, g in zip(rnn.params(), found, strict=True):
        np.testing.assert_array_equal(host(p.grad), g)


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_reach_back_without_a_cut(kind: Any) -> None:
    xs, rnn = sequence(6, 2, 3), kind(4)
    rnn.sequence(xs[:3])
    F.sum(rnn.sequence(xs[3:])).backward()
    assert host(xs.grad).all()


def alive() -> int:
    gc.collect()
    return sum(issubclass(type(each), Value) for each in gc.get_objects())


@pytest.mark.parametrize("make", [*LAYERS, lambda n: L.Stacked(L.LSTM(n), L.GRU(n), L.Linear(n))])
def test_memory_does_not_grow(make: Callable[[int], Any]) -> None:
    """The graph of a training that cuts every three steps is as large after 60 steps as after 6."""
    rnn = make(3)
    optimizer = optimizers.SGD(0.01).setup(rnn)
    counts, loss = [], 0.0
    for i, x in enumerate(sequence(60, 2, 3, dtype="float32").detach(), 1):
        loss = loss + F.sum(rnn(x) ** 2)
        if i % 3 == 0:
            rnn.cleargrads()
            loss.backward()
            loss.unchain_backward()
            optimizer.update()
            loss = 0.0
            if i in (6, 60):
                counts.append(alive())
    assert counts[0] == counts[1]


def test_without_a_graph(backend: Backend) -> None:
    rnn = L.LSTM(3)
    with no_grad():
        for _ in range(3):
            y = rnn(sequence(2, 3, dtype="float32"))
    assert not y.requires_grad
    assert not rnn.c.requires_grad
    assert rnn(sequence(2, 3, dtype="float32")).requires_grad


def test_a_sine_is_learnt(backend: Backend) -> None:
    """Truncated back-propagation trains: from a phase to the next values."""
    random.seed(0)
    model = L.Stacked(L.LSTM(10), L.Linear(1))
    optimizer = optimizers.Adam(0.02).setup(model)
    curve = Variable([[math.sin(0.3 * t + phase) for phase in (0.0, 1.0, 2.0)] for t in range(61)]).detach()
    losses = []
    for _ in range(6):
        model.reset_state()
        for t in range(0, 60, 20):
            ys = model.sequence(F.expand_dims(curve[t : t + 20], 2))
            loss = F.mean((ys[..., 0] - curve[t + 1 : t + 21]) ** 2)
            model.cleargrads()
            loss.backward()
            loss.unchain_backward()
            optimizer.update()
        losses.append(float(loss))
    assert losses[-1] < 0.25 * losses[0]
