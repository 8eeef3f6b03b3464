"""A data loader goes on where its state was saved: the same batches, to the bit, however they are made."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dzcore import as_variable, get_backend, random
from dzcore.backend import Backend
from dzcore.dataloaders import DataLoader, SeqDataLoader
from dzcore.datasets import ArrayDataset
from dzcore.errors import DataError, DzcoreError, StateError

from .switching.runs import bits
from .worker_data import Noisy

Make = Callable[[int], DataLoader]
Saved = list[tuple[str, tuple[int, int]]]


def numbered(n: int) -> tuple[Any, Any]:
    return np.arange(n, dtype=np.float32)[:, None], np.arange(n)


def noisy(x: Any) -> Any:
    """A transform that draws."""
    own = as_variable(x).backend
    return own.xp.asarray(x + random.uniform(x.shape, dtype="float32", backend=own))


class Reading:
    """A stream whose order and items are drawn, some at its beginning and some later: a shuffling buffer."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Any]:
        first = int(random.integers(0, 100, (), backend="numpy"))
        return self._read(first)

    def _read(self, first: int) -> Iterator[Any]:
        buffer: list[int] = []
        for i in range(self.n + 3):
            if i < self.n:
                buffer.append(i)
            if len(buffer) > 3 or (i >= self.n and buffer):
                chosen = int(random.integers(0, len(buffer), (), backend="numpy"))
                yield np.float32(buffer.pop(chosen) + first), i


def packed(batch: Any) -> Any:
    """Everything that equal batches have in common."""
    if isinstance(batch, (tuple, list)):
        return [packed(each) for each in batch]
    if isinstance(batch, dict):
        return {key: packed(each) for key, each in batch.items()}
    return bits(as_variable(batch)) if hasattr(batch, "shape") else batch


def events(loader: DataLoader, epochs: int, saved: Saved | None = None) -> list[Any]:
    """Train for some epochs, without a model; what happens is recorded, and the state after each of it saved."""

    def happened(*what: Any) -> None:
        log.append(what)
        if saved is not None:
            saved.append((json.dumps(loader.state_dict()), random.get_state()))

    log: list[Any] = []
    for epoch in range(loader.epoch, epochs):
        for batch in loader:
            happened("batch", epoch, loader.epoch, loader.iteration, packed(batch))
            random.uniform(1, backend="numpy")  # as dropout would
        happened("end", epoch, loader.epoch)
    return log


def check(make: Make, epochs: int = 3, make_other: Make | None = None) -> None:
    """Save at the beginning and after every event, and let another loader go on from there."""
    random.seed(7)
    loader, saved = make(1), Saved()
    saved.append((json.dumps(loader.state_dict()), random.get_state()))
    log = events(loader, epochs, saved)
    end = loader.generator.state
    assert sum(kind == "end" for kind, *_ in log) == epochs
    for k, (state, stream) in enumerate(saved):
        if k and log[k - 1][0] == "batch":
            random.seed(0)
            random.set_state(stream)
            random.uniform(1, backend="numpy")  # what came in the loop body after saving
            stream = random.get_state()
        random.seed(99)
        other = (make_other or make)(2)
        if k % 2:  # one that has begun something else
            next(iter(other), None)
        other.load_state_dict(json.loads(state))
        assert json.dumps(other.state_dict()) == state
        random.set_state(stream)
        rest = events(other, epochs)
        assert rest == log[k:], (k, log[k - 1] if k else "the beginning")
        assert other.generator.state == end


@given(
    n=st.integers(1, 13), batch_size=st.integers(1, 6), shuffle=st.booleans(), drop_last=st.booleans(),
    own=st.booleans(), prefetch=st.integers(0, 3), transform=st.sampled_from([None, noisy]),
)  # fmt: skip
def test_goes_on_from_everywhere(
    n: int, batch_size: int, shuffle: bool, drop_last: bool, own: bool, prefetch: int, transform: Any
) -> None:
    def make(seed: int) -> DataLoader:
        data = ArrayDataset(*numbered(n), transform=transform)
        options: dict[str, Any] = {"drop_last": drop_last, "seed": seed if own else None, "prefetch": prefetch}
        return DataLoader(data, batch_size, shuffle, **options)

    check(make)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_on_every_backend(backend: Backend, shuffle: bool, own: bool) -> None:
    data = ArrayDataset(*numbered(7), transform=noisy, backend="numpy")
    vector = ArrayDataset(*numbered(7), backend="numpy")
    for each in (data, vector):

        def make(seed: int, data: Any = each) -> DataLoader:
            return DataLoader(data, 3, shuffle, seed=seed if own else None, backend=backend)

        check(make)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_with_workers(workers: int, prefetch: int) -> None:
    check(lambda seed: DataLoader(Noisy(11), 3, workers=workers, prefetch=prefetch))
    without = DataLoader(Noisy(11), 3)
    check(lambda seed: DataLoader(Noisy(11), 3, workers=workers, prefetch=prefetch), 2, lambda seed: without)


