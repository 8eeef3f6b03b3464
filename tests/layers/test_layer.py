"""Layer: the tree of parameters, their names and order, moving, lazy sizes; Linear and Dropout."""

import copy
import os
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Parameter, Variable, get_backend, random, register_backend, use_backend
from dzcore.layers import Buffer, Layer
from dzcore.models import MLP

from ..elsewhere import Elsewhere, empty_registry, only_numpy

__all__ = ["empty_registry", "only_numpy"]  # fixtures of this module


def values(variable):
    host = variable.to_host()
    return np.frombuffer(bytes(host.buffer), host.dtype).reshape(host.shape)


def param(n=1.0):
    return Parameter([n])


def paths(layer):
    return [path for path, _ in layer.named_params()]


# The tree ---------------------------------------------------------------------------------------------------------


def test_parameters_come_in_the_order_of_assignment():
    layer = Layer()
    for name in ("zeta", "b", "alpha", "W"):
        setattr(layer, name, param())
    assert paths(layer) == ["zeta", "b", "alpha", "W"]
    layer.b = param()  # an attribute keeps its place
    assert paths(layer) == ["zeta", "b", "alpha", "W"]
    assert next(iter(layer.params())) is layer.zeta


def test_paths_through_layers_lists_tuples_and_dicts():
    model = Layer()
    model.l1 = L.Linear(2, in_size=3)
    model.blocks = [L.Linear(2, in_size=2), (param(), {"x": param(), 7: L.Linear(1, nobias=True, in_size=1)})]
    model.heads = {"a": [param()]}
    model.other = "text", 3, None, np.zeros(3), Variable([1.0])
    assert paths(model) == [
        "l1/W", "l1/b", "blocks/0/W", "blocks/0/b", "blocks/1/0", "blocks/1/1/x", "blocks/1/1/7/W", "heads/a/0",
    ]  # fmt: skip
    assert [p for _, p in model.named_params()] == list(model.params())


def test_what_is_reachable_twice_counts_once_under_its_first_path():
    shared = L.Linear(2, in_size=2)
    model = Layer()
    model.a, model.b, model.bias, model.again = shared, shared, shared.b, [shared.W]
    assert paths(model) == ["a/W", "a/b"]


def test_cycles_end():
    model, child = Layer(), Layer()
    model.w, model.child, child.parent, child.v = param(), child, model, param()
    model.list = [model]
    model.list.append(model.list)
    assert paths(model) == ["w", "child/v"]
    assert paths(child) == ["parent/w", "v"]


def test_flatten_params_is_the_dezero_form():
    model = MLP((2, 1), in_size=3)
    flat = {}
    model._flatten_params(flat)
    assert flat == dict(model.named_params())
    flat = {}
    model._flatten_params(flat, "net")
    assert list(flat) == ["net/l0/W", "net/l0/b", "net/l1/W", "net/l1/b"]


def test_parameters_appear_and_go_with_their_attributes():
    layer = Layer()
    layer.p, layer.q = param(), param()
    del layer.p
    assert paths(layer) == ["q"]
    layer.q = None
    assert paths(layer) == []


ORDER = """
import dzcore
from dzcore.layers import Linear
from dzcore.models import MLP
model = MLP((5, 4, 3, 2), in_size=6)
model.extra = {"z": Linear(2, in_size=2), "a": [Linear(1, in_size=1)]}
print(" ".join(path for path, _ in model.named_params()))
"""


