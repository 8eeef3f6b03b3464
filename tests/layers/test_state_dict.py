"""state_dict and load_state_dict: copies, strictness, and layers without a size."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Parameter, Variable, get_backend, random, use_backend
from dzcore.backend import Backend
from dzcore.errors import StateError, WeightsError
from dzcore.layers import Buffer, Layer
from dzcore.layers.weights import Unmatched
from dzcore.models import Sequential

from .states import NOTHING, PATHS, Net, bits, refused, snapshot, values

# Copies --------------------------------------------------------------------------------------------------------------


def test_a_state_is_a_copy_without_gradient(backend: Backend) -> None:
    model = Net(4)
    state, want = model.state_dict(), bits(model)
    assert list(state) == PATHS
    assert bits(state) == want
    assert all(type(x) is Variable and not x.requires_grad and x.backend is backend for x in state.values())
    before = snapshot(model)
    F.sum(model(dzcore.ones((2, 4)))).backward()
    optimizer = dzcore.optimizers.SGD(0.1).setup(model)
    optimizer.update()  # in place, where the library can
    assert bits(state) == want
    assert bits(model) != want
    assert model.load_state_dict(state) == NOTHING
    assert bits(model) == want
    assert [row[1:3] for row in snapshot(model)] == [row[1:3] for row in before]
    F.sum(model(dzcore.ones((2, 4)))).backward()
    optimizer.update()
    assert bits(state) == want, "what was loaded is the model's own"
    assert bits(model) != want


@pytest.mark.parametrize("source", ["numpy", "strict", "strict:device1"])
@pytest.mark.parametrize("target", ["numpy", "strict", "strict:device1"])
@pytest.mark.parametrize("form", ["variable", "array", "host"])
def test_states_go_anywhere(strict: str, source: str, target: str, form: str) -> None:
    with use_backend(source):
        model = Net(4)
    state: dict[str, Any] = model.state_dict()
    if form != "variable":
        state = {path: x.data if form == "array" else x.to_host() for path, x in state.items()}
    with use_backend(target):
        other, lazy = Net(4), Net()
        for each in (other, lazy):
            assert each is lazy or bits(each) != bits(model)
            assert each.load_state_dict(state) == NOTHING
            assert bits(each) == bits(model)
            assert {v.backend for _, v in each.named_state()} == {get_backend(target)}
    assert {v.backend for _, v in model.named_state()} == {get_backend(source)}


def test_a_model_in_two_places_keeps_to_them(strict: str) -> None:
    model = Sequential(L.Linear(3, in_size=4), L.Linear(2, in_size=3))
    model.l1.to("strict")
    state = model.state_dict()
    assert [str(x.backend) for x in state.values()] == ["numpy", "numpy", "strict", "strict"]
    other = Sequential(L.Linear(3, in_size=4), L.Linear(2, in_size=3))
    other.l0.to("strict")
    other.load_state_dict(state)
    assert bits(other) == bits(model)
    assert [str(v.backend) for v in other.params()] == ["strict", "strict", "numpy", "numpy"]


@given(data=st.data())
def test_round_trips_of_any_tree(data: Any) -> None:
    """Layers in lists and dictionaries, arrays of any floating dtype, sign and shape, and buffers of integers."""
    shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
    dtypes = st.sampled_from(["float16", "float32", "float64"])

    def array(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
        kinds = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1 / 3, -2.5e-5])
        return np.random.default_rng(seed).choice(kinds, shape).astype(dtype)

    forms = data.draw(st.lists(st.tuples(dtypes, shapes, st.booleans()), max_size=5))
    keys = data.draw(st.lists(st.text("ab/.T1", min_size=1, max_size=4), min_size=5, max_size=5, unique=True))

    def build(seed: int) -> Layer:
        layer = Layer()
        made = [(Buffer if b else Parameter)(array(d, s, seed + i)) for i, (d, s, b) in enumerate(forms)]
        layer.inner = {key: [x] for key, x in zip(keys, made, strict=False)}
        layer.count = Buffer(np.int64(seed))
        return layer

    model, other = build(0), build(100)
    assert other.load_state_dict(model.state_dict()) == NOTHING
    assert bits(other) == bits(model)
    assert other.count.item() == 0


def test_a_state_needs_sizes() -> None:
    model = Net(4)
    model.head = L.Linear(2)
    with pytest.raises(WeightsError, match="head/W has no size yet; call the model once"):
        model.state_dict()


# Strictness ----------------------------------------------------------------------------------------------------------


def test_everything_wrong_is_listed_and_nothing_changes(backend: Backend) -> None:
    model, state = Net(4), Net(4).state_dict()
    del state["head/b"]
    state["extra"] = dzcore.ones(2)
    state["hidden/W"] = dzcore.ones((5, 3))
    state["hidden/b"] = dzcore.ones(3, dtype="float64")
    message = refused(model, state)
    assert message.startswith("the state does not fit this Net: ")
    for words in (
        "missing: head/b", "unexpected: extra float32[2]",
        "hidden/W: the model has float32[4, 3], the state float32[5, 3]",
        "hidden/b: the model has float32[3], the state float64[3]",
    ):  # fmt: skip
        assert words in message
    assert message.count(";") == 3


def test_not_strict_lets_names_differ_and_says_which(backend: Backend) -> None:
    model, donor = Net(4), Net(4)
    state = donor.state_dict()
    before, given = bits(model), bits(donor)
    del state["head/b"], state["norm/beta"]
    state["extra"], state["more"] = dzcore.ones(2), dzcore.ones(3)
    unmatched = model.load_state_dict(state, strict=False)
    assert unmatched == Unmatched(missing=("norm/beta", "head/b"), unexpected=("extra", "more"))
    left = {"head/b", "norm/beta"}
    assert bits(model) == {path: (before if path in left else given)[path] for path in PATHS}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_not_strict_is_strict_about_forms(dtype: str) -> None:
    model, state = Net(4), Net(4).state_dict()
    state["head/W"] = dzcore.ones((3, 5) if dtype == "float32" else (3, 2), dtype=dtype)
    assert "head/W: the model has float32[3, 2], the state " in refused(model, state, strict=False)


def test_not_strict_needs_one_array_that_fits() -> None:
    model = Net(4)
    message = refused(model, {"fc.weight": dzcore.ones(3)}, strict=False)
    assert "the state does not fit this Net: it has none of hidden/W, hidden/b, " in message
    refused(model, {}, strict=False)
    refused(model, model.state_dict(), strict=False, names=lambda name: None)
    assert Sequential(F.relu).load_state_dict({}, strict=False) == NOTHING
    with pytest.raises(WeightsError, match="does not fit this Sequential"):
        Sequential(F.relu).load_state_dict({"W": dzcore.ones(2)}, strict=False)


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ([], TypeError, "the state is a list; it must be a dictionary"),
        ("w.npz", TypeError, "the state is a str"),
        ({3: np.ones(2)}, StateError, "3 is a int; it must be a path of the model"),
        ({"W": "text"}, StateError, "'W' is a str; it must be an array with data"),
        ({"W": {}}, StateError, "'W' is a dict; it must be an array with data"),
        ({"W": Parameter(None)}, StateError, "'W' is a Parameter; it must be an array with data"),
    ],
)
def test_what_is_no_state(state: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as raised:
        L.Linear(2, in_size=3).load_state_dict(state)
    assert words in str(raised.value)


# Layers without a size -----------------------------------------------------------------------------------------------


def test_a_part_gives_sizes_to_what_it_has(backend: Backend) -> None:
    donor, model = Net(4), Net()
    state = {path: x for path, x in donor.state_dict().items() if path in ("hidden/W", "norm/gamma")}
    stream = random.get_state()
    unmatched = model.load_state_dict(state, strict=False)
    assert set(unmatched.missing) == set(PATHS) - set(state)
    assert random.get_state() == stream
    assert model.hidden.in_size == 4
    assert model.hidden.b._data is model.norm.beta._data is model.head.W._data is None
    assert model(dzcore.ones((2, 4))).shape == (2, 2)
    assert bits(model)["hidden/W"] == bits(donor)["hidden/W"]
    assert values(model.hidden.b).tolist() == [0.0] * 3
    assert model.norm.avg_var.shape == (3,)


def test_a_parameter_of_any_shape_and_dtype_takes_what_can_learn() -> None:
    layer = Layer()
    layer.W = Parameter(None)
    assert "W: the model has one of the dtypes" in refused(layer, {"W": dzcore.arange(3)})
    layer.load_state_dict({"W": dzcore.ones((2, 1), dtype="float64")})
    assert bits(layer)["W"][:2] == ("float64", (2, 1))


@pytest.mark.parametrize("strictly", [True, False])
@pytest.mark.parametrize("make", [L.BatchNorm, L.LayerNorm, lambda: L.GroupNorm(1)])
def test_lengths_that_a_layer_shares_must_agree(make: Any, strictly: bool) -> None:
    model = Sequential(make())
    state = {path: dzcore.ones(3) for path, _ in model.named_state()} | {"l0/beta": dzcore.ones(4)}
    message = refused(model, state, strict=strictly)
    assert "l0: gamma [3], beta [4]" in message
    assert message.endswith(" must have one shape")
    state["l0/beta"] = dzcore.ones(3)
    model.load_state_dict(state, strict=strictly)


def test_lengths_must_agree_with_those_that_are_there() -> None:
    model = L.BatchNorm()
    model.load_state_dict({"gamma": dzcore.ones(3)}, strict=False)
    assert "beta [4]" in refused(model, {"beta": dzcore.ones(4), "gamma": dzcore.ones(3)}, strict=False)
    assert "gamma [3], beta [4] must have one shape" in refused(model, {"beta": dzcore.ones(4)}, strict=False)
    model.load_state_dict({"beta": dzcore.ones(3)}, strict=False)


def test_channels_that_groups_do_not_divide() -> None:
    model = L.GroupNorm(2)
    state = {"gamma": dzcore.ones(3), "beta": dzcore.ones(3)}
    assert "groups=2 does not divide the 3 channels" in refused(model, state)
    model.load_state_dict({path: dzcore.ones(4) for path in state})
    assert model(dzcore.ones((2, 4))).shape == (2, 4)


def test_other_parameters_of_a_normalization_have_shapes_of_their_own() -> None:
    class Scaled(L.BatchNorm):
        def __init__(self, size: int | None = None) -> None:
            super().__init__(size)
            self.scale = Parameter([[2.0]])

    model, lazy = Scaled(3), Scaled()
    lazy.load_state_dict(model.state_dict())
    assert bits(lazy) == bits(model)
