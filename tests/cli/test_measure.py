"""Loss and accuracy: those of all samples together, however they are cut into batches."""

import numpy as np
import pytest

import dzcore.functions as F
from dzcore import Variable, random
from dzcore.backend import Backend
from dzcore.cli.measure import Tally, evaluate_model
from dzcore.datasets import ArrayDataset
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


def test_a_model_is_measured_on_everything() -> None:
    random.seed(0)
    x, t = np.random.default_rng(1).normal(size=(2500, 4)).astype(np.float32), np.arange(2500) % 3
    model = MLP((3,), in_size=4)
    data = ArrayDataset(x, t)
    loss, accuracy = evaluate_model(model, data, data.backend)
    y = model(x)
    assert loss == pytest.approx(float(F.softmax_cross_entropy(y, t)), rel=1e-5)
    assert accuracy == pytest.approx(float(F.accuracy(y, t)), abs=1e-7)
