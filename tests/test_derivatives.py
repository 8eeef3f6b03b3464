"""Derivatives of functions: closed forms, nesting, several arguments, and what is left alone."""

import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
from dzcore import Parameter, Variable, derivatives, no_grad
from dzcore.backend import Backend
from dzcore.derivatives import hessian, hvp, jacobian, jvp, value_and_grad, vjp
from dzcore.testing import assert_close, values

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 4)


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, shape)


def on(backend: Backend, array: np.ndarray) -> Variable:
    return Variable(array.tolist(), dtype="float64", backend=backend).detach()


# Closed forms ------------------------------------------------------------------------------------------------------


@given(seed=SEEDS, n=SIZES)
def test_a_quadratic_form(seed: int, n: int) -> None:
    """F(x) = xᵀ A x / 2 + b x: the gradient is (A + Aᵀ) x / 2 + b, the Hessian (A + Aᵀ) / 2."""
    a, b, x, v = draw(seed, n, n), draw(seed + 1, n), draw(seed + 2, n), draw(seed + 3, n)
    symmetric = (a + a.T) / 2

    def f(x: Variable) -> Variable:
        return 0.5 * (x @ (a @ x)) + F.sum(b * x)

    y, gx = value_and_grad(f, x)
    assert_close(y.data, x @ a @ x / 2 + b @ x, rtol=1e-9, atol=1e-12)
    assert_close(gx.data, symmetric @ x + b, rtol=1e-9, atol=1e-12)
    assert_close(hessian(f, x).data, symmetric, rtol=1e-9, atol=1e-12)
    assert_close(hvp(f, x, v).data, symmetric @ v, rtol=1e-9, atol=1e-12)


@given(seed=SEEDS, n=SIZES, m=SIZES)
def test_a_linear_map(seed: int, n: int, m: int) -> None:
    a, x, v, w = draw(seed, m, n), draw(seed + 1, n), draw(seed + 2, n), draw(seed + 3, m)
    assert_close(jacobian(lambda x: a @ x, x).data, a, rtol=1e-12, atol=1e-15)
    assert_close(jvp(lambda x: a @ x, x, v).data, a @ v, rtol=1e-9, atol=1e-12)
    assert_close(vjp(lambda x: a @ x, x, w).data, w @ a, rtol=1e-9, atol=1e-12)


@given(seed=SEEDS, n=SIZES, m=SIZES, k=SIZES)
def test_the_chain_rule(seed: int, n: int, m: int, k: int) -> None:
    """The Jacobian of a composition is the product of the Jacobians; products with vectors agree with it."""
    a, b, x = draw(seed, m, n), draw(seed + 1, k, m), draw(seed + 2, n)

    def inner(x: Variable) -> Variable:
        return F.tanh(a @ x)

    def outer(x: Variable) -> Variable:
        return F.exp(b @ x)

    whole = jacobian(lambda x: outer(inner(x)), x).data
    assert_close(whole, jacobian(outer, inner(x)).data @ jacobian(inner, x).data, rtol=1e-9, atol=1e-12)
    v, w = draw(seed + 3, n), draw(seed + 4, k)
    assert_close(jvp(lambda x: outer(inner(x)), x, v).data, whole @ v, rtol=1e-9, atol=1e-12)
    assert_close(vjp(lambda x: outer(inner(x)), x, w).data, w @ whole, rtol=1e-9, atol=1e-12)


