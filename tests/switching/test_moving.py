"""Moving what is in the middle of something: gradients, states of optimizers, models in parts; and what cannot be."""

from typing import Any

import pytest

import dzcore.functions as F
from dzcore import GraphError, MixedBackendError, Parameter, Variable, as_variable, grad, random, use_backend
from dzcore.backend import Backend, get_backend, register_backend
from dzcore.datasets import ArrayDataset
from dzcore.errors import BackendNotFoundError
from dzcore.layers import Linear
from dzcore.models import MLP, Model
from dzcore.optimizers import SGD, Adam, Optimizer
from dzcore.optimizers.hooks import ClipGrad, FreezeParam, WeightDecay
from dzcore.testing import assert_close, values
from tests.elsewhere import Accelerator, Elsewhere

from .runs import RULES, Run, apart, bits, samples, tolerance


def test_to_gpu_and_back(gpu: Backend, only_numpy: Backend) -> None:
    x = Variable([1.0, 2.0], backend=only_numpy)
    (x * 3.0).backward()
    model = MLP((3, 2), in_size=2)
    assert x.to_gpu() is None
    assert model.to_gpu() is model
    for each in (x, *model.params()):
        assert each.backend is gpu
        assert each.grad is None or each.grad.backend is gpu
    assert values(x.grad) == [3, 3]
    assert x.to_cpu() is None
    assert model.to_cpu() is model
    assert {each.backend for each in (x, x.grad, *model.params())} == {only_numpy}


def test_to_the_accelerator_that_is_current(gpu: Backend, only_numpy: Backend) -> None:
    x = Variable([1.0], backend=only_numpy)
    with use_backend("accelerator:device1"):
        x.to_gpu()
    assert str(x.backend) == "accelerator:device1"


def test_without_an_accelerator_nothing_moves(only_numpy: Backend) -> None:
    x, model = Variable([1.0], backend=only_numpy), MLP((3,), in_size=2)
    for each in (x, model):
        with pytest.raises(BackendNotFoundError, match="No accelerator backend is installed"):
            each.to_gpu()
    assert {each.backend for each in (x, *model.params())} == {only_numpy}


def test_data_that_is_set_stays_where_it_is(gpu: Backend) -> None:
    """Two backends may own one library's arrays, as one that wraps another does: the Variable's own one is asked."""

    class Twin(Accelerator):
        name = "twin"

    register_backend(Twin)
    for first, second in ((gpu, get_backend("twin")), (get_backend("twin"), gpu)):
        for kind in (Variable, Parameter):
            x = kind([1.0], backend=first)
            with use_backend(second):
                x.data = x.data * 2.0
            assert (x.backend, values(x)) == (first, [2])


def test_only_leaves_move_in_place(places: list[Backend]) -> None:
    x = Variable([1.0], backend=places[0])
    y = x * 2.0
    with pytest.raises(GraphError, match=r"take x\.to"):
        y.move(places[1])
    assert y.backend is places[0]
    z = y.to(places[1]) * 3.0
    z.backward()
    assert x.grad is not None
    assert (values(x.grad), x.grad.backend) == ([6], places[0])


@pytest.mark.parametrize("way", ["backward", "create_graph", "grad"])
def test_a_graph_from_before_the_move_is_refused(way: str, places: list[Backend]) -> None:
    """It holds the arrays that it saved, and its gradients come out where they are."""
    for a in places:
        for b in places:
            x = Parameter([1.0, 2.0], backend=a)
            if b.owns(x.data):  # the same, or one that wraps the other's arrays: they serve as well
                continue
            y = F.sum(x**2.0)
            x.move(b)
            with pytest.raises(GraphError, match=f"a gradient on {a}.* on {b}; compute the loss anew$"):
                grad(y, x) if way == "grad" else y.backward(create_graph=way == "create_graph")
            assert x.grad is None


@pytest.mark.parametrize("name", RULES)
def test_states_of_optimizers_follow(places: list[Backend], name: str) -> None:
    for b in places[1:]:
        run, model = (Run(places[0], name, "float32", 1) for _ in range(2))
        for i in range(4):
            if i == 2:
                run.model.to(b)  # not a word to the optimizer
            run.step()
            model.step()
        for home, state in run.optimizer._arrays.values():
            assert home is b
            assert all(b.owns(array) for array in state)
        assert apart(run, model) <= tolerance("float32", 4)