def test_with_processes() -> None:
    random.seed(3)
    loader = DataLoader(Noisy(11), 3)
    log = [packed(batch) for batch in loader]
    random.seed(3)
    other = DataLoader(Noisy(11), 3)
    next(other)
    state = other.state_dict()
    resumed = DataLoader(Noisy(11), 3, workers=1, kind="process")
    resumed.load_state_dict(state)
    assert [packed(batch) for batch in resumed] == log[1:]


@pytest.mark.parametrize("options", [{}, {"workers": 1}, {"prefetch": 2}, {"workers": 1, "prefetch": 2}, {"seed": 5}])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [6, 7])
def test_a_stream_is_read_again(n: int, drop_last: bool, options: dict[str, Any]) -> None:
    """And what was read before is passed over, whatever it draws."""
    check(lambda seed: DataLoader(Reading(n), 2, shuffle=False, drop_last=drop_last, **options))


def test_a_stream_that_is_shorter_now() -> None:
    loader = DataLoader(Reading(8), 2, shuffle=False)
    for _ in range(3):
        next(loader)
    other = DataLoader(Reading(3), 2, shuffle=False)
    other.load_state_dict(loader.state_dict())
    with pytest.raises(DataError, match="dataset ends after 2 batches; 3 had been read when it was saved"):
        next(other)


def collated(items: list[Any]) -> Any:
    return {"x": [x for x, _ in items], "noise": random.uniform(len(items), backend="numpy").tolist()}


def test_with_a_collate_that_draws() -> None:
    check(lambda seed: DataLoader(Noisy(9), 2, collate=collated))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_sequences(prefetch: int) -> None:
    check(lambda seed: SeqDataLoader(numbered(11), 3, prefetch=prefetch))


def test_another_backend_goes_on_with_the_same_batches(strict: str) -> None:
    data = ArrayDataset(*numbered(10), backend="numpy")
    check(lambda seed: DataLoader(data, 3), 2, lambda seed: DataLoader(data, 3, backend=strict))


def test_after_the_last_batch_nothing_comes() -> None:
    loader = DataLoader(numbered(6), 3, seed=0)
    for _ in range(2):
        next(loader)
    other = DataLoader(numbered(6), 3, seed=1)
    other.load_state_dict(loader.state_dict())
    assert (other.epoch, other.iteration) == (0, 2)
    assert list(other) == []
    assert (other.epoch, other.iteration) == (1, 0)
    assert len(list(other)) == 2


def test_next_goes_on_too() -> None:
    loader, other = DataLoader(numbered(9), 2, seed=0), DataLoader(numbered(9), 2, seed=1)
    next(loader)
    other.load_state_dict(loader.state_dict())
    assert packed(next(other)) == packed(next(loader))
    assert len(list(other)) == 5  # a loop after that is a new epoch, as always
    assert other.epoch == 2


def test_only_the_next_loop_goes_on() -> None:
    loader, other = DataLoader(numbered(9), 2, seed=0), DataLoader(numbered(9), 2, seed=1)
    next(loader)
    other.load_state_dict(loader.state_dict())
    for _ in other:
        break
    assert (other.epoch, other.iteration) == (0, 2)
    assert len(list(other)) == 5
    assert other.epoch == 2


def test_the_number_of_the_epoch() -> None:
    loader = DataLoader(numbered(4), 2)
    assert loader.epoch == 0
    loader.reset()
    iter(loader)
    assert loader.epoch == 0  # nothing has begun
    for _ in loader:
        assert loader.epoch == 0
    assert loader.epoch == 1
    for _ in loader:
        break
    assert loader.epoch == 1
    for _ in loader:
        assert loader.epoch == 2
    next(loader)
    loader.reset()
    assert loader.epoch == 4


