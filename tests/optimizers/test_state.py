"""The state of an optimizer: it goes on with the same numbers, and refuses what does not fit."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore.functions as F
from dzcore import HostArray, Layer, Parameter, Variable, as_variable, use_backend
from dzcore.backend import Backend
from dzcore.errors import StateError
from dzcore.io.tree import host_array, join, over, split
from dzcore.models import MLP
from dzcore.optimizers import SGD, AdaDelta, AdaGrad, Adam, AdamW, MomentumSGD, Optimizer
from dzcore.testing import values

from ..switching.runs import bits

RULES: dict[str, Any] = {
    "SGD": lambda: SGD(0.1),
    "MomentumSGD": lambda: MomentumSGD(0.1, 0.8),
    "AdaGrad": lambda: AdaGrad(0.1),
    "AdaDelta": lambda: AdaDelta(),
    "Adam": lambda: Adam(0.1),
    "AdamW": lambda: AdamW(0.1, weight_decay=0.1),
}
each_rule = pytest.mark.parametrize("rule", RULES)


def through_a_file(state: dict[str, Any]) -> Any:
    """What a checkpoint makes of a state: JSON, and arrays copied to the host."""
    structure, arrays = split([state])
    hosts = {name: host_array(array) for name, array in arrays.items()}
    text = json.dumps(structure)
    return join(json.loads(text), lambda name: hosts[name])[0]


def network() -> MLP:
    return MLP((5, 3), activation=F.tanh, in_size=4)


def train(model: Layer, optimizer: Optimizer, steps: range) -> None:
    """Steps with batches of their own."""
    for step in steps:
        draw = np.random.default_rng(step)
        x = as_variable(draw.standard_normal((6, 4)).astype("f4")).to(next(model.params()).backend)
        loss = F.sum(model(x) ** 2)
        model.cleargrads()
        loss.backward()
        optimizer.update()


def same(model: Layer, other: Layer) -> bool:
    here, there = ({path: bits(value) for path, value in each.named_params()} for each in (model, other))
    return here == there


def copied(model: Layer) -> MLP:
    """Another network with the same weights."""
    other = network()
    for param, value in zip(other.params(), model.params(), strict=True):
        param.data = value.data
    return other


# Going on ------------------------------------------------------------------------------------------------------------


@each_rule
def test_it_goes_on(backend: Backend, rule: str) -> None:
    model = network()
    optimizer = RULES[rule]().setup(model)
    train(model, optimizer, range(4))
    state, other = optimizer.state_dict(), copied(model)
    train(model, optimizer, range(4, 7))
    turned = dict(reversed(state.items()))
    for form in (state, turned, through_a_file(state)):
        again = copied(other)
        successor = RULES[rule]().setup(again)
        successor.load_state_dict(form)
        train(again, successor, range(4, 7))
        assert same(again, model)
    if rule != "SGD":
        fresh = copied(other)
        train(fresh, RULES[rule]().setup(fresh), range(4, 7))
        assert not same(fresh, model), "the state matters"


def test_what_it_is() -> None:
    model = network()
    optimizer = AdamW(0.1).setup(model)
    assert optimizer.state_dict()["state"] == {}
    train(model, optimizer, range(2))
    state = optimizer.state_dict()
    assert {key: state[key] for key in ("rule", "t", "options")} == {
        "rule": "AdamW",
        "t": 2,
        "options": {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    }
    assert list(state["state"]) == [path for path, _ in model.named_params()] == ["l0/W", "l0/b", "l1/W", "l1/b"]
    assert [a.shape for a in state["state"]["l0/W"]] == [(4, 5), (4, 5)]


def test_the_copy_is_nobody_else_s(backend: Backend) -> None:
    model = network()
    optimizer = MomentumSGD(0.1).setup(model)
    train(model, optimizer, range(1))
    state = optimizer.state_dict()
    before = [bits(a) for arrays in state["state"].values() for a in arrays]
    successor = MomentumSGD(0.1).setup(copied(model))
    successor.load_state_dict(state)
    train(model, optimizer, range(1, 3))
    train(successor.target, successor, range(1, 3))
    assert [bits(a) for arrays in state["state"].values() for a in arrays] == before
    for arrays in state["state"].values():
        for array in arrays:
            assert type(array) is Variable
            assert array.node is None
            assert array.backend is backend
    assert optimizer.state_dict()["t"] == 3
    assert state["t"] == 1


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, int, np.int64])
def test_a_rate_of_any_kind(kind: Any) -> None:
    optimizer = SGD().setup(network())
    optimizer.lr = kind(2)
    state = through_a_file(optimizer.state_dict())
    assert state["options"] == {"lr": 2}
    other = SGD(0.5).setup(network())
    other.load_state_dict(state)
    assert other.lr == 2
    assert type(other.lr) in (int, float)


@pytest.mark.parametrize("rule", ["Adam", "AdamW"])
def test_it_goes_on_with_a_rate_of_another_library(rule: str) -> None:
    """In whose precision the numbers of a step would be computed, until a checkpoint brings back Python's."""
    model = network()
    optimizer = RULES[rule]().setup(model)
    optimizer.lr = np.float32(0.013)
    train(model, optimizer, range(1))
    other = network()
    other.load_state_dict(model.state_dict())
    successor = RULES[rule]().setup(other)
    successor.load_state_dict(through_a_file(optimizer.state_dict()))
    for step in range(1, 12):
        train(model, optimizer, range(step, step + 1))
        train(other, successor, range(step, step + 1))
        assert same(model, other), step