def test_the_state_of_what_has_no_gradient_follows_later(places: list[Backend]) -> None:
    a, b = places[:2]
    x, y = Parameter([1.0], backend=a), Parameter([1.0], backend=a)
    optimizer = RULES["momentum"]().setup([x, y])

    def step(only: Parameter | None = None) -> None:
        for each in (x, y):
            each.grad = each.detach() * 0.0 + 1.0 if only is None or only is each else None
        optimizer.update()

    step()
    x.move(b)
    y.move(b)
    step(only=x)  # y's state is where it was
    step()
    assert values(y)[0] == pytest.approx(1 - 0.05 - 0.05 * 1.9)
    assert values(x)[0] == pytest.approx(1 - 0.05 - 0.05 * 1.9 - 0.05 * 2.71)


class Parts(Model):
    """A model on two backends, as on two devices."""

    def __init__(self) -> None:
        self.l0, self.l1 = Linear(5, in_size=4), Linear(3, in_size=5)

    def forward(self, x: Any) -> Variable:
        x = F.tanh(self.l0(as_variable(x).to(self.l0.W.backend)))
        return self.l1(x.to(self.l1.W.backend))


def test_a_model_in_parts(places: list[Backend]) -> None:
    """Its gradients come back from one part to the other, and a hook clips the norm of both."""
    a, b = places[:2]
    models: list[Parts] = []
    for split in (False, True):
        random.seed(0)
        with use_backend(a):
            model = Parts()
        data = samples("float32", a)
        if split:
            model.l1.to(b)
        optimizer: Optimizer = Adam(0.02, eps=0.01).setup(model)
        optimizer.add_hook(WeightDecay(0.1)).add_hook(ClipGrad(0.01))
        for _ in range(3):
            y = model(data.data)
            loss = F.softmax_cross_entropy(y, Variable(data.label, backend=a).to(y.backend))
            model.cleargrads()
            loss.backward()
            optimizer.update()
        models.append(model)
    assert models[1].l1.W.backend is b
    models[1].to(a)
    for whole, part in zip(*(model.params() for model in models), strict=True):
        assert_close(part.detach(), whole.detach(), rtol=1e-5, atol=1e-6)


def test_hooks_follow(places: list[Backend]) -> None:
    a, b = places[:2]
    model = MLP((2, 2), in_size=2)
    optimizer = SGD(0.1).setup(model).add_hook(FreezeParam(model.l0)).add_hook(ClipGrad(1.0))
    before = bits(model.l0.W)
    for place in (a, b, a):
        model.to(place)
        F.sum(model(Variable([[1.0, 2.0]], backend=place))).backward()
        optimizer.update()
    assert bits(model.l0.W) == before


def test_inputs_elsewhere_are_told(places: list[Backend]) -> None:
    a, b = places[:2]
    model = MLP((3,), in_size=2).to(b)
    with pytest.raises(MixedBackendError, match=rf"on {a} meets {b}; move it with x\.to\("):
        model(Variable([[1.0, 2.0]], backend=a))


class Single(Elsewhere):
    """It has no float64."""

    name = "single"

    def from_host(self, host: Any) -> Any:
        if host.dtype == "float64":
            raise TypeError("float64 is unknown here")
        return super().from_host(host)


def test_data_that_fit_nowhere_stay_whole(only_numpy: Backend) -> None:
    register_backend(Single)
    x, t = only_numpy.asarray([1.0], "float32"), only_numpy.asarray([1.0], "float64")
    data = ArrayDataset(x, t)
    with pytest.raises(TypeError, match="float64"):
        data.to("single")
    assert data.backend is only_numpy
    assert (data.data, data.label) == (x, t)


def test_a_model_that_fits_nowhere_stays_whole(only_numpy: Backend) -> None:
    """A backend without float64 refuses the second layer; the first one has not moved either."""

    register_backend(Single)
    model = MLP((3, 2), in_size=2)
    model.l1.W = Parameter([[1.0, 2.0]] * 3, dtype="float64", backend=only_numpy)
    with pytest.raises(TypeError, match="float64"):
        model.to("single")
    assert {param.backend for param in model.params()} == {only_numpy}
