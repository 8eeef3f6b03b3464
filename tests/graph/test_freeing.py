"""What `backward` frees, when, and what it leaves; and gradients that are added up in place."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
from dzcore import Function, GraphError, Variable, grad
from dzcore import functions as F
from dzcore.backend import Backend
from dzcore.graph.rule import rule
from dzcore.testing import assert_close, values
from dzcore.utils import get_dot_graph


class Square(Function):
    def forward(self, x: Any) -> Any:
        return x * x

    def backward(self, gy: Variable) -> Variable:
        return gy * self.inputs[0] * 2.0


#: What keeps its operand for the backward pass.
KEEPING: dict[str, Callable[[Variable], Variable]] = {
    "log": dzcore.log,
    "x * x": lambda h: h * h,
    "x @ W": lambda h: h @ Variable(np.ones((2, 2))),
    "linear": lambda h: F.linear(h, Variable(np.ones((2, 2))), Variable(np.ones(2))),
    "broadcast": lambda h: h * Variable(np.ones((3, 1, 1))),
    "a Function": Square(),
}


@pytest.mark.parametrize("name", KEEPING)
def test_backward_frees_what_the_graph_kept(name: str) -> None:
    x = Variable(np.full((2, 2), 3.0))
    h = x * 1.0
    y = KEEPING[name](h)
    array = weakref.ref(h.data)
    del h
    y.backward(retain_graph=True)
    once = values(x.grad)
    x.cleargrad()
    assert array() is not None
    y.backward()
    assert array() is None
    assert values(x.grad) == once
    assert values(y) is not None  # the value itself stays


@pytest.mark.parametrize("name", KEEPING)
@pytest.mark.parametrize("how", ["retain_graph", "create_graph", "grad", "grad, create_graph"])
def test_nothing_is_freed_where_the_graph_may_be_needed_again(name: str, how: str) -> None:
    x = Variable(np.full((2, 2), 3.0))
    y = dzcore.sum(KEEPING[name](x * 1.0) ** 2)

    def gradient() -> Any:
        if how.startswith("grad"):
            (gx,) = grad(y, x, create_graph="," in how)
        else:
            y.backward(**{how: True})
            gx = x.grad
            x.cleargrad()
        return values(gx)

    assert gradient() == gradient()


@pytest.mark.parametrize("name", KEEPING)
@pytest.mark.parametrize("again", ["backward", "create_graph", "retain_grad", "grad", "grad, create_graph", "part"])
def test_a_freed_graph_names_the_remedy(name: str, again: str) -> None:
    x = Variable(np.full((2, 2), 3.0))
    h = KEEPING[name](x * 1.0)
    y = dzcore.sum(h)
    y.backward()
    attempts: dict[str, Callable[[], Any]] = {
        "backward": y.backward,
        "create_graph": lambda: y.backward(create_graph=True),
        "retain_grad": lambda: y.backward(retain_grad=True),
        "grad": lambda: grad(y, x),
        "grad, create_graph": lambda: grad(y, x, create_graph=True),
        "part": lambda: (h * 2.0).backward(),  # a new operation on top of what was freed
    }
    with pytest.raises(GraphError, match="retain_graph=True"):
        attempts[again]()
    assert float(dzcore.sum(h)) == float(y)  # the values are as good as ever


def test_retain_grad_frees_as_well() -> None:
    x = Variable(np.ones(2))
    y = dzcore.log(x * 2.0)
    y.backward(retain_grad=True)
    with pytest.raises(GraphError, match="retain_graph=True"):
        y.backward()


def test_arrays_are_freed_as_the_pass_goes() -> None:
    """When a formula runs, what the operations after it kept is gone, and what those before it kept is there."""
    arrays: list[Any] = []
    alive: list[list[bool]] = []

    def formula(gy: Any, x: Any) -> Any:
        alive.append([array() is not None for array in arrays])
        return gy * x

    @rule(x=formula)
    def half_square(xp: Any, x: Any) -> Any:
        return x * x * 0.5

    x = Variable(np.ones(2))
    y = x
    for _ in range(4):
        h = y * 1.0
        arrays.append(weakref.ref(h.data))
        y = half_square(h)
        del h
    y.backward()
    assert alive == [[k <= n for k in range(4)] for n in (3, 2, 1, 0)]
    assert not any(array() for array in arrays)


def test_an_error_in_the_middle_frees_what_was_passed_and_nothing_else() -> None:
    broken = True

    def formula(gy: Any, x: Any) -> Any:
        if broken:
            raise ZeroDivisionError
        return gy * x

    @rule(x=formula)
    def fragile(xp: Any, x: Any) -> Any:
        return x * 1.0

    x = Variable(np.ones(2))
    h, k = x * 2.0, x * 5.0
    first, second = weakref.ref(h.data), weakref.ref(k.data)
    middle = fragile(h)
    y = dzcore.log(middle) * dzcore.log(k)
    del h, k
    with pytest.raises(ZeroDivisionError):
        y.backward()
    assert first() is not None
    assert second() is None
    assert x.grad is None
    with pytest.raises(GraphError, match="retain_graph=True"):
        y.backward()
    broken = False
    middle.backward()
    assert x.grad.data.tolist() == [4.0, 4.0]


def test_two_losses_on_one_trunk() -> None:
    x = Variable(np.ones(2))
    trunk = dzcore.exp(x)
    a, b = trunk * 2.0, trunk * 3.0
    a.backward(retain_graph=True)
    b.backward()
    assert x.grad.data == pytest.approx(5.0 * np.exp(np.ones(2)))


def test_the_call_of_a_function_stays_in_the_graph() -> None:
    """Its creator keeps what its forward left there, and each call is still one of its own."""

    class Keeps(Square):
        def forward(self, x: Any) -> Any:
            self.left = x
            return x * x

    f = Keeps()
    y = f(Variable(np.ones(2)))
    y.backward()
    z = f(Variable(np.full(2, 5.0)))
    assert (y.creator, y.generation) == (f, 1)
    assert (y.creator.left.tolist(), z.creator.left.tolist()) == ([1.0, 1.0], [5.0, 5.0])
    with pytest.raises(GraphError, match="retain_graph=True"):
        _ = y.creator.inputs[0]


def test_a_picture_of_a_freed_graph() -> None:
    """It lacks the shapes in its middle, and has all else."""
    x = Variable(np.ones((2, 3)), name="x")
    y = dzcore.sum(Square()(dzcore.exp(x)) * x)
    before = get_dot_graph(y)
    y.backward()
    after = get_dot_graph(y)
    assert get_dot_graph(y, verbose=False).count("->") == after.count("->") == before.count("->")
    assert after.count("float64") == 2
    assert before.count("float64") == 5
    assert "x: (2, 3) float64" in after


# Adding up -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8), st.integers(0, 3), st.integers(1, 4))
def test_sums_of_gradients(factors: list[int], again: int, passes: int) -> None:
    """However often a value is used, in one pass and in several, its gradient is the sum of the factors."""
    x, w = Variable(np.ones(3)), Variable(np.ones(3))
    for _ in range(passes):
        h = x * 1.0
        sum((h * float(k) for k in factors), start=w * float(again)).backward()
    assert x.grad.data.tolist() == [float(passes * sum(factors))] * 3
    assert w.grad.data.tolist() == [float(passes * again)] * 3


def test_sums_are_made_in_place_once_they_are_the_engine_s_own() -> None:
    """Four uses of a value make one new array, and a leaf's gradient is one array from the second pass on."""
    made: list[Any] = []

    class Counting(np.ndarray):
        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
            given = [np.asarray(x) for x in inputs]
            if ufunc is np.add:
                made.append(bool(out))
            result = getattr(ufunc, method)(*given, out=tuple(np.asarray(o) for o in out) or None, **options)
            return out[0] if out else result.view(Counting)

    @rule(x=lambda gy: gy.view(Counting))
    def spied(xp: Any, x: Any) -> Any:
        return x * 1.0

    x = Variable(np.ones(3))
    h = x * 1.0
    dzcore.sum(dzcore.concat([spied(h) for _ in range(4)])).backward()
    assert made == [False, True, True]
    assert x.grad.data.tolist() == [4.0] * 3


