"""Fused rules: one pass over memory gives what the formulas give as they are written, at every order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
from dzbackend_numpy.fuse import Fused
from dzcore.backend import Backend, get_backend
from dzcore.backend.namespace import FORMULAS, Loops
from dzcore.functions import activation, loss, math, norm
from dzcore.graph import Variable, rule
from dzcore.graph.rule import Apply

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of nan and inf

RULES: dict[str, Apply] = {
    name: apply
    for module in (activation, import_module("dzcore.functions.dropout"), loss, math, norm)
    for name, apply in vars(module).items()
    if getattr(getattr(apply, "spec", None), "fused", False) and apply.__module__ == module.__name__
}
#: What stands behind the arrays.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "_leaky_relu": (0.2,), "_elu": (1.5,), "_huber": (1.0,), "_clip": (-0.5, 0.75), "_power": (2.5,),
    "_binary_losses": (1e-30, 1 - 2**-24), "_dropped": (None, 2**31, 2.0),
}  # fmt: skip
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 0.3, -2.6, 7.5, -12.0, 40.0, 1e-3, 1e-40, np.inf, -np.inf, np.nan]
SHAPES = [
    ((3, 5), (3, 5)),
    ((5,), (4, 1)),
    ((4, 5), ()),
    ((), (2, 3)),
    ((0, 3), (3,)),
    ((1, 1), (1, 1)),
    ((40,), (40,)),
]


def test_the_rules_are_found() -> None:
    assert {"sigmoid", "gelu", "tanh", "_dropped", "_scale_and_shift", "_sigmoid_losses", "_where"} <= set(RULES)
    assert not {"add", "multiply", "_softmax"} & set(RULES)


@cache
def _small(formula: Callable[..., Any]) -> Fused:
    return Fused(get_backend("numpy").ops, formula, 8, 1)


@contextmanager
def fusing(backend: Backend, way: str) -> Iterator[None]:
    """Evaluate formulas as the backend does, or "plain"; "large" has NumPy's loops of the team, and blocks, for all."""
    ops = backend.ops
    fuse = {"own": backend.fuse, "plain": lambda formula: partial(formula, ops), "large": _small}[way]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "loops", Loops(SimpleNamespace(fuse=fuse)))
        for name in FORMULAS:  # which are kept
            patch.delitem(vars(ops), name, raising=False)
        yield


def arrays(name: str, shapes: tuple[tuple[int, ...], ...], dtype: str, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    count = len(RULES[name].spec.arrays)
    found = []
    for shape in (shapes * 2)[:count]:
        x = np.asarray(rng.choice(SPECIAL, size=shape) * rng.choice([1.0, 1.0, 0.9, 1.1], size=shape)).astype(dtype)
        found.append(x)
    if name == "_where":
        found[0] = np.asarray(found[0] > 0)
    return found


def both(name: str, backend: Backend, inputs: list[Any], gy: Any, second: bool, way: str = "own") -> list[list[Any]]:
    """Return y, gradients, and gradients of those, as they are fused and as they are written."""
    options = OPTIONS.get(name, ())
    if name == "_dropped":
        bits = backend.xp.reshape(backend.random_bits(1, 0, inputs[0].size), inputs[0].shape)
        options = (bits, *options[1:])
    answers = []
    for each in (way, "plain"):
        with fusing(backend, each):
            xs = [Variable(backend.asarray(x), backend=backend) for x in inputs]
            y = RULES[name](*xs, *options)
            leaves = [x for x in xs if x.requires_grad]
            ahead = backend.xp.broadcast_to(backend.asarray(gy), y.shape)
            seed = Variable(backend.xp.astype(ahead, y.dtype), backend=backend)
            gxs = dzcore.grad(y, leaves, seed, create_graph=second)
            found = [y, *gxs]
            if second:
                found += dzcore.grad(sum(F.sum(g * g) for g in gxs), [*leaves, seed], allow_unused=True)
            answers.append([None if v is None else host(v) for v in found])
    return answers


def host(v: Variable) -> Any:
    raw = v.backend.to_host(v._data)
    return np.frombuffer(raw.buffer, dtype=raw.dtype).reshape(raw.shape)


def assert_alike(found: list[Any], expected: list[Any], dtype: str) -> None:
    rtol = {"float16": 4e-3, "float32": 4e-6, "float64": 1e-13}[dtype]
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
            assert not np.any((np.signbit(a) != np.signbit(b)) & (a == 0) & (b == 0))


@pytest.mark.parametrize("name", RULES)
@given(
    shapes=st.sampled_from(SHAPES),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 50),
    way=st.sampled_from(["own", "large"]),
)
def test_fused_is_plain(name: str, shapes: tuple[tuple[int, ...], ...], dtype: str, seed: int, way: str) -> None:
    inputs = arrays(name, shapes, dtype, seed)
    assert_alike(*both(name, get_backend("numpy"), inputs, 0.75, second=False, way=way), dtype)


