"""What a step of training holds in memory, in bytes: what the rules asked for, the gradients, and little else.

tracemalloc counts NumPy's arrays; bounds follow from the shapes.
"""

import gc
import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore.functions as F
from dzbackend_numpy import extras, onednn
from dzcore import DataLoader, Layer, Variable, no_grad, optimizers, random
from dzcore.cli.against.worker import Order, Worker
from dzcore.datasets import ArrayDataset
from dzcore.graph.engine import reachable
from dzcore.graph.node import Node
from dzcore.models import MLP, LeNet

TABLE = Path(__file__).parents[1] / "benchmarks" / "table"
SMALL = 64 * 1024  # Python's own objects, and what the libraries keep


@pytest.fixture
def trace() -> Iterator[Callable[[], None]]:
    """Begin to count, after what is slow to count: imports, and what is made once."""
    gc.collect()
    yield tracemalloc.start
    tracemalloc.stop()


def current() -> int:
    return tracemalloc.get_traced_memory()[0]


def peak(function: Callable[[], Any]) -> tuple[int, Any]:
    """Return how many bytes more there were at the same time while the function ran, and what it returned."""
    before = current()
    tracemalloc.reset_peak()
    result = function()
    return tracemalloc.get_traced_memory()[1] - before, result


def memory_of(arrays: list[Any]) -> int:
    """Add up the bytes of the arrays, what several share once."""
    owners: dict[int, Any] = {}
    for array in arrays:
        while array.base is not None:
            array = array.base
        owners[id(array)] = array
    return sum(array.nbytes for array in owners.values())


def kept(y: Variable, besides: list[Any]) -> list[Any]:
    """Return the arrays that the graph of y keeps, without those that others hold."""
    held = {id(array) for array in besides}
    nodes = [value for value in reachable([y.node] if y.node else []) if isinstance(value, Node)]
    saved = [array for node in nodes for array in node.saved if isinstance(array, np.ndarray)]
    return [array for array in saved if id(array) not in held]


def network(name: str) -> tuple[Layer, Any, Any]:
    rng = np.random.default_rng(0)
    if name == "MLP":
        return MLP((300, 200, 10), activation=F.tanh), rng.random((256, 100), np.float32), rng.integers(0, 10, 256)
    return LeNet(), rng.random((64, 1, 28, 28), np.float32), rng.integers(0, 10, 64)


