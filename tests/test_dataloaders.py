"""DataLoader: every item once an epoch, in an order that follows from the seed and from nothing else."""

import time
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
from .elsewhere import empty_registry as empty_registry
from .elsewhere import gpu as gpu
from .elsewhere import only_numpy as only_numpy
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


def test_gpu_and_back(gpu: Backend) -> None:
    loader = DataLoader(numbered(6), 3, gpu=True)
    assert loader.gpu
    assert loader.backend.accelerator
    assert loader.backend.owns(next(loader)[0])
    loader.to_cpu()
    assert not loader.gpu
    assert isinstance(next(loader)[0], np.ndarray)
    assert loader.to_gpu().gpu


def test_no_gpu(only_numpy: Backend) -> None:
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


# Ahead of time -------------------------------------------------------------------------------------------------------


class Counted(Dataset):
    """Tells which items were made, and fails at some of them."""

    def __init__(self, n: int, failing: dict[int, Exception] | None = None) -> None:
        self.n, self.failing, self.made = n, failing or {}, []  # type: ignore[var-annotated]
        self.batches = 0
        super().__init__(backend="numpy")

    def __len__(self) -> int:
        return self.n

    def batch(self, indices: Any) -> tuple[Any, Any]:
        self.batches += 1
        return super().batch(indices)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        self.made.append(index)
        if index in self.failing:
            raise self.failing[index]
        return np.full(3, index, np.float32), index


@given(
    n=st.integers(1, 20), batch_size=st.integers(1, 7), prefetch=st.integers(0, 9), vectorized=st.booleans(),
    shuffle=st.booleans(), drop_last=st.booleans(), data=st.data(),
)  # fmt: skip
def test_prefetching_changes_nothing(
    n: int, batch_size: int, prefetch: int, vectorized: bool, shuffle: bool, drop_last: bool, data: Any
) -> None:
    """In whatever order it is asked for a batch, moved, reset, and started anew."""
    register_backend(StrictBackend)
    try:
        source: Any = numbered(n) if vectorized else Counted(n)
        options: Any = {"shuffle": shuffle, "drop_last": drop_last, "seed": 4}
        plain = DataLoader(source, batch_size, **options)
        ahead = DataLoader(source, batch_size, prefetch=prefetch, **options)
        for what in data.draw(
            st.lists(st.sampled_from(["next"] * 6 + ["numpy", "strict", "reset", "iter"]), max_size=30)
        ):
            if what == "next":
                expected, found = next(plain, None), next(ahead, None)
                assert (expected is None) == (found is None)
                if expected is not None and found is not None:
                    for x, y in zip(expected, found, strict=True):
                        assert plain.backend is ahead.backend
                        assert ahead.backend.owns(y)
                        assert host(x, plain.backend).tobytes() == host(y, ahead.backend).tobytes()
            elif what == "reset":
                plain.reset(), ahead.reset()
            elif what == "iter":
                iter(plain), iter(ahead)
            else:
                plain.to(what), ahead.to(what)
            assert ahead.iteration == plain.iteration
            assert ahead.generator.state == plain.generator.state
            assert len(ahead) == len(plain)
    finally:
        unregister_backend("strict")


@pytest.mark.parametrize("prefetch", [0, 2])
def test_data_that_are_moved_in_the_middle_of_an_epoch(prefetch: int, strict: str) -> None:
    """By the user, on his own: the loader goes on from there, and its batches are where they were."""
    data = ArrayDataset(*numbered(20), backend="numpy")
    plain = DataLoader(numbered(20), 3, seed=1)
    loader = DataLoader(data, 3, seed=1, prefetch=prefetch)
    for name in ("numpy", "strict:device1", "strict", "numpy", "strict", "strict:device1", "numpy"):
        data.to(name)
        (x, t), (x0, t0) = next(loader), next(plain)
        assert loader.backend.name == "numpy"
        assert (x.tolist(), t.tolist()) == (x0.tolist(), t0.tolist())


def test_how_far_ahead(strict: str) -> None:
    data = Counted(10)
    loader = DataLoader(data, 2, shuffle=False, prefetch=2)
    assert data.made == []
    next(loader)
    assert data.made == [0, 1, 2, 3, 4, 5]  # the batch that was asked for, and two
    next(loader)
    assert data.made == list(range(8))
    loader.to(strict)
    assert data.made == list(range(8))  # what is there is sent on
    for _ in range(3):
        next(loader)
    assert data.made == list(range(10))  # nothing of the next epoch: its order may come from a stream that others use
    assert next(loader, None) is None
    assert data.batches == 5


def test_without_prefetch_nothing_is_made_ahead() -> None:
    data = Counted(10)
    next(DataLoader(data, 2, shuffle=False))
    assert data.made == [0, 1]


def test_what_is_sent_ahead_is_not_kept_as_a_whole(strict: str) -> None:
    """Batches go one by one; without prefetch, a copy of all data would be on the device."""
    data = ArrayDataset(*numbered(100), backend="numpy")
    sent: list[int] = []
    own = get_backend("strict:device1")
    plain = own.from_host
    try:
        own.from_host = lambda array: (sent.append(array.shape[0]), plain(array))[1]  # type: ignore[method-assign]
        loader = DataLoader(data, 8, backend=own, prefetch=3)
        assert sent == []
        next(loader)
        assert sent == [8] * 8
    finally:
        del own.from_host  # type: ignore[method-assign]


@pytest.mark.parametrize("prefetch", [0, 1, 2, 9])
def test_an_error_comes_with_its_batch(prefetch: int) -> None:
    failing: dict[int, Exception] = {5: OSError("the disk is gone")}
    loader = DataLoader(Counted(10, failing), 2, shuffle=False, prefetch=prefetch)
    assert [next(loader)[1].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    for _ in range(2):  # asked again, it is tried again
        with pytest.raises(OSError, match="the disk is gone"):
            next(loader)
        assert loader.iteration == 2
    del failing[5]
    assert next(loader)[1].tolist() == [4, 5]
    assert len([*iter(lambda: next(loader, None), None)]) == 2


def test_an_error_is_forgotten_by_a_reset_and_by_a_move(strict: str) -> None:
    for forget in (DataLoader.reset, lambda loader: loader.to(strict)):
        failing: dict[int, Exception] = {2: OSError("the disk is gone")}
        loader = DataLoader(Counted(6, failing), 2, shuffle=False, prefetch=2)
        next(loader)
        del failing[2]
        forget(loader)  # type: ignore[operator]
        seen = [host(next(loader)[1], loader.backend).tolist() for _ in range(2)]
        assert seen in ([[0, 1], [2, 3]], [[2, 3], [4, 5]])


def test_an_interrupt_loses_no_batch() -> None:
    class Interrupted(Counted):
        def __getitem__(self, index: Any) -> tuple[Any, Any]:
            if index == 3 and 3 not in self.made:
                self.made.append(3)
                raise KeyboardInterrupt
            return super().__getitem__(index)

    loader = DataLoader(Interrupted(6), 2, shuffle=False, prefetch=2)
    with pytest.raises(KeyboardInterrupt):
        next(loader)
    assert [t.tolist() for _, t in loader] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("prefetch", "error", "message"),
    [
        (-1, ValueError, "prefetch=-1 must be at least 0"),
        (1.0, TypeError, "prefetch=1.0 is a float; it must be an int"),
    ],
)
def test_wrong_prefetch(prefetch: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        DataLoader(numbered(3), 2, prefetch=prefetch)


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