def test_adam_s_other_name_for_the_rate() -> None:
    optimizer = Adam(0.25).setup(network())
    other = Adam().setup(network())
    other.load_state_dict(optimizer.state_dict())
    assert other.alpha == other.lr == 0.25


def test_a_list_of_parameters() -> None:
    def params() -> list[Parameter]:
        return [Parameter(np.ones(2, "f4")), Parameter(np.ones(3, "f4"))]

    def give(param: Parameter) -> None:
        param.grad = as_variable(np.full(param.shape, 0.5, "f4"))

    mine, theirs = params(), params()
    optimizer = MomentumSGD(0.1).setup(mine)
    give(mine[1])
    optimizer.update()
    state = optimizer.state_dict()
    assert list(state["state"]) == ["1"], "the other had no gradient so far"
    other = MomentumSGD(0.1).setup(theirs)
    other.load_state_dict(state)
    for each, param in ((optimizer, mine[1]), (other, theirs[1])):
        give(param)
        each.update()
    assert values(mine[1]) == pytest.approx([1 - 0.05 - 0.095] * 3)
    assert values(theirs[1]) == pytest.approx([1 - 0.095] * 3)


@each_rule
@pytest.mark.parametrize("first", ["weights", "optimizer"])
@pytest.mark.parametrize("sized", [False, True])
def test_before_and_after_the_weights(backend: Backend, rule: str, first: str, sized: bool) -> None:
    """In a model that has no sizes yet, too."""
    model = network()
    optimizer = RULES[rule]().setup(model)
    train(model, optimizer, range(3))
    weights, state = through_a_file(model.state_dict()), through_a_file(optimizer.state_dict())
    train(model, optimizer, range(3, 5))
    other = MLP((5, 3), activation=F.tanh, in_size=4 if sized else None)
    successor = RULES[rule]().setup(other)
    steps = [lambda: other.load_state_dict(weights), lambda: successor.load_state_dict(state)]
    for step in steps if first == "weights" else reversed(steps):
        step()
    train(other, successor, range(3, 5))
    assert same(other, model)


@each_rule
def test_on_another_backend(strict: str, rule: str) -> None:
    """The state comes to where the parameter is."""
    with use_backend("numpy"):
        model = network()
        optimizer = RULES[rule]().setup(model)
        train(model, optimizer, range(3))
        state = optimizer.state_dict()
    with use_backend(strict):
        other = network()
    successor = RULES[rule]().setup(other)
    successor.load_state_dict(state)
    for arrays in successor.state_dict()["state"].values():
        for array in arrays:
            assert array.backend is next(other.params()).backend
    assert {path: [bits(a) for a in arrays] for path, arrays in successor.state_dict()["state"].items()} == {
        path: [bits(a) for a in arrays] for path, arrays in state["state"].items()
    }