def test_what_was_added_up_does_not_live_on() -> None:
    parts: list[Any] = []
    alive: list[bool] = []

    def part(gy: Any) -> Any:
        g = gy * 1.0
        parts.append(weakref.ref(g))
        return g

    def below(gy: Any) -> Any:
        alive.extend(each() is not None for each in parts)
        return gy

    @rule(x=part)
    def branch(xp: Any, x: Any) -> Any:
        return x * 1.0

    @rule(x=below)
    def trunk(xp: Any, x: Any) -> Any:
        return x * 1.0

    x = Variable(np.ones(2))
    h = trunk(x)
    (branch(h) + branch(h) + branch(h)).backward()
    assert alive == [False] * 3
    assert x.grad.data.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("look", [False, True])
def test_passes_add_to_one_array_unless_somebody_looked(look: bool) -> None:
    x = Variable(np.ones(2))
    seen: list[Any] = []
    arrays: list[Any] = []
    for n in range(1, 5):
        (x * float(n)).backward()
        arrays.append(x.node.grad.data)  # behind the engine's back
        if look:
            seen.append(x.grad)
    assert (arrays[1] is arrays[2] is arrays[3]) is not look
    assert x.grad.data.tolist() == [10.0, 10.0]
    if look:
        assert [g.data.tolist()[0] for g in seen] == [1.0, 3.0, 6.0, 10.0]