@pytest.mark.parametrize("name", RULES)
def test_fused_is_plain_on_every_backend_at_second_order(name: str, backend: Backend) -> None:
    rng = np.random.default_rng(3)
    inputs = [rng.uniform(0.1, 0.7, (4, 6)) for _ in RULES[name].spec.arrays]
    if name == "acosh":
        inputs = [x + 1.2 for x in inputs]
    if name == "_where":
        inputs[0] = inputs[0] > 0.4
    assert_alike(*both(name, backend, inputs, rng.normal(size=(4, 6)), second=True), "float64")


@pytest.mark.parametrize("name", RULES)
def test_every_formula_can_be_fused(name: str) -> None:
    """Or a rule would be as slow as ever, and nobody would know."""
    _small.cache_clear()
    made: list[Fused] = []
    with pytest.MonkeyPatch.context() as patch:
        initialize = Fused.__init__

        def remember(self: Fused, *args: Any) -> None:
            initialize(self, *args)
            made.append(self)

        patch.setattr(Fused, "__init__", remember)
        both(name, get_backend("numpy"), arrays(name, ((3, 5), (3, 5)), "float32", 0), 1.0, second=False, way="large")
    assert 1 <= len(made) <= 1 + len(RULES[name].spec.arrays)
    assert all(known is not None for fused in made for known in fused._traces.values())
    assert all(fused._traces for fused in made)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_second_derivatives_of_gates_at_zero(backend: Backend, dtype: str) -> None:
    """Where |x| has none: what it stands in for has to be differentiable."""
    for gate, curvature in ((F.silu, 0.5), (F.gelu, (2 / np.pi) ** 0.5)):
        x = Variable(backend.asarray(np.zeros(3, dtype)), backend=backend)
        (gx,) = dzcore.grad(gate(x), x, create_graph=True)
        (ggx,) = dzcore.grad(F.sum(gx), x)
        np.testing.assert_allclose(host(gx), 0.5)
        np.testing.assert_allclose(host(ggx), curvature, rtol=1e-6)


def test_no_name_of_a_parameter_is_taken(numpy_backend: Backend) -> None:
    @rule(elementwise=True, fused=True, loop=lambda gy, found: gy * found, found=lambda gy, loop: gy * loop)
    def product(xp: Any, loop: Any, found: Any) -> Any:
        return loop * found

    a, b = Variable(np.array([2.0])), Variable(np.array([5.0]))
    product(a, b).backward()
    assert (float(a.grad.data[0]), float(b.grad.data[0])) == (5.0, 2.0)


def test_what_names_only_gy_is_handed_on(numpy_backend: Backend) -> None:
    """As beta's gradient is: a loop would copy it."""
    with fusing(numpy_backend, "large"):
        x, gamma, beta = (Variable(np.ones((4, 3))) for _ in range(3))
        y = norm._scale_and_shift(x, gamma, beta)
        gy = np.ones((4, 3))
        assert y.node.plan.pull(numpy_backend.ops, gy, y.node.saved)[2] is gy


# Formulas for all inputs together ------------------------------------------------------------------------------------


