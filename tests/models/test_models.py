"""Models: shapes and names, arguments, training on every backend, dropout."""

import gc

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Parameter, random, use_backend
from dzcore.datasets import Spiral
from dzcore.models import MLP, Model, Sequential
from dzcore.optimizers import SGD, Adam, ClipGrad, MomentumSGD, WeightDecay


def values(variable):
    host = variable.to_host()
    return np.frombuffer(bytes(host.buffer), host.dtype).reshape(host.shape)


def paths(model):
    return [path for path, _ in model.named_params()]


def spiral():
    data = Spiral()
    return dzcore.asarray(data.data), dzcore.asarray(data.label)


def train(model, optimizer, steps):
    """Train on the whole spiral, and return the losses."""
    x, t = spiral()
    optimizer.setup(model)
    losses = []
    for _ in range(steps):
        loss = F.softmax_cross_entropy(model(x), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        losses.append(float(loss))
    return losses


# MLP ----------------------------------------------------------------------------------------------------------------


def test_mlp_names_and_shapes(backend):
    for model in (MLP((5, 4, 2)), MLP([5, 4, 2], in_size=3), MLP(range(5, 3, -1), in_size=3)):
        y = model(dzcore.ones((7, 3)))
        assert paths(model) == [f"l{i}/{p}" for i in range(len(model.layers)) for p in "Wb"]
        assert y.shape == (7, model.layers[-1].out_size)
        assert model.l0.W.shape == (3, 5)
        assert model.l1.W.shape == (5, 4)
        assert y.dtype == backend.dtype("float32")
    assert all(p._data is not None for p in MLP((5, 4, 2), in_size=3).params())


def test_mlp_computes_what_its_formula_says(backend):
    model = MLP((5, 4, 2), F.tanh, in_size=3)
    x = random.normal((7, 3), dtype="float32", backend=backend)
    a = values(dzcore.asarray(x)).astype("f8")
    for i, layer in enumerate(model.layers):
        a = a @ values(layer.W) + values(layer.b)
        a = np.tanh(a) if i < 2 else a  # none after the last
    np.testing.assert_allclose(values(model(x)), a, rtol=1e-5, atol=1e-6)


def test_mlp_uses_the_sigmoid_by_default():
    assert MLP((2,)).activation is F.sigmoid


def test_mlp_takes_stacks_of_vectors(backend):
    assert MLP((5, 2), in_size=3)(dzcore.ones((2, 7, 3))).shape == (2, 7, 2)


@pytest.mark.parametrize("sizes", [(), [], 10, 0, None, {3}])
def test_mlp_wants_a_sequence_of_sizes(sizes):
    with pytest.raises(ValueError, match="fc_output_sizes=.* must be a sequence"):
        MLP(sizes)


@pytest.mark.parametrize("size", [0, -3, "5", 2.5, None])
def test_mlp_names_a_wrong_size(size):
    with pytest.raises(ValueError, match="out_size=.* must be a positive integer"):
        MLP((4, size))


def test_mlp_refuses_other_wrong_arguments():
    with pytest.raises(ValueError, match="in_size=0 must be a positive integer"):
        MLP((4,), in_size=0)
    for ratio in (1.0, -0.1, 1.5):
        with pytest.raises(ValueError, match=f"dropout_ratio={ratio}"):
            MLP((4,), dropout=ratio)
    with pytest.raises(TypeError, match="activation='relu' cannot be called"):
        MLP((4,), "relu")
    with pytest.raises(TypeError, match="activation=0.5 cannot be called"):
        MLP((4, 2), 0.5)


# Sequential ---------------------------------------------------------------------------------------------------------


def test_sequential_is_a_chain_of_layers_and_functions(backend):
    model = Sequential(L.Linear(5), F.relu, L.Dropout(0.5), L.Linear(2), lambda x: x * 2.0)
    x = dzcore.ones((7, 3))
    with dzcore.test_mode():
        y = model(x)
    assert paths(model) == ["l0/W", "l0/b", "l3/W", "l3/b"]
    want = model.l3(F.relu(model.l0(x))) * 2.0
    assert values(y).tobytes() == values(want).tobytes()
    assert [callable(layer) for layer in model.layers] == [True] * 5


def test_sequential_keeps_the_order_beyond_ten():
    model = Sequential(*[lambda x, i=i: [*x, i] for i in range(12)])
    assert model([]) == list(range(12))


def test_sequential_without_layers_is_the_identity():
    x = dzcore.ones(2)
    assert Sequential()(x) is x


def test_sequential_names_what_cannot_be_called():
    with pytest.raises(TypeError, match=r"layers\[1\]=3 cannot be called"):
        Sequential(F.relu, 3)
    with pytest.raises(TypeError, match=r"layers\[0\]="):
        Sequential([F.relu])


def test_models_nest(backend):
    class Net(Model):
        def __init__(self):
            self.body = Sequential(L.Linear(4), MLP((3, 2)))
            self.scale = Parameter(2.0, backend=backend)

        def forward(self, x, extra=0.0):
            return self.body(x) * self.scale + extra

    net = Net()
    assert net(dzcore.ones((2, 3)), extra=1.0).shape == (2, 2)
    assert paths(net) == [
        "body/l0/W",
        "body/l0/b",
        "body/l1/l0/W",
        "body/l1/l0/b",
        "body/l1/l1/W",
        "body/l1/l1/b",
        "scale",
    ]


# Training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: (MLP((10, 3)), MomentumSGD(0.5)),
        lambda: (MLP((16, 16, 3), F.relu), Adam(0.02)),
        lambda: (
            Sequential(L.Linear(16), F.tanh, L.Linear(3)),
            Adam(0.02).add_hook(WeightDecay(1e-4)).add_hook(ClipGrad(1.0)),
        ),
    ],
)
def test_training_reduces_the_loss(backend, make):
    random.seed(0)
    model, optimizer = make()
    losses = train(model, optimizer, 60)
    assert losses[0] > 0.8
    assert losses[-1] < 0.75 * losses[0]
    assert all(p.backend is backend for p in model.params())
    assert all(p.dtype == backend.dtype("float32") for p in model.params())