@given(seed=SEEDS, n=SIZES, m=SIZES)
def test_several_arguments(seed: int, n: int, m: int) -> None:
    """F(W, x) = |W x|²/2: ∂/∂W = (W x) xᵀ, ∂/∂x = Wᵀ W x; the mixed second derivatives follow."""
    w, x = draw(seed, m, n), draw(seed + 1, n)
    dw, dx = draw(seed + 2, m, n), draw(seed + 3, n)

    def f(w: Variable, x: Variable) -> Variable:
        return 0.5 * F.sum((w @ x) ** 2)

    y, (gw, gx) = value_and_grad(f, (w, x))
    assert_close(y.data, np.sum((w @ x) ** 2) / 2, rtol=1e-9)
    assert_close(gw.data, np.outer(w @ x, x), rtol=1e-9, atol=1e-12)
    assert_close(gx.data, w.T @ w @ x, rtol=1e-9, atol=1e-12)
    (hww, hwx), (hxw, hxx) = hessian(f, (w, x))
    assert_close(hww.data, np.einsum("ij,k,l->ikjl", np.eye(m), x, x), rtol=1e-9, atol=1e-12)
    mixed = np.einsum("i,kl->ikl", w @ x, np.eye(n)) + np.einsum("k,il->ikl", x, w)
    assert_close(hwx.data, mixed, rtol=1e-9, atol=1e-12)
    assert_close(hxw.data, np.moveaxis(mixed, 2, 0), rtol=1e-9, atol=1e-12)
    assert_close(hxx.data, w.T @ w, rtol=1e-9, atol=1e-12)
    hw, hx = hvp(f, (w, x), (dw, dx))
    assert_close(hw.data, np.einsum("ikjl,jl->ik", hww.data, dw) + hwx.data @ dx, rtol=1e-9, atol=1e-12)
    assert_close(hx.data, np.einsum("kjl,jl->k", hxw.data, dw) + hxx.data @ dx, rtol=1e-9, atol=1e-12)
    jw, jx = jacobian(lambda w, x: w @ x, (w, x))
    assert_close(jw.data, np.einsum("ij,k->ijk", np.eye(m), x), rtol=1e-9, atol=1e-12)
    assert_close(jx.data, w, rtol=1e-9, atol=1e-12)
    assert_close(jvp(lambda w, x: w @ x, (w, x), (dw, dx)).data, dw @ x + w @ dx, rtol=1e-9, atol=1e-12)


# On every backend --------------------------------------------------------------------------------------------------


