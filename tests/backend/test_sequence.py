"""Recurrent layers' steps in native code: the numbers of the core's own loop, in any layout, number and thread."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
from dzbackend_numpy import recurrent, team
from dzbackend_numpy.compiled import native, product, sequence
from dzcore import Variable, get_backend, grad
from dzcore.backend.namespace import EXTENSIONS
from dzcore.functions.recurrent import GRU, LSTM, RNN, Cell

from .test_threads import python

numpy = get_backend("numpy")
xp = numpy.ops
CELLS = [RNN, LSTM, GRU]
FUNCTIONS: dict[Cell, Any] = {RNN: F.rnn, LSTM: F.lstm, GRU: F.gru}

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="the compiler is an extra")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = team.threads()
    yield
    team.set_threads(before)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each loop that has run, whether it went ahead."""
    found: list[bool] = []
    run = sequence.run

    def seen(*arguments: Any, ahead: bool) -> None:
        found.append(ahead)
        run(*arguments, ahead=ahead)

    monkeypatch.setattr(sequence, "run", seen)
    return found


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """New memory holds NaN, where it would be zeros often enough."""

    class Spoiled:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        @staticmethod
        def empty(shape: Any, dtype: Any) -> Any:
            return np.full(shape, np.nan, dtype)

        @staticmethod
        def empty_like(x: Any) -> Any:
            return np.full_like(x, np.nan)

    monkeypatch.setattr(recurrent, "np", Spoiled())


def draw(*shape: int, seed: int = 0, dtype: str = "f4") -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape, scale=0.4).astype(dtype)


def ahead(cell: Cell, steps: int, n: int, hidden: int, dtype: str = "f4") -> list[Any]:
    """Arguments of `steps_ahead`: cell, a, b, U, d, state."""
    width = cell.gates * hidden
    shapes = [(steps, n, width), (width,), (hidden, width), *[(width,)] * cell.reset, *[(n, hidden)] * cell.parts]
    a, b, U, *rest = [draw(*shape, seed=k, dtype=dtype) for k, shape in enumerate(shapes)]
    return [cell, a, b, U, rest[: cell.reset], rest[cell.reset :]]


def flat(found: Any) -> list[Any]:
    """The arrays in a result, with those of all steps as one."""
    states, *rest = found
    if len(rest) == 1:
        return [states, *[np.stack(tuple(part)) for part in rest[0]]]
    return [states, rest[0], *rest[1]]


