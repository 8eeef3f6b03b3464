"""Loss and accuracy: those of all samples together, however they are cut into batches."""

import numpy as np
import pytest

import dzcore.functions as F
from dzcore import Variable, random
from dzcore.backend import Backend
from dzcore.cli.measure import Tally, evaluate_model
from dzcore.datasets import ArrayDataset
from dzcore.errors import StateError
from dzcore.models import MLP


def test_batches_of_different_sizes_add_up(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    y, t = rng.normal(size=(10, 3)).astype(np.float32), rng.integers(0, 3, 10)
    tally = Tally(backend)
    assert tally.read() == (0, 0)
    for start, stop in ((0, 4), (4, 5), (5, 10)):
        scores, classes = Variable(y[start:stop], backend=backend), Variable(t[start:stop], backend=backend)
        tally.add(F.softmax_cross_entropy(scores, classes).data, scores.data, classes.data)
        if stop == 5:
            tally.read()  # looking changes nothing
    loss, accuracy = tally.read()
    assert loss == pytest.approx(float(F.softmax_cross_entropy(y, t)), rel=1e-6)
    assert accuracy == (y.argmax(axis=1) == t).mean()
    assert tally.samples == 10


def test_looking_and_going_on_change_no_bit(backend: Backend) -> None:
    """However often it is read, and wherever it is saved and continued: the history of a training must not differ."""
    rng = np.random.default_rng(2)
    losses, sizes = (10 ** rng.uniform(-9, 1, 40)).astype(np.float32), rng.integers(1, 9, 40)  # so that sums round

    def add(tally: Tally, i: int) -> None:
        loss, y = Variable(losses[i], backend=backend), Variable(np.eye(9, 3, dtype=np.float32), backend=backend)
        t = Variable(np.arange(9) % 2, backend=backend)
        tally.add(loss.data, y.data[: sizes[i], :], t.data[: sizes[i]])

    def run(looks: set[int], cuts: set[int]) -> tuple[float, float]:
        tally = Tally(backend)
        for i in range(40):
            add(tally, i)
            if i in looks:
                tally.read()
            if i in cuts:
                state = tally._state()
                tally = Tally(backend)
                add(tally, 0)  # of another epoch
                tally._stage(state)()
        result = tally.read()
        assert tally.samples == sizes.sum()
        return result

    assert len({run(set(looks), set()) for looks in rng.integers(0, 40, (20, 3)).tolist()}) == 1
    assert run(set(), {0, 7, 23}) == run({39}, set())


def test_the_time_goes_on_too(numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    tally = Tally(numpy_backend)
    now = 7.0
    assert tally._state()["seconds"] == 2
    tally._stage({"samples": 1000, "hits": 3, "total": 1.5, "seconds": 10.0})()
    now = 22.0
    assert tally.rate == 1000 / 25
    tally.clear()
    assert (tally.samples, tally.read()) == (0, (0, 0))


@pytest.mark.parametrize("change", [{"samples": 1.0}, {"total": 1}, {"more": 1}, {"seconds": None}])
def test_the_state_of_something_else(numpy_backend: Backend, change: dict[str, object]) -> None:
    tally = Tally(numpy_backend)
    state = {**tally._state(), **change}
    with pytest.raises(StateError, match="this is not the state of a Tally"):
        tally._stage(state)


def test_a_model_is_measured_on_everything() -> None:
    random.seed(0)
    x, t = np.random.default_rng(1).normal(size=(2500, 4)).astype(np.float32), np.arange(2500) % 3
    model = MLP((3,), in_size=4)
    data = ArrayDataset(x, t)
    loss, accuracy = evaluate_model(model, data, data.backend)
    y = model(x)
    assert loss == pytest.approx(float(F.softmax_cross_entropy(y, t)), rel=1e-5)
    assert accuracy == pytest.approx(float(F.accuracy(y, t)), abs=1e-7)