def test_a_gradient_that_a_rule_handed_on_is_nobody_s_to_change() -> None:
    """The rules of + hand on gy itself, to both; and one may hand on what it kept."""
    kept = np.array([1.0, 2.0])

    @rule(x=lambda gy, table: table)
    def looked_up(xp: Any, x: Any, /, table: Any) -> Any:
        return x * table

    a, b, x = (Variable(np.ones(2)) for _ in range(3))
    for _ in range(3):
        y = a + b
        (y + a + a + looked_up(x, kept) + looked_up(x, kept) + looked_up(x, kept)).backward()
    assert a.grad.data.tolist() == [9.0, 9.0]
    assert b.grad.data.tolist() == [3.0, 3.0]
    assert x.grad.data.tolist() == [9.0, 18.0]
    assert kept.tolist() == [1.0, 2.0]


def test_leaves_that_were_handed_one_array() -> None:
    kept = np.array([1.0, 2.0])

    @rule(x=lambda gy, table: table)
    def looked_up(xp: Any, x: Any, /, table: Any) -> Any:
        return x * table

    a, b, x = (Variable(np.ones(2)) for _ in range(3))
    for _ in range(3):
        (a + b).backward()
        looked_up(x, kept).backward()
    assert [v.grad.data.tolist() for v in (a, b, x)] == [[3.0, 3.0], [3.0, 3.0], [3.0, 6.0]]
    assert kept.tolist() == [1.0, 2.0]


def test_nothing_is_added_in_place_with_create_graph(backend: Backend) -> None:
    """A sum that has a graph stays what it was when another pass adds to it."""
    x = Variable([1.0, 2.0])
    for _ in range(2):
        (x * x * x).backward(create_graph=True)
    second = x.grad
    (x * 3.0).backward()
    (x * 3.0).backward()
    assert_close(second, [6.0, 24.0])
    x.cleargrad()
    assert_close(grad(second, x)[0], [12.0, 24.0])


def test_plain_passes_and_those_with_a_graph_add_up(backend: Backend) -> None:
    x = Variable([1.0, 2.0])
    for create_graph in (False, False, True, False, True):
        (x * x * x).backward(create_graph=create_graph)
    assert_close(x.grad, [15.0, 60.0])
    gx = x.grad
    x.cleargrad()
    assert_close(grad(gx, x)[0], [12.0, 24.0])