def test_what_a_lazy_model_holds_follows_it(strict: str) -> None:
    """The arrays wait on the current backend, and go to where the parameter gets its size."""
    with use_backend("numpy"):
        model = network()
        optimizer = MomentumSGD().setup(model)
        train(model, optimizer, range(2))
        other = MLP((5, 3), activation=F.tanh)
        successor = MomentumSGD().setup(other)
        successor.load_state_dict(optimizer.state_dict())
    with use_backend(strict):
        other(as_variable(np.ones((6, 4), "f4")).to(strict))
        train(other, successor, range(2, 3))
    assert all(home is p.backend for p in other.params() for home, _ in [successor._arrays[p.node]])  # type: ignore[index]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_dtype(dtype: str) -> None:
    param, other = Parameter(np.ones(3, dtype)), Parameter(np.ones(3, dtype))
    optimizer, successor = Adam().setup([param]), Adam().setup([other])
    param.grad = as_variable(np.full(3, 0.25, dtype))
    optimizer.update()
    successor.load_state_dict(through_a_file(optimizer.state_dict()))
    for array in successor.state_dict()["state"]["0"]:
        assert array.dtype == dtype


@given(
    t=st.integers(0, 2**40), lr=st.floats(1e-300, 1e300), numbers=st.lists(st.floats(width=32), min_size=6, max_size=6)
)
def test_any_state_comes_back(t: int, lr: float, numbers: list[float]) -> None:
    """To the bit: nan, -0.0 and the largest numbers among them."""
    optimizer = Adam(lr).setup([Parameter(np.ones(3, "f4"))])
    arrays = [HostArray("float32", (3,), np.array(half, "f4").tobytes()) for half in (numbers[:3], numbers[3:])]
    state = optimizer.state_dict() | {"t": t, "state": {"0": arrays}}
    other = Adam(0.5).setup([Parameter(np.zeros(3, "f4"))])
    other.load_state_dict(through_a_file(state))
    found = over(other.state_dict(), host_array)
    assert found["t"] == t
    assert found["options"]["lr"] == lr
    assert [bytes(a.buffer) for a in found["state"]["0"]] == [a.buffer for a in arrays]


# Rules of one's own --------------------------------------------------------------------------------------------------


class Decaying(Optimizer):
    """A user's rule with numbers, a name, and a function."""

    def __init__(self, lr: float, name: str = "a") -> None:
        super().__init__()
        self.lr, self.name, self.shape = lr, name, np.cos
        self._slow: float | None = None

    def numbers(self) -> tuple[float, ...]:
        return (self.lr,)

    @staticmethod
    def formula(xp: Any, p: Any, g: Any, lr: Any) -> tuple[Any, ...]:
        return (p - g * lr,)


class Keeping(Optimizer):
    """A user's rule that keeps arrays in its own way, and says so."""

    def __init__(self) -> None:
        super().__init__()
        self.speeds: dict[str, Any] = {}

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"speeds": self.speeds}

    def _stage(self, state: dict[str, Any]) -> Any:
        state = dict(state)
        speeds = state.pop("speeds")
        commit = super()._stage(state)

        def commit_all() -> None:
            commit()
            self.speeds = speeds

        return commit_all


def test_attributes_of_a_user_s_rule() -> None:
    optimizer, other = Decaying(0.5).setup(network()), Decaying(0.1, "b").setup(network())
    optimizer._slow = 0.25
    state = optimizer.state_dict()
    assert state["options"] == {"lr": 0.5, "name": "a", "_slow": 0.25}
    other.load_state_dict(state)
    assert (other.lr, other.name, other._slow, other.shape) == (0.5, "a", 0.25, np.cos)


def test_what_would_be_lost_is_refused() -> None:
    optimizer = SGD().setup(network())
    optimizer.speeds = {}  # type: ignore[attr-defined]
    with pytest.raises(
        StateError, match=r"SGD\.speeds is a dict, which its state would lack; extend _state and _stage"
    ):
        optimizer.state_dict()
    with pytest.raises(StateError, match=r"SGD\.speeds is a dict"):
        optimizer.load_state_dict(SGD().setup(network()).state_dict())


