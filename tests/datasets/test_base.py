"""Dataset: pairs one by one, and the same ones in batches, on every backend."""

from typing import Any

import numpy as np
import pytest

import dzcore
from dzcore.backend import Backend, HostArray, get_backend
from dzcore.datasets import ArrayDataset, Dataset, stack
from dzcore.errors import DataError


class Squares(Dataset):
    """Six points, as DeZero's users write it."""

    def prepare(self) -> None:
        self.data = np.arange(12.0, dtype=np.float32).reshape(6, 2)
        self.label = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


def host(array: Any, backend: Backend) -> np.ndarray:
    own = backend.to_host(array)
    return np.ndarray(own.shape, own.dtype, own.buffer)


def test_items(backend: Backend) -> None:
    data = Squares()
    x, t = data[4]
    assert len(data) == 6
    assert backend.owns(x)
    assert host(x, backend).tolist() == [8.0, 9.0]
    assert x.dtype == backend.dtype("float32")
    assert (t, type(t)) == (1, int)
    assert data[-1][1] == 2


@pytest.mark.parametrize("index", [6, -7])
def test_an_index_out_of_bounds(index: int) -> None:
    with pytest.raises(IndexError, match=rf"index {index} is out of bounds for a data set of 6 items"):
        Squares()[index]


def test_a_loop_over_it_ends() -> None:
    assert [t for _, t in Squares()] == [0, 1, 2, 0, 1, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize("indices", [[3, 0, 0], range(2, 5), (5,)])
def test_batches_are_the_items(backend: Backend, indices: Any) -> None:
    data = Squares()
    assert data.vectorized
    x, t = data.batch(indices)
    assert backend.owns(x)
    assert backend.owns(t)
    np.testing.assert_array_equal(host(x, backend), [host(data[i][0], backend) for i in indices])
    assert host(t, backend).tolist() == [data[i][1] for i in indices]


def test_a_batch_by_an_array(backend: Backend) -> None:
    for data in (Squares(), Squares(transform=lambda x: x)):
        x, t = data.batch(backend.asarray([2, 4], "int64"))
        assert host(x, backend).tolist() == [[4.0, 5.0], [8.0, 9.0]]
        assert host(t, backend).tolist() == [2, 1]


def test_transforms_see_every_item_alone(backend: Backend) -> None:
    seen: list[Any] = []

    def transform(x: Any) -> Any:
        seen.append(x.shape)
        return x * 2.0

    data = Squares(transform=transform, target_transform=lambda t: 10 * t)
    assert not data.vectorized
    x, t = data.batch([1, 5])
    assert seen == [(2,), (2,)]
    assert host(x, backend).tolist() == [[4.0, 6.0], [20.0, 22.0]]
    assert host(t, backend).tolist() == [10, 20]
    assert x.dtype == backend.dtype("float32")


def test_convert_serves_items_and_batches() -> None:
    class Halved(Squares):
        def convert(self, x: Any) -> Any:
            return x / 2

    data = Halved()
    assert data.vectorized
    assert data[3][0].tolist() == data.batch([3])[0][0].tolist() == [3.0, 3.5]
    assert Halved(transform=lambda x: x)[3][0].tolist() == [6.0, 7.0]


def test_without_labels() -> None:
    class Alone(Dataset):
        def prepare(self) -> None:
            self.data = np.ones((3, 2))

    assert Alone()[0][1] is None
    assert Alone().batch([0, 1])[1] is None
    assert Alone(transform=lambda x: x).batch([0, 1])[1] is None


def test_lists_stay_lists(backend: Backend) -> None:
    class Words(Dataset):
        def prepare(self) -> None:
            self.data = ["ab", "c", "def"]
            self.label = [0.5, 1.5, 2.5]

    data = Words(transform=len)
    assert data[2] == (3, 2.5)
    x, t = data.batch([0, 2])
    assert host(x, backend).tolist() == [2, 3]
    assert host(t, backend).tolist() == [0.5, 2.5]
    assert t.dtype == backend.dtype("float32")


def test_own_getitem_and_len(backend: Backend) -> None:
    class Big(Dataset):
        def __getitem__(self, index: Any) -> Any:
            return backend.asarray([index, index + 1.0]), index

        def __len__(self) -> int:
            return 1000

    x, t = Big().batch([5, 7])
    assert host(x, backend).tolist() == [[5.0, 6.0], [7.0, 8.0]]
    assert host(t, backend).tolist() == [5, 7]


def test_the_user_may_cut_the_data() -> None:
    data = Squares()
    data.data, data.label = data.data[:2], data.label[:2]
    assert len(data) == 2
    assert data.batch([1])[1].tolist() == [1]


def test_no_data() -> None:
    with pytest.raises(DataError, match=r"Dataset has no data; let its prepare\(\) set self.data"):
        len(Dataset())


def test_moving(strict: str) -> None:
    data = Squares(backend="numpy")
    assert data.to("strict:device1") is data
    own = get_backend("strict:device1")
    assert data.backend is own
    x, t = data.batch([1, 2])
    assert own.owns(x)
    assert own.owns(t)
    assert host(x, own).tolist() == [[2.0, 3.0], [4.0, 5.0]]
    assert own.owns(data[0][0])


def test_backend_argument(strict: str) -> None:
    assert get_backend(strict).owns(Squares(backend=strict).data)


def test_array_dataset(strict: str) -> None:
    own = get_backend(strict)
    data = ArrayDataset(own.asarray([[1.0], [2.0]], "float32"), own.asarray([1, 0], "int64"))
    assert data.backend is own
    assert data[1][1] == 0
    variables = ArrayDataset(dzcore.Variable([[1.0], [2.0]], backend=strict))
    assert variables.backend is own
    assert own.owns(variables.batch([0])[0])
    assert len(ArrayDataset(HostArray("uint8", (3,), b"abc"))) == 3
    with pytest.raises(ValueError, match="data has 2 items and label has 3"):
        ArrayDataset(np.zeros(2), np.zeros(3))


def test_stack(backend: Backend) -> None:
    assert stack([None, None], backend) is None
    rows = [np.ones(2, np.float32), np.zeros(2, np.float32)]
    assert host(stack(rows, backend), backend).tolist() == [[1, 1], [0, 0]]
    scalars = stack([np.float64(0.5), np.float64(1.5)], backend)
    assert host(scalars, backend).tolist() == [0.5, 1.5]
    variables = stack([dzcore.Variable([1.0]), dzcore.Variable([2.0])], backend)
    assert host(variables, backend).tolist() == [[1.0], [2.0]]
    with pytest.raises(DataError, match=r"different shapes, \(2,\) and \(3,\); give a transform"):
        stack([np.ones(3), np.ones(2), np.ones(3)], backend)
