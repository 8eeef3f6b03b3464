"""SeqDataLoader: every row of a batch goes on where it was in the batch before."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore.functions as F
import dzcore.layers as L
from dzcore import as_variable, get_backend, random
from dzcore.backend import Backend
from dzcore.dataloaders import DataLoader, SeqDataLoader
from dzcore.datasets import ArrayDataset, Dataset, SinCurve, Text, TimeSeries

from .datasets.test_base import host
from .elsewhere import empty_registry as empty_registry
from .elsewhere import gpu as gpu
from .elsewhere import only_numpy as only_numpy


def numbered(n: int) -> tuple[Any, Any]:
    return np.arange(n), np.arange(n) + 1


@given(n=st.integers(1, 60), batch_size=st.integers(1, 60), prefetch=st.integers(0, 3))
def test_every_row_is_a_piece_of_the_series(n: int, batch_size: int, prefetch: int) -> None:
    if batch_size > n:
        with pytest.raises(ValueError, match=f"batch_size={batch_size} is more than the {n} items"):
            SeqDataLoader(numbered(n), batch_size)
        return
    loader = SeqDataLoader(numbered(n), batch_size, prefetch=prefetch)
    for _ in range(2):  # epochs are equal
        x, t = (np.stack(each) for each in zip(*loader, strict=True))
        assert len(x) == len(loader) == -(-n // batch_size)
        assert (t == x + 1).all()
        assert (x[0] == np.arange(batch_size) * (n // batch_size)).all()
        assert (np.diff(x, axis=0) == 1).all()
        assert set(x.reshape(-1)) >= set(range(n // batch_size * batch_size))


def test_as_in_dezero() -> None:
    loader = SeqDataLoader(SinCurve(train=True), batch_size=30)
    assert isinstance(loader, DataLoader)
    assert not loader.gpu
    batches = list(loader)
    assert len(batches) == loader.max_iter == 34
    for (x, t), (later, _) in pairwise(batches):
        assert x.shape == t.shape == (30, 1)
        np.testing.assert_array_equal(t[:-1], later[:-1])  # the last row of the last batch ends the series
    assert loader.iteration == 0


def test_on_every_backend(backend: Backend) -> None:
    loader = SeqDataLoader(ArrayDataset(*numbered(7), backend=backend), 2)
    batches = [(host(x, backend).tolist(), host(t, backend).tolist()) for x, t in loader]
    assert batches == [([0, 3], [1, 4]), ([1, 4], [2, 5]), ([2, 5], [3, 6]), ([3, 6], [4, 7])]


def test_moving_between_batches(strict: str) -> None:
    for prefetch in (0, 2):
        data = ArrayDataset(*numbered(9), backend="numpy")
        loader = SeqDataLoader(data, 3, prefetch=prefetch)
        for i, name in enumerate(["strict:device1", "numpy", "strict"]):
            x, t = next(loader.to(name))
            assert get_backend(name).owns(x)
            assert host(x, loader.backend).tolist() == [i, 3 + i, 6 + i]
            assert host(t, loader.backend).tolist() == [i + 1, 4 + i, 7 + i]
            data.to("strict" if i else "numpy")


def test_gpu(gpu: Backend) -> None:
    loader = SeqDataLoader(numbered(6), 3, True)
    assert loader.gpu
    assert loader.backend.owns(next(loader)[0])
    assert SeqDataLoader(numbered(6), 3, backend=gpu).gpu


def test_items_one_by_one() -> None:
    """Lists, transforms and own __getitem__ as with DataLoader."""

    class Squares(Dataset):
        def __getitem__(self, index: Any) -> Any:
            return index, index * index

        def __len__(self) -> int:
            return 5

    assert [t.tolist() for _, t in SeqDataLoader(Squares(), 2)] == [[0, 4], [1, 9], [4, 16]]
    series = TimeSeries([1.0, 2.0, 3.0, 4.0, 5.0], transform=lambda x: x * 10)
    assert [x.tolist() for x, _ in SeqDataLoader(series, 2)] == [[[10], [30]], [[20], [40]]]


def test_nothing_is_drawn() -> None:
    random.seed(6)
    list(SeqDataLoader(numbered(10), 2))
    assert random.get_state() == (6, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers(workers: int) -> None:
    loader = SeqDataLoader(numbered(9), 2, workers=workers)
    for _ in range(2):
        assert [x.tolist() for x, _ in loader] == [[0, 4], [1, 5], [2, 6], [3, 7], [4, 8]]
    assert [t.tolist() for _, t in SeqDataLoader(numbered(5), 2, workers=workers, drop_last=True)] == [[1, 3], [2, 4]]


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="dataset can only be read from its beginning to its end; its rows must begin"):
        SeqDataLoader((pair for pair in [(1, 2)]), 1)
    with pytest.raises(TypeError, match="shuffle"):
        SeqDataLoader(numbered(3), 1, shuffle=True)
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        SeqDataLoader(numbered(3), 0)
    with pytest.raises(ValueError, match="dataset is empty"):
        SeqDataLoader([], 1)


def test_a_network_reads_it(backend: Backend) -> None:
    """Rows of a batch, one after the other, are what the network would have read alone."""
    random.seed(0)
    data = Text("the quick brown fox jumps over the lazy dog")
    rnn, table = L.RNN(4), np.eye(len(data.characters), dtype="float32")
    loader = SeqDataLoader(data, 3)
    xs = [as_variable(table[host(x, backend)]).to(backend) for x, _ in loader]
    together = F.stack([rnn(x) for x in xs])
    rnn.reset_state()
    alone = F.stack([rnn(x[1:2]) for x in xs])
    np.testing.assert_allclose(host(together.data, backend)[:, 1:2], host(alone.data, backend), atol=1e-6)
