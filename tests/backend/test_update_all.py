"""Updates of many arrays in one go: the same bits as one after the other, and only where nothing is shared."""

from typing import Any

import numpy as np
import pytest

import dzcore
from dzbackend_numpy import NumpyBackend, fuse
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
def together(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Collect whether updates were made in one go."""
    found: list[bool] = []
    original = fuse.run_all
    monkeypatch.setattr(fuse, "run_all", lambda *given: (found.append(original(*given)), found[-1])[1])
    return found


def check(given: list[tuple[Any, ...]], numbers: tuple[Any, ...] = NUMBERS) -> Any:
    expected = [backend.update(momentum, (p, v), g, *numbers) for p, v, g in copies(given)]
    found = backend.update_all(momentum, [(p, v) for p, v, _ in given], [g for *_, g in given], *numbers)
    for own, wanted in zip(found, expected, strict=True):
        for x, y in zip(own, wanted, strict=True):
            assert x.dtype == y.dtype
            assert x.tobytes() == y.tobytes()
    return found


SHAPES = ((784, 30), (30,), (), (0, 3), (700, 700), (1,), (3, 4, 5))


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_all_at_once(dtype: str, threads: int, together: list[bool]) -> None:
    before = dzcore.get_num_threads("numpy")
    try:
        dzcore.set_num_threads(threads, "numpy")
        given = rows(*SHAPES, dtype=dtype)
        targets = [(p, v) for p, v, _ in given]
        gradients = [g.copy() for *_, g in given]
        found = check(given)
    finally:
        dzcore.set_num_threads(before, "numpy")
    assert together == [True]
    assert all(x is y for own, row in zip(found, targets, strict=True) for x, y in zip(own, row, strict=True))
    assert all(row[2].tobytes() == g.tobytes() for row, g in zip(given, gradients, strict=True))


@needs_compiler
def test_rows_of_several_dtypes(together: list[bool]) -> None:
    check(rows((30, 40)) + rows((30, 40), dtype="f8") + rows((7,)))
    assert together == [True]


@needs_compiler
def test_views_of_whole_arrays(together: list[bool]) -> None:
    check([tuple(x.reshape(20, 30).T for x in row) for row in rows((600,), (600,))])
    assert together == [True]


@needs_compiler
def test_a_gradient_that_is_the_parameter(together: list[bool]) -> None:
    p, v, _ = rows((1000,))[0]
    found = backend.update_all(momentum, [(p, v)], [p], *NUMBERS)
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
    found = backend.update_all(momentum, [(p, v)], [g], *NUMBERS)
    for x, y in zip(found[0], wanted, strict=True):
        assert x.tobytes() == y.tobytes()


def test_two_arrays_in_the_memory_of_something_else() -> None:
    memory = bytearray(np.arange(1000, dtype="f4").tobytes())
    one, two = (np.frombuffer(memory, "f4") for _ in range(2))
    p, g, v = one[1:], two[:-1], np.zeros(999, "f4")
    wanted = backend.update(momentum, (p.copy(), v.copy()), g.copy(), *NUMBERS)
    found = backend.update_all(momentum, [(p, v)], [g], *NUMBERS)
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
def test_one_that_is_not_simple_among_others(how: str, which: int, together: list[bool]) -> None:
    given = rows((30, 40), (40,), (20, 10))
    row = list(given[0])
    row[which] = other(row[which], how)
    expected = [momentum(np, p, v, g, *NUMBERS) for p, v, g in [tuple(row), *given[1:]]]
    targets, gradients = [(p, v) for p, v, _ in given[1:]], [g for *_, g in given[1:]]
    found = backend.update_all(momentum, [tuple(row[:2]), *targets], [row[2], *gradients], *NUMBERS)
    for own, wanted in zip(found, expected, strict=True):
        for x, y in zip(own, wanted, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6)
    assert together == ([True] if compiler() else [])


def test_a_number_that_does_not_fit_leaves_all_alone() -> None:
    p = np.ones(5, np.int8)
    before = p.copy()
    with pytest.raises(OverflowError):
        backend.update_all(lambda xp, p, g, n: (p + n,), [(p,), (p.copy(),)], [p.copy(), p.copy()], 1000)
    assert (p == before).all()


def test_the_same_through_an_optimizer(together: list[bool]) -> None:
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
    assert together == ([True] * 3 if compiler() else [])
