"""BatchNorm, LayerNorm, GroupNorm, EmbedID: sizes, state that is saved, moved and copied, and their gradients."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable, get_backend, no_grad, test_mode, use_backend
from dzcore.backend import Backend
from dzcore.errors import WeightsError
from dzcore.models import Sequential
from dzcore.testing import assert_close, check_gradients, values
from tests.elsewhere import empty_registry as empty_registry
from tests.elsewhere import only_numpy as only_numpy
from tests.switching.test_no_reads import Distant
from tests.switching.test_no_reads import distant as distant
from tests.switching.test_no_reads import watch as watch

SAMPLE = [[[0.5, -1.0], [2.0, 1.0], [0.0, 3.0], [1.5, -0.5]], [[1.0, 2.0], [-1.0, 0.5], [4.0, 1.0], [0.25, 2.5]]]


def dtypes(layer: L.Layer) -> set[str]:
    return {value.backend.dtype_name(value.dtype) for _, value in layer.named_state()}


def snapshot(layer: L.Layer) -> dict[str, list[float]]:
    return {path: values(value) for path, value in layer.named_state()}


MAKERS: dict[str, tuple[Callable[..., L.Layer], int]] = {
    "BatchNorm": (L.BatchNorm, 4),
    "LayerNorm": (L.LayerNorm, 2),
    "GroupNorm": (lambda *args, **options: L.GroupNorm(2, *args, **options), 4),
}
each_norm = pytest.mark.parametrize("name", MAKERS)


@each_norm
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_are_given_or_found(name: str, dtype: str, backend: Backend) -> None:
    make, size = MAKERS[name]
    lazy, eager = make(dtype=dtype), make(size, dtype=dtype)
    assert lazy.gamma._data is None
    assert eager.gamma.shape == eager.beta.shape == (size,)
    x = Variable(SAMPLE, dtype=dtype)
    y = lazy(x)
    assert_close(y.detach(), eager(x).detach(), rtol=0.0)
    assert backend.dtype_name(y.dtype) == dtype
    assert dtypes(lazy) == dtypes(eager) == {dtype}
    assert snapshot(lazy) == snapshot(eager)
    assert [path for path, _ in lazy.named_params()] == ["gamma", "beta"]
    assert values(lazy.gamma) == [1.0] * size
    assert values(lazy.beta) == [0.0] * size


@each_norm
@pytest.mark.parametrize("mode", ["training", "testing"])
def test_derivatives_in_both_modes(name: str, mode: str, backend: Backend) -> None:
    make, size = MAKERS[name]
    layer = make(size, dtype="float64")
    layer(Variable(SAMPLE, dtype="float64"))

    def call(x: Variable, gamma: Variable, beta: Variable) -> Variable:
        layer.gamma, layer.beta = gamma, beta  # in place of the parameters, as MAML does
        if mode == "training":
            return layer(x)
        with test_mode():
            return layer(x)

    weights = [0.5 + i for i in range(size)]
    check_gradients(call, SAMPLE, weights, weights[::-1])


def test_no_layer_reads_a_value_on_an_accelerator(distant: Distant, watch: Callable[[], Any]) -> None:
    """Neither in training, nor when running statistics are updated or taken, nor to look at numbers to embed."""
    x, ids = Variable(SAMPLE, backend=distant), Variable([1, 0, 1], backend=distant)
    layers = [make() for make, _ in MAKERS.values()]
    embedding = L.EmbedID(2, 3).to(distant)
    with watch():
        for layer in layers:
            for _ in range(2):
                F.sum(layer(x) ** 2).backward()
            with test_mode():
                layer(x)
        F.sum(embedding(ids)).backward()
    assert values(embedding.W.grad) == [1.0] * 3 + [2.0] * 3
    assert {value.backend for layer in layers for _, value in layer.named_state()} == {distant}


def test_batch_norm_has_dezeros_names(backend: Backend) -> None:
    layer = L.BatchNorm()
    layer(Variable(SAMPLE))
    assert {path for path, _ in layer.named_state()} == {"gamma", "beta", "avg_mean", "avg_var"}


def test_running_statistics_come_closer_and_test_mode_takes_them(backend: Backend) -> None:
    layer = L.BatchNorm(decay=0.0, eps=1e-12)
    x = Variable(SAMPLE)
    with no_grad():
        layer(x)
    plain = np.asarray(SAMPLE)
    np.testing.assert_allclose(values(layer.avg_mean), plain.mean(axis=(0, 2)), rtol=1e-6)
    np.testing.assert_allclose(values(layer.avg_var), plain.var(axis=(0, 2), ddof=1), rtol=1e-6)
    before = snapshot(layer)
    with test_mode():
        y = layer(x)
    assert snapshot(layer) == before
    want = (plain - plain.mean(axis=(0, 2))[:, None]) / plain.std(axis=(0, 2), ddof=1)[:, None]
    np.testing.assert_allclose(values(y), want.reshape(-1), rtol=1e-4, atol=1e-5)


def test_before_the_first_training_call_test_mode_changes_next_to_nothing(backend: Backend) -> None:
    with test_mode():
        y = L.BatchNorm()(Variable(SAMPLE))
    np.testing.assert_allclose(values(y), np.asarray(SAMPLE).reshape(-1), rtol=2e-5)


def test_layer_norm_over_several_axes() -> None:
    layer = L.LayerNorm((4, 2))
    assert layer.gamma.shape == (4, 2)
    y = layer(Variable(SAMPLE))
    np.testing.assert_allclose(y.data.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(y.data.std(axis=(1, 2)), 1, rtol=1e-4)
    assert L.LayerNorm()(Variable([1.0, 2.0, 3.0])).shape == (3,)


# State: saved, loaded, moved, copied ---------------------------------------------------------------------------------


def model() -> Sequential:
    return Sequential(L.Linear(3), L.BatchNorm(), F.relu, L.LayerNorm(), L.Linear(2))


X = [[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]]


def test_weights_go_to_a_new_model_and_back(tmp_path: Path, backend: Backend) -> None:
    path = tmp_path / "w.npz"
    first, fresh, called = model(), model(), model()
    with pytest.raises(WeightsError, match="has no size yet"):
        first.save_weights(path)
    first(Variable(X)), called(Variable(X))
    first.save_weights(path)
    want = snapshot(first)
    for other in (fresh, called):
        other.load_weights(path)
        assert snapshot(other) == want
        assert all(value.backend is backend for _, value in other.named_state())
        assert not other.l1.avg_mean.requires_grad
        with test_mode():
            y = other(Variable(X))
            assert_close(y.detach(), first(Variable(X)).detach(), rtol=0.0)
        assert snapshot(other) == want
        other(Variable(X))
        assert snapshot(other)["l1/avg_mean"] != want["l1/avg_mean"]


def test_buffers_without_data_take_what_fits_only(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    dzcore.io.write_archive(
        path,
        {name: dzcore.HostArray("float32", (2,), bytes(8)) for name in ("gamma", "beta", "avg_var")}
        | {"avg_mean": dzcore.HostArray("float32", (2, 2), bytes(16))},
    )
    with pytest.raises(WeightsError, match=r"avg_mean: the model has shape \(None,\) \(None: any\), the file float32"):
        L.BatchNorm().load_weights(path)
    dzcore.io.write_archive(
        path, {name: dzcore.HostArray("float64", (2,), bytes(16)) for name in ("gamma", "beta", "avg_var", "avg_mean")}
    )
    layer = L.BatchNorm()
    with pytest.raises(WeightsError, match=r"avg_var: the model has dtype float32, the file float64\[2\]"):
        layer.load_weights(path)
    assert layer.gamma._data is layer.avg_mean._data is None


@pytest.mark.parametrize("called", [True, False])
def test_moving(called: bool, strict: str) -> None:
    layer = L.BatchNorm()
    if called:
        layer(Variable(SAMPLE))
    target = get_backend("strict:device1")
    layer.to(target)
    with use_backend(target):
        y = layer(Variable(SAMPLE))
    assert y.backend is target
    assert {value.backend for _, value in layer.named_state()} == {target}
    twin = L.BatchNorm(4)
    for _ in range(1 + called):
        twin(Variable(SAMPLE))
    for path, found in snapshot(layer).items():
        np.testing.assert_allclose(found, snapshot(twin)[path], rtol=1e-6)


@pytest.mark.parametrize("called", [True, False])
def test_a_copy_goes_on_alone(called: bool, backend: Backend) -> None:
    layer = L.BatchNorm()
    if called:
        layer(Variable(SAMPLE))
    twin = copy.deepcopy(layer)
    assert isinstance(twin.avg_mean, L.Buffer)
    before = snapshot(layer) if called else None
    twin(Variable(SAMPLE))
    assert snapshot(layer) == before if called else layer.avg_mean._data is None
    layer(Variable(SAMPLE))
    assert snapshot(layer) == snapshot(twin)


def test_a_copy_that_was_never_called_loads_weights(tmp_path: Path, backend: Backend) -> None:
    layer = L.BatchNorm()
    twin = copy.deepcopy(layer)
    layer(Variable(SAMPLE))
    layer.save_weights(tmp_path / "w.npz")
    twin.load_weights(tmp_path / "w.npz")
    assert snapshot(twin) == snapshot(layer)


def test_a_buffer_without_data_says_so(backend: Backend) -> None:
    buffer = L.Buffer(name="avg")
    assert repr(buffer) == "variable(None)"
    with pytest.raises(AttributeError, match="'avg' has no data yet"):
        F.exp(buffer)
    for name in ("shape", "dtype", "ndim", "size", "device"):
        with pytest.raises(AttributeError, match="'avg' has no data yet"):
            getattr(buffer, name)


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.BatchNorm(0), "size=0 must be a positive integer"),
        (lambda: L.BatchNorm(3, decay=1.5), "decay=1.5 must be between 0 and 1"),
        (lambda: L.BatchNorm(3, eps=0.0), "eps=0.0 must be positive"),
        (lambda: L.LayerNorm(eps=-1.0), "eps=-1.0 must be positive"),
        (lambda: L.LayerNorm((3, 0)), "size=0 must be a positive integer"),
        (lambda: L.LayerNorm((None, 3)), "size=None must be a positive integer"),
        (lambda: L.GroupNorm(0), "groups=0 must be a positive integer"),
        (lambda: L.GroupNorm(2, 3), "groups=2 does not divide the 3 channels"),
        (lambda: L.EmbedID(0, 3), "in_size=0 must be a positive integer"),
        (lambda: L.EmbedID(3, -1), "out_size=-1 must be a positive integer"),
    ],
)
def test_arguments_are_checked(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_inputs_that_give_no_size_leave_a_layer_as_it_was() -> None:
    for layer, x in ((L.BatchNorm(), np.ones(3)), (L.LayerNorm(), np.ones(())), (L.BatchNorm(), np.ones((2, 0))),
                     (L.GroupNorm(2), np.ones((2, 3)))):  # fmt: skip
        with pytest.raises(ValueError, match=r"takes its size from axis|does not divide"):
            layer(x)
        assert layer.gamma._data is None
    with pytest.raises(TypeError, match="dtype="):
        L.BatchNorm(dtype="int32")


# EmbedID -------------------------------------------------------------------------------------------------------------


def test_embedding(backend: Backend) -> None:
    layer = L.EmbedID(5, 3)
    assert layer.W.shape == (5, 3)
    ids = dzcore.asarray([[4, 0, 4], [1, 4, 2]])
    y = layer(ids)
    rows = np.asarray(values(layer.W)).reshape(5, 3)
    assert values(y) == rows[[[4, 0, 4], [1, 4, 2]]].reshape(-1).tolist()
    y.backward()
    assert_close(layer.W.grad, [[1.0] * 3, [1.0] * 3, [1.0] * 3, [0.0] * 3, [3.0] * 3])
    assert layer([1, 2]).shape == (2, 3)
    assert layer(dzcore.asarray([], dtype="int64")).shape == (0, 3)
    assert layer(3).shape == (3,)


def test_embedding_starts_normal_and_is_the_same_everywhere(backend: Backend, numpy_backend: Backend) -> None:
    dzcore.random.seed(7)
    layer = L.EmbedID(100, 50)
    found = np.asarray(values(layer.W))
    assert abs(found.mean()) < 0.05
    assert abs(found.std() - 1) < 0.05
    dzcore.random.seed(7)
    with use_backend(numpy_backend):
        assert values(L.EmbedID(100, 50).W) == found.tolist()
    assert dtypes(L.EmbedID(2, 2, dtype="float64")) == {"float64"}


@pytest.mark.parametrize("ids", [[5], [-1], [[0, 1], [2, 7]]])
def test_ids_outside_are_refused(ids: Any, backend: Backend) -> None:
    layer = L.EmbedID(5, 3)
    if backend.accelerator:
        pytest.skip("the integers in an array on an accelerator are not looked at")
    with pytest.raises(IndexError, match="x holds (5|-1|7), out of bounds for 5 elements"):
        layer(ids)
    with pytest.raises(IndexError, match="x has dtype float32; indices are integers"):
        layer(dzcore.asarray([0.0]))


@pytest.mark.parametrize(("make", "axes"), [(L.BatchNorm, 2), (L.LayerNorm, 2), (lambda: L.GroupNorm(1), 3)])
def test_what_was_not_loaded_gets_the_size_of_what_was(make: Callable[[], Any], axes: int) -> None:
    """Not that of the first input, which may be wrong: the layer would fit nothing from then on."""
    layer = make()
    layer.load_state_dict({"gamma": np.ones(4, "f4")}, strict=False)
    with pytest.raises(ValueError, match="gamma has shape"):
        layer(np.ones((2, 3, 3)[:axes], "f4"))
    assert layer.beta.shape == (4,)
    assert layer(np.ones((2, 4, 4)[:axes], "f4")).shape == (2, 4, 4)[:axes]
