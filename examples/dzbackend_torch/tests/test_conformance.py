"""dzcore's conformance kit on PyTorch, and what is PyTorch's own."""

import pytest
import torch
from dzbackend_torch import TorchBackend

import dzcore
from dzcore.backend import get_backend
from dzcore.testing.conformance import Conformance


class TestTorch(Conformance):
    backends = tuple(f"torch:{device}" for device in TorchBackend.devices())


def test_no_tensor_is_followed_by_torchs_autograd() -> None:
    learnt = torch.nn.Parameter(torch.ones(3))
    for x in (dzcore.Variable(learnt), dzcore.asarray(learnt), dzcore.exp(learnt)):
        assert x.backend is get_backend("torch")
        assert not x.data.requires_grad
    y = dzcore.Variable(torch.ones(3)) * learnt
    assert not y.data.requires_grad


def test_windows_are_a_view() -> None:
    x = torch.arange(12.0).reshape(3, 4).T
    y = get_backend("torch").windows(x, (2,), (1,), (1,))
    assert y.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert y.shape == (4, 2, 2)
    assert y[1].tolist() == [[1.0, 5.0], [5.0, 9.0]]


def test_an_update_is_in_place_even_where_results_are_targets() -> None:
    p, v = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    targets = get_backend("torch").update(lambda xp, p, v: (v, p), (p, v))
    assert targets[0] is p
    assert targets[1] is v
    assert (p.tolist(), v.tolist()) == ([3.0, 4.0], [1.0, 2.0])


def test_unknown_devices_are_named() -> None:
    with pytest.raises(dzcore.BackendUnavailableError, match="nonsense"):
        get_backend("torch:nonsense")
