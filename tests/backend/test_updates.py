"""Updates of many arrays in one go: the same bits as one after the other, and only where nothing is shared."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import dzcore
from dzbackend_numpy import NumpyBackend, updates
from dzbackend_numpy.compiled.native import compiler

backend = NumpyBackend()
needs_compiler = pytest.mark.skipif(compiler() is None, reason="the compiler is an extra")
NUMBERS = (0.1, 0.9)


def momentum(xp: Any, p: Any, v: Any, g: Any, lr: Any, rate: Any) -> tuple[Any, ...]:
    v = v * rate - g * lr
    return p + v, v


def rows(*shapes: tuple[int, ...], dtype: Any = "f4") -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(0)
    return [tuple(np.asarray(rng.standard_normal(shape), dtype) for _ in range(3)) for shape in shapes]


def copies(given: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(x.copy() for x in row) for row in given]


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect how many rows were updated in one go."""
    found: list[int] = []
    original = updates.Updates.__call__

    def call(self: Any, *given: Any) -> Any:
        results = original(self, *given)
        found.append(len(self.made.rows))
        return results

    monkeypatch.setattr(updates.Updates, "__call__", call)
    return found


def update_all(targets: Any, inputs: Any, *numbers: Any) -> Any:
    return backend.updater(momentum, targets)(inputs, numbers)


def check(given: list[tuple[Any, ...]], numbers: tuple[Any, ...] = NUMBERS) -> Any:
    expected = [backend.update(momentum, (p, v), g, *numbers) for p, v, g in copies(given)]
    found = update_all([(p, v) for p, v, _ in given], [g for *_, g in given], *numbers)
    for own, wanted in zip(found, expected, strict=True):
        for x, y in zip(own, wanted, strict=True):
            assert x.dtype == y.dtype
            assert x.tobytes() == y.tobytes()
    return found


SHAPES = ((784, 30), (30,), (), (0, 3), (700, 700), (1,), (3, 4, 5))


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_all_at_once(dtype: str, threads: int, together: list[int]) -> None:
    before = dzcore.get_num_threads("numpy")
    try:
        dzcore.set_num_threads(threads, "numpy")
        given = rows(*SHAPES, dtype=dtype)
        targets = [(p, v) for p, v, _ in given]
        gradients = [g.copy() for *_, g in given]
        found = check(given)
    finally:
        dzcore.set_num_threads(before, "numpy")
    assert together == [4]  # those with more than one number
    assert all(x is y for own, row in zip(found, targets, strict=True) for x, y in zip(own, row, strict=True))
    assert all(row[2].tobytes() == g.tobytes() for row, g in zip(given, gradients, strict=True))


@needs_compiler
def test_rows_of_several_dtypes(together: list[int]) -> None:
    check(rows((30, 40)) + rows((30, 40), dtype="f8") + rows((7,)))
    assert together == [3]


@needs_compiler
def test_views_of_whole_arrays(together: list[int]) -> None:
    check([tuple(x.reshape(20, 30).T for x in row) for row in rows((600,), (600,))])
    assert together == [2]


@needs_compiler
def test_a_gradient_that_is_the_parameter(together: list[int]) -> None:
    p, v, _ = rows((1000,))[0]
    found = update_all([(p, v)], [p], *NUMBERS)
    p, v, _ = rows((1000,))[0]
    wanted = momentum(np, p, v, p, *(np.float32(n) for n in NUMBERS))
    np.testing.assert_allclose(found[0], wanted, rtol=1e-6)


@pytest.mark.parametrize("shift", [1, 3, -2])
def test_a_gradient_in_the_memory_of_the_parameter(shift: int) -> None:
    """Every input counts as read before anything is written."""
    memory = np.arange(1000, dtype="f4")
    p, g = memory[5:-5], memory[5 + shift : 995 + shift]
    v = np.zeros(990, "f4")
    wanted = backend.update(momentum, (p.copy(), v.copy()), g.copy(), *NUMBERS)
    found = update_all([(p, v)], [g], *NUMBERS)
    for x, y in zip(found[0], wanted, strict=True):
        assert x.tobytes() == y.tobytes()


def test_two_arrays_in_the_memory_of_something_else() -> None:
    memory = bytearray(np.arange(1000, dtype="f4").tobytes())
    one, two = (np.frombuffer(memory, "f4") for _ in range(2))
    p, g, v = one[1:], two[:-1], np.zeros(999, "f4")
    wanted = backend.update(momentum, (p.copy(), v.copy()), g.copy(), *NUMBERS)
    found = update_all([(p, v)], [g], *NUMBERS)
    assert found[0][0].tobytes() == wanted[0].tobytes()