def test_a_network_learns_the_spiral():
    with use_backend("numpy"):
        random.seed(0)
        model = MLP((32, 32, 3), F.relu)
        assert train(model, Adam(0.02), 300)[-1] < 0.1
        x, t = spiral()
        assert float(F.accuracy(model(x), t)) > 0.97


@pytest.mark.parametrize("optimizer", [lambda: SGD(0.5), lambda: MomentumSGD(0.2), lambda: Adam(0.01)])
def test_backends_agree_on_a_whole_training_run(strict, optimizer):
    """The initial weights and dropout masks are the same bits; sums are added up in another order."""
    found = []
    for spec in ("numpy", "strict", "strict:device1"):
        with use_backend(spec):
            random.seed(7)
            model = MLP((12, 3), F.tanh, dropout=0.25)
            losses = train(model, optimizer(), 25)
            found.append((losses, [values(p) for p in model.params()], random.get_state()))
    for losses, params, state in found[1:]:
        assert state == found[0][2]
        np.testing.assert_allclose(losses, found[0][0], rtol=1e-4)
        for a, b in zip(params, found[0][1], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_training_goes_on_after_a_move(strict):
    with use_backend("numpy"):
        random.seed(0)
        model = MLP((10, 3), F.tanh)
        optimizer = Adam(0.02)
        first = train(model, optimizer, 20)
        want = train(model, optimizer, 10)
        random.seed(0)
        model = MLP((10, 3), F.tanh)
        optimizer = Adam(0.02)
        assert train(model, optimizer, 20) == first
    model.to("strict:device1")
    with use_backend("strict:device1"):
        np.testing.assert_allclose(train(model, optimizer, 10), want, rtol=1e-4)


def test_training_leaves_nothing_behind(backend):
    random.seed(0)
    model, x, t = MLP((4, 3), F.relu, dropout=0.1), *spiral()
    optimizer = Adam().setup(model).add_hook(WeightDecay(1e-4)).add_hook(ClipGrad(1.0))

    def steps(n):
        for _ in range(n):
            loss = F.softmax_cross_entropy(model(x), t)
            model.cleargrads()
            loss.backward()
            optimizer.update()

    steps(20)
    gc.collect()
    gc.disable()
    try:
        steps(20)
        assert gc.collect() == 0
        assert len(optimizer._arrays) == 4
    finally:
        gc.enable()


# Dropout ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda: MLP((40, 3), F.relu, dropout=0.5), lambda: Sequential(L.Linear(40), L.Dropout(0.5))]
)
def test_dropout_happens_in_training_only(backend, make):
    model = make()
    x = dzcore.ones((5, 4))
    model(x)
    assert values(model(x)).tobytes() != values(model(x)).tobytes()
    state = random.get_state()
    with dzcore.test_mode():
        assert values(model(x)).tobytes() == values(model(x)).tobytes()
    assert random.get_state() == state


def test_mlp_drops_after_each_activation_but_not_after_the_last_layer(backend):
    """With an activation of ones, one sees the masks."""
    shapes = []

    def ones(x):
        shapes.append(x.shape)
        return x * 0.0 + 1.0

    model = MLP((400, 300, 200), ones, dropout=0.25, in_size=2)
    for layer in model.layers:
        layer.W.data = backend.xp.ones_like(layer.W.data)
    random.seed(1)
    y = values(model(dzcore.ones((50, 2))))
    assert shapes == [(50, 400), (50, 300)]
    assert random.get_state() == (1, 50 * 700)
    assert (y > 0).all()
    np.testing.assert_allclose(y, np.repeat(y[:, :1], 200, 1), rtol=1e-5)  # the last values are not dropped one by one
    counts = y[:, 0] * 0.75  # how many of 300 were kept
    np.testing.assert_allclose(counts, counts.round(), atol=1e-2)
    assert abs(counts.mean() - 225) < 5 * np.sqrt(300 * 0.25 * 0.75 / 50)


def test_without_dropout_nothing_is_drawn(backend):
    model = MLP((4, 2), in_size=3)
    state = random.get_state()
    model(dzcore.ones((1, 3)))
    assert random.get_state() == state
