"""Dataset: numbered pairs (x, t), alone or a batch at a time."""

from collections.abc import Callable, Sequence
from typing import Any

from ..backend import Backend, HostArray, backend_of, current_backend, get_backend
from ..errors import DataError
from ..graph import Variable, as_array
from ..graph.variable import transfer

__all__ = ["ArrayDataset", "Dataset", "Transform", "numbers", "stack"]

Transform = Callable[[Any], Any]


class Dataset:
    """Numbered pairs (x, t).

    A subclass fills in `self.data` and `self.label` in `prepare`; arrays are moved to the data set's backend (the
    current one, or `backend`), lists stay as they are, and without a label t is None. `transform` and
    `target_transform` are applied to each x and t as they are stored; without a `transform`, x is what `convert`
    makes of it. Override `__getitem__` and `__len__` instead for data that does not fit into memory.
    """

    def __init__(
        self,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        if not isinstance(train, bool):
            raise TypeError(f"train={train!r} must be True or False")
        self.train = train
        self.transform = transform
        self.target_transform = target_transform
        self.backend = current_backend() if backend is None else get_backend(backend)
        self.data = None
        self.label = None
        self.prepare()

    def prepare(self) -> None:
        """Set `self.data`, of n items, and `self.label`, of as many or None."""

    def convert(self, x: Any) -> Any:
        """Make the input of a model from a batch of `data` (n, …), where the user gives no `transform`."""
        return x

    @property
    def data(self) -> Any:
        """What the x are made of: an array (n, …) on `backend`, or a list."""
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        self._data = _settle(data, self.backend)

    @property
    def label(self) -> Any:
        """What the t are made of: an array (n, …) on `backend`, a list, or None."""
        return self._label

    @label.setter
    def label(self, label: Any) -> None:
        self._label = _settle(label, self.backend)

    def __len__(self) -> int:
        if self._data is None:
            raise DataError(f"{type(self).__name__} has no data; let its prepare() set self.data")
        return _length(self._data)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        i, n = index.__index__(), len(self)
        if not -n <= i < n:
            raise IndexError(f"index {i} is out of bounds for a data set of {n} items")
        i %= n
        if self.transform is not None:
            x = self.transform(_item(self._data, i))
        elif hasattr(self._data, "shape"):
            x = self.convert(self._data[i : i + 1, ...])[0, ...]
        else:
            x = self._data[i]
        if self._label is None:
            return x, None
        t = _item(self._label, i)
        if hasattr(t, "shape") and t.shape == () and "int" in self.backend.dtype_name(t.dtype):
            t = int(t)
        return x, t if self.target_transform is None else self.target_transform(t)

    @property
    def vectorized(self) -> bool:
        """Whether `batch` gathers all items at once; what the user wants done to each item prevents it."""
        return (
            self.transform is None
            and self.target_transform is None
            and type(self).__getitem__ is Dataset.__getitem__
            and hasattr(self._data, "shape")
            and (self._label is None or hasattr(self._label, "shape"))
        )

    def batch(self, indices: Any) -> tuple[Any, Any]:
        """Return the items at `indices`, integers in [0, n), as two arrays (len(indices), …) on `backend`.

        For a range with step 1 nothing is copied where the library has views: do not write into them.
        """
        if not self.vectorized:
            chosen = numbers(indices, self.backend)
            pairs = [pair(item, f"dataset[{i}]") for i, item in zip(chosen, items(self, chosen), strict=True)]
            xs, ts = zip(*pairs, strict=True)
            return stack(xs, self.backend), stack(ts, self.backend)
        own = self.backend
        if isinstance(indices, range) and indices.step == 1 and 0 <= indices.start <= indices.stop <= len(self):
            part = slice(indices.start, indices.stop)
            return self.convert(self._data[part, ...]), None if self._label is None else self._label[part, ...]
        if not hasattr(indices, "shape"):
            indices = own.asarray([*indices], "int64")
        take = own.xp.take
        x = self.convert(take(self._data, indices, axis=0))
        return x, None if self._label is None else take(self._label, indices, axis=0)

    def to(self, backend: str | Backend) -> "Dataset":
        """Move the arrays to a backend, bit for bit, and return self."""
        target = get_backend(backend)
        if target is not self.backend:
            data, label = (
                transfer(each, self.backend, target) if hasattr(each, "shape") else each
                for each in (self._data, self._label)
            )
            self._data, self._label, self.backend = data, label, target
        return self


class ArrayDataset(Dataset):
    """Arrays as a data set: x (n, …), and t (n, …) or None."""

    def __init__(
        self,
        data: Any,
        label: Any = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        if backend is None:
            backend = next((_home(array) for array in (data, label) if _is_array(array)), None)
        super().__init__(True, transform, target_transform, backend=backend)
        self.data, self.label = data, label
        if label is not None and (n := len(self)) != (m := _length(self.label)):
            raise ValueError(f"data has {n} items and label has {m}; there must be one label for each item")


def items(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """Return the items at `indices`; an error says which one it came with."""
    found = []
    for i in indices:
        try:
            found.append(dataset[i])
        except Exception as error:
            error.add_note(f"This happened to item {i} of the data set, of class {type(dataset).__name__}.")
            raise
    return found


def pair(item: Any, where: str) -> tuple[Any, Any]:
    """Return an item that is a pair (x, t); one array of length 2 is none."""
    if not (isinstance(item, (tuple, list)) and len(item) == 2):
        kind = type(item).__name__
        raise TypeError(f"{where} is a {kind}; a DataLoader takes pairs (x, t), or a function collate= for others")
    return item[0], item[1]


def stack(items: Sequence[Any], backend: Backend) -> Any:
    """Put items of equal shape on top of each other, as one array (len(items), …) on `backend`; None of Nones.

    Raises:
        DataError: the shapes differ.
    """
    first = items[0]
    if first is None:
        return None
    if not _is_array(first):
        return as_array(list(items), backend)
    arrays = [as_array(item) for item in items]
    shapes = {tuple(array.shape) for array in arrays}
    if len(shapes) > 1:
        some = " and ".join(map(str, sorted(shapes)[:2]))
        raise DataError(f"the items of a batch have different shapes, {some}; give a transform that makes them equal")
    own = backend_of(arrays[0])
    return transfer(own.xp.stack([own.xp.asarray(array) for array in arrays]), own, backend)


def numbers(indices: Any, backend: Backend) -> list[int]:
    """Return an integer array of `backend`, or a sequence of integers, as a list."""
    if not hasattr(indices, "shape"):
        return [i.__index__() for i in indices]
    host = backend.to_host(backend.xp.astype(indices, backend.dtype("int64")))
    return memoryview(host.buffer).cast("B").cast("q").tolist()


def _is_array(data: Any) -> bool:
    return isinstance(data, (Variable, HostArray)) or (hasattr(data, "shape") and hasattr(data, "dtype"))


def _home(array: Any) -> Backend | None:
    """Return the backend on which an array is."""
    if isinstance(array, Variable):
        return array.backend
    return None if isinstance(array, HostArray) else backend_of(array)


def _settle(data: Any, backend: Backend) -> Any:
    """Put arrays on the backend, and leave everything else alone."""
    if isinstance(data, HostArray):
        return backend.from_host(data)
    return as_array(data, backend) if _is_array(data) else data


def _length(data: Any) -> int:
    return int(data.shape[0]) if hasattr(data, "shape") else len(data)


def _item(data: Any, i: int) -> Any:
    return data[i, ...] if hasattr(data, "shape") else data[i]
