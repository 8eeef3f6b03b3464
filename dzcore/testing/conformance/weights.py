"""Weights: what one backend saves, another loads, bit for bit."""

from pathlib import Path
from typing import Any

import pytest

from ... import random
from ...backend import Backend, use_backend
from ...errors import WeightsError
from ...graph import Parameter, Variable
from ...layers import Layer
from ...layers.base import Buffer
from ...models import MLP
from ..compare import values
from .group import Group
from .measure import FLOATS, bits, portable_form, reference_for, send

__all__ = ["Weights"]


class _Everything(Layer):
    """A parameter of each floating dtype, some with signs of zero, inf and nan; and buffers."""

    def __init__(self, backend: Backend, dtypes: list[str], start: float) -> None:
        numbers = [start, -0.0, float("inf"), float("nan"), 1 / 3, -2.5]
        self.params_ = {d: Parameter(send(backend, numbers, (2, 3), d), backend=backend) for d in dtypes}
        self.count = Buffer(send(backend, [int(start)], (), "int64"), backend=backend)
        self.empty = Buffer(send(backend, [], (0, 2), "float32"), backend=backend)
        self.mask = Buffer(send(backend, [start > 0, False], (2,), "bool"), backend=backend)

    def contents(self) -> dict[str, Any]:
        return {name: bits(value.backend, value.data) for name, value in self.named_state()}


def _send(model: Layer, other: Layer, means: str, folder: Path) -> None:
    """Give the weights of a model to another one, by a dictionary or by a file."""
    if means == "state_dict":
        other.load_state_dict(model.state_dict())
        return
    model.save_weights(folder / f"weights.{means}")
    other.load_weights(folder / f"weights.{means}")


class Weights(Group):
    """Saving and loading."""

    @pytest.mark.parametrize("means", ["npz", "safetensors", "state_dict"])
    @pytest.mark.parametrize("way", ["out", "in", "to itself", "to its portable form"])
    def test_every_dtype(self, way: str, means: str, backend: Backend, tmp_path: Path) -> None:
        """A file, or a dictionary, carries every floating dtype, buffers, empty arrays and those without axes."""
        source, target = {
            "out": (backend, reference_for(backend)),
            "in": (reference_for(backend), backend),
            "to itself": (backend, backend),
            "to its portable form": (backend, portable_form(backend)),
        }[way]
        dtypes = [d for d in FLOATS if d in source.dtypes and d in target.dtypes]
        saved, loaded = _Everything(source, dtypes, 3.0), _Everything(target, dtypes, 0.0)
        assert loaded.contents() != saved.contents()
        _send(saved, loaded, means, tmp_path)
        assert loaded.contents() == saved.contents()
        assert all(value.backend is target and target.owns(value.data) for _, value in loaded.named_state())

    def test_models(self, backend: Backend, tmp_path: Path) -> None:
        """A model answers alike after its weights have travelled; one without sizes takes them from the file."""
        other = reference_for(backend)
        random.seed(3)
        model = MLP((4, 2), in_size=3)
        model.save_weights(tmp_path / "model.npz")
        plain = [0.5, -1.0, 2.0, 0.0, 0.25, 1.0]
        wanted = values(model(Variable(send(backend, plain, (2, 3), "float32"))))
        with use_backend(other):
            random.seed(4)
            there = MLP((4, 2))
            there.load_weights(tmp_path / "model.npz")
            assert all(param.backend is other for param in there.params())
            found = values(there(Variable(send(other, plain, (2, 3), "float32"), backend=other)))
            there.save_weights(tmp_path / "again.npz")
        assert all(abs(x - y) <= 1e-6 for x, y in zip(found, wanted, strict=True))
        back = MLP((4, 2), in_size=3)
        back.load_weights(tmp_path / "again.npz")
        for a, b in zip(model.params(), back.params(), strict=True):
            assert bits(backend, a.data) == bits(backend, b.data)

    def test_what_does_not_fit(self, backend: Backend, tmp_path: Path) -> None:
        """A file of another network changes nothing."""
        model, other = MLP((4, 2), in_size=3), MLP((5, 2), in_size=3)
        other.save_weights(tmp_path / "other.npz")
        before = [bits(backend, param.data) for param in model.params()]
        with pytest.raises(WeightsError, match="l0/W"):
            model.load_weights(tmp_path / "other.npz")
        assert [bits(backend, param.data) for param in model.params()] == before
