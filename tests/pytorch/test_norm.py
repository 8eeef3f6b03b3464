"""Normalization as in PyTorch: results, gradients, second derivatives, and running statistics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable, test_mode

from .compare import assert_same, assert_same_gradients, compare, draw, same_weights, torch

BATCH = {"gamma": "weight", "beta": "bias", "avg_mean": "running_mean", "avg_var": "running_var"}
AFFINE = {"gamma": "weight", "beta": "bias"}
SHAPES = [(6, 4), (3, 4, 5), (2, 4, 3, 2), (2, 4, 2, 3, 2)]
BATCH_NORMS = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}


def second(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Any, rtol: float = 1e-8) -> None:
    """Compare the gradients of a weighted sum of squared gradients; 0 · x makes it depend on every input."""
    xs, ts = [Variable(a.copy()) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*xs), theirs(*ts)
    g = draw(*y.shape, seed=7)
    gxs = dzcore.grad(y, xs, Variable(g).detach(), create_graph=True)
    gts = torch.autograd.grad(z, ts, torch.tensor(g), create_graph=True)
    total, torch_total = 0.0, 0.0
    for i, (x, gx, t, gt) in enumerate(zip(xs, gxs, ts, gts, strict=True)):
        w = draw(*x.shape, seed=8 + i)
        total, torch_total = (
            total + (gx * gx * w + x * 0.0).sum(),
            torch_total + (gt * gt * torch.tensor(w) + t * 0).sum(),
        )
    for i, (found, want) in enumerate(zip(dzcore.grad(total, xs), torch.autograd.grad(torch_total, ts), strict=True)):
        assert_same(found, want, rtol, f"input {i}")


@pytest.mark.parametrize("mode", ["training", "testing"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm(shape: tuple[int, ...], mode: str) -> None:
    """Three steps: results, gradients and running statistics at each."""
    layer, module = L.BatchNorm(4, decay=0.8, eps=1e-3, dtype="float64"), BATCH_NORMS[len(shape)](
        4, eps=1e-3, momentum=0.2, dtype=torch.float64)  # fmt: skip
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name != "num_batches_tracked":
                value.copy_(torch.tensor(draw(4, seed=len(name), low=0.2, high=2.0)))
    same_weights(layer, module, BATCH)
    module.train(mode == "training")
    for step in range(3):
        x, g = draw(*shape, seed=step, low=-3.0, high=5.0), draw(*shape, seed=50 + step)
        v, t = Variable(x), torch.tensor(x, requires_grad=True)
        with dzcore.using_config("train", mode == "training"):
            y = layer(v)
        z = module(t)
        assert_same(y, z, what=f"step {step}")
        layer.cleargrads()
        module.zero_grad()
        (y * g).sum().backward()
        (z * torch.tensor(g)).sum().backward()
        assert_same(v.grad, t.grad)
        assert_same_gradients(layer, module, AFFINE)
        state = module.state_dict()
        for path, value in layer.named_state():
            assert_same(value, state[BATCH[path]], what=path)


@pytest.mark.parametrize("mode", ["training", "testing"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_second_derivatives_of_batch_norm(shape: tuple[int, ...], mode: str) -> None:
    mean, var = draw(4, seed=1), draw(4, seed=2, low=0.5, high=2.0)
    training = mode == "training"

    def ours(*xs: Variable) -> Variable:
        with dzcore.using_config("train", training):
            return F.batch_norm(*xs, mean.copy(), var.copy(), eps=1e-3)

    def theirs(x: Any, gamma: Any, beta: Any) -> Any:
        return torch.nn.functional.batch_norm(
            x, torch.tensor(mean), torch.tensor(var), gamma, beta, training=training, eps=1e-3
        )

    arrays = draw(*shape), draw(4, seed=3), draw(4, seed=4)
    compare(ours, theirs, *arrays)
    second(ours, theirs, *arrays)


@pytest.mark.parametrize(
    ("shape", "size"), [((3, 5), (5,)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 4)), ((4,), (4,))], ids=str
)
def test_layer_norm(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    layer, module = L.LayerNorm(size, dtype="float64"), torch.nn.LayerNorm(size, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.tensor(draw(*size, seed=1)))
        module.bias.copy_(torch.tensor(draw(*size, seed=2)))
    same_weights(layer, module, AFFINE)
    compare(layer, module, draw(*shape))
    assert_same_gradients(layer, module, AFFINE)
    arrays = draw(*shape), draw(*size, seed=1), draw(*size, seed=2)
    second(F.layer_norm, lambda x, w, b: torch.nn.functional.layer_norm(x, size, w, b), *arrays)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3, 8), (2, 4, 5), (2, 4, 3, 2)], ids=str)
def test_group_norm(shape: tuple[int, ...], groups: int) -> None:
    c = shape[1]
    layer = L.GroupNorm(groups, c, dtype="float64")
    module = torch.nn.GroupNorm(groups, c, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.tensor(draw(c, seed=1)))
        module.bias.copy_(torch.tensor(draw(c, seed=2)))
    same_weights(layer, module, AFFINE)
    compare(layer, module, draw(*shape))
    assert_same_gradients(layer, module, AFFINE)
    arrays = draw(*shape), draw(c, seed=1), draw(c, seed=2)
    second(
        lambda x, gamma, beta: F.group_norm(x, groups, gamma, beta),
        lambda x, w, b: torch.nn.functional.group_norm(x, groups, w, b),
        *arrays,
    )


def test_defaults() -> None:
    """eps of LayerNorm and GroupNorm are PyTorch's; BatchNorm's eps and decay are DeZero's."""
    x = draw(4, 6) * 1e-3
    compare(L.LayerNorm(6, dtype="float64"), torch.nn.LayerNorm(6, dtype=torch.float64), x)
    compare(L.GroupNorm(3, 6, dtype="float64"), torch.nn.GroupNorm(3, 6, dtype=torch.float64), x)
    layer, module = L.BatchNorm(6, dtype="float64"), torch.nn.BatchNorm1d(6, 2e-5, 0.1, dtype=torch.float64)
    compare(layer, module, x)
    assert_same(layer.avg_var, module.running_var)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_float32(scale: float) -> None:
    """As near to float64 as PyTorch's float32 is, or nearer, for data around `scale`."""
    x = (np.random.default_rng(0).normal(size=(2048, 3)) + scale).astype("float32")
    exact = torch.nn.functional.batch_norm(torch.tensor(x, dtype=torch.float64), None, None, training=True).numpy()
    theirs = torch.nn.functional.batch_norm(torch.tensor(x), None, None, training=True).numpy()
    layer = L.BatchNorm(eps=1e-5)
    ours = layer(Variable(x)).data
    assert ours.dtype == np.float32
    assert np.abs(ours - exact).max() <= max(np.abs(theirs - exact).max(), 2e-6)


def test_embedding() -> None:
    W, ids = draw(6, 3), np.array([[0, 5, 2], [2, 2, 1]])
    compare(F.embed_id, torch.nn.functional.embedding, ids, W)
    layer, module = L.EmbedID(6, 3, dtype="float64"), torch.nn.Embedding(6, 3, dtype=torch.float64)
    same_weights(layer, module, {"W": "weight"})
    y, z = layer(ids), module(torch.tensor(ids))
    assert_same(y, z)
    (y * y).sum().backward()
    (z * z).sum().backward()
    assert_same_gradients(layer, module, {"W": "weight"})


def test_test_mode_is_eval() -> None:
    layer, module = L.BatchNorm(3, dtype="float64"), torch.nn.BatchNorm1d(3, 2e-5, 0.1, dtype=torch.float64)
    x = draw(5, 3)
    layer(Variable(x)), module(torch.tensor(x))
    module.eval()
    with test_mode():
        compare(layer, module, draw(2, 3, seed=1))
        compare(layer, module, draw(1, 3, seed=2))