def test_on_a_backend(backend: Backend) -> None:
    """Σ x³ + x₀ x₁: all six by hand."""
    x, v = on(backend, np.asarray([1.0, 2.0])), on(backend, np.asarray([3.0, -1.0]))

    def f(x: Variable) -> Variable:
        return F.sum(x**3) + x[0] * x[1]

    y, gx = value_and_grad(f, x)
    assert_close(y.detach(), 11.0)
    assert_close(gx.detach(), [5.0, 13.0])
    assert_close(hessian(f, x).detach(), [[6.0, 1.0], [1.0, 12.0]])
    assert_close(hvp(f, x, v).detach(), [17.0, -9.0])

    def g(x: Variable) -> Variable:
        return F.stack([x[0] * x[1], x[0], F.exp(x[1] * 0.0)])

    assert_close(jacobian(g, x).detach(), [[2.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert_close(jvp(g, x, v).detach(), [5.0, 3.0, 0.0])
    assert_close(vjp(g, x, [1.0, 2.0, 5.0]).detach(), [4.0, 1.0])
    for result in (gx, hessian(f, x), hvp(f, x, v), jacobian(g, x), jvp(g, x, v), vjp(g, x, [1.0, 2.0, 5.0])):
        assert result.backend is backend
        assert backend.dtype_name(result.dtype) == "float64"


def test_numbers_and_lists_are_float32(backend: Backend) -> None:
    y, gx = value_and_grad(lambda x: x * x, 3.0)
    assert (float(y), float(gx), gx.shape) == (9.0, 6.0, ())
    assert backend.dtype_name(hessian(lambda x: F.sum(x * x), [1.0, 2.0]).dtype) == "float32"
    assert values(jvp(lambda x: x * x, [1.0, 2.0], [1.0, 1.0])) == [2.0, 4.0]


SHAPES = [((), ()), ((), (2, 3)), ((2,), ()), ((2, 3), (3,)), ((3, 1), (2, 2)), ((0,), (2,)), ((2,), (0,))]


@pytest.mark.parametrize(("xshape", "yshape"), SHAPES)
def test_shapes(xshape: tuple[int, ...], yshape: tuple[int, ...], backend: Backend) -> None:
    x, v = F.ones(xshape), F.ones(xshape)

    def f(x: Variable) -> Variable:
        return F.broadcast_to(F.sum(x), yshape) * 2.0

    found = jacobian(f, x)
    assert found.shape == yshape + xshape
    assert values(found) == [2.0] * found.size
    assert jvp(f, x, v).shape == yshape
    assert values(jvp(f, x, v)) == [2.0 * x.size] * f(x).size
    assert values(vjp(f, x, F.ones(yshape))) == [2.0 * f(x).size] * x.size
    assert hessian(lambda x: F.sum(x * x), x).shape == xshape + xshape
    assert hvp(lambda x: F.sum(x * x), x, v).shape == xshape


# They nest ---------------------------------------------------------------------------------------------------------


def test_they_nest(backend: Backend) -> None:
    def slope(f: Callable[[Variable], Variable]) -> Callable[[Variable], Variable]:
        return lambda x: value_and_grad(f, x)[1]

    f: Callable[[Variable], Variable] = lambda x: x**5  # noqa: E731
    for expected in (5 * 16.0, 20 * 8.0, 60 * 4.0, 120 * 2.0, 120.0, 0.0):
        f = slope(f)
        assert float(f(Variable(2.0))) == pytest.approx(expected)


def test_inside_other_derivatives(backend: Backend) -> None:
    """The inner derivative takes part in the outer one: d(x · 3x²)/dx = 9x²."""
    assert float(jacobian(lambda x: x * jacobian(lambda z: z**3, x), 2.0)) == 36.0
    assert float(jvp(lambda x: x * jvp(lambda z: z**3, x, 1.0), 2.0, 1.0)) == 36.0
    assert float(jvp(lambda x: x * vjp(lambda z: z**3, x, 1.0), 2.0, 1.0)) == 36.0
    assert float(jacobian(lambda x: x * hessian(lambda z: z**3, x), 2.0)) == 24.0
    assert float(jacobian(lambda x: x * hvp(lambda z: z**3, x, 1.0), 2.0)) == 24.0
    assert float(value_and_grad(lambda x: value_and_grad(lambda z: z**3, x)[0] * x, 2.0)[1]) == 32.0


def test_what_the_function_closes_over_is_a_constant_inside_and_counts_outside(backend: Backend) -> None:
    """D/dz (x z²) at z = x is 2x², its derivative 4x: two from the argument, two from what is closed over."""
    x = Variable(3.0)
    gz = value_and_grad(lambda z: x * z * z, x)[1]
    assert float(gz) == 18.0
    gz.backward()
    assert float(x.grad) == 12.0


def test_directions_can_be_differentiated() -> None:
    """The product ∇f · v by v is ∇f."""
    for product in (jvp, lambda f, x, v: F.sum(vjp(f, x, v)), lambda f, x, v: F.sum(hvp(lambda x: f(x) ** 2, x, v))):
        v = Variable(1.0)
        product(lambda x: x**3, 2.0, v).backward()
        assert float(v.grad) == float(product(lambda x: x**3, 2.0, 1.0))


def test_results_go_backward(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    F.sum(hessian(lambda x: F.sum(x**3), x)).backward()
    assert values(x.grad) == [6.0, 6.0]


# What is left alone ------------------------------------------------------------------------------------------------

ALL: list[Callable[[Variable], Any]] = [
    lambda x: value_and_grad(lambda x: F.sum(x**3), x)[1],
    lambda x: value_and_grad(lambda x: F.sum(x**3), x)[0],
    lambda x: jacobian(lambda x: x**3, x),
    lambda x: hessian(lambda x: F.sum(x**3), x),
    lambda x: hvp(lambda x: F.sum(x**3), x, F.ones_like(x)),
    lambda x: vjp(lambda x: x**3, x, F.ones_like(x)),
    lambda x: jvp(lambda x: x**3, x, F.ones_like(x)),
]


@pytest.mark.parametrize("derive", ALL)
def test_gradients_of_variables_stay(derive: Callable[[Variable], Any], backend: Backend) -> None:
    x = Parameter([1.0, 2.0])
    h = x * 1.0
    before = values(x)
    x.grad = Variable([7.0, 7.0])
    for place in (x, h):
        derive(place)
    assert values(x.grad) == [7.0, 7.0]
    assert h.grad is None
    assert values(x) == before


@pytest.mark.parametrize("derive", ALL)
def test_under_no_grad_results_are_constants(derive: Callable[[Variable], Any], backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    wanted = derive(x)
    assert wanted.requires_grad
    with no_grad():
        found = derive(x)
    assert not found.requires_grad
    assert_close(found, wanted.detach())


def test_under_no_grad_the_last_pass_makes_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    inner = derivatives.grad
    monkeypatch.setattr(derivatives, "grad", lambda *a, **k: made.append(k["create_graph"]) or inner(*a, **k))
    with no_grad():
        for derive in ALL:
            derive(Variable([1.0]))
    assert made == [False, False, False, True, False, True, False, False, True, False]


def test_zero_where_nothing_depends(backend: Backend) -> None:
    x = [1.0, 2.0]
    constant = F.ones(3)
    assert values(value_and_grad(lambda x: F.sum(constant), x)[1]) == [0.0, 0.0]
    assert values(jacobian(lambda x: constant, x)) == [0.0] * 6
    assert values(jvp(lambda x: constant, x, x)) == [0.0] * 3
    assert values(vjp(lambda x: constant, x, [1.0, 1.0, 1.0])) == [0.0, 0.0]
    assert values(hessian(lambda x: F.sum(x), x)) == [0.0] * 4
    assert values(hvp(lambda x: F.sum(x), x, x)) == [0.0, 0.0]
    _, (gx, gz) = value_and_grad(lambda x, z: F.sum(x), (x, x))
    assert (values(gx), values(gz)) == ([1.0, 1.0], [0.0, 0.0])
    assert values(jvp(lambda x, z: x, (x, x), (x, x))) == x


def test_one_variable_as_two_arguments() -> None:
    x = Variable(3.0)
    assert [float(g) for g in value_and_grad(lambda a, b: a * a * b, (x, x))[1]] == [18.0, 9.0]


# Mistakes ----------------------------------------------------------------------------------------------------------

MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: value_and_grad(lambda x: x, [1.0, 2.0]), ValueError, r"f returned shape \(2,\); .* jacobian"),
    (lambda: hvp(lambda x: x, [1.0, 2.0], [1.0, 2.0]), ValueError, r"f returned shape \(2,\); .* jacobian"),
    (lambda: hessian(lambda x: x, [1.0, 2.0]), ValueError, r"f returned shape \(2,\); .* jacobian"),
    (lambda: jacobian(lambda x: x, 1), TypeError, "x has dtype int64, .* make it of 1.0"),
    (lambda: jacobian(lambda x, y: x, (1.0, 1)), TypeError, r"x\[1\] has dtype int64"),
    (lambda: jacobian(lambda x: (x, x), 1.0), TypeError, "f returned a tuple; it must return one Variable"),
    (lambda: jacobian(lambda x: x > 0.0, 1.0), TypeError, "f returned bool, which carries no gradient"),
    (lambda: jacobian(lambda x: x, [Variable(1.0)]), TypeError, r"several arguments are a tuple: tuple\(x\)"),
    (lambda: jacobian(lambda x: x, Parameter(None, "W")), ValueError, "parameter 'W' has no data yet"),
    (lambda: jvp(lambda x: x, [1.0, 2.0], [1.0]), ValueError, r"v has shape \(1,\), .* has \(2,\)"),
    (lambda: vjp(lambda x: F.sum(x), [1.0, 2.0], [1.0]), ValueError, r"v has shape \(1,\), .* f\(x\) has \(\)"),
    (lambda: hvp(lambda x: F.sum(x), [1.0, 2.0], 1.0), ValueError, r"v has shape \(\), .* has \(2,\)"),
    (lambda: jvp(lambda x: x, [1.0], np.ones(1)), ValueError, "v has .* float64, and its argument has .* float32"),
    (lambda: jvp(lambda x, y: x, (1.0, 1.0), (1.0,)), ValueError, "v is a tuple of 1 and x is a tuple of 2"),
    (lambda: jvp(lambda x: x, 1.0, (1.0,)), ValueError, "v is a tuple of 1 and x is a single one"),
]


@pytest.mark.parametrize(("mistake", "kind", "message"), MISTAKES)
def test_mistakes_are_told(mistake: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        mistake()


def test_names() -> None:
    for name in derivatives.__all__:
        assert getattr(dzcore, name) is getattr(derivatives, name)
    assert dzcore.grad is dzcore.graph.grad


def test_the_example_of_the_docstring() -> None:
    assert doctest.testmod(derivatives).failed == 0
