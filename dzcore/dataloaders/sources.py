"""What a DataLoader reads: numbered items, or a stream of them."""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import chain, islice
from typing import Any

from ..backend import Backend, current_backend
from ..datasets import ArrayDataset, Dataset
from ..datasets.base import pair, stack
from ..errors import DataError

__all__ = ["Stream", "as_source"]


class _Items(Dataset):
    """A sequence as a data set."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items
        super().__init__()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


class Stream:
    """Anything that can be iterated, read from its beginning in every epoch; of unknown length, in its own order."""

    vectorized = False
    drop_last = False

    def __init__(self, source: Iterable[Any]) -> None:
        self.source = source
        self.backend: Backend = current_backend()
        self._used = False
        self._running: Iterator[Any] = iter(())

    def begin(self) -> "Stream":
        """Return a stream at the beginning.

        Raises:
            DataError: this is a second epoch, and a generator can be read only once.
        """
        running = iter(self.source)
        if self._used and running is self.source:
            what = f"dataset is a {type(running).__name__}, which has been read and cannot begin again"
            raise DataError(f"{what}; give an object whose __iter__ makes a new one for every epoch")
        self._used = True
        stream = copy(self)
        stream._running = chain(running)  # ends once; a DataLoader begins again when it is asked again
        return stream

    def take(self, count: int) -> list[Any]:
        """Return the next `count` items; fewer, or none with `drop_last`, at the end."""
        taken = list(islice(self._running, count))
        return [] if self.drop_last and len(taken) < count else taken

    def collate(self, items: list[Any]) -> tuple[Any, Any]:
        """Make a batch of pairs (x, t)."""
        xs, ts = zip(*[pair(item, "an item of dataset") for item in items], strict=True)
        return stack(xs, self.backend), stack(ts, self.backend)


def as_source(data: Any) -> Dataset | Stream:
    """Return a Dataset as it is, and make a source of a pair of arrays, an array, a sequence, or any iterable."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, tuple) and len(data) == 2 and all(hasattr(each, "shape") for each in data):
        return ArrayDataset(*data)
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        return ArrayDataset(data)
    if not isinstance(data, (str, bytes, dict)):
        if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
            return _Items(data)
        if hasattr(data, "__iter__"):
            return Stream(data)
    kind = type(data).__name__
    raise TypeError(
        f"dataset is a {kind}; give a Dataset, a tuple of two arrays, a sequence or an iterable of pairs (x, t)"
    )
