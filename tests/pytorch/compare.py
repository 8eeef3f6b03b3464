"""The same arrays, weights and upstream gradients for dzcore and for PyTorch, and the comparison of what comes out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from dzcore import Layer, Variable

torch = pytest.importorskip("torch", reason="the comparison needs PyTorch: pip install torch")
torch.set_num_threads(1)  # the arrays are small


def draw(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Draw numbers in float64, spread evenly."""
    return np.random.default_rng((seed, *shape)).uniform(low, high, shape)


def tensor(array: Any) -> Any:
    """Return a copy of an array or Variable as a PyTorch tensor."""
    return torch.tensor(np.asarray(array.data if isinstance(array, Variable) else array))


def assert_same(ours: Any, theirs: Any, rtol: float = 1e-9, what: str = "") -> None:
    """Compare a Variable or array with a tensor: shape, dtype, values."""
    ours = ours.data if isinstance(ours, Variable) else ours
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    np.testing.assert_allclose(
        ours, theirs, rtol=rtol, atol=rtol * max(1.0, float(np.abs(theirs).max(initial=0.0))), err_msg=what
    )


def compare(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray, rtol: float = 1e-9) -> None:
    """Compare results, and the gradients of all floating-point arrays for random upstream gradients."""
    xs = [Variable(a.copy()) for a in arrays]
    ts = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    ys, zs = _listed(ours(*xs)), _listed(theirs(*ts))
    assert len(ys) == len(zs)
    total, torch_total = 0.0, 0.0
    for i, (y, z) in enumerate(zip(ys, zs, strict=True)):
        assert_same(y, z, rtol, f"result {i}")
        g = draw(*y.shape, seed=100 + i).astype(y.dtype)
        total, torch_total = total + (y * g).sum(), torch_total + (z * torch.tensor(g)).sum()
    total.backward()
    torch_total.backward()
    for i, (x, t) in enumerate(zip(xs, ts, strict=True)):
        if t.requires_grad:
            assert_same(x.grad, t.grad, rtol, f"gradient {i}")


def _listed(results: Any) -> Sequence[Any]:
    return list(results) if isinstance(results, (tuple, list)) else [results]


def same_weights(layer: Layer, module: Any, names: Mapping[str, str], transposed: Sequence[str] = ()) -> None:
    """Copy the state of a PyTorch module into a layer: `names` maps dzcore's paths to PyTorch's names.

    Weights whose paths end in one of `transposed` are stored the other way round.
    """
    theirs = module.state_dict()
    state = dict(layer.named_state())
    assert set(names) == set(state)
    for path, name in names.items():
        array = theirs[name].numpy().copy()
        value = state[path]
        value.data = np.ascontiguousarray(array.T) if path.endswith(tuple(transposed)) else array


def assert_same_gradients(
    layer: Layer, module: Any, names: Mapping[str, str], transposed: Sequence[str] = (), rtol: float = 1e-9
) -> None:
    """Compare the gradients of all parameters with those of a PyTorch module."""
    theirs = dict(module.named_parameters())
    for path, param in layer.named_params():
        gradient = theirs[names[path]].grad
        assert_same(param.grad, gradient.T if path.endswith(tuple(transposed)) else gradient, rtol, path)
