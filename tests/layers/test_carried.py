"""What a checkpoint keeps of a layer: its weights, and what it carries from step to step."""

from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable, no_grad, random, use_backend
from dzcore.backend import Backend
from dzcore.errors import StateError
from dzcore.layers import Layer
from dzcore.models import MLP

from .states import bits, snapshot, values


class Walk(Layer):
    """A layer that goes on from its last result."""

    carried = ("h", "seen")

    def __init__(self) -> None:
        self.step = L.Linear(2, in_size=2)
        self.h: Any = None
        self.seen: Any = None

    def forward(self, x: Any) -> Variable:
        self.h = F.tanh(self.step(x) + (0.0 if self.h is None else self.h))
        return self.h  # type: ignore[no-any-return]


class Walks(Layer):
    def __init__(self) -> None:
        self.walks = [Walk(), Walk()]
        self.same = self.walks[0]
        self.late = L.Linear(3)

    def forward(self, x: Any) -> Variable:
        for walk in self.walks:
            x = walk(x)
        return x  # type: ignore[no-any-return]


CARRIED = ["walks/0/h", "walks/0/seen", "walks/1/h", "walks/1/seen"]


def test_what_is_carried_goes_along(backend: Backend) -> None:
    model, x = Walks(), dzcore.ones((3, 2))
    model(x)
    state = model._state()
    assert list(state) == ["weights", "carried"]
    assert list(state["carried"]) == CARRIED
    assert state["weights"]["late/W"] is None
    assert state["carried"]["walks/0/seen"] is None
    host = {part: {path: None if v is None else v.to_host() for path, v in state[part].items()} for part in state}
    want = values(model(x))
    other = Walks()
    commit = other._stage(host)
    assert other.walks[0].h is None
    assert bits(other.walks[0]) != bits(model.walks[0])
    commit()
    assert not other.walks[0].h.requires_grad
    np.testing.assert_array_equal(values(other(x)), want, strict=True)
    model._stage(Walks()._state())()
    assert model.walks[1].h is None


def test_weights_alone_say_nothing_of_what_is_carried() -> None:
    model = Walks()
    model.late(dzcore.ones((1, 2)))
    model(dzcore.ones((1, 2)))
    h = model.walks[0].h
    other = Walks()
    other.late(dzcore.ones((1, 2)))
    model.load_state_dict(other.state_dict())
    assert bits(model) == bits(other)
    assert model.walks[0].h is h
    assert not any(path in model.state_dict() for path in CARRIED)


def test_what_is_carried_goes_where_the_layer_is(strict: str) -> None:
    model = Walks()
    model(dzcore.ones((3, 2)))
    state = model._state()
    with use_backend("strict:device1"):
        other = Walks()
    other._stage(state)()
    assert str(other.walks[1].h.backend) == "strict:device1"
    np.testing.assert_array_equal(values(other.walks[1].h), values(model.walks[1].h), strict=True)


def test_raw_arrays_may_be_carried(numpy_backend: Backend) -> None:
    model = Walks()
    model(dzcore.ones((3, 2)))
    model.walks[0].h = model.walks[0].h.data
    other = Walks()
    other._stage(model._state())()
    np.testing.assert_array_equal(other.walks[0].h.data, model.walks[0].h, strict=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state["carried"].pop("walks/1/h"), "missing: walks/1/h, which is carried"),
        (lambda state: state["carried"].update(c=None), "unexpected: c, which would be carried"),
        (lambda state: state["weights"].pop("walks/0/step/b"), "missing: walks/0/step/b"),
        (lambda state: state["weights"].update({"walks/0/step/b": None}),
         "walks/0/step/b: the model has float32[2], the state has none yet"),
        (lambda state: state["weights"].update(none=None), "unexpected: none"),
        (lambda state: state.pop("carried"), "this is not the state of a Walks"),
        (lambda state: state.update(weights=[]), "this is not the state of a Walks"),
        (lambda state: state["carried"].update({"walks/1/h": "text"}), "'walks/1/h' is a str"),
    ],
)  # fmt: skip
def test_states_of_checkpoints_that_do_not_fit(change: Any, words: str) -> None:
    model, state = Walks(), Walks()._state()
    change(state)
    before = snapshot(model)
    with pytest.raises(StateError) as error:
        model._stage(state)
    assert words in str(error.value)
    assert snapshot(model) == before


def test_what_is_carried_must_be_on_the_backend(strict: str) -> None:
    with use_backend("strict"):
        model = Walks()
    state = model._state()
    state["carried"]["walks/1/h"] = dzcore.HostArray("bfloat16", (1, 2), bytes(4))
    with pytest.raises(StateError, match=r"walks/1/h: it is bfloat16\[1, 2\], which strict does not have"):
        model._stage(state)


def test_all_that_does_not_fit_is_in_one_message() -> None:
    state = Walks()._state()
    del state["carried"]["walks/1/h"], state["weights"]["walks/0/step/b"]
    with pytest.raises(StateError) as error:
        Walks()._stage(state)
    assert str(error.value).endswith(
        "does not fit this Walks: missing: walks/1/h, which is carried; missing: walks/0/step/b"
    )


def test_a_layer_that_waits_goes_on_waiting_and_then_starts_alike() -> None:
    model, x = MLP((3, 2)), np.ones((2, 4), "f4")
    state, stream = model._state(), random.get_state()
    assert set(state["weights"].values()) == {None}
    with no_grad():
        want = model(x).data.tolist()
    other = MLP((3, 2))
    other._stage(state)()
    random.set_state(stream)
    with no_grad():
        assert other(x).data.tolist() == want
