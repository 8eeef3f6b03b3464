"""DataLoader: a data set in batches, in a new order every epoch."""

from collections import deque
from collections.abc import Callable
from copy import copy
from typing import Any

from .. import random
from ..backend import Backend, get_backend
from ..datasets.base import numbers
from ..errors import DataError
from ..graph.variable import transfer
from ..state import Stateful
from .place import place_of, stage_place
from .sources import Stream, as_source
from .workers import END, KINDS, Workers, make, send

__all__ = ["DataLoader"]


class DataLoader(Stateful):
    """An iterator over the batches (x, t) of a data set, as arrays of a backend.

    `dataset` is a Dataset, a pair (tuple) of arrays x and t, an array, any sequence of pairs (x, t), or, with
    `shuffle=False`, anything that can be iterated and yields such pairs. `collate` makes a batch of a list of items
    instead: then items may be anything, and a batch is what it returns, whose arrays, also those in tuples, lists and
    dicts, are moved to where the batches go.

    Every `for` loop is an epoch with an order of its own, drawn from the stream `seed`, or from dzcore's default one;
    it is the same on every backend. `drop_last` leaves out a last batch that is not full. What a batch draws at random
    (transforms) comes from a stream of its own, which follows from where that of the order was: batches are the same
    with any `prefetch` and `workers`.

    A batch is one copy of its items; with `shuffle=False` it may be a view of the data set's own arrays, for reading.

    The batches are on the data set's backend, or on `backend`; with `gpu` on the best accelerator. A copy of the
    data is kept there if it is elsewhere, and `dataset` stays where it is. With `prefetch` no copy is kept: as many
    batches are made and sent there ahead of the one that is asked for, while the device works.

    With `workers`, as many threads, or processes with `kind="process"`, make the batches of an epoch ahead of time,
    where the data set is; this one sends them. An error comes in the place of its batch. Workers live until the
    end of the epoch, `reset()`, or the end of the loader; a batch in the making is finished, also while the next epoch
    begins, and `__getitem__` must stand that. The one of a stream is a thread. Processes are started anew every epoch
    and work on a copy of the data set, whose class and transforms they must be able to import.

    `epoch` is the number, from 0, of the epoch that is going on, or of the next one between epochs; a loop that was
    left by `break` is going on until the next one begins. Where a state is restored, that next loop brings the rest of
    the epoch instead, in the same order, which is drawn again, and a stream is read again up to there. So this goes on
    wherever it was:

        for epoch in range(loader.epoch, epochs):
            for x, t in loader:
                …

    After a `break` that ends an epoch, call `reset()` before the state is saved.

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
        workers: int = 0,
        kind: str = "thread",
        collate: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        self.batch_size = _whole("batch_size", batch_size, 1)
        self.prefetch = _whole("prefetch", prefetch, 0)
        self.workers = _whole("workers", workers, 0)
        if gpu and backend is not None:
            raise ValueError(f"gpu=True and backend={str(backend)!r} both say where the batches go; give one of them")
        self.dataset: Any = as_source(dataset)
        self._source: Any = self.dataset
        self.backend = self._home = self.dataset.backend
        self.shuffle, self.drop_last, self.kind, self.collate = shuffle, drop_last, kind, collate
        self.generator = random.default_generator if seed is None else random.Generator(seed)
        self.epoch = 0
        self._measure()
        self._crew: Workers | None = None
        self._origin: dict[str, int] | None = None  # where in the random stream the epoch began, if it has
        self.reset()
        if gpu:
            self.to_gpu()
        else:
            self.to(self.backend if backend is None else backend)

    def _measure(self) -> None:
        """Set the sizes, and check the options that depend on what the data set is."""
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} must be {' or '.join(map(repr, KINDS))}")
        self.data_size: Any = None  #: the number of items; None for a stream
        self.max_iter: Any = None  #: the number of batches of an epoch; None for a stream
        if isinstance(self.dataset, Stream):
            if self.shuffle:
                raise ValueError("dataset can only be read from its beginning to its end; give shuffle=False")
            if self.workers > 1 or (self.workers and self.kind != "thread"):
                raise ValueError(
                    f"workers={self.workers}, kind={self.kind!r}: a stream is read by one thread; give workers=1"
                )
            self.dataset.drop_last = self.drop_last
            return
        self.data_size = len(self.dataset)
        if not self.data_size:
            raise ValueError("dataset is empty; there is nothing to load")
        if self.workers and self.kind == "process" and self.backend.accelerator:
            raise ValueError(f"kind='process' makes batches on the host, and dataset is on {self.backend}; move it")
        full, rest = divmod(self.data_size, self.batch_size)
        self.max_iter = full + (rest > 0 and not self.drop_last)

    def reset(self) -> None:
        """End the epoch, if one has begun; the order of the next is drawn when its first batch is asked for."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None
        self.epoch += self._origin is not None
        self._origin = None
        self._begun = False  # whether a batch was given out since, or since a state was restored
        self.iteration = 0
        self.index: Any = None
        self._stream: Stream | None = None  # what is read in this epoch, where that is a stream
        self._end = self.max_iter
        self._ready: deque[Any] = deque()  # batches from `iteration` on, on `backend`
        self._error: Exception | None = None  # what happened instead of the batch after them

    def __len__(self) -> int:
        if self.max_iter is None:
            raise TypeError("len() of a DataLoader over a stream; nobody knows how many batches will come")
        return int(self.max_iter)

    def __iter__(self) -> "DataLoader":
        if self._begun:
            self.reset()
        return self

    def __next__(self) -> Any:
        self._fill()
        if self._ready:
            self.iteration += 1
            self._begun = True
            return self._ready.popleft()
        if self._error is None:
            self.epoch += self._origin is None  # one without batches counts, too
            self.reset()
            raise StopIteration
        failure, self._error = self._error, None
        try:
            raise failure
        finally:
            del failure  # a traceback that holds itself would hold everything until the next garbage collection

    next = __next__  #: DeZero's name

    def _fill(self) -> None:
        """Make the batch that comes next, and those ahead."""
        ready = self._ready
        while self._error is None and len(ready) <= self.prefetch and self.iteration + len(ready) != self._end:
            i = self.iteration + len(ready)
            if ready and self._crew is not None and not self._crew.ready(i):
                return  # nobody waits for what is not asked for
            try:
                batch = self._make(i)
            except Exception as error:  # raised in the place of its own batch; asked again, that batch is made again
                self._error = error
                if isinstance(self._source, Stream):
                    self._end = i  # but what has been read cannot be read again
                return
            if batch is END:
                self._end = i
            else:
                ready.append(batch)

    def _make(self, i: int) -> Any:
        """Make batch `i` of the epoch, and send it to where the batches go."""
        own = self._source.backend
        if self.index is None:
            self._begin()
        elif self._home is not own and hasattr(self.index, "shape"):  # the data were moved in the middle of an epoch
            self.index = transfer(self.index, self._home, own)
        self._home = own  # where the index is
        if self.workers:
            batch = self._made(i)
        else:
            batch = make(self._stream or self._source, self._indices(i), self.collate, self._streams.branch(i))
            if self.collate is None and own is self.backend:
                return batch
        return batch if batch is END else send(batch, self.backend, own)

    def _begin(self) -> None:
        """Draw the order of the epoch, or once more that of a restored one, and fix the streams of its batches."""
        generator, origin = self.generator, self._origin
        if origin is None:
            origin = generator.state_dict()
        else:
            generator = random.Generator(0)
            generator.load_state_dict(origin)
        self._streams = generator.branch(0 if self.shuffle else self.epoch)  # drawing the order moves it on
        if isinstance(self._source, Stream):
            self._stream, index = self._opened(self._source), []
        else:
            index = self._order(generator)
            ordered = isinstance(index, range)
            self._length = len(index) if ordered else int(index.shape[0])
            if self.workers and not ordered:
                index = numbers(index, self._source.backend)
        self.index, self._origin = index, origin

    def _opened(self, source: Stream) -> Stream:
        """Begin to read a stream, and pass over what was read of it before the state was saved."""
        with random.use_generator(self._streams.branch(-1, 0)):  # what its beginning draws is the epoch's, too
            stream = source.begin()
        for i in range(self.iteration):
            with random.use_generator(self._streams.branch(i)):  # as when batch i was made
                if not stream.take(self.batch_size):
                    raise DataError(f"dataset ends after {i} batches; {self.iteration} had been read when it was saved")
        return stream

    def _indices(self, i: int) -> Any:
        if self._stream is not None:
            return self.batch_size
        start = i * self.batch_size
        return self.index[start : min(start + self.batch_size, self._length)]

    def _made(self, i: int) -> Any:
        """Wait for a worker's batch, and give the workers more to do."""
        if self._crew is None:
            source = copy(self._source) if self._source.vectorized else self._source  # the user may move his own
            self._crew = Workers(self.workers, self.kind, self._stream or source, self.collate)
        crew = self._crew
        stop = i + 1 + max(self.prefetch, 2 * self.workers)
        try:
            for k in range(i, stop if self._end is None else min(stop, self._end)):
                if k not in crew:
                    crew.begin(k, self._indices(k), self._streams.branch(k))
            return crew.result(i)
        finally:
            if not crew.close.alive:
                self._crew = None  # others will be hired if somebody asks again

    def _order(self, generator: random.Generator) -> Any:
        if self.shuffle:
            return generator.permutation(len(self._source), backend=self._source.backend)
        return range(len(self._source))  # whose parts are slices of the data: nothing is copied

    # The state ---------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return place_of(self)

    def _stage(self, state: dict[str, Any]) -> Callable[[], None]:
        return stage_place(self, state)

    # Moving ------------------------------------------------------------------------------------------------------

    def to(self, backend: str | Backend) -> "DataLoader":
        """Let the batches be on a backend from now on, and return self."""
        target = get_backend(backend)
        source = self.dataset  # what makes items one by one does so where it is, and batches are moved
        if source.vectorized and not (self.prefetch or self.workers or self.collate) and source.backend is not target:
            source = copy(source).to(target)
        ready = deque(send(batch, target, self.backend) for batch in self._ready)
        self._source, self.backend, self._ready = source, target, ready
        if not isinstance(source, Stream):
            self._error = None  # what failed is tried again
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
