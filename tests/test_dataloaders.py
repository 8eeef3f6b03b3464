"""DataLoader: every item once an epoch, in an order that follows from the seed and from nothing else."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
from dzcore import random
from dzcore.backend import Backend, get_backend, register_backend, unregister_backend
from dzcore.dataloaders import DataLoader
from dzcore.datasets import ArrayDataset, Dataset, Digits
from dzcore.errors import BackendNotFoundError

from .datasets.test_base import Squares, host
from .strict_backend import StrictBackend


def order(loader: DataLoader) -> list[int]:
    """The first entries of all x of an epoch."""
    return [int(value) for x, _ in loader for value in host(x, loader.backend).reshape(len(x), -1)[:, 0]]


def numbered(n: int) -> tuple[Any, Any]:
    return np.arange(n, dtype=np.float32)[:, None], np.arange(n)


@given(n=st.integers(1, 40), batch_size=st.integers(1, 50), shuffle=st.booleans(), drop_last=st.booleans())
def test_every_item_once(n: int, batch_size: int, shuffle: bool, drop_last: bool) -> None:
    loader = DataLoader(numbered(n), batch_size, shuffle, drop_last=drop_last)
    for _ in range(2):
        batches = list(loader)
        sizes = [len(t) for _, t in batches]
        assert len(sizes) == len(loader) == loader.max_iter
        assert sizes == [batch_size] * (n // batch_size) + [n % batch_size] * (not drop_last and n % batch_size > 0)
        seen = [i for _, t in batches for i in t.tolist()]
        assert len(set(seen)) == len(seen)
        assert all((x[:, 0] == t).all() for x, t in batches)
        if not shuffle:
            assert seen == list(range(len(seen)))
        if not drop_last:
            assert sorted(seen) == list(range(n))


def test_as_in_dezero() -> None:
    loader = DataLoader(Digits(train=False), 100, True, False)
    for epoch in range(2):
        count = 0
        for x, t in loader:
            assert (x.shape[1], x.dtype, t.ndim) == (64, np.float32, 1)
            count += len(t)
        assert count == 355, epoch
    x, t = next(loader)
    assert (len(x), loader.iteration) == (100, 1)
    assert iter(loader) is loader


def test_every_epoch_has_its_own_order() -> None:
    loader = DataLoader(numbered(50), 7, seed=3)
    first, second = order(loader), order(loader)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(50))


def test_a_loop_after_a_break_is_a_whole_epoch() -> None:
    loader = DataLoader(numbered(10), 3, seed=0)
    for _ in loader:
        break
    assert sorted(order(loader)) == list(range(10))


def test_reset() -> None:
    loader = DataLoader(numbered(10), 3, shuffle=False)
    next(loader), next(loader)
    loader.reset()
    assert next(loader)[1].tolist() == [0, 1, 2]


def test_the_seed_gives_the_order() -> None:
    assert order(DataLoader(numbered(50), 7, seed=3)) == order(DataLoader(numbered(50), 9, seed=3))
    assert order(DataLoader(numbered(50), 7, seed=3)) != order(DataLoader(numbered(50), 7, seed=4))
    state = random.get_state()
    order(DataLoader(numbered(50), 7, seed=3))
    assert random.get_state() == state


def test_without_a_seed_it_comes_from_the_default_stream() -> None:
    loader = DataLoader(numbered(50), 7)
    random.seed(11)
    first = order(loader)
    assert random.get_state() == (11, 50)
    random.seed(11)
    assert order(DataLoader(numbered(50), 7)) == first
    random.seed(12)
    assert order(loader) != first


def test_the_order_of_an_interrupted_training_goes_on() -> None:
    loader = DataLoader(numbered(50), 7, seed=5)
    order(loader)
    state = loader.generator.state
    second = order(loader)
    again = DataLoader(numbered(50), 7, seed=5)
    again.generator.state = state
    assert order(again) == second


def test_the_same_order_on_every_backend(backend: Backend) -> None:
    here = DataLoader(ArrayDataset(*numbered(300), backend=backend), 64, seed=9)
    assert here.backend is backend
    got = [host(t, backend).tolist() for _, t in here]
    assert got == [t.tolist() for _, t in DataLoader(numbered(300), 64, seed=9)]


@pytest.mark.parametrize("transform", [None, lambda x: x * 2])
def test_moving_between_batches(strict: str, transform: Any) -> None:
    data = Squares(transform=transform, backend="numpy")
    plain, moved = DataLoader(data, 2, seed=1), DataLoader(data, 2, seed=1)
    for i, name in enumerate(["strict:device1", "numpy", "strict"]):
        assert moved.to(name) is moved
        own = get_backend(name)
        (x, t), (x0, t0) = next(moved), next(plain)
        assert own.owns(x), i
        assert own.owns(t), i
        np.testing.assert_array_equal(host(x, own), x0)
        np.testing.assert_array_equal(host(t, own), t0)
    assert data.backend is get_backend("numpy")  # the user's own stays where it is


def test_backend_argument(strict: str) -> None:
    loader = DataLoader(Squares(backend="numpy"), 4, backend=strict)
    assert all(loader.backend.owns(array) for pair in loader for array in pair)
    assert loader.dataset.backend.name == "numpy"
    assert not loader.gpu


class FakeAccelerator(StrictBackend):
    name = "fake_accelerator"
    accelerator = True


@pytest.fixture
def accelerator() -> Iterator[Backend]:
    register_backend(FakeAccelerator)
    yield get_backend("fake_accelerator:device2")
    unregister_backend("fake_accelerator")


def test_gpu_and_back(accelerator: Backend) -> None:
    loader = DataLoader(numbered(6), 3, gpu=True)
    assert loader.gpu
    assert loader.backend.accelerator
    assert loader.backend.owns(next(loader)[0])
    loader.to_cpu()
    assert not loader.gpu
    assert isinstance(next(loader)[0], np.ndarray)
    assert loader.to_gpu().gpu


def test_no_gpu() -> None:
    with pytest.raises(BackendNotFoundError):
        DataLoader(numbered(6), 3, gpu=True)
    with pytest.raises(ValueError, match="gpu=True and backend='numpy' both say where"):
        DataLoader(numbered(6), 3, gpu=True, backend="numpy")


def test_what_it_takes(backend: Backend) -> None:
    xs, ts = [[1.0, 2.0], [3.0, 4.0]], [1, 0]
    array = backend.asarray(xs, "float32")
    examples = [(array[i, ...], t) for i, t in enumerate(ts)]
    variables = (dzcore.Variable(xs), dzcore.Variable(ts))
    for data in ((array, backend.asarray(ts, "int64")), examples, list(zip(xs, ts, strict=True)), variables):
        x, t = next(DataLoader(data, 2, shuffle=False))
        assert host(x, backend).tolist() == xs
        assert host(t, backend).tolist() == ts
        assert backend.owns(x)
    x, t = next(DataLoader(array, 2, shuffle=False))
    assert t is None
    assert host(x, backend).tolist() == xs


def test_own_getitem() -> None:
    class Big(Dataset):
        def __getitem__(self, index: Any) -> Any:
            return np.full(3, index, np.float32), index

        def __len__(self) -> int:
            return 10

    assert sorted(order(DataLoader(Big(), 4))) == list(range(10))


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (numbered(3), {"batch_size": 0}, ValueError, "batch_size=0 must be at least 1"),
        (numbered(3), {"batch_size": 2.0}, TypeError, "batch_size=2.0 is a float; it must be an int"),
        (numbered(3), {"batch_size": True}, TypeError, "batch_size=True is a bool"),
        ([], {}, ValueError, "dataset is empty"),
        (5, {}, TypeError, "dataset is a int; give a Dataset"),
        ("text", {}, TypeError, "dataset is a str; give a Dataset"),
        ((np.zeros(2), np.zeros(3)), {}, ValueError, "data has 2 items and label has 3"),
        (numbered(3), {"seed": -1}, ValueError, "seed=-1"),
        (numbered(3), {"backend": "cuppy"}, BackendNotFoundError, "No backend 'cuppy'"),
    ],
)
def test_wrong_arguments(data: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        DataLoader(data, **{"batch_size": 2, **options})


def test_wrong_items() -> None:
    with pytest.raises(TypeError, match=r"dataset\[0\] is a int; a DataLoader takes pairs"):
        next(DataLoader([1, 2], 2, shuffle=False))


def test_a_batch_is_gathered_at_once() -> None:
    """60,000 pictures in batches of 100: 50 us a batch on an idle machine; one by one it is above 1,000."""
    pixels = np.zeros((6000, 1, 28, 28), np.uint8)

    class Zeros(Digits):
        white = 255

        def prepare(self) -> None:
            self.data, self.label = pixels, np.zeros(6000, np.int64)

    loader = DataLoader(Zeros(), 100)
    best = float("inf")
    for _ in range(10):
        begin = time.perf_counter()
        for x, _ in loader:
            assert x.dtype == np.float32
        best = min(best, (time.perf_counter() - begin) / len(loader))
    assert best < 500e-6
