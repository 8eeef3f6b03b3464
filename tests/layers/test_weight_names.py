"""Maps from the names in a file to the paths of a model."""

from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Parameter
from dzcore.backend import Backend
from dzcore.errors import WeightsError
from dzcore.layers import Layer

from .states import NOTHING, PATHS, Net, bits, refused, values

THEIRS = {
    "hidden/W": "fc1.weight", "hidden/b": "fc1.bias", "norm/gamma": "bn.weight", "norm/beta": "bn.bias",
    "norm/avg_mean": "bn.running_mean", "norm/avg_var": "bn.running_var", "head/W": "fc2.weight", "head/b": "fc2.bias",
}  # fmt: skip


def theirs(model: Layer) -> dict[str, Any]:
    """The weights as another framework has them: other names, matrices the other way round, and one array more."""
    state = {THEIRS[path]: x.T if path.endswith("/W") else x for path, x in model.state_dict().items()}
    return {**state, "bn.num_batches_tracked": dzcore.asarray(7)}


MAP = {name: path + ".T" * path.endswith("/W") for path, name in THEIRS.items()} | {"bn.num_batches_tracked": None}


@pytest.mark.parametrize("kind", ["mapping", "function"])
@pytest.mark.parametrize("in_size", [4, None])
def test_another_framework_s_names(backend: Backend, kind: str, in_size: int | None) -> None:
    donor, model = Net(4), Net(in_size)
    state = theirs(donor)
    names = MAP if kind == "mapping" else MAP.__getitem__
    assert model.load_state_dict(state, names=names) == NOTHING
    assert bits(model) == bits(donor)
    F.sum(model(dzcore.ones((2, 4)))).backward()
    dzcore.optimizers.SGD().setup(model).update()
    assert bits(donor) == bits({path: state[name].T if path.endswith("/W") else state[name]
                                for path, name in THEIRS.items()})  # fmt: skip


def test_a_transposed_matrix_is_in_the_order_of_the_others(numpy_backend: Backend) -> None:
    W = np.arange(6, dtype="f4").reshape(3, 2)
    layer = L.Linear(3, True, in_size=2)
    layer.load_state_dict({"w": W}, names={"w": "W.T"})
    assert layer.W.data.flags.c_contiguous
    np.testing.assert_array_equal(layer.W.data, W.T, strict=True)
    assert not np.shares_memory(layer.W.data, W)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (3, 1), (1, 1)])
def test_transposed_matrices_of_all_kinds(backend: Backend, shape: tuple[int, int]) -> None:
    layer = Layer()
    layer.W = Parameter(dzcore.zeros(shape[::-1]))
    W = np.random.default_rng(0).normal(size=shape).astype("f4")
    layer.load_state_dict({"w": dzcore.HostArray("float32", shape, W.tobytes())}, names={"w": "W.T"})
    np.testing.assert_array_equal(values(layer.W), W.T, strict=True)


def test_what_a_mapping_does_not_mention_keeps_its_name() -> None:
    donor, model = Net(4), Net(4)
    state = donor.state_dict()
    state["top"] = state.pop("head/b")
    assert model.load_state_dict(state, names={"top": "head/b"}) == NOTHING
    assert bits(model) == bits(donor)


def test_a_mapping_of_what_is_not_there_is_an_error() -> None:
    donor, model = Net(4), Net(4)
    for strict in (True, False):
        with pytest.raises(WeightsError, match="names has 'heap/b', which is not there"):
            model.load_state_dict(donor.state_dict(), strict, names={"heap/b": None})


def test_none_leaves_an_entry_out() -> None:
    donor, model = Net(4), Net(4)
    before = bits(model)
    names = {"head/W": None, "head/b": None}
    assert refused(model, donor.state_dict(), names=names).endswith("Net: missing: head/W; missing: head/b")
    assert model.load_state_dict(donor.state_dict(), strict=False, names=names) == (("head/W", "head/b"), ())
    assert bits(model) == {path: (before if "head" in path else bits(donor))[path] for path in PATHS}


@pytest.mark.parametrize("strictly", [True, False])
@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"fc2.bias": "hidden/b"}, "hidden/b: both 'fc1.bias' and 'fc2.bias' are for it"),
        ({"fc2.bias": "head/c"}, "names says 'fc2.bias' is 'head/c', which the model lacks"),
        ({"fc2.weight": "top/W.T"}, "names says 'fc2.weight' is 'top/W.T', which the model lacks"),
        ({"fc2.bias": "head/b.T"}, "head/b: 'fc2.bias' is float32[2], and .T is for two axes"),
        ({"fc2.weight": "head/W"}, "head/W: the model has float32[3, 2], the state float32[2, 3]"),
        ({"fc1.weight": "head/W.T", "fc2.weight": "hidden/W.T"},
         "head/W: the model has float32[3, 2], the state float32[4, 3], transposed"),
    ],
)  # fmt: skip
def test_maps_that_are_wrong(names: dict[str, str], words: str, strictly: bool) -> None:
    assert words in refused(Net(4), theirs(Net(4)), names=MAP | names, strict=strictly)


@pytest.mark.parametrize("names", ["fc", 3, ["a"], {"W": 3}, lambda name: 3])
def test_what_is_no_map(names: Any) -> None:
    model = L.Linear(2, in_size=3)
    with pytest.raises(TypeError, match="names"):
        model.load_state_dict(model.state_dict(), names=names)


def test_a_path_that_ends_so_is_meant_as_it_is() -> None:
    model = Layer()
    model.parts = {"a": Parameter([[1.0, 2.0]]), "a.T": Parameter([[3.0], [4.0]])}
    model.load_state_dict({"x": np.ones((2, 1), "f4")}, strict=False, names={"x": "parts/a.T"})
    assert [p.data.tolist() for p in model.params()] == [[[1.0, 2.0]], [[1.0], [1.0]]]
    model.load_state_dict({"x": np.zeros((1, 2), "f4")}, strict=False, names={"x": "parts/a.T.T"})
    assert [p.data.tolist() for p in model.params()] == [[[1.0, 2.0]], [[0.0], [0.0]]]


@pytest.mark.parametrize("form", [np.asfortranarray, np.transpose])
def test_parameters_in_another_order_go_on_exactly(form: Any) -> None:
    """How a product rounds depends on the order in memory, which no checkpoint keeps."""
    W = np.random.default_rng(0).normal(size=(64, 64)).astype("f4")
    layer, other = L.Linear(64, in_size=64), L.Linear(64, in_size=64)
    layer.W.data = form(W)
    other.load_state_dict(layer.state_dict())
    x = np.random.default_rng(1).normal(size=(3, 64)).astype("f4")
    assert layer.W.data.flags.c_contiguous
    assert other(x).data.tobytes() == layer(x).data.tobytes()
    assert other.W.data.strides == layer.W.data.strides