def other(x: Any, how: str) -> Any:
    if how == "read-only":
        x = x.copy()
        x.flags.writeable = False
    elif how == "gaps":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    elif how == "float64":
        x = x.astype("f8")
    elif how == "columns":
        x = np.asfortranarray(x)
    return x


@pytest.mark.parametrize("how", ["read-only", "gaps", "float64", "columns"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_that_is_not_simple_among_others(how: str, which: int, together: list[int]) -> None:
    given = rows((30, 40), (40,), (20, 10))
    row = list(given[0])
    row[which] = other(row[which], how)
    expected = [momentum(np, p, v, g, *NUMBERS) for p, v, g in [tuple(row), *given[1:]]]
    targets, gradients = [(p, v) for p, v, _ in given[1:]], [g for *_, g in given[1:]]
    found = update_all([tuple(row[:2]), *targets], [row[2], *gradients], *NUMBERS)
    for own, wanted in zip(found, expected, strict=True):
        for x, y in zip(own, wanted, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6)
    assert together == [0 if not compiler() else 3 if (how, which) == ("read-only", 2) else 2]


def test_a_number_that_does_not_fit_leaves_all_alone() -> None:
    p = np.ones(5, np.int8)
    before = p.copy()
    with pytest.raises(OverflowError):
        backend.updater(lambda xp, p, g, n: (p + n,), [(p,), (p.copy(),)])([p.copy(), p.copy()], (1000,))
    assert (p == before).all()


def test_the_same_through_an_optimizer(together: list[int]) -> None:
    params = [dzcore.Parameter(np.ones(shape, "f4")) for shape in ((3, 4), (4,), (500, 300))]
    for param in params:
        param.grad = np.full(param.shape, 2.0, "f4")
    optimizer = dzcore.optimizers.Adam(0.1).setup(params)
    arrays = [param.data for param in params]
    for _ in range(3):
        optimizer.update()
    for param, array in zip(params, arrays, strict=True):
        assert param.data is array
        np.testing.assert_allclose(array, 0.7, rtol=1e-5)
    assert together == [3 if compiler() else 0] * 3


class Tripled(np.ndarray):
    """Arrays whose products are three times as large."""

    def __mul__(self, other: Any) -> Any:
        return np.asarray(self) * other * 3


STEPS = [
    ("another gradient", lambda p, v, g: (p, v, g * 2)),
    ("its columns", lambda p, v, g: (p, v, np.asfortranarray(g))),
    ("float64", lambda p, v, g: (p, v, g.astype("f8"))),
    ("another order of bytes", lambda p, v, g: (p, v, g.astype(">f4"))),
    ("its first row for all", lambda p, v, g: (p, v, g[:1])),
    ("another kind of array", lambda p, v, g: (p, v, g.view(Tripled))),
    ("a view", lambda p, v, g: (p, v, np.stack([g, g])[1])),
    ("the parameter", lambda p, v, g: (p, v, p)),
    ("a view of the parameter", lambda p, v, g: (p, v, p[...])),
    ("the state", lambda p, v, g: (p, v, v)),
]


@pytest.mark.parametrize("numbers", [(0.1, 0.9), (1, 0.5), (np.float32(0.1), 2), (np.float64(0.1), 0.9)], ids=repr)
@pytest.mark.parametrize("change", [change for _, change in STEPS], ids=[name for name, _ in STEPS])
def test_the_next_call_with_other_inputs(change: Any, numbers: tuple[Any, ...]) -> None:
    given, twice = (rows((30, 40), (7,), (200, 300)) for _ in range(2))
    targets = [(p, v) for p, v, _ in given]
    updates = backend.updater(momentum, targets)
    updates([g for *_, g in given], NUMBERS)
    found = updates([change(*row)[2] for row in given], numbers)
    for row, own in zip(twice, found, strict=True):
        p, v = backend.update(momentum, row[:2], row[2], *NUMBERS)
        p, v, g = change(p, v, row[2])
        for x, y in zip(own, backend.update(momentum, (p, v), g, *numbers), strict=True):
            assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize("whose", [lambda n: np.arange(n, dtype="f4"), lambda n: np.frombuffer(bytearray(4 * n), "f4")])
def test_the_next_gradient_lies_in_the_memory_of_the_parameter(whose: Any) -> None:
    memory = whose(1000)
    memory += np.arange(1000, dtype="f4") % 7
    p, v, g = memory[1:], np.zeros(999, "f4"), np.ones(999, "f4")
    updates = backend.updater(momentum, [(p, v)])
    updates([g], NUMBERS)
    wanted = backend.update(momentum, (p.copy(), v.copy()), memory[:-1].copy(), *NUMBERS)
    ((new, state),) = updates([memory[:-1]], NUMBERS)
    assert (new.tobytes(), state.tobytes()) == (wanted[0].tobytes(), wanted[1].tobytes())


@pytest.mark.parametrize("primed", [False, True])
def test_gradients_in_the_memory_of_another_parameter(primed: bool) -> None:
    """It is as if the rows were updated one after the other."""
    given = rows((300, 400), (300, 400))
    again = copies(given)
    updates = backend.updater(momentum, [(p, v) for p, v, _ in given])
    if primed:
        updates([g for *_, g in given], NUMBERS)
        for p, v, g in again:
            backend.update(momentum, (p, v), g, *NUMBERS)
    updates([given[1][0], given[0][0][...]], NUMBERS)
    for (p, v, _), x in zip(again, (again[1][0], again[0][0]), strict=True):
        backend.update(momentum, (p, v), x, *NUMBERS)
    for one, other in zip(given, again, strict=True):
        assert [x.tobytes() for x in one] == [x.tobytes() for x in other]


def test_parameters_that_share_memory(together: list[int]) -> None:
    memory, g = np.arange(1000, dtype="f4"), np.ones(600, "f4")
    other = memory.copy()
    update_all([(memory[:600], g * 0), (memory[400:], g * 0)], [g, g * 2], *NUMBERS)
    for part, x in ((other[:600], g), (other[400:], g * 2)):
        backend.update(momentum, (part, g * 0), x, *NUMBERS)
    assert memory.tobytes() == other.tobytes()
    assert together == [0]


def test_a_target_that_becomes_read_only() -> None:
    """It is not written to, but replaced."""
    p, v, g = rows((30, 40))[0]
    updates = backend.updater(momentum, [(p, v)])
    updates([g], NUMBERS)
    before, wanted = p.copy(), momentum(np, p, v, g, *NUMBERS)
    p.flags.writeable = False
    ((new, _),) = updates([g], NUMBERS)
    assert (p == before).all()
    np.testing.assert_allclose(new, wanted[0], rtol=1e-6)


def trained(optimizer: Any, params: list[Any], steps: int) -> list[bytes]:
    for step in range(steps):
        for param in params:
            param.grad = np.full(param.shape, 1.5 - step, "f4")
        optimizer.update()
    return [param.data.tobytes() for param in params]


def some() -> list[Any]:
    return [dzcore.Parameter(np.full(shape, 2.0, "f4")) for shape in ((3, 4), (4,))]


@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))], ids=["deepcopy", "pickle"]
)
def test_a_copy_of_an_optimizer_has_arrays_of_its_own(way: Any) -> None:
    params = some()
    optimizer = dzcore.optimizers.Adam(0.1).setup(params)
    trained(optimizer, params, 2)
    other, theirs = way((optimizer, params))
    before = [param.data.tobytes() for param in params]
    assert trained(other, theirs, 2) != before
    assert [param.data.tobytes() for param in params] == before
    assert trained(optimizer, params, 2) == [param.data.tobytes() for param in theirs]


def test_a_state_that_is_loaded_counts_from_the_next_step_on() -> None:
    params = some()
    optimizer = dzcore.optimizers.Adam(0.1).setup(params)
    trained(optimizer, params, 1)
    state = copy.deepcopy(optimizer.state_dict())
    weights = [param.data.copy() for param in params]
    after = trained(optimizer, params, 2)
    optimizer.load_state_dict(state)
    for param, array in zip(params, weights, strict=True):
        param.data[...] = array
    assert trained(optimizer, params, 2) == after


def test_parameters_that_get_another_array() -> None:
    params = some()
    optimizer = dzcore.optimizers.SGD(0.5).setup(params)
    trained(optimizer, params, 1)
    old, params[0].data = params[0].data, np.zeros((3, 4), "f4")
    before = old.copy()
    trained(optimizer, params, 1)
    assert (old == before).all()
    assert (params[0].data == -0.75).all()
