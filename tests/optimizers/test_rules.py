"""Optimizers: the formulas of the papers, PyTorch, state, hooks, and what must not change."""

import copy
import gc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
from dzcore import Parameter, Variable, get_backend, use_backend
from dzcore.layers import Layer, Linear
from dzcore.models import MLP
from dzcore.optimizers import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    AdamW,
    ClipGrad,
    FreezeParam,
    MomentumSGD,
    Optimizer,
    WeightDecay,
)


def values(variable):
    host = variable.to_host()
    return np.frombuffer(bytes(host.buffer), host.dtype).reshape(host.shape)


def on(backend, array):
    array = np.asarray(array)
    return backend.from_host(dzcore.HostArray(array.dtype.name, array.shape, array.tobytes()))


def parameter(array, backend="numpy"):
    own = get_backend(backend)
    return Parameter(on(own, array), backend=own)


def give(param, grad):
    param.grad = Variable(on(param.backend, grad), backend=param.backend).detach()


# The formulas, written down from the papers in float64 ---------------------------------------------------------------


def sgd(p, grads, lr):
    for g in grads:
        p = p - lr * g
    return p


def momentum_sgd(p, grads, lr, momentum):
    v = np.zeros_like(p)
    for g in grads:
        v = momentum * v - lr * g
        p = p + v
    return p


def adagrad(p, grads, lr, eps):
    total = np.zeros_like(p)
    for g in grads:
        total = total + g**2
        p = p - lr * g / (np.sqrt(total) + eps)
    return p


def adadelta(p, grads, rho, eps):
    mean_g2, mean_d2 = np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        mean_g2 = rho * mean_g2 + (1 - rho) * g**2
        d = -np.sqrt(mean_d2 + eps) / np.sqrt(mean_g2 + eps) * g
        mean_d2 = rho * mean_d2 + (1 - rho) * d**2
        p = p + d
    return p


def adam(p, grads, alpha, beta1, beta2, eps):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p = p - alpha * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return p


def adamw(p, grads, alpha, beta1, beta2, eps, weight_decay):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p = p - alpha * (m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)) - alpha * weight_decay * p
    return p


rate, part = st.floats(1e-4, 1.0), st.floats(0.0, 0.999)
small = st.floats(1e-10, 1e-2)
RULES = {
    SGD: (sgd, {"lr": rate}),
    MomentumSGD: (momentum_sgd, {"lr": rate, "momentum": part}),
    AdaGrad: (adagrad, {"lr": rate, "eps": small}),
    AdaDelta: (adadelta, {"rho": part, "eps": small}),
    Adam: (adam, {"alpha": rate, "beta1": part, "beta2": part, "eps": small}),
    AdamW: (adamw, {"alpha": rate, "beta1": part, "beta2": part, "eps": small, "weight_decay": st.floats(0.0, 0.5)}),
}
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@each_rule
@settings(max_examples=25)
@given(data=st.data(), shape=SHAPES, seed=st.integers(0, 99), dtype=st.sampled_from(["float32", "float64"]))
def test_formulas_over_20_steps(rule, data, shape, seed, dtype):
    formula, strategies = RULES[rule]
    options = {name: data.draw(strategy, name) for name, strategy in strategies.items()}
    g = np.random.default_rng(seed)
    start, grads = g.standard_normal(shape).astype(dtype), g.standard_normal((20, *shape)).astype(dtype)
    grads[3] = 0
    param = parameter(start)
    optimizer = rule(**options).setup([param])
    for grad in grads:
        give(param, grad)
        optimizer.update()
    assert values(param).dtype == dtype
    want = formula(start.astype(np.float64), grads.astype(np.float64), **options)
    tolerance = 1e-10 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(values(param), want, rtol=tolerance, atol=tolerance)