def _product_gradients(xp: Any, gy: Any, a: Any, b: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    seen.append(needs)
    return gy * b if needs[0] else None, gy * a if needs[1] else None


seen: list[tuple[bool, ...]] = []


@rule(joint=_product_gradients)
def _product(xp: Any, a: Any, b: Any) -> Any:
    return a * b


@rule(joint=lambda gy, y, scale: (gy * y, gy * scale, gy))
def _three(xp: Any, a: Any, b: Any, c: Any, /, scale: float) -> Any:
    return xp.exp(a) * 1.0 + b * scale + c - b * scale - c


def test_joint_gradients_at_every_order(backend: Backend) -> None:
    a, b = (Variable(backend.asarray(v), backend=backend) for v in ([2.0, 3.0], [5.0, 7.0]))
    ga, gb = dzcore.grad(F.sum(_product(a, b) * a), [a, b], create_graph=True)
    np.testing.assert_array_equal(host(ga), [20.0, 42.0])  # 2 a b
    np.testing.assert_array_equal(host(gb), [4.0, 9.0])
    (gab,) = dzcore.grad(F.sum(ga), [b])
    np.testing.assert_array_equal(host(gab), [4.0, 6.0])


def test_joint_gradients_are_told_what_is_needed(numpy_backend: Backend) -> None:
    a, b = Variable(np.array([2.0])), Variable(np.array([5.0]))
    seen.clear()
    _product(a, b).backward()
    _product(a, np.array([5.0])).backward()
    _product(np.array([2.0]), b).backward()
    dzcore.grad(_product(a, b), b)
    assert seen == [(True, True), (True, False), (False, True), (False, True)]
    assert (float(a.grad.data[0]), float(b.grad.data[0])) == (10.0, 4.0)


def test_joint_gradients_save_what_they_name(numpy_backend: Backend) -> None:
    a, b, c = (Variable(np.array([1.0])) for _ in range(3))
    y = _three(a, b, c, 3.0)
    assert [type(v) for v in y.node.saved] == [np.ndarray, float]
    assert y.node.saved[0] is y.data
    y.backward()
    assert [float(v.grad.data[0]) for v in (a, b, c)] == [y.data[0], 3.0, 1.0]
    y = _three(a, np.array([1.0]), c, 3.0)
    ga, gc = dzcore.grad(y, [a, c])
    assert (float(ga.data[0]), float(gc.data[0])) == (y.data[0], 1.0)


# Powers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(9))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_powers_are_products(n: int, dtype: str, backend: Backend) -> None:
    values = np.array([*SPECIAL, *np.random.default_rng(n).normal(size=200) * 3]).astype(dtype)
    x = Variable(backend.asarray(values), backend=backend)
    for exponent in (n, float(n)):
        y = x**exponent
        (gx,) = dzcore.grad(y, x)
        exact = values.astype(np.float64)
        with np.errstate(all="ignore"):
            right = exact**n
            slope = n * exact ** (n - 1) if n else np.zeros_like(exact)
        # (n - 1) / 2 units, and one for the rounding of what it is compared with
        rtol, tiny = (n / 2 + 1) * np.finfo(dtype).eps, float(np.finfo(dtype).tiny)
        np.testing.assert_allclose(host(y), right.astype(dtype), rtol=rtol, atol=tiny)
        np.testing.assert_allclose(host(gx), slope.astype(dtype), rtol=rtol, atol=tiny)
        assert host(y).dtype == dtype
        plain = np.isfinite(values)
        np.testing.assert_array_equal(np.signbit(host(y))[plain], np.signbit(right)[plain])


def test_powers_of_integers_stay_integers(backend: Backend) -> None:
    x = Variable(backend.asarray(np.array([1, -2, 3])), backend=backend)
    assert host(x**3).tolist() == [1, -8, 27]
    assert host(x**3).dtype == np.int64
    assert host(x**0).tolist() == [1, 1, 1]


def test_power_is_not_called_for_small_exponents(numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_backend.ops, "pow", None)
    x = Variable(np.array([2.0, -3.0]))
    for n in (2, 3.0, 8):
        (gx,) = dzcore.grad(F.sum(x**n), x, create_graph=True)
        (ggx,) = dzcore.grad(F.sum(gx), x)
        np.testing.assert_array_equal(gx.data, n * np.array([2.0, -3.0]) ** (n - 1))
        np.testing.assert_array_equal(ggx.data, n * (n - 1) * np.array([2.0, -3.0]) ** (n - 2))