@pytest.mark.parametrize("name", ["MLP", "LeNet"])
def test_a_step_of_training(name: str, trace: Callable[[], None]) -> None:
    model, x, t = network(name)
    optimizer = optimizers.MomentumSGD().setup(model)

    def step() -> None:
        loss = F.softmax_cross_entropy(model(x), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()

    for _ in range(2):  # parameters, state, and what is compiled or cached
        step()
    model.cleargrads()
    params = [param.data for param in model.params()]
    trace()
    start = current()

    loss = F.softmax_cross_entropy(model(x), t)
    tape = memory_of(kept(loss, [x, t, *params]))
    assert tape > memory_of([x])
    assert current() - start <= tape + SMALL  # nothing but what the rules asked for

    largest = max(array.nbytes for array in kept(loss, []))
    more, _ = peak(loss.backward)
    gradients = memory_of(params)
    assert more <= gradients + 6 * largest + SMALL
    assert current() - start <= gradients + SMALL  # the tape is gone, and the loss still there
    assert loss.shape == ()

    more, _ = peak(optimizer.update)
    assert more <= 2 * max(param.nbytes for param in params) + SMALL
    assert current() - start <= gradients + SMALL
    model.cleargrads()
    assert current() - start <= SMALL


def test_the_tape_of_a_chain_makes_room_for_its_gradients(trace: Callable[[], None]) -> None:
    size, depth = 100_000, 30
    array = size * 8
    x = Variable(np.ones(size))
    F.sum(F.tanh(x)).backward()
    x.cleargrad()
    trace()
    y = x
    for _ in range(depth):
        y = F.tanh(y)
    y = F.sum(y)
    assert depth * array <= current() <= depth * array + SMALL
    more, _ = peak(y.backward)
    assert more <= 4 * array + SMALL
    assert current() <= array + SMALL  # the gradient of x


def test_uses_of_one_value_add_up_in_one_array(trace: Callable[[], None]) -> None:
    size = 100_000
    x = Variable(np.ones(size))
    h = x * 1.0
    y = F.sum(h * 0.5)
    for k in range(30):
        y = y + F.sum(h * float(k))
    trace()
    more, _ = peak(y.backward)
    assert more <= 4 * size * 8 + SMALL


# Convolutions --------------------------------------------------------------------------------------------------------

#: What copies and gradients of the weights below take, and the library's scratch memory.
WEIGHTS = 8 * 64 * 64 * 9 * 4

with_library = pytest.mark.skipif(
    not (extras.allowed() and onednn.available()), reason="onednn-cpu-gomp is not installed, or not to be used"
)


@with_library
def test_a_convolution_takes_one_array_besides_its_result(trace: Callable[[], None]) -> None:
    """A copy of x lies where the result will be; the other one is of the result, and lives as long as the call."""
    x, W = np.ones((16, 64, 32, 32), np.float32), np.ones((64, 64, 3, 3), np.float32)
    with no_grad():
        F.conv2d(x, W, pad=1)
        trace()
        start = current()
        more, y = peak(lambda: F.conv2d(x, W, pad=1))
    assert y.data.nbytes == x.nbytes
    assert more <= 2 * x.nbytes + WEIGHTS
    assert current() - start <= x.nbytes + SMALL


@with_library
def test_the_gradients_of_convolutions_take_two_arrays_at_a_time(trace: Callable[[], None]) -> None:
    """While the gradient of W is computed there is none of x: of that, two copies, x and gy two are on the tape."""
    x = Variable(np.ones((16, 64, 32, 32), np.float32))
    W = [Variable(np.ones((64, 64, 3, 3), np.float32)) for _ in range(2)]

    def forward() -> Variable:
        return F.pooling(F.relu(F.conv2d(F.relu(F.conv2d(x, W[0], pad=1)), W[1], pad=1)), 2, 2)

    y = forward()
    y.backward()
    for each in (x, *W):
        each.cleargrad()
    del y
    trace()
    start, array = current(), x.data.nbytes
    y = forward()
    tape = current() - start
    assert 2 * array < tape < 2.5 * array + SMALL
    more, _ = peak(y.backward)
    assert more <= 2.25 * array + WEIGHTS


#: MB above what a process held when it began. The least that PyTorch's has taken are 46, 14.2, 11, and 10.9.
ROWS = {"convolutions": 38.0, "lenet": 15.0, "mlp": 11.0, "adam": 11.4}


@with_library
@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell how much memory a process has held")
@pytest.mark.skipif(
    bool({"GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys()),
    reason="the environment says how memory is to be kept",
)
@pytest.mark.parametrize("row", ROWS)
def test_the_process_of_a_row_of_the_table(row: str) -> None:
    """This sees what arrays do not show: memory that is free and kept, in pieces too small for what comes next."""
    with Worker(Order(str(TABLE), row, "dzcore", "dzcore", False, 2, "numpy")) as worker:
        memory = worker.memory()
    if memory is None:
        pytest.skip("the system does not let a process forget its peak")
    assert memory.settled <= ROWS[row]


# Random numbers ------------------------------------------------------------------------------------------------------


def test_normal_numbers_are_made_piece_by_piece(trace: Callable[[], None]) -> None:
    generator, count = random.Generator(0), 1_000_000
    generator.normal(10)  # the table of quantiles
    trace()
    more, x = peak(lambda: generator.normal(count, std=0.1))
    assert more <= 2 * x.nbytes + 4_000_000  # the pieces and all of them joined; integers on the way


# The data path -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_batch_is_one_copy_of_its_items_or_none(shuffle: bool, trace: Callable[[], None]) -> None:
    n, width, size = 4000, 256, 500
    x, t = np.random.default_rng(0).random((n, width), np.float32), np.arange(n)
    loader = DataLoader((x, t), size, shuffle, seed=0)
    next(loader)  # the order of the epoch
    trace()
    batch = size * (width * x.itemsize + t.itemsize)
    for _ in range(len(loader) - 1):
        more, (bx, bt) = peak(lambda: next(loader))
        assert more <= (batch if shuffle else 0) + 4096
        assert np.shares_memory(bx, x) is np.shares_memory(bt, t) is not shuffle
        assert (bx == x[bt]).all()
        del bx, bt


def test_one_batch_at_a_time(trace: Callable[[], None]) -> None:
    """The loader keeps no batch that it has given out."""
    x = np.ones((4000, 256), np.float32)
    loader = DataLoader((x, np.arange(4000)), 500, seed=0)
    next(loader)
    trace()
    batch = 500 * (256 * 4 + 8)
    more, _ = peak(lambda: [None for _ in loader])
    assert more <= 2 * batch + 4000 * 8 * 8 + SMALL


def test_a_view_is_converted_into_a_new_array() -> None:
    class Bytes(ArrayDataset):
        def convert(self, x: Any) -> Any:
            return x.astype(np.float32) / 255

    data = Bytes(np.full((10, 3), 255, np.uint8), np.arange(10))
    for x, _ in DataLoader(data, 4, shuffle=False):
        assert x.dtype == np.float32
        x *= 0.0
    assert (data.data == 255).all()


@pytest.mark.parametrize("indices", [range(2, 5), range(0, 6, 2), range(5, 2, -1), range(3, 3), range(6)])
def test_any_range_picks_what_its_numbers_do(indices: range) -> None:
    data = ArrayDataset(np.arange(6.0)[:, None], np.arange(6))
    for ranged, listed in zip(data.batch(indices), data.batch(list(indices)), strict=True):
        assert ranged.tolist() == listed.tolist()


def test_a_range_that_leaves_the_data_set_is_no_slice() -> None:
    with pytest.raises(IndexError):
        ArrayDataset(np.arange(6.0)).batch(range(4, 8))