def test_the_order_is_the_same_in_every_process():
    orders = {
        subprocess.run(
            [sys.executable, "-c", ORDER],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in (0, 1, 2, 3)
    }
    (order,) = orders
    assert order.split()[:3] == ["l0/W", "l0/b", "l1/W"]


def test_a_layer_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Layer needs a method forward"):
        Layer()(1)


def test_a_layer_passes_inputs_and_options_to_forward():
    class Add(Layer):
        def forward(self, a, b, *, scale=1):
            return (a + b) * scale

    assert float(Add()(Variable(1.0), Variable(2.0), scale=3)) == 9


# Gradients and buffers --------------------------------------------------------------------------------------------


def test_cleargrads_clears_all(backend):
    model = MLP((3, 2))
    model.cleargrads()  # before there are sizes
    F.sum(model(dzcore.ones((4, 5)))).backward()
    assert all(p.grad is not None for p in model.params())
    model.cleargrads()
    assert all(p.grad is None for p in model.params())


def test_buffers_are_state_but_not_learnt(backend):
    layer = Layer()
    layer.p, layer.mean = param(), Buffer([1.0, 2.0], name="mean")
    assert paths(layer) == ["p"]
    assert [path for path, _ in layer.named_state()] == ["p", "mean"]
    assert not layer.mean.requires_grad
    assert layer.mean.grad is None
    F.sum(layer.p * layer.mean).backward()
    assert layer.mean.grad is None
    assert layer.p.grad is not None


# Moving -----------------------------------------------------------------------------------------------------------


class Norm(Layer):
    def __init__(self):
        self.l = L.Linear(2, in_size=3)
        self.mean = Buffer([1.0, 2.0])
        self.count = Buffer([7])
        self.lazy = L.Linear(4)

    def forward(self, x):
        return self.l(x) - self.mean


@pytest.mark.parametrize("target", ["strict", "strict:device1"])
def test_to_moves_parameters_gradients_and_buffers_in_place(strict, target):
    with use_backend("numpy"):
        model = Norm()
        F.sum(model(dzcore.ones((4, 3)))).backward()
    before = {path: (id(v), id(v.node), values(v).copy()) for path, v in model.named_state() if v._data is not None}
    grads = {path: values(p.grad).copy() for path, p in model.named_params() if p.grad is not None}
    assert set(grads) == {"l/W", "l/b"}
    for spec in (target, "numpy", target):
        other = get_backend(spec)
        assert model.to(spec) is model
        state = dict(model.named_state())
        for path, (identity, node, value) in before.items():
            v = state[path]
            assert (id(v), id(v.node)) == (identity, node)
            assert v.backend is other
            assert other.owns(v.data)
            np.testing.assert_array_equal(values(v), value, strict=True)
        for path, grad in grads.items():
            assert state[path].grad.backend is other
            assert other.owns(state[path].grad.data)
            np.testing.assert_array_equal(values(state[path].grad), grad, strict=True)
        assert state["lazy/W"]._data is None
    with use_backend(target):
        x = dzcore.ones((4, 3))
        F.sum(model(x)).backward()  # adds to the gradient that was moved
        np.testing.assert_array_equal(values(model.l.W.grad), 2 * grads["l/W"])
        assert model.lazy(dzcore.ones((1, 5))).backend is get_backend(target)


def test_to_where_it_is_changes_nothing(backend):
    model = MLP((2,), in_size=3)
    data = model.l0.W.data
    assert model.to(backend) is model
    assert model.l0.W.data is data


def test_to_moves_shared_parameters_once(strict):
    a = L.Linear(3, in_size=3)
    model = Layer()
    model.a, model.b = a, a
    model.to("strict")
    assert model.a.W is model.b.W
    assert model.a.W.backend is get_backend("strict")


def test_to_cpu_and_to_gpu(only_numpy):
    register_backend(Elsewhere)
    model = MLP((2,), in_size=3).to("strict")
    with use_backend("numpy"):
        assert model.to_cpu() is model
    assert model.l0.W.backend is only_numpy
    with pytest.raises(dzcore.BackendError, match="No accelerator backend is installed"):
        model.to_gpu()
    assert model.l0.W.backend is only_numpy


def test_to_an_unknown_backend_changes_nothing():
    model = MLP((2,), in_size=3)
    with pytest.raises(dzcore.BackendNotFoundError, match="nunpy"):
        model.to("nunpy")
    assert model.l0.W.backend is get_backend("numpy")


def test_deepcopy_is_independent(backend):
    model = MLP((3, 2), in_size=4)
    model.tied, model.stat, model.later = model.l0.W, Buffer([1.0]), L.Linear(2)
    F.sum(model(dzcore.ones((2, 4)))).backward()
    twin = copy.deepcopy(model)
    assert paths(twin) == paths(model)
    assert twin.tied is twin.l0.W
    assert isinstance(twin.stat, Buffer)
    assert not twin.stat.requires_grad
    for ours, theirs in zip(model.params(), twin.params(), strict=True):
        assert ours is not theirs
        if ours._data is not None:
            assert theirs.backend is ours.backend
            np.testing.assert_array_equal(values(ours), values(theirs), strict=True)
    before = values(model.l0.W).copy()
    F.sum(twin(dzcore.ones((2, 4)))).backward()
    dzcore.optimizers.SGD(lr=1.0).setup(twin).update()
    np.testing.assert_array_equal(values(model.l0.W), before)
    assert not np.array_equal(values(twin.l0.W), before)
    twin.later(dzcore.ones((1, 9)))
    assert model.later.W._data is None


# Linear -----------------------------------------------------------------------------------------------------------


def test_sizes_are_found_at_the_first_call(backend):
    layer = L.Linear(2)
    assert layer.W._data is None
    assert layer.in_size is None
    x = dzcore.ones((4, 3))
    y = layer(x)
    assert y.shape == (4, 2)
    assert layer.W.shape == (3, 2)
    assert layer.b.shape == (2,)
    assert layer.in_size == 3
    assert layer.W.backend is layer.b.backend is backend
    W = layer.W.data
    layer(x)
    assert layer.W.data is W


def test_a_lazy_layer_starts_on_the_backend_of_its_input(strict):
    layer = L.Linear(2)
    with use_backend("numpy"):
        x = dzcore.ones((4, 3)).to("strict:device1")
        layer(x)
    assert layer.W.backend is layer.b.backend is get_backend("strict:device1")


def test_a_lazy_layer_takes_a_raw_array():
    layer = L.Linear(2)
    assert layer(np.ones((4, 3), np.float32)).shape == (4, 2)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (2, 1, 4, 3), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("nobias", [False, True])
def test_linear_maps_the_last_axis(backend, shape, nobias):
    layer = L.Linear(2, nobias, in_size=3)
    x = Variable(random.normal(shape, backend=backend))
    if not nobias:
        layer.b.data = random.normal((2,), backend=backend)
    y = layer(x)
    want = values(x).astype(np.float64) @ values(layer.W) + (0 if nobias else values(layer.b))
    assert y.shape == (*shape[:-1], 2)
    np.testing.assert_allclose(values(y), want, rtol=1e-5, atol=1e-6)
    F.sum(y).backward()
    rows = values(x).reshape(-1, 3).sum(0)
    np.testing.assert_allclose(values(layer.W.grad), np.stack([rows, rows], 1), rtol=1e-5, atol=1e-6)
    assert layer.W.grad.dtype == backend.dtype("float32")
    if nobias:
        assert layer.b is None
        assert paths(layer) == ["W"]
    else:
        np.testing.assert_allclose(values(layer.b.grad), [np.prod(shape[:-1])] * 2)


def test_initial_weights_are_the_same_bits_on_every_backend(strict):
    found = set()
    for spec in ("numpy", "strict", "strict:device1"):
        with use_backend(spec):
            random.seed(11)
            eager, lazy = MLP((7, 3), in_size=5), MLP((7, 3))
            lazy(dzcore.ones((1, 5)))
            for model in (eager, lazy):
                assert all(p.backend is get_backend(spec) for p in model.params())
            found.add(tuple(bytes(p.to_host().buffer) for model in (eager, lazy) for p in model.params()))
    assert len(found) == 1


def test_initial_weights_have_variance_1_over_in_size():
    random.seed(3)
    for n in (4, 100, 900):
        layer = L.Linear(300, in_size=n)
        W = values(layer.W).astype(np.float64)
        # the variance of a sample variance of m normal numbers is 2 / m
        assert abs(W.var() * n - 1) < 5 * np.sqrt(2 / W.size)
        assert abs(W.mean()) < 5 / np.sqrt(n * W.size)
        assert not values(layer.b).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_linear_has_the_dtype_it_was_given(backend, dtype):
    for form in (dtype, backend.dtype(dtype), getattr(np, dtype), np.dtype(dtype), getattr(dzcore, dtype)):
        layer = L.Linear(2, dtype=form)
        y = layer(Variable(dzcore.ones((4, 3), dtype=dtype)))
        assert {v.backend.dtype_name(v.dtype) for v in (layer.W, layer.b, y)} == {dtype}


def test_linear_stays_in_float32_by_default(backend):
    y = F.mean(L.Linear(2)(dzcore.ones((4, 3))) * 2)
    assert y.dtype == backend.dtype("float32")


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", None, True])
def test_linear_names_a_wrong_size(size):
    with pytest.raises(ValueError, match=r"out_size=.* must be a positive integer"):
        L.Linear(size)
    if size is not None:
        with pytest.raises(ValueError, match=r"in_size=.* must be a positive integer"):
            L.Linear(2, in_size=size)


def test_linear_takes_the_integers_of_numpy():
    layer = L.Linear(np.int64(2), in_size=np.int32(3))
    assert layer.W.shape == (3, 2)


@pytest.mark.parametrize("dtype", ["int32", "bool", "flaot32", np.int64, "complex64"])
def test_linear_refuses_dtypes_that_cannot_learn(dtype):
    with pytest.raises(TypeError, match="dtype="):
        L.Linear(2, dtype=dtype)


def test_linear_names_what_does_not_fit(backend):
    layer = L.Linear(2, in_size=3)
    with pytest.raises(ValueError, match=r"x has shape \(4, 5\) and W \(3, 2\)"):
        layer(dzcore.ones((4, 5)))
    lazy = L.Linear(2)
    for x in (dzcore.ones(()), dzcore.ones((4, 0))):
        with pytest.raises(ValueError, match=r"x has shape .*; "):
            lazy(x)
        assert lazy.W._data is None
        assert lazy.in_size is None
    assert lazy(dzcore.ones((4, 5))).shape == (4, 2)  # as if nothing had happened


def test_linear_on_another_backend_than_its_input_says_so(strict):
    layer = L.Linear(2, in_size=3)
    with use_backend("strict"):
        x = dzcore.ones((4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # array-api-strict's own, about comparing its dtypes with NumPy's
        with pytest.raises(dzcore.MixedBackendError, match="numpy.*strict|strict.*numpy"):
            layer(x)


# Dropout ----------------------------------------------------------------------------------------------------------


def test_dropout_layer_is_the_function_with_its_ratio(backend):
    x = dzcore.ones((50, 40))
    for mode in ("inverted", "direct"):
        random.seed(5)
        y = L.Dropout(0.25, mode=mode)(x)
        random.seed(5)
        np.testing.assert_array_equal(values(y), values(F.dropout(x, 0.25, mode=mode)))
        scale = 1 / 0.75 if mode == "inverted" else 1.0
        assert set(np.unique(values(y))) == {0.0, np.float32(scale)}
        assert abs((values(y) > 0).mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / 2000)
        with dzcore.test_mode():
            np.testing.assert_allclose(values(L.Dropout(0.25, mode=mode)(x)), 1.0 if mode == "inverted" else 0.75)


def test_dropout_layer_drops_half_by_default_and_has_no_parameters():
    layer = L.Dropout()
    assert layer.dropout_ratio == 0.5
    assert paths(layer) == []


@pytest.mark.parametrize("ratio", [1.0, 1.5, -1.0, float("nan")])
def test_dropout_layer_refuses_ratios_at_once(ratio):
    with pytest.raises(ValueError, match="dropout_ratio="):
        L.Dropout(ratio)


def test_dropout_layer_refuses_unknown_modes():
    with pytest.raises(ValueError, match="mode='inverse'"):
        L.Dropout(mode="inverse")


@pytest.mark.parametrize(
    ("layer", "shape", "x"),
    [
        (L.Linear(3), (2, 3), (4, 2)),
        (L.Conv2d(3, 1), (3, 2, 1, 1), (4, 2, 5, 5)),
        (L.Deconv1d(3, 2), (2, 3, 2), (4, 2, 5)),
    ],
    ids=["Linear", "Conv2d", "Deconv1d"],
)
def test_weights_set_by_hand(layer: Any, shape: tuple[int, ...], x: tuple[int, ...]) -> None:
    """A reader of the book sets W; b is then found at the first call, and W stays."""
    layer.W.data = np.full(shape, 0.5, "f4")
    layer(np.ones(x, "f4"))
    assert layer.W.data.tolist() == np.full(shape, 0.5).tolist()
    assert layer.b.data.tolist() == [0.0, 0.0, 0.0]


def test_a_norm_with_one_half_set_by_hand() -> None:
    layer = L.BatchNorm()
    layer.gamma.data = np.array([2.0, 2.0], "f4")
    layer(np.ones((4, 2), "f4"))
    assert layer.gamma.data.tolist() == [2.0, 2.0]
