"""dzcore's conformance kit on JAX, and what is JAX's own."""

import jax.numpy as jnp
import pytest

import dzcore
from dzcore.backend import get_backend
from dzcore.optimizers import MomentumSGD
from dzcore.testing.conformance import Conformance


class TestJax(Conformance):
    backends = ("jax",)


def test_fuse_compiles_once_for_all_numbers() -> None:
    traced = []

    def formula(xp, x, n):
        traced.append(x)
        return x * n

    fused = get_backend("jax").fuse(formula)
    x = jnp.ones(3, dtype=jnp.float32)
    assert [fused(x, n).tolist() for n in (1.0, 2.0, 3.0)] == [[n] * 3 for n in (1.0, 2.0, 3.0)]
    assert len(traced) == 1
    assert get_backend("jax").fuse(formula)(x, 4.0).dtype == jnp.float32
    assert len(traced) == 1


def test_an_update_leaves_the_old_array_alone() -> None:
    p = dzcore.Parameter([1.0, 2.0], backend="jax")
    before = p.data
    p.grad = dzcore.ones(2, backend="jax")
    optimizer = MomentumSGD(lr=0.5).setup([p])
    optimizer.update()
    assert before.tolist() == [1.0, 2.0]
    assert p.data.tolist() == [0.5, 1.5]


def test_opening_it_switches_64_bits_on() -> None:
    get_backend("jax")
    assert jnp.zeros(1).dtype == jnp.float64


def test_unknown_devices_are_named() -> None:
    with pytest.raises(dzcore.BackendUnavailableError, match="nonsense"):
        get_backend("jax:nonsense")
