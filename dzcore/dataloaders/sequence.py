"""Batches of consecutive elements of a series."""

from typing import Any

from ..random import Generator
from .loader import DataLoader

__all__ = ["SeqDataLoader"]


class SeqDataLoader(DataLoader):
    """An iterator over a series, for recurrent networks: each row of a batch goes on where it was in the one before.

    Row k reads the data set from item k · (n // batch_size) on, one item a batch; there are ⌈n / batch_size⌉ batches in
    an epoch. Then the rows begin at their places again: reset the state. The options are those of DataLoader.

    >>> import dzcore
    >>> data = dzcore.datasets.TimeSeries([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    >>> [x[:, 0].tolist() for x, t in dzcore.dataloaders.SeqDataLoader(data, 2)]
    [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
    """

    def __init__(self, dataset: Any, batch_size: int, gpu: bool = False, **options: Any) -> None:
        super().__init__(dataset, batch_size, shuffle=False, gpu=gpu, **options)
        if self.data_size is None:
            raise TypeError("dataset can only be read from its beginning to its end; its rows must begin in the middle")
        if self.batch_size > self.data_size:
            raise ValueError(
                f"batch_size={batch_size} is more than the {self.data_size} items, of which rows are parts"
            )

    def _order(self, generator: Generator) -> Any:
        own = self._source.backend
        starts = own.xp.arange(self.batch_size, device=own.device) * (self.data_size // self.batch_size)
        steps = own.xp.arange(self.max_iter, device=own.device)
        return own.xp.reshape(own.xp.reshape(steps, (-1, 1)) + starts, (-1,))