def test_who_says_what_else_there_is_keeps_it() -> None:
    optimizer, other = Keeping().setup(network()), Keeping().setup(network())
    optimizer.speeds["l0/W"] = np.ones(3)
    other.load_state_dict(optimizer.state_dict())
    assert values(other.speeds["l0/W"]) == [1, 1, 1]


# What does not fit ---------------------------------------------------------------------------------------------------


def test_everything_wrong_is_listed_and_nothing_changed() -> None:
    model = network()
    optimizer = Adam(0.1).setup(model)
    train(model, optimizer, range(2))
    state = optimizer.state_dict()
    arrays = dict(state["state"])
    arrays["l9/W"] = arrays.pop("l0/W")
    arrays["l0/b"] = arrays["l0/b"][:1]
    arrays["l1/W"] = [arrays["l1/W"][0], HostArray("float64", (5, 3), bytes(120))]
    arrays["l1/b"] = 3
    options = {"lr": 0.5, "beta1": 0.9, "beta2": [0.9], "eps": 1e-8, "weight_decay": 0.1, "speed": 1}
    other = AdamW(0.2).setup(network())
    train(other.target, other, range(1))
    del options["eps"]
    before = over(other.state_dict(), bits)
    with pytest.raises(StateError) as caught:
        other.load_state_dict(state | {"options": options, "state": arrays})
    assert str(caught.value) == (
        "the state does not fit this AdamW: it is one of Adam; the option eps is missing; "
        "the option speed=1 is unknown; the option beta2 is a list; "
        "l0/b: the rule keeps 2 arrays of each parameter, the state has 1; "
        "l1/W: the parameter has float32[5, 3], the state float64[5, 3]; "
        "l1/b: the rule keeps 2 arrays of each parameter, the state has int; there is no parameter 'l9/W'"
    )
    assert over(other.state_dict(), bits) == before


def test_a_model_of_another_size() -> None:
    optimizer = MomentumSGD().setup(network())
    train(optimizer.target, optimizer, range(1))
    other = MomentumSGD().setup(MLP((6, 3), in_size=4))
    with pytest.raises(StateError, match=r"l0/W: the parameter has float32\[4, 6\], the state float32\[4, 5\]; l0/b: "):
        other.load_state_dict(optimizer.state_dict())


def test_without_a_target() -> None:
    state = SGD().setup(network()).state_dict()
    for call in (SGD().state_dict, lambda: SGD().load_state_dict(state)):
        with pytest.raises(StateError, match=r"SGD has no target; its state needs paths: call setup\(model\) first"):
            call()


def test_two_parameters_of_one_path() -> None:
    model = Layer()
    model.blocks = {"a/b": Parameter(np.ones(1, "f4")), "a": {"b": Parameter(np.ones(1, "f4"))}}
    with pytest.raises(StateError, match="two parameters have the path 'blocks/a/b'; rename one"):
        SGD().setup(model).state_dict()


@pytest.mark.parametrize("state", [None, {}, [], {"rule": "SGD"}])
def test_something_else_altogether(state: Any) -> None:
    with pytest.raises(StateError, match="this is not the state of a SGD: it has"):
        SGD().setup(network()).load_state_dict(state)


@pytest.mark.parametrize("t", ["3", 3.0, None, True])
def test_a_number_of_steps_that_is_none(t: Any) -> None:
    optimizer = SGD().setup(network())
    with pytest.raises(StateError, match=f"t={t!r} cannot be"):
        optimizer.load_state_dict(optimizer.state_dict() | {"t": t})


def test_a_list_that_looks_like_a_flat_dictionary() -> None:
    """SGD keeps nothing: its state has no arrays, and comes back all the same."""
    optimizer = SGD().setup([Parameter(np.ones(1, "f4"))])
    assert through_a_file(optimizer.state_dict()) == optimizer.state_dict()


def test_hooks_are_not_in_it() -> None:
    optimizer, other = SGD().setup(network()), SGD().setup(network())
    optimizer.add_hook(print)  # type: ignore[arg-type]
    other.load_state_dict(optimizer.state_dict())
    assert other.hooks == []
