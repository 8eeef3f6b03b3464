"""Derivatives of functions against torch.func, for functions that mix reductions, products and broadcasting."""

from collections.abc import Callable
from typing import Any

import pytest

import dzcore.functions as F
from dzcore.derivatives import hessian, hvp, jacobian, jvp, value_and_grad, vjp

from .compare import assert_same, draw, tensor, torch

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of its own forward mode

X, Z, U, V = draw(3, 2), draw(2, seed=1), draw(3, 2, seed=2), draw(2, seed=3)


def scalar(m: Any, x: Any, z: Any) -> Any:
    """The same formula on both sides: `m` is dzcore's functions or torch."""
    return m.sum(m.tanh(x @ z) ** 2) + m.sum(m.exp(x * z)) * m.sum(z**3)


def array(m: Any, x: Any, z: Any) -> Any:
    return m.sin(x * z) @ z + m.sum(x)


def on(f: Callable[..., Any], m: Any) -> Callable[..., Any]:
    return lambda *xs: f(m, *xs)


def assert_all(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_all(a, b)
    else:
        assert_same(ours, theirs)


ours, theirs = on(scalar, F), on(scalar, torch)
ours_array, theirs_array = on(array, F), on(array, torch)
XS, TS = (X, Z), (tensor(X), tensor(Z))
DS, DTS = (U, V), (tensor(U), tensor(V))


def test_value_and_grad() -> None:
    gradients, value = torch.func.grad_and_value(theirs, argnums=(0, 1))(*TS)
    y, found = value_and_grad(ours, XS)
    assert_same(y, value)
    assert_all(found, gradients)


def test_jacobian() -> None:
    assert_all(jacobian(ours_array, XS), torch.func.jacrev(theirs_array, argnums=(0, 1))(*TS))


def test_hessian() -> None:
    assert_all(hessian(ours, XS), torch.func.hessian(theirs, argnums=(0, 1))(*TS))


def test_jvp() -> None:
    assert_all(jvp(ours_array, XS, DS), torch.func.jvp(theirs_array, TS, DTS)[1])


def test_vjp() -> None:
    w = draw(3, seed=4)
    assert_all(vjp(ours_array, XS, w), torch.func.vjp(theirs_array, *TS)[1](tensor(w)))


def test_hvp() -> None:
    gradient = torch.func.grad(theirs, argnums=(0, 1))
    assert_all(hvp(ours, XS, DS), torch.func.jvp(gradient, TS, DTS)[1])


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_nested(order: int) -> None:
    f: Callable[..., Any] = lambda m, x: m.sum(m.tanh(x) * m.sin(x))  # noqa: E731
    a, b = on(f, F), on(f, torch)
    for _ in range(order):
        a = lambda x, a=a: F.sum(value_and_grad(a, x)[1])  # noqa: E731
        b = lambda x, b=b: torch.sum(torch.func.grad(b)(x))  # noqa: E731
    assert_same(a(Z), b(tensor(Z)))


def test_inside_each_other() -> None:
    a = jacobian(lambda z: z * hvp(lambda z: ours(X, z), z, V), Z)
    gradient = torch.func.grad(lambda z: theirs(TS[0], z))
    b = torch.func.jacrev(lambda z: z * torch.func.jvp(gradient, (z,), (DTS[1],))[1])(TS[1])
    assert_same(a, b)