@each_rule
@pytest.mark.parametrize("n", [7, 100_000])  # a plain evaluation, and a fused one
def test_backends_agree(backend, rule, n):
    g = np.random.default_rng(0)
    start, grads = g.standard_normal(n).astype("f4"), g.standard_normal((3, n)).astype("f4")
    param = parameter(start, backend)
    optimizer = rule().setup([param])
    for grad in grads:
        give(param, grad)
        optimizer.update()
    formula, _ = RULES[rule]
    defaults = {name: getattr(optimizer, name) for name in RULES[rule][1]}
    np.testing.assert_allclose(
        values(param), formula(start.astype("f8"), grads.astype("f8"), **defaults), rtol=1e-5, atol=1e-6
    )
    assert param.backend is backend
    assert backend.owns(param.data)
    assert param.dtype == backend.dtype("float32")


def torch_rules(torch):
    return {
        "SGD": (SGD(0.05), lambda p: torch.optim.SGD(p, 0.05)),
        "MomentumSGD": (MomentumSGD(0.05, 0.8), lambda p: torch.optim.SGD(p, 0.05, momentum=0.8)),
        "AdaGrad": (AdaGrad(0.05, 1e-8), lambda p: torch.optim.Adagrad(p, 0.05, eps=1e-8)),
        "AdaDelta": (AdaDelta(0.9, 1e-6), lambda p: torch.optim.Adadelta(p, 1.0, 0.9, 1e-6)),
        "Adam": (Adam(0.01, 0.8, 0.99, 1e-6), lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.99), 1e-6)),
        "AdamW": (
            AdamW(0.01, 0.8, 0.99, 1e-6, 0.1),
            lambda p: torch.optim.AdamW(p, 0.01, (0.8, 0.99), 1e-6, weight_decay=0.1),
        ),
    }


@pytest.mark.parametrize("name", ["SGD", "MomentumSGD", "AdaGrad", "AdaDelta", "Adam", "AdamW"])
@pytest.mark.parametrize("hooked", [False, True])
def test_pytorch_agrees_over_100_steps(name, hooked):
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    g = np.random.default_rng(3)
    shapes = [(4, 3), (3,), ()]
    ours = [parameter(g.standard_normal(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(torch.tensor(values(p))) for p in ours]
    optimizer, make = torch_rules(torch)[name]
    optimizer.setup(ours)
    reference = make(theirs)
    if hooked:
        optimizer.add_hook(WeightDecay(0.1)).add_hook(ClipGrad(1.0))
    for _ in range(100):
        for p, q in zip(ours, theirs, strict=True):
            grad = g.standard_normal(p.shape)
            give(p, grad)
            q.grad = torch.tensor(grad)
            if hooked:
                q.grad += 0.1 * q.detach()
        if hooked:
            norm = torch.sqrt(sum((q.grad**2).sum() for q in theirs))
            for q in theirs:
                q.grad *= min(1.0, 1.0 / norm)
        optimizer.update()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(values(p), q.detach().numpy(), rtol=1e-9, atol=1e-10)


def test_the_papers_default_numbers():
    assert (SGD().lr, MomentumSGD().lr, MomentumSGD().momentum) == (0.01, 0.01, 0.9)
    assert (AdaGrad().lr, AdaGrad().eps, AdaDelta().rho, AdaDelta().eps) == (0.001, 1e-8, 0.95, 1e-6)
    a = AdamW()
    assert (a.alpha, a.beta1, a.beta2, a.eps, a.weight_decay) == (0.001, 0.9, 0.999, 1e-8, 0.01)


def test_alpha_and_lr_are_one_number():
    for a in (Adam(lr=0.5), Adam(0.5), AdamW(lr=0.5)):
        assert a.alpha == a.lr == 0.5
    a.alpha = 0.25
    assert a.lr == 0.25


# In place, and in float32 --------------------------------------------------------------------------------------------


@each_rule
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (200, 300)])
def test_numpy_is_updated_in_place(rule, shape):
    param = parameter(np.ones(shape, "f4"))
    optimizer, data = rule().setup([param]), param.data
    assert type(data) is np.ndarray
    for _ in range(3):
        give(param, np.full(shape, 0.5, "f4"))
        optimizer.update()
        if shape:  # NumPy makes scalars of 0-d arrays, and those are new
            assert param.data is data
        assert type(param.data) is np.ndarray
        assert all(type(array) is np.ndarray for array in optimizer._arrays.get(param.node, (None, ()))[1])
    assert param.data.dtype == np.float32
    assert not data.size or (param.data < 1).all()


