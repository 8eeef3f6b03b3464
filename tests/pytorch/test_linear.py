"""Linear and dropout as in PyTorch."""

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable
from dzcore.models import MLP

from .compare import assert_same, assert_same_gradients, compare, draw, same_weights, torch
from .test_norm import second


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("nobias", [False, True])
def test_linear(shape: tuple[int, ...], nobias: bool) -> None:
    layer = L.Linear(5, nobias=nobias, dtype="float64", in_size=4)
    module = torch.nn.Linear(4, 5, bias=not nobias, dtype=torch.float64)
    names = {"W": "weight"} if nobias else {"W": "weight", "b": "bias"}
    same_weights(layer, module, names, transposed=["W"])
    compare(layer, module, draw(*shape))
    assert_same_gradients(layer, module, names, transposed=["W"])


def test_second_derivatives_of_linear() -> None:
    second(F.linear, lambda x, W, b: torch.nn.functional.linear(x, W.T, b), draw(3, 4), draw(4, 5), draw(5))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mlp(dtype: str) -> None:
    model = MLP((8, 6, 3), activation=F.relu, in_size=5)
    module = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 6), torch.nn.ReLU(),
                                 torch.nn.Linear(6, 3)).to(getattr(torch, dtype))  # fmt: skip
    names = {f"l{i}/{ours}": f"{2 * i}.{theirs}" for i in range(3) for ours, theirs in (("W", "weight"), ("b", "bias"))}
    same_weights(model, module, names, transposed=["W"])
    rtol = 1e-12 if dtype == "float64" else 1e-5
    compare(model, module, draw(7, 5).astype(dtype), rtol=rtol)
    assert_same_gradients(model, module, names, transposed=["W"], rtol=rtol)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 0.9])
def test_dropout_is_a_mask_and_a_factor(ratio: float) -> None:
    """With our mask, PyTorch's arithmetic: results, gradients, and the gradient of what is between two dropouts."""
    x = draw(40, 50) + 2.0
    dzcore.random.seed(3)
    kept = F.dropout(Variable(x), ratio).data != 0
    assert abs(kept.mean() - (1 - ratio)) < 0.05

    def ours(x: Variable) -> Variable:
        dzcore.random.seed(3)
        return F.dropout(x, ratio)

    mask = torch.tensor(kept / (1 - ratio))
    compare(ours, lambda x: x * mask, x, rtol=1e-15)
    compare(lambda x: ours(x * x) * x, lambda x: x * x * mask * x, x, rtol=1e-14)
    with dzcore.test_mode():
        assert_same(F.dropout(Variable(x), ratio), torch.nn.functional.dropout(torch.tensor(x), ratio, training=False))
    assert np.array_equal(ours(Variable(x)).data != 0, kept)
