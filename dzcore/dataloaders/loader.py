"""DataLoader: a data set in batches, in a new order every epoch."""

from collections import deque
from collections.abc import Sequence
from copy import copy
from typing import Any

from .. import random
from ..backend import Backend, get_backend
from ..datasets import ArrayDataset, Dataset
from ..graph.variable import transfer

__all__ = ["DataLoader"]


class DataLoader:
    """An iterator over the batches (x, t) of a data set, as arrays of a backend.

    `dataset` is a Dataset, a pair (tuple) of arrays x and t, an array, or any sequence of pairs (x, t). Every `for`
    loop is an epoch with an order of its own, drawn from the stream `seed`, or from dzcore's default one; it is
    the same on every backend. `drop_last` leaves out a last batch that is not full.

    The batches are on the data set's backend, or on `backend`; with `gpu` on the best accelerator. A copy of the
    data is kept there if it is elsewhere, and `dataset` stays where it is. With `prefetch` no copy is kept: as many
    batches are made and sent there ahead of the one that is asked for, while the device works. Order and values are
    the same; only transforms that draw random numbers draw them earlier.

    >>> import dzcore
    >>> loader = DataLoader(dzcore.datasets.Digits(), batch_size=100)
    >>> len(loader), [x.shape for x, t in loader][-1]
    (15, (42, 64))
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        shuffle: bool = True,
        gpu: bool = False,
        *,
        drop_last: bool = False,
        seed: int | None = None,
        backend: str | Backend | None = None,
        prefetch: int = 0,
    ) -> None:
        self.batch_size = _whole("batch_size", batch_size, 1)
        self.prefetch = _whole("prefetch", prefetch, 0)
        if gpu and backend is not None:
            raise ValueError(f"gpu=True and backend={str(backend)!r} both say where the batches go; give one of them")
        self.dataset = self._source = as_dataset(dataset)
        self.backend = self._home = self.dataset.backend
        self.data_size = len(self.dataset)
        if not self.data_size:
            raise ValueError("dataset is empty; there is nothing to load")
        self.shuffle = shuffle
        self.drop_last = drop_last
        full, rest = divmod(self.data_size, self.batch_size)
        self.max_iter = full + (rest > 0 and not drop_last)  #: the number of batches of an epoch
        self.generator = random.default_generator if seed is None else random.Generator(seed)
        self.reset()
        if gpu:
            self.to_gpu()
        else:
            self.to(self.backend if backend is None else backend)

    def reset(self) -> None:
        """Begin a new epoch; its order is drawn when its first batch is asked for."""
        self.iteration = 0
        self.index: Any = None
        self._ready: deque[tuple[Any, Any]] = deque()  # batches from `iteration` on, on `backend`
        self._error: Exception | None = None  # what happened instead of the batch after them

    def __len__(self) -> int:
        return self.max_iter

    def __iter__(self) -> "DataLoader":
        if self.iteration:
            self.reset()
        return self

    def __next__(self) -> tuple[Any, Any]:
        if self.iteration >= self.max_iter:
            self.reset()
            raise StopIteration
        ready = self._ready
        while self._error is None and len(ready) <= self.prefetch and self.iteration + len(ready) < self.max_iter:
            try:
                ready.append(self._make(self.iteration + len(ready)))
            except Exception as error:  # raised in the place of its own batch; asked again, that batch is made again
                self._error = error
        if self._error is not None and not ready:
            failure, self._error = self._error, None
            try:
                raise failure
            finally:
                del failure  # a traceback that holds itself would hold everything until the next garbage collection
        self.iteration += 1
        return ready.popleft()

    def _make(self, i: int) -> tuple[Any, Any]:
        """Gather batch `i` of the epoch, and send it to where the batches go."""
        own = self._source.backend
        if self.index is None:
            self.index = self._order()
        elif self._home is not own:  # the data have been moved in the middle of an epoch
            self.index = transfer(self.index, self._home, own)
        self._home = own  # where the index is
        start = i * self.batch_size
        batch = self._source.batch(self.index[start : min(start + self.batch_size, self.data_size)])
        return _send(batch, own, self.backend)

    def _order(self) -> Any:
        own = self._source.backend
        if self.shuffle:
            return self.generator.permutation(self.data_size, backend=own)
        return own.xp.arange(self.data_size, device=own.device)

    def to(self, backend: str | Backend) -> "DataLoader":
        """Let the batches be on a backend from now on, and return self."""
        target = get_backend(backend)
        source = self.dataset  # what makes items one by one does so where it is, and batches are moved
        if source.vectorized and not self.prefetch and source.backend is not target:
            source = copy(source).to(target)
        ready = deque(_send(batch, self.backend, target) for batch in self._ready)
        self._source, self.backend, self._ready, self._error = source, target, ready, None
        return self

    def to_cpu(self) -> "DataLoader":
        """Let the batches be on the host's backend."""
        from ..backend import host_backend

        return self.to(host_backend())

    def to_gpu(self) -> "DataLoader":
        """Let the batches be on the best accelerator; an error says why if there is none."""
        from ..backend import accelerator_backend

        return self.to(accelerator_backend())

    @property
    def gpu(self) -> bool:
        """Whether the batches are on an accelerator."""
        return self.backend.accelerator


def _whole(name: str, number: Any, least: int) -> int:
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise TypeError(f"{name}={number!r} is a {type(number).__name__}; it must be an int")
    if number.__index__() < least:
        raise ValueError(f"{name}={number} must be at least {least}")
    return int(number.__index__())


def _send(batch: tuple[Any, Any], source: Backend, target: Backend) -> tuple[Any, Any]:
    x, t = batch
    return transfer(x, source, target), None if t is None else transfer(t, source, target)


class _Items(Dataset):
    """A sequence of pairs as a data set."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items
        super().__init__()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        item = self.items[index]
        if not (isinstance(item, (tuple, list)) and len(item) == 2):
            raise TypeError(f"dataset[{index}] is a {type(item).__name__}; a DataLoader takes pairs (x, t)")
        return item[0], item[1]


def as_dataset(data: Any) -> Dataset:
    """Return a Dataset as it is, and make one of a pair of arrays, an array, or a sequence of pairs."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, tuple) and len(data) == 2 and all(hasattr(each, "shape") for each in data):
        return ArrayDataset(*data)
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        return ArrayDataset(data)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (str, bytes, dict)):
        return _Items(data)
    kind = type(data).__name__
    raise TypeError(f"dataset is a {kind}; give a Dataset, a tuple of two arrays, or a sequence of pairs (x, t)")