@each_rule
@pytest.mark.parametrize("kind", [float, np.float64, np.float32, int])
def test_float32_stays_float32_whatever_number_the_rate_is(backend, rule, kind):  # fault 1
    param = parameter(np.ones(3, "f4"), backend)
    optimizer = rule().setup([param])
    if hasattr(optimizer, "lr"):
        optimizer.lr = kind(1)
    else:
        optimizer.eps = kind(1)
    for _ in range(2):
        give(param, np.ones(3, "f4"))
        optimizer.update()
        assert param.dtype == backend.dtype("float32")
        for array in optimizer._arrays.get(param.node, (None, ()))[1]:
            assert array.dtype == backend.dtype("float32")


def test_what_numpy_must_not_write_to_is_replaced():
    data = np.ones(3, "f4")
    data.flags.writeable = False
    param = Parameter(data)
    give(param, np.ones(3, "f4"))
    SGD(0.5).setup([param]).update()
    assert data.tolist() == [1, 1, 1]
    assert values(param).tolist() == [0.5, 0.5, 0.5]


# State ---------------------------------------------------------------------------------------------------------------


@each_rule
@pytest.mark.parametrize("others", [("strict",), ("strict:device1", "strict"), ("strict", "numpy")])
def test_state_follows_the_model(strict, rule, others):
    """The numbers are those of a run without a switch."""

    def run(switches):
        with use_backend("numpy"):
            model = Layer()
            g = np.random.default_rng(0)
            model.W, model.b = (parameter(g.standard_normal(shape).astype("f4")) for shape in ((3, 2), ()))
        optimizer = rule().setup(model)
        for step in range(9):
            if step in switches:
                model.to(switches[step])
            for p in model.params():
                give(p, g.standard_normal(p.shape).astype("f4"))
            optimizer.update()
            assert all(
                home is p.backend for p in model.params() for home, _ in [optimizer._arrays.get(p.node, (p.backend, 0))]
            )
        return [values(p) for p in model.params()]

    switches = dict(zip((3, 6), others, strict=False))
    for a, b in zip(run({}), run(switches), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_parameters_without_gradient_are_skipped(backend):
    a, b = parameter(np.ones(2, "f4"), backend), parameter(np.ones(2, "f4"), backend)
    optimizer = MomentumSGD(0.5).setup([a, b])
    give(a, np.ones(2, "f4"))
    optimizer.update()
    assert values(a).tolist() == [0.5, 0.5]
    assert values(b).tolist() == [1, 1]
    assert a.node in optimizer._arrays
    assert b.node not in optimizer._arrays
    optimizer.setup(MLP((2,))).update()  # no sizes yet


def test_state_is_not_keyed_by_id():  # fault 16
    """A new parameter at the address of a dead one begins afresh."""
    model = Layer()
    optimizer = MomentumSGD(1.0, 0.5).setup(model)
    for _ in range(200):
        model.p = None
        gc.collect(0)
        model.p = parameter(np.zeros(1))
        give(model.p, np.ones(1))
        optimizer.update()
        assert values(model.p).tolist() == [-1.0]
        assert model.p.node in optimizer._arrays  # which keeps the node alive, so that its address is not used again


def test_state_belongs_to_the_parameter_when_its_data_is_replaced():
    param = parameter(np.zeros(1))
    optimizer = MomentumSGD(1.0, 0.5).setup([param])
    give(param, np.ones(1))
    optimizer.update()
    param.data = np.zeros(1)
    optimizer.update()
    assert values(param).tolist() == [-1.5]


def test_two_optimizers_of_one_model_keep_their_own_state():
    param = parameter(np.zeros(1))
    one, two = MomentumSGD(1.0, 0.5).setup([param]), MomentumSGD(1.0, 0.5).setup([param])
    give(param, np.ones(1))
    one.update()
    two.update()
    assert values(param).tolist() == [-2]


# Targets -------------------------------------------------------------------------------------------------------------


def test_setup_returns_the_optimizer_and_takes_layers_and_iterables():
    model = MLP((2,), in_size=3)
    for target in (
        model,
        model.params(),
        list(model.params()),
        dict(model.named_params()).values(),
        (model.l0.W, model.l0.b),
    ):
        F.sum(model(dzcore.ones((1, 3)))).backward()
        optimizer = SGD(0.5)
        assert optimizer.setup(target) is optimizer
        for _ in range(2):  # an iterator is not used up
            before = [values(p).copy() for p in model.params()]
            optimizer.update()
            assert all(not np.array_equal(a, values(p)) for a, p in zip(before, model.params(), strict=True))
        model.cleargrads()


def test_a_parameter_given_twice_is_updated_once():
    param = parameter(np.zeros(1))
    give(param, np.ones(1))
    SGD(1.0).setup([param, param]).update()
    assert values(param).tolist() == [-1]


def test_layers_that_come_later_are_found():
    model = Layer()
    optimizer = SGD(1.0).setup(model)
    model.late = Linear(2)
    F.sum(model.late(dzcore.ones((1, 3)))).backward()
    optimizer.update()
    assert values(model.late.b).tolist() == [-1, -1]


@pytest.mark.parametrize("target", [[Variable([1.0])], ["W"], [None], [[Parameter([1.0])]], 5])
def test_setup_refuses_other_things(target):
    with pytest.raises(TypeError, match="target|iterable"):
        SGD().setup(target)


def test_update_before_setup():
    with pytest.raises(RuntimeError, match=r"Adam has no target; call setup\(model\) first"):
        Adam().update()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: SGD(0), "lr=0"), (lambda: SGD(-1.0), "lr=-1.0"), (lambda: SGD(float("nan")), "lr=nan"),
        (lambda: MomentumSGD(0.1, 1.0), "momentum=1.0"), (lambda: MomentumSGD(0.1, -0.1), "momentum=-0.1"),
        (lambda: MomentumSGD(0.0), "lr=0.0"), (lambda: AdaGrad(0.1, 0.0), "eps=0.0"), (lambda: AdaGrad(-1), "lr=-1"),
        (lambda: AdaDelta(1.0), "rho=1.0"), (lambda: AdaDelta(0.9, -1e-6), "eps=-1e-06"), (lambda: Adam(-1), "lr=-1"),
        (lambda: Adam(beta1=1.0), "beta1=1.0"), (lambda: Adam(beta2=1.5), "beta2=1.5"), (lambda: Adam(eps=0), "eps=0"),
        (lambda: Adam(lr=0.0), "lr=0.0"), (lambda: AdamW(weight_decay=-0.1), "weight_decay=-0.1"),
        (lambda: AdamW(beta1=-1), "beta1=-1"), (lambda: WeightDecay(-1), "rate=-1"), (lambda: ClipGrad(0), "norm=0"),
        (lambda: ClipGrad(-1.0), "max_norm=-1.0"), (lambda: WeightDecay(float("nan")), "rate=nan"),
        (lambda: AdamW(weight_decay=float("nan")), "weight_decay=nan"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_named(make, name):
    with pytest.raises(ValueError, match=name):
        make()


def test_wrong_hooks_are_refused_at_once():
    with pytest.raises(TypeError, match=r"layers\[1\] is a str"):
        FreezeParam(Linear(2), "l1")
    with pytest.raises(TypeError, match="hook=0.1 cannot be called"):
        SGD().add_hook(0.1)


def test_a_rule_of_one_s_own(backend):
    class SignSGD(Optimizer):
        def __init__(self, lr):
            super().__init__()
            self.lr = lr

        def numbers(self):
            return (self.lr / self.t,)

        @staticmethod
        def formula(xp, p, g, lr):
            return (p - xp.sign(g) * lr,)

    class DeZero(Optimizer):
        def update_one(self, param):
            param.data = param.data - 0.5 * param.grad.data

    param = parameter(np.zeros(2, "f4"), backend)
    give(param, np.array([3, -2], "f4"))
    optimizer = SignSGD(1.0).setup([param])
    optimizer.update()
    optimizer.update()
    assert values(param).tolist() == [-1.5, 1.5]
    DeZero().setup([param]).update()
    assert values(param).tolist() == [-3, 2.5]
    with pytest.raises(NotImplementedError, match="needs a formula"):
        Optimizer().setup([param]).update()


# Hooks ---------------------------------------------------------------------------------------------------------------


def step(params, *hooks):
    """Return what the hooks make of the gradients, by one step of SGD from zero with lr 1, or from the values there."""
    before = [values(p).astype("f8") for p in params]
    optimizer = SGD(1.0).setup(params)
    for hook in hooks:
        assert optimizer.add_hook(hook) is optimizer
    optimizer.update()
    return [a - values(p) for a, p in zip(before, params, strict=True)]


def test_weight_decay(backend):
    a, b = parameter(np.array([2.0, -4.0], "f4"), backend), parameter(np.array(8.0, "f4"), backend)
    give(a, np.array([1.0, 1.0], "f4"))
    give(b, np.array(0.0, "f4"))
    got = step([a, b], WeightDecay(0.25))
    assert got[0].tolist() == [1.5, 0.0]
    assert got[1].tolist() == 2.0
    assert values(a.grad).tolist() == [1, 1]
    assert step([a], WeightDecay(0))[0].tolist() == [1, 1]


GRADS = [np.array([3.0, 0.0]), np.array([[0.0], [4.0]]), np.array(12.0), np.zeros((0, 2))]  # of norm 13


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("max_norm", [1.3, 12.99, 13.0, 13.01, 1e6])
def test_clip_grad_takes_the_norm_of_all(backend, dtype, max_norm):
    params = [parameter(np.zeros(g.shape, dtype), backend) for g in GRADS]
    for p, g in zip(params, GRADS, strict=True):
        give(p, g.astype(dtype))
    got = step(params, ClipGrad(max_norm))
    for mine, g, p in zip(got, GRADS, params, strict=True):
        if max_norm >= 13:
            assert mine.tolist() == g.tolist()  # to the bit
        else:
            np.testing.assert_allclose(mine, g * (max_norm / 13), rtol=1e-6)
        assert p.dtype == p.grad.dtype
        assert values(p.grad).tolist() == g.tolist()


@pytest.mark.parametrize("norm", [0.0, 1e-9, 0.5e-6, 0.999e-6])
def test_clip_grad_leaves_the_smallest_norms_alone(backend, norm):
    param = parameter(np.zeros(2), backend)
    give(param, np.array([norm, 0.0]))
    assert step([param], ClipGrad(1e-6))[0].tolist() == [norm, 0]


def test_clip_grad_over_dtypes(backend):
    a, b = parameter(np.zeros(1, "f4"), backend), parameter(np.zeros(1, "f8"), backend)
    for params in ([a, b], [b, a]):
        give(a, np.full(1, 3.0, "f4"))
        give(b, np.full(1, 4.0))
        for p in params:
            p.data = backend.xp.zeros_like(p.data)
        got = step(params, ClipGrad(1.0))
        np.testing.assert_allclose(sorted(float(g[0]) for g in got), [0.6, 0.8], rtol=1e-6)


def test_clip_grad_of_half_precision_does_not_overflow():
    param = parameter(np.zeros(4, "f2"))
    give(param, np.full(4, 1000.0, "f2"))
    np.testing.assert_allclose(step([param], ClipGrad(1.0))[0], 0.5, rtol=1e-3)


@pytest.mark.parametrize("by", ["layer", "parameter", "model"])
@pytest.mark.parametrize("place", [0, 1])
def test_freeze_param(backend, by, place):  # fault 18
    model = MLP((3, 2), in_size=4)
    other = Linear(2, in_size=2)
    frozen = {"layer": [model.l0], "parameter": [model.l0.W, model.l0.b], "model": [model]}[by]
    F.sum(model(dzcore.ones((2, 4)))).backward()
    F.sum(other(dzcore.ones((2, 2)))).backward()
    grads = [(p, p.grad, values(p.grad).copy()) for layer in (model, other) for p in layer.params()]
    before = {path: values(p).copy() for path, p in model.named_params()}
    optimizer = MomentumSGD().setup(model)
    hooks = [WeightDecay(0.1), ClipGrad(0.1)]
    hooks.insert(2 * place, FreezeParam(*frozen, other))
    for hook in hooks:
        optimizer.add_hook(hook)
    optimizer.update()
    for path, p in model.named_params():
        assert np.array_equal(before[path], values(p)) == (by == "model" or path.startswith("l0")), path
    for p, grad, value in grads:  # those of layers outside the optimizer as well
        assert p.grad is grad
        assert np.array_equal(values(grad), value)
    optimizer.hooks.clear()
    optimizer.update()
    assert all(not np.array_equal(before[path], values(p)) for path, p in model.named_params())


def test_frozen_gradients_do_not_count_for_the_norm(backend):
    a, b = parameter(np.zeros(1, "f4"), backend), parameter(np.zeros(1, "f4"), backend)
    for p in (a, b):
        give(p, np.full(1, 4.0, "f4"))
    got = step([a, b], FreezeParam(a), ClipGrad(1.0))
    np.testing.assert_allclose(got, [[0], [1]], rtol=1e-6)


def test_hooks_run_in_their_order_on_the_parameters_with_gradients():
    a, b = parameter(np.zeros(1)), parameter(np.zeros(1))
    give(a, np.ones(1))
    calls = []
    optimizer = SGD().setup([a, b])
    optimizer.add_hook(lambda params: calls.append(("first", list(params))))
    optimizer.add_hook(lambda params: calls.append(("second", list(params))))
    optimizer.update()
    assert [name for name, _ in calls] == ["first", "second"]
    assert all([id(p) for p in params] == [id(a)] for _, params in calls)


def test_dezero_hooks_assign_gradients(backend):
    """In all three ways in which scripts do it; each lasts for one update."""

    def variable(params):
        for p in params:
            p.grad = p.grad * 2.0

    def data(params):
        for p in params:
            p.grad.data = p.grad.data * 2.0

    def array(params):
        for p in params:
            p.grad = p.grad.data * 2.0

    for hook in (variable, data, array):
        param = parameter(np.zeros(2, "f4"), backend)
        grad = np.array([1.0, 2.0], "f4")
        give(param, grad)
        for n in (1, 2):
            optimizer = SGD(1.0).setup([param]).add_hook(hook)
            optimizer.update()
            assert values(param).tolist() == [-2 * n, -4 * n]
            assert values(param.grad).tolist() == [1, 2]


def test_gradients_come_back_when_a_hook_fails():
    a, b = parameter(np.zeros(1)), parameter(np.zeros(1))
    for p in (a, b):
        give(p, np.ones(1))
    grads = [a.grad, b.grad]

    def fail(params):
        params[0].grad = params[0].grad * 3.0
        raise KeyboardInterrupt

    optimizer = SGD().setup([a, b]).add_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        optimizer.update()
    assert a.grad is grads[0]
    assert b.grad is grads[1]
    assert values(a).tolist() == values(b).tolist() == [0]


# Purity --------------------------------------------------------------------------------------------------------------

HOOKS = [WeightDecay(0.1), ClipGrad(0.5)]


@each_rule
@pytest.mark.parametrize("hooks", [[], HOOKS])
@pytest.mark.parametrize("n", [3, 40_000])
def test_gradients_that_are_one_array_or_a_view_stay_as_they_are(backend, rule, hooks, n):  # fault 10
    xp = backend.xp
    a, b, c = (parameter(np.full((2, n), value, "f4"), backend) for value in (1.0, 2.0, 3.0))
    y = F.sum(a + b) + F.sum(c)
    y.backward()
    params = [a, b, c]
    optimizer = rule().setup(params)
    for hook in hooks:
        optimizer.add_hook(hook)
    grads = [p.grad for p in params]
    optimizer.update()
    for p, grad in zip(params, grads, strict=True):
        assert p.grad is grad
        assert (values(grad) == 1).all()
    shared = Variable(
        xp.broadcast_to(xp.ones((1, 1), dtype=xp.float32, device=backend.device), (2, n)), backend=backend
    )
    before = [values(p).copy() for p in params]
    for p in params:
        p.grad = shared
    optimizer.update()
    assert (values(shared) == 1).all()
    assert all(p.grad is shared for p in params)
    assert all((values(p) < x).all() for p, x in zip(params, before, strict=True))


def test_other_values_of_the_graph_stay_as_they_are(backend):
    """What the loss was computed from is not the optimizer's to change."""
    model = MLP((3, 2), in_size=4)
    x, t = dzcore.ones((2, 4)), dzcore.zeros((2, 2))
    y = model(x)
    loss = F.mean_squared_error(y, t)
    loss.backward()
    kept = [values(v).copy() for v in (x, t, y, loss)]
    Adam().setup(model).add_hook(WeightDecay(0.1)).update()
    for v, value in zip((x, t, y, loss), kept, strict=True):
        assert np.array_equal(values(v), value)


def test_an_update_builds_no_graph(backend):
    param = parameter(np.ones(2, "f4"), backend)
    F.sum(param * param).backward(create_graph=True)
    node = param.node
    optimizer = MomentumSGD().setup([param]).add_hook(WeightDecay(0.1)).add_hook(ClipGrad(1.0))
    optimizer.update()
    assert param.node is node
    assert param.creator is None
    assert param.backend is get_backend(str(backend))
    param.cleargrad()


def test_a_copy_of_model_and_optimizer_goes_on_alone() -> None:
    x, t = np.ones((2, 3), np.float32), np.array([0, 1])
    dzcore.random.seed(0)
    model = MLP((4, 2))
    optimizer = Adam(lr=0.1).setup(model)

    def step(model: MLP, optimizer: Adam) -> None:
        loss = F.softmax_cross_entropy(model(x), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()

    step(model, optimizer)
    twin, other = copy.deepcopy((model, optimizer))
    before = model.l0.W.data.copy()
    step(twin, other)
    assert np.array_equal(model.l0.W.data, before)
    step(model, optimizer)
    assert np.array_equal(model.l0.W.data, twin.l0.W.data)


def test_a_dtype_that_the_library_cannot_keep_is_refused(numpy_backend):
    """ml_dtypes' bfloat16 becomes float32 when it meets a number."""
    pytest.importorskip("ml_dtypes")
    p = Parameter([1.0, 2.0], dtype="bfloat16")
    p.grad = dzcore.ones(2, dtype="bfloat16")
    with pytest.raises(TypeError, match="came out as float32; keep this parameter in float32"):
        SGD(0.1).setup([p]).update()
    assert numpy_backend.dtype_name(p.dtype) == "bfloat16"


def test_the_numbers_of_a_step_are_computed_once_after_the_hooks():
    seen = []

    class Watched(SGD):
        def numbers(self):
            seen.append(self.lr)
            return super().numbers()

    params = [Parameter([1.0]) for _ in range(3)]
    optimizer = Watched(1.0).setup(params)
    for lr in (0.5, 0.25):
        optimizer.hooks = [lambda params, lr=lr: setattr(optimizer, "lr", lr)]
        for p in params:
            p.grad = dzcore.ones(1)
        optimizer.update()
    assert seen == [0.5, 0.25]
    assert [p.data.tolist() for p in params] == [[0.25]] * 3
    optimizer.lr = 1.0
    optimizer.update_one(params[0])
    assert params[0].data.tolist() == [-0.75]


def test_a_subclass_may_vary_the_numbers_from_parameter_to_parameter():
    class Halving(SGD):
        def update_one(self, param):
            super().update_one(param)
            self.lr /= 2

    params = [Parameter([0.0]) for _ in range(3)]
    for p in params:
        p.grad = dzcore.ones(1)
    Halving(1.0).setup(params).update()
    assert [p.data.tolist() for p in params] == [[-1.0], [-0.5], [-0.25]]


def test_a_gradient_that_a_hook_has_kept_stays_as_it_was() -> None:
    """Sums that the engine has made are added to in place, unless somebody has seen them."""
    param, kept = Parameter(np.ones(3, "f4")), []
    optimizer = SGD().setup([param])
    optimizer.add_hook(lambda params: kept.append(params[0].grad.data))
    for _ in range(2):
        F.sum(param * 2.0).backward()
    optimizer.update()
    F.sum(param * 2.0).backward()
    assert param.grad is not None
    assert kept[0].tolist() == [4.0, 4.0, 4.0]
    assert param.grad.data.tolist() == [6.0, 6.0, 6.0]