def agree(cell: Cell, arguments: list[Any], gy: Any = None) -> None:
    """Compare both loops with the core's own."""
    found = xp.steps_ahead(*arguments)
    expected = EXTENSIONS["steps_ahead"](xp, *arguments)
    U, steps = arguments[3], len(arguments[1])
    if gy is None:
        gy = draw(steps + cell.parts - 1, *found[0].shape[1:], seed=7, dtype=U.dtype)
    back = xp.steps_back(cell, gy, U, found[1])
    back_expected = EXTENSIONS["steps_back"](xp, cell, gy, U, expected[1])
    for one, other in zip([*flat(found), *flat(back)], [*flat(expected), *flat(back_expected)], strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype == U.dtype
        finite = other[np.isfinite(other)]
        scale = np.abs(finite).max() if finite.size else 0.0
        fine = 1.0 if U.dtype == np.float32 else 1e-8
        np.testing.assert_allclose(one, other, rtol=1e-4 * fine, atol=3e-6 * fine * max(1.0, scale))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("n", [1, 3, 32, 33])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.usefixtures("spoiled")
def test_it_is_the_loop_of_the_core(cell: Cell, n: int, threads: int, dtype: str, runs: list[bool]) -> None:
    team.set_threads(threads)
    for steps, hidden in ((3, 5), (7, 40), (10, 1)):
        runs.clear()
        agree(cell, ahead(cell, steps, n, hidden, dtype))
        assert runs == [True, False]


@pytest.mark.parametrize("cell", CELLS)
def test_any_layout(cell: Cell, runs: list[bool]) -> None:
    """With gaps, transposed, backwards, repeated."""
    cell, a, b, U, d, state = ahead(cell, 5, 9, 6)
    a = np.repeat(a, 2, axis=1)[:, ::-2]
    U = np.asfortranarray(U)
    b = np.repeat(b, 3)[::3]
    d = [each[::-1] for each in d]
    state = [np.broadcast_to(part[:1], part.shape) for part in state]
    agree(cell, [cell, a, b, U, d, state])
    agree(cell, [cell, a, b, U, d, state], np.broadcast_to(np.float32(0.5), (5 + cell.parts - 1, 9, 6)))
    agree(cell, [cell, a, b, U, d, state], draw(6, 5 + cell.parts - 1, 9).transpose(1, 2, 0))
    assert runs == [True, False] * 3


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite(cell: Cell, bad: float) -> None:
    """It is that of the core, and stays in its row."""
    for place in range(3):
        arguments = ahead(cell, 5, 20, 6)
        gy = draw(5 + cell.parts - 1, 20, 6)
        where = (arguments[1], arguments[5][-1][None], gy)[place]
        where[-1, 11, 2] = bad
        with np.errstate(all="ignore"):
            agree(cell, arguments, gy)
            states, kept = xp.steps_ahead(*arguments)
            back = xp.steps_back(cell, gy, arguments[3], kept)
        rest = np.arange(20) != 11
        assert all(np.isfinite(x[..., rest, :]).all() for x in (states, *kept, *back[:2], *back[2]))


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_are_left_alone_and_results_are_nobody_elses(cell: Cell) -> None:
    arguments = ahead(cell, 5, 20, 6)
    everything = [*arguments[1:4], *arguments[4], *arguments[5]]
    gy = draw(5 + cell.parts - 1, 20, 6)
    before = [x.copy() for x in (*everything, gy)]
    states, kept = xp.steps_ahead(*arguments)
    copies = [x.copy() for x in (states, *kept)]
    first = flat(xp.steps_back(cell, gy, arguments[3], kept))
    again = flat(xp.steps_back(cell, gy, arguments[3], kept))
    for x, copy in zip((*everything, gy, states, *kept, *first), (*before, *copies, *again), strict=True):
        np.testing.assert_array_equal(x, copy)
    for x in first:
        assert not any(np.may_share_memory(x, y) for y in (*again, *everything, gy, states, *kept))


@pytest.mark.parametrize("cell", CELLS)
def test_the_functions_and_all_of_their_gradients(cell: Cell, runs: list[bool]) -> None:
    """Through the graph, of all inputs and of some, against float64."""

    def found(dtype: str, choice: int) -> list[Any]:
        steps, n, hidden, width = 6, 10, 7, 7 * cell.gates
        shapes = [(steps, n, 4), (4, width), (width,), (hidden, width), *[(width,)] * cell.reset]
        arrays = [draw(*shape, seed=k) for k, shape in enumerate([*shapes, *[(n, hidden)] * cell.parts])]
        xs = [Variable(array.astype(dtype)) for array in arrays]
        xs = [x if choice >> k & 1 else x.detach() for k, x in enumerate(xs)]
        ys = FUNCTIONS[cell](*xs)
        ys = list(ys) if cell is LSTM else [ys]
        loss: Any = sum(F.sum(F.sin(y * (3.0 + k))) for k, y in enumerate(ys))
        return [y.data for y in (*ys, *grad(loss, [x for k, x in enumerate(xs) if choice >> k & 1]))]

    count = 4 + cell.reset + cell.parts
    for choice in (2**count - 1, *[1 << k for k in range(count)]):
        runs.clear()
        one = found("f4", choice)
        assert runs == [True, False]
        for x, y in zip(one, found("f8", choice), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives(cell: Cell, runs: list[bool]) -> None:
    """The first derivative is that of the core's loop then, on Variables."""
    steps, n, hidden, width = 4, 3, 5, 5 * cell.gates
    shapes = [(steps, n, 4), (4, width), (width,), (hidden, width), *[(width,)] * cell.reset]
    arrays = [draw(*shape, seed=k) for k, shape in enumerate([*shapes, *[(n, hidden)] * cell.parts])]
    found = []
    for dtype in ("f4", "f8"):
        xs = [Variable(array.astype(dtype)) for array in arrays]
        y: Any = FUNCTIONS[cell](*xs)
        gxs = grad(F.sum(F.sin((y[0] if cell is LSTM else y) * 3.0)), xs, create_graph=True)
        norm: Any = sum(F.sum(g * g) for g in gxs if g is not None)
        found.append([g.data for g in grad(norm, xs)])  # type: ignore[union-attr]
    assert runs == [True, False] * 2  # which the first derivative of the sine is multiplied by
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3 * np.abs(other).max())


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("features", ["+avx512f,+avx", "+avx", ""])
def test_registers_of_any_size(dtype: str, features: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor has: the compiler takes vectors apart that are larger than its registers."""
    monkeypatch.setattr(native.Compiler, "has", lambda self, name: f"+{name}" in features.split(","))
    for function in (product.wide, sequence._driver):
        function.kept.clear()
    try:
        assert product.wide(np.dtype(dtype)) * np.dtype(dtype).itemsize == {"": 32, "+avx": 64}.get(features, 128)
        for n in range(1, 8):
            agree(GRU, ahead(GRU, 4, n, 21, dtype))
    finally:
        for function in (product.wide, sequence._driver):
            function.kept.clear()


# Where the core's loop is taken --------------------------------------------------------------------------------------


def test_what_is_no_work_for_it(runs: list[bool]) -> None:
    class Own(np.ndarray):
        pass

    for cell in CELLS:
        whole = ahead(cell, 5, 4, 3)
        agree(cell, ahead(cell, recurrent.STEPS - 1, 4, 3))
        xp.steps_ahead(*ahead(cell, 5, 0, 3))
        xp.steps_ahead(*ahead(cell, 5, 4, 3, "f2"))
        xp.steps_ahead(cell, whole[1].astype("f8"), *whole[2:])
        xp.steps_ahead(cell, whole[1].view(Own), *whole[2:])
        assert not runs
        kept = EXTENSIONS["steps_ahead"](xp, *whole)[1]
        xp.steps_back(cell, draw(5 + cell.parts - 1, 4, 3), whole[3], kept)  # another's
        assert not runs


def test_formulas_that_are_no_straight_line(runs: list[bool]) -> None:
    def branching(xp: Any, a: Any, hU: Any, h: Any) -> tuple[Any, ...]:
        return (a + hU if (a > 0.0).any() else a - hU,)

    agree(RNN._replace(ahead=branching), ahead(RNN._replace(ahead=branching), 5, 4, 3))
    assert not runs


def test_without_the_extras() -> None:
    code = """
import numpy as np
from dzcore import get_backend
from dzcore.functions import recurrent as cells
from dzbackend_numpy.compiled import native

a = np.ones((5, 4, 3), "f4")
print(native.compiler(), get_backend("numpy").ops.steps_ahead(cells.RNN, a, a[0, 0], a[0, :3], (), (a[0],))[0].shape)
"""
    assert python(code, DZCORE_NUMPY_FAST="0") == "None (6, 4, 3)"


# Threads and processes -----------------------------------------------------------------------------------------------


def test_threads_of_python_at_the_same_time() -> None:
    team.set_threads(2)
    cases = [ahead(cell, 20, 32, 24) for cell in CELLS]

    def work(k: int) -> list[bytes]:
        arguments = cases[k % 3]
        states, kept = xp.steps_ahead(*arguments)
        back = xp.steps_back(arguments[0], states[1:], arguments[3], kept)
        return [x.tobytes() for x in (states, *back[:2], *back[2])]

    expected = [work(k) for k in range(3)]
    wrong: list[int] = []

    def repeat(k: int) -> None:
        wrong.extend(k for _ in range(20) if work(k) != expected[k % 3])

    crew = [threading.Thread(target=repeat, args=(k,)) for k in range(6)]
    for each in crew:
        each.start()
    for each in crew:
        each.join()
    assert not wrong


FORKED = """
import os, signal
import numpy as np
import dzcore, dzcore.layers as L
from dzbackend_numpy.compiled import sequence

dzcore.set_num_threads(2, "numpy")
ran = []
run = sequence.run
sequence.run = lambda *given, ahead: ran.append(ahead) or run(*given, ahead=ahead)
model = L.LSTM(24, in_size=16)
x = dzcore.Variable(np.random.default_rng(0).normal(size=(10, 32, 16)).astype("f"))

def work():
    model.reset_state()
    model.cleargrads()
    x.cleargrad()
    dzcore.functions.sum(model.sequence(x)).backward()
    return [g.data for g in (x.grad, *[p.grad for p in model.params()])]

expected = work()
child = os.fork()
if not child:
    signal.alarm(60)
    ran.clear()
    same = all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(work(), expected))
    os._exit(0 if same and ran == [True, False] else 1)
_, status = os.waitpid(child, 0)
work()
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_computes_alone() -> None:
    assert python(FORKED, OPENBLAS_NUM_THREADS="2") == "0"


def test_the_number_of_threads_changes_nothing_but_rounding() -> None:
    with dzcore.use_backend("numpy"):
        arguments = ahead(GRU, 12, 33, 16)
        found = []
        for number in (1, 2, 5):
            dzcore.set_num_threads(number)
            found.append(xp.steps_ahead(*arguments)[0])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5, atol=1e-6)