def test_the_state_does_not_move_the_default_generator() -> None:
    random.seed(5)
    loader = DataLoader(numbered(9), 2)
    next(loader)
    state, stream = loader.state_dict(), random.get_state()
    other = DataLoader(numbered(9), 2)
    other.load_state_dict(state)
    next(other)
    assert random.get_state() == stream


def test_everything_that_differs_is_listed() -> None:
    state = DataLoader(numbered(9), 2, shuffle=False, drop_last=True).state_dict()
    other = DataLoader(numbered(8), 4, seed=1)
    next(other)
    before = other.state_dict()
    with pytest.raises(StateError) as caught:
        other.load_state_dict(state)
    assert str(caught.value) == (
        "the state does not fit this DataLoader: data_size was 9 and is 8; batch_size was 2 and is 4; "
        "shuffle was False and is True; drop_last was True and is False; own seed was False and is True"
    )
    assert other.state_dict() == before
    with pytest.raises(StateError, match="class was 'DataLoader' and is 'SeqDataLoader'"):
        SeqDataLoader(numbered(9), 2).load_state_dict(state)
    with pytest.raises(StateError, match="data_size was 9 and is None"):
        DataLoader(Reading(9), 2, shuffle=False, drop_last=True).load_state_dict(state)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("iteration", 6, "epoch=0, iteration=6 is not a place in epochs of 5 batches"),
        ("iteration", -1, "iteration=-1 is not a place"),
        ("epoch", -1, "epoch=-1, iteration=1 is not a place"),
        ("origin", None, "iteration=1 is not a place"),
        ("epoch", 1.5, "epoch=1.5 cannot be"),
        ("epoch", True, "epoch=True cannot be"),
        ("origin", [1], r"origin=\[1\] cannot be"),
        ("origin", {"seed": 1}, "is not the state of a Generator"),
        ("origin", {"seed": -1, "position": 0}, "seed=-1 is not in"),
        ("generator", {"seed": 1, "position": 0.5}, "is not the state of a Generator"),
        ("options", {}, "batch_size was None and is 2"),
    ],
)
def test_a_state_that_cannot_be(key: str, value: Any, message: str) -> None:
    loader = DataLoader(numbered(9), 2, seed=0)
    next(loader)
    before = loader.state_dict()
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(before | {key: value})
    assert loader.state_dict() == before


@pytest.mark.parametrize("state", [{}, {"epoch": 0}, None, []])
def test_something_else_altogether(state: Any) -> None:
    with pytest.raises(StateError, match="this is not the state of a DataLoader: it has"):
        DataLoader(numbered(9), 2).load_state_dict(state)


def test_an_error_in_a_batch_is_met_again() -> None:
    def fail() -> None:
        raise OSError("the disk")

    def make() -> DataLoader:
        return DataLoader(Noisy(6, fail, at=2), 2, shuffle=False, seed=0)

    loader, other = make(), make()
    next(loader)
    with pytest.raises(OSError, match="the disk"):
        next(loader)
    other.load_state_dict(loader.state_dict())
    with pytest.raises(OSError, match="the disk"):
        next(other)


def test_a_generator_of_its_own_for_a_checkpoint() -> None:
    mine = random.Generator(3)
    mine.uniform(5, backend="numpy")
    state = mine.state_dict()
    assert state == {"seed": 3, "position": 5}
    expected = get_backend("numpy").to_host(mine.uniform(4, backend="numpy")).buffer.tobytes()
    other = random.Generator(4)
    other.load_state_dict(state)
    assert get_backend("numpy").to_host(other.uniform(4, backend="numpy")).buffer.tobytes() == expected
    for wrong in ({"seed": 3}, {"seed": 3, "position": 1.0}, {"seed": True, "position": 1}, None, [3, 5]):
        with pytest.raises(StateError, match="is not the state of a Generator"):
            other.load_state_dict(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"seed=-1 is not in"):
        other.load_state_dict({"seed": -1, "position": 0})
    assert issubclass(StateError, DzcoreError)
    assert other.state_dict() == {"seed": 3, "position": 9}
