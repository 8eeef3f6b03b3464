"""The backward pass: orders, speeds, scaling, memory, and what `grad` and `backward` promise."""

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import dzcore
from dzcore import Function, GraphError, Parameter, Variable, grad
from dzcore import functions as F
from dzcore.backend import Backend
from dzcore.graph import engine
from dzcore.graph.rule import Plan, rule
from dzcore.testing import OPS, assert_close, check_gradients, values


def derivatives(f: Callable[[Variable], Variable], at: float, order: int) -> list[float]:
    """Return f(x), f'(x), f''(x) …"""
    x = Variable(at, dtype="float64")
    found = [f(x)]
    for _ in range(order):
        found += grad(found[-1], x, create_graph=True)
    return [float(y) for y in found]


# Orders and speeds ---------------------------------------------------------------------------------------------------


def test_third_derivative_of_tanh(backend: Backend) -> None:
    t = np.tanh(0.7)
    d = 1 - t * t
    found = derivatives(dzcore.tanh, 0.7, 3)
    assert found == pytest.approx([t, d, -2 * t * d, d * (4 * t * t - 2 * d)], rel=1e-14)


@pytest.mark.parametrize(
    "power", [lambda x: x**5, lambda x: x * x * x * x * x, lambda x: x ** Variable(5.0, dtype="float64")]
)
def test_all_derivatives_of_a_power(power: Callable[[Variable], Variable], backend: Backend) -> None:
    assert derivatives(power, 2.0, 5) == [32.0, 80.0, 160.0, 240.0, 240.0, 120.0]


def test_tenth_derivative_of_sin(backend: Backend) -> None:
    assert derivatives(dzcore.sin, 0.3, 10)[10] == pytest.approx(-np.sin(0.3), rel=1e-13)


def test_mixed_second_derivatives(backend: Backend) -> None:
    """The Hessian of x²y + y³ is [[2y, 2x], [2x, 6y]]."""
    x, y = Variable(2.0), Variable(3.0)
    gx, gy = grad(x * x * y + y**3, [x, y], create_graph=True)
    assert [float(g) for g in grad(gx, [x, y])] == [6.0, 4.0]
    assert [float(g) for g in grad(gy, [x, y])] == [4.0, 18.0]


def test_hessian_vector_product_through_a_network() -> None:
    rng = np.random.default_rng(0)
    W1, W2 = rng.normal(size=(3, 5)), rng.normal(size=(5, 2))
    check_gradients(
        lambda x, W1, W2: F.softmax_cross_entropy(F.sigmoid(x @ W1) @ W2, Variable([0, 1, 1, 0])),
        rng.normal(size=(4, 3)), W1, W2,
    )  # fmt: skip


def test_gradient_penalty_trains_through_backward() -> None:
    """y.backward(create_graph=True) leaves gradients that can be differentiated, as DeZero's does."""
    x = Variable(2.0)
    y = x**3
    y.backward(create_graph=True)
    gx = x.grad
    x.cleargrad()
    (gx * gx).backward()
    assert float(x.grad) == 2 * 12.0 * 12.0


# these have several results, which only a Function has, and its backward works on Variables
SEVERAL = ("split", "unstack")


@pytest.mark.parametrize("op", [op for op in OPS if op.order and op.name not in SEVERAL], ids=str)
def test_no_variable_is_made_without_create_graph(
    op: Any, numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules run on raw arrays: no gradient on the way is a Variable, nor is anything that was saved."""
    xs = op.draw(numpy_backend)
    ys = op.call(dzcore, *xs)
    ys = [y for y in (ys if isinstance(ys, tuple) else (ys,)) if y.requires_grad]
    seeds = [(y.node, np.ones(y.shape)) for y in ys]
    monkeypatch.setattr(Plan, "variables", None)
    monkeypatch.setattr(Variable, "_of", None)
    for value, gy in engine.sweep(seeds, False, watch=None):
        assert not isinstance(gy, Variable)
        assert not any(isinstance(saved, Variable) for saved in getattr(value, "saved", ()))


def test_one_formula_runs_at_both_speeds() -> None:
    seen: list[tuple[type, type]] = []

    def formula(xp: Any, gy: Any, x: Any) -> Any:
        seen.append((type(gy), type(x)))
        return gy * xp.cos(x)

    @rule(x=formula)
    def sine(xp: Any, x: Any) -> Any:
        return xp.sin(x)

    x = Variable(np.ones(3))
    fast, slow = (grad(sine(x), x, create_graph=create_graph)[0] for create_graph in (False, True))
    assert seen == [(np.ndarray, np.ndarray), (Variable, Variable)]
    assert fast.data.tolist() == slow.data.tolist()
    assert not fast.requires_grad
    assert slow.requires_grad


# Scaling -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Count what a backward pass does: pushes, pops, and rules run, of those that the tests here use."""
    counts = dict.fromkeys(("push", "pop", "pull"), 0)
    push, pop = engine.heappush, engine.heappop

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            counts[name] += 1
            return function(*args)

        return call

    monkeypatch.setattr(engine, "heappush", counting("push", push))
    monkeypatch.setattr(engine, "heappop", counting("pop", pop))
    for plan in (F.negative.spec.plan(True), F.multiply.spec.plan(True, False), F.add.spec.plan(True, True)):
        monkeypatch.setattr(plan, "pull", counting("pull", plan.pull))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(150 + len(__import__("inspect").stack()))
    yield counts
    sys.setrecursionlimit(limit)


@pytest.mark.parametrize("create_graph", [False, True])
def test_depth(work: dict[str, int], create_graph: bool) -> None:
    """A chain of 100,000 operations needs no heap and no recursion, and dies without recursion either."""
    depth = 100_000 if not create_graph else 20_000
    x = Variable(np.ones(()))
    y = x
    for _ in range(depth):
        y = -y
    (gx,) = grad(y, x, create_graph=create_graph)
    assert float(gx) == 1.0
    y.backward(create_graph=create_graph)
    assert work == {"push": 0, "pop": 0, "pull": 2 * depth}
    del y, gx
    x.cleargrad()


def test_width(work: dict[str, int]) -> None:
    """A value that is used 4,000 times is visited once, after all of its users."""
    width = 4000
    x = Variable(np.ones(2))
    y = x * 1.0
    total = sum((y * float(i) for i in range(1, width)), start=y * 0.0)
    total.backward(retain_graph=True)
    assert x.grad.data.tolist() == [width * (width - 1) / 2] * 2
    assert work["push"] == work["pop"] <= 2 * width  # products, sums and y
    (gx,) = grad(total, x)
    assert gx.data.tolist() == x.grad.data.tolist()
    assert work["pull"] == 2 * 2 * width


def test_diamonds(work: dict[str, int]) -> None:
    """2^1000 paths, 1000 operations."""
    x = Variable(np.float64(1.0))
    y = x
    for _ in range(1000):
        y = y + y
    y.backward()
    assert float(x.grad) == 2.0**1000
    assert work["push"] == 1000


def test_a_wide_concat(work: dict[str, int]) -> None:
    xs = [Variable(np.full(1, float(i))) for i in range(4000)]
    y = dzcore.sum(dzcore.concat(xs) ** 2)
    y.backward()
    assert [float(x.grad.data[0]) for x in xs] == [2.0 * i for i in range(4000)]
    assert work["push"] == 4000


# Memory --------------------------------------------------------------------------------------------------------------


def test_memory_is_flat_without_the_garbage_collector() -> None:
    """10,000 training steps leave nothing behind: graphs die by reference counting."""
    rng = np.random.default_rng(0)
    params = [Parameter(rng.normal(size=shape)) for shape in ((4, 8), (8,), (8, 3), (3,))]
    x, t = rng.normal(size=(5, 4)), Variable(rng.integers(0, 3, 5))

    class Scale(Function):
        def forward(self, x: Any) -> Any:
            return x * 2.0

        def backward(self, gy: Variable) -> Variable:
            return gy * 2.0

    def step() -> None:
        h = F.dropout(F.relu(F.linear(x, params[0], params[1])), 0.1)
        loss = F.softmax_cross_entropy(Scale()(F.linear(h, params[2], params[3])[[0, 1, 2, 3, 4]]), t)
        for p in params:
            p.cleargrad()
        loss.backward()
        for p in params:
            p.data = p.data - 0.01 * p.grad.data

    gc.collect()
    gc.disable()
    try:
        for _ in range(2500):  # Python keeps up to 2000 tuples of one length for later
            step()
        blocks = sys.getallocatedblocks()
        for _ in range(7500):
            step()
        assert sys.getallocatedblocks() - blocks < 300
        assert gc.collect() < 50
    finally:
        gc.enable()


def test_a_second_order_graph_leaves_no_cycle_behind() -> None:
    x = Variable(np.ones(3))

    def step() -> None:
        (gx,) = grad(dzcore.sum(dzcore.tanh(x * x)), x, create_graph=True)
        grad(dzcore.sum(gx * gx), x)

    step()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            step()
        assert gc.collect() == 0
    finally:
        gc.enable()


FREED: dict[str, Callable[..., Variable]] = {
    "exp": lambda h: dzcore.exp(h),
    "sqrt": lambda h: dzcore.sqrt(h),
    "tanh": lambda h: dzcore.tanh(h),
    "sigmoid": lambda h: F.sigmoid(h),
    "relu": lambda h: F.relu(h),
    "softmax": lambda h: F.softmax(h),
    "log_softmax": lambda h: F.log_softmax(h),
    "x + 1": lambda h: h + 1.0,
    "x + y": lambda h: h + h.detach(),
    "x + y, broadcast": lambda h: h + Variable(np.ones((5, 1, 1))),
    "x - y, both": lambda h: h - h,
    "x * 2": lambda h: h * 2.0,
    "x * constant": lambda h: h * np.full((2, 2), 3.0),
    "x / 2": lambda h: h / 2.0,
    "-x": lambda h: -h,
    "sum": lambda h: dzcore.sum(h),
    "mean": lambda h: dzcore.mean(h, axis=0),
    "where": lambda h: dzcore.where(np.array([True, False]), h, h * 0.0),
    "x @ constant": lambda h: h @ np.ones((2, 2)),
    "linear with constant W": lambda h: F.linear(h, np.ones((2, 2)), Variable(np.ones(2))),
    "concat": lambda h: dzcore.concat([h, h]),
    "rows": lambda h: h[[0, 1, 0]],
    "astype": lambda h: h.astype("float32"),
    "dropout": lambda h: F.dropout(h),
    "cumulative_sum": lambda h: dzcore.cumulative_sum(h, axis=0),
}


@pytest.mark.parametrize("name", FREED)
def test_arrays_that_the_backward_pass_does_not_need_are_freed(name: str) -> None:
    h = Variable(np.ones((2, 2))) * 3.0
    y = FREED[name](h)
    array = weakref.ref(h.data)
    del h
    assert array() is None
    y.backward()


def test_arrays_that_the_backward_pass_needs_are_kept_until_the_graph_dies() -> None:
    h = Variable(np.ones(2)) * 3.0
    array = weakref.ref(h.data)
    y = dzcore.log(h)
    del h
    assert array() is not None
    del y
    assert array() is None


def test_constants_record_nothing() -> None:
    c = Variable(np.ones(3)).detach()
    for y in (
        c + 1.0,
        dzcore.exp(c),
        c @ c,
        dzcore.sum(c),
        dzcore.concat([c, c]),
        c[1:],
        F.dropout(c),
        Variable([1, 2]) * 2,
    ):
        assert y.node is None
        with pytest.raises(GraphError, match="nothing to differentiate"):
            y.backward()


# backward ------------------------------------------------------------------------------------------------------------


def test_gradients_accumulate_until_cleared(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    for n in (1.0, 2.0, 3.0):
        (x * 3.0).backward()
        assert_close(x.grad, [3.0 * n, 3.0 * n])
    x.cleargrad()
    assert x.grad is None
    (x * x).backward()
    assert_close(x.grad, [2.0, 4.0])


def test_a_variable_that_is_used_twice_gets_both_gradients(backend: Backend) -> None:
    x = Variable(3.0)
    (x + x).backward()
    assert float(x.grad) == 2.0
    x.cleargrad()
    (x * x * x).backward()
    assert float(x.grad) == 27.0
    x.cleargrad()
    y = x * x
    (y * y + y * x + x).backward()
    assert float(x.grad) == 4 * 27 + 3 * 9 + 1


def test_accumulation_leaves_the_old_gradient_alone() -> None:
    """Gradients may share memory with one another, so nobody adds in place."""
    a, b = Variable(np.ones(2)), Variable(np.ones(2))
    (a + b).backward()
    old = a.grad, b.grad
    (a + b).backward()
    assert [g.data.tolist() for g in old] == [[1.0, 1.0]] * 2
    assert [v.grad.data.tolist() for v in (a, b)] == [[2.0, 2.0]] * 2


@pytest.mark.parametrize("create_graph", [False, True])
def test_retain_grad(backend: Backend, create_graph: bool) -> None:
    x = Variable(2.0, dtype="float64")
    h = x * x
    k = h[None] * 3.0
    y = dzcore.sum(k)
    y.backward(create_graph=create_graph, retain_graph=True)
    assert h.grad is k.grad is y.grad is None
    y.backward(retain_grad=True, create_graph=create_graph)
    for v, expected in ((h, 3.0), (k, [1.0]), (y, 1.0)):
        assert_close(v.grad, expected)
        assert v.grad.dtype == v.dtype
        assert v.grad.backend is backend
    assert float(x.grad) == 24.0


def test_retain_grad_where_a_value_moved(strict: str) -> None:
    x = Variable(np.ones(2))
    y = (x * 2.0).to(strict)
    z = y * 3.0
    z.backward(retain_grad=True)
    assert y.grad.backend is y.backend
    assert values(y.grad) == [3.0, 3.0]
    assert values(x.grad) == [6.0, 6.0]


def test_the_seed_is_grad_or_ones(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    y = x * 2.0
    y.grad = Variable([1.0, 10.0])
    y.backward(retain_graph=True)
    assert_close(x.grad, [2.0, 20.0])
    assert y.grad is None
    y.backward()
    assert_close(x.grad, [4.0, 22.0])


def test_a_leaf_is_its_own_gradient(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    x.backward()
    assert_close(x.grad, [1.0, 1.0])
    x.backward()
    assert_close(x.grad, [1.0, 1.0])


def test_a_leaf_whose_data_was_replaced_by_another_shape() -> None:
    x = Variable(np.ones(2))
    y = x * 3.0
    x.data = np.ones(3)
    with pytest.raises(GraphError, match=r"shape \(2,\).*leaf of shape \(3,\)"):
        y.backward(retain_graph=True)
    with pytest.raises(GraphError, match=r"shape \(2,\).*input 0 of shape \(3,\)"):
        grad(y, x)


def test_a_wrong_rule_is_found_where_gradients_meet() -> None:
    @rule(x=lambda xp, gy: xp.sum(gy))
    def wrong(xp: Any, x: Any) -> Any:
        return x * 2.0

    x = Variable(np.ones(3))
    with pytest.raises(GraphError, match="disagree"):
        (wrong(x) + x).backward()
    with pytest.raises(GraphError, match=r"shape \(\)"):
        wrong(x).backward()

    @rule(x=lambda xp, gy: xp.astype(gy, xp.float32))
    def narrow(xp: Any, x: Any) -> Any:
        return x * 2.0

    with pytest.raises(GraphError, match="float32"):
        (narrow(x) + x).backward()


def test_unchain() -> None:
    x = Variable(np.ones(2))
    h = x * 2.0
    y = h * 3.0
    h.unchain()
    assert h.creator is None
    (h * 5.0).backward()
    assert x.grad is None
    assert h.grad.data.tolist() == [5.0, 5.0]
    y.backward()  # its graph is as old as before
    assert x.grad.data.tolist() == [6.0, 6.0]


def test_unchain_backward_cuts_everything_behind() -> None:
    x, w = Variable(np.ones(2)), Variable(np.full(2, 3.0))
    h = x * w
    array = weakref.ref(x.data)
    y = dzcore.sum(h * w)
    y.unchain_backward()
    for v in (h, y):
        assert v.creator is None
        assert v.generation == 0
    (h * w).backward()  # as truncated back-propagation through time goes on
    assert x.grad is None
    assert w.grad.data.tolist() == [3.0, 3.0]
    grad(dzcore.sum(h * w), w, create_graph=True)
    del x, h, y, v
    assert array() is None


def test_truncated_backpropagation_through_time_needs_constant_memory() -> None:
    w = Variable(np.full(2, 0.5))
    h = Variable(np.ones(2))
    arrays = []
    for _ in range(6):
        h = dzcore.tanh(h * w)
        arrays.append(weakref.ref(h.data))
        loss = dzcore.sum(h * h)
        w.cleargrad()
        loss.backward()
        loss.unchain_backward()
    del loss
    assert sum(a() is not None for a in arrays) <= 2
    assert w.grad is not None


# grad ----------------------------------------------------------------------------------------------------------------


def test_grad_stores_nothing(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    y = x * x
    (gx,) = grad(y, x)
    assert_close(gx, [2.0, 4.0])
    assert not gx.requires_grad
    assert x.grad is y.grad is None


def test_grad_of_intermediate_values(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    h = x * x
    y = h * 3.0
    gy, gh, gx, again = grad(y, [y, h, x, h])
    assert_close(gy, [1.0, 1.0])
    assert_close(gh, [3.0, 3.0])
    assert_close(gx, [6.0, 12.0])
    assert again is gh or values(again) == values(gh)


def test_grad_computes_only_what_lies_between() -> None:
    ran: list[str] = []

    def traced(name: str) -> Callable[..., Variable]:
        def formula(gy: Any) -> Any:
            ran.append(name)
            return gy

        @rule(x=formula)
        def apply(xp: Any, x: Any) -> Any:
            return x * 1.0

        return apply

    x, z = Variable(np.ones(2)), Variable(np.ones(2))
    h = traced("below")(x)
    y = traced("above")(h) * traced("beside")(z)
    grad(y, h)
    assert ran == ["above"]
    ran.clear()
    grad(y, z)
    assert ran == ["beside"]
    ran.clear()
    grad(y, x, create_graph=True)
    assert ran == ["above", "below"]

    class Product(Function):  # computes both gradients, of which one goes no further
        def forward(self, x0: Any, x1: Any) -> Any:
            return x0 * x1

        def backward(self, gy: Variable) -> tuple[Variable, Variable]:
            return gy * self.inputs[1], gy * self.inputs[0]

    class Never(Function):
        def forward(self, x: Any) -> Any:
            return x * 1.0

    ran.clear()
    grad(Product()(traced("left")(x), Never()(z)), x)
    assert ran == ["left"]


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_formula_of_an_unneeded_operand_is_not_run(create_graph: bool) -> None:
    ran: list[str] = []

    def formula(name: str) -> Callable[..., Any]:
        def apply(gy: Any) -> Any:
            ran.append(name)
            return gy

        return apply

    @rule(a=formula("a"), b=formula("b"))
    def plus(xp: Any, a: Any, b: Any) -> Any:
        return a + b

    a, b = Variable(np.ones(2)), Variable(np.ones(2))
    grad(plus(a, b), b, create_graph=create_graph)
    assert ran == ["b"]
    ran.clear()
    plus(a, b.detach()).backward(create_graph=create_graph)
    a.cleargrad()
    assert ran == ["a"]


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_are_computed_in_the_order_of_the_formulas(create_graph: bool) -> None:
    seen: list[str] = []

    def formula(name: str, factor: float) -> Callable[..., Any]:
        def gradient(gy: Any) -> Any:
            seen.append(name)
            return gy * factor

        return gradient

    @rule(c=formula("c", 3.0), a=formula("a", 1.0), b=formula("b", 2.0))
    def total(xp: Any, a: Any, b: Any, c: Any) -> Any:
        return a + 2.0 * b + 3.0 * c

    for wanted in ("abc", "bc", "ac", "ab", "c"):
        inputs = {name: Variable(np.ones(2)) for name in "abc"}
        y = total(*[x if name in wanted else x.detach() for name, x in inputs.items()])
        y.backward(create_graph=create_graph)
        assert "".join(seen) == "".join(name for name in "cab" if name in wanted)
        for name in wanted:
            assert values(inputs[name].grad) == [{"a": 1.0, "b": 2.0, "c": 3.0}[name]] * 2
        seen.clear()


def test_grad_outputs(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    ys = [x * 2.0, x * x]
    assert_close(grad(ys, x)[0], [4.0, 6.0])
    assert_close(grad(ys, x, [Variable([1.0, 0.0]), Variable([0.0, 1.0])])[0], [2.0, 4.0])
    assert_close(grad(ys[1], x, Variable([3.0, 1.0]))[0], [6.0, 4.0])
    assert_close(grad(ys[1], x, 2.0)[0], [4.0, 8.0])
    assert_close(grad([ys[0], ys[0]], x)[0], [4.0, 4.0])
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        grad(ys[0], x, Variable([1.0]))
    with pytest.raises(ValueError, match="float64"):
        grad(ys[0], x, Variable([1.0, 1.0], dtype="float64"))
    with pytest.raises(ValueError, match="1 entries for 2 outputs"):
        grad(ys, x, [Variable([1.0, 1.0])])


def test_grad_outputs_can_be_differentiated(backend: Backend) -> None:
    """The trick of two backward passes: the derivative of vᵀJ by v is J."""
    x, v = Variable([1.0, 2.0]), Variable([0.0, 0.0])
    (gx,) = grad(x * x, x, v, create_graph=True)
    assert_close(grad(gx, v, Variable([1.0, 10.0]))[0], [2.0, 40.0])


def test_unused_inputs(backend: Backend) -> None:
    x, z, c = Variable([1.0]), Variable([1.0]), Variable([1.0]).detach()
    y = x * 2.0
    with pytest.raises(GraphError, match="input 1"):
        grad(y, [x, z])
    with pytest.raises(GraphError, match="input 0"):
        grad(y, c)
    gx, gz, gc_ = grad(y, [x, z, c], allow_unused=True)
    assert gx is not None
    assert gz is gc_ is None
    assert grad(c, x, allow_unused=True) == [None]


def test_create_graph_under_no_grad(backend: Backend) -> None:
    """Who asks for a graph of the backward pass gets one."""
    x = Variable([2.0])
    y = x**3
    with dzcore.no_grad():
        (gx,) = grad(y, x, create_graph=True)
        y.backward(create_graph=True)
    assert gx.requires_grad
    assert x.grad.requires_grad
    x.cleargrad()
    assert_close(grad(gx, x)[0], [12.0])


def test_a_graph_can_be_used_again(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    h = dzcore.exp(x)
    for y in (h * 2.0, h * h, h):
        first, second = grad(y, x)[0], grad(y, x)[0]
        assert values(first) == values(second)


def test_values_of_two_backends_meet_in_one_graph(strict: str) -> None:
    """x -> other backend and back, and both ways add up."""

    def f(x: Variable) -> Variable:
        return dzcore.sum((x.to(strict) ** 3).to("numpy") * x)

    check_gradients(f, np.array([1.0, -2.0]))
    x = Variable(np.array([1.0, -2.0]))
    y = x.to(strict)
    (gx,) = grad(y * y, x)
    assert gx.backend is x.backend
    assert gx.data.tolist() == [2.0, -4.0]
