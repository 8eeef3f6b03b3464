"""Pictures: data sets of gray pixels."""

from typing import Any, ClassVar

from ..backend import HostArray
from .base import Dataset

__all__ = ["Pictures"]


class Pictures(Dataset):
    """Gray pictures: `data` is uint8 (n, 1, height, width), `label` int64 (n,).

    x is float32 (height * width,) in [0, 1]: row by row, 0 for pixel 0 and 1 for pixel `white`.
    """

    white: ClassVar[int] = 255
    size: ClassVar[tuple[int, int]]  #: height and width
    classes: ClassVar[tuple[str, ...]]  #: the names of the classes, by number

    @classmethod
    def labels(cls) -> dict[int, str]:
        """Map the number of each class to its name."""
        return dict(enumerate(cls.classes))

    def convert(self, x: Any) -> Any:
        """Scale pixels to [0, 1] and flatten: (n, 1, height, width) to (n, height * width)."""
        own = self.backend
        height, width = x.shape[-2:]
        return own.xp.astype(own.xp.reshape(x, (-1, height * width)), own.dtype("float32")) * (1 / self.white)

    def fill(self, pixels: bytes, labels: bytes) -> None:
        """Set data and label from one byte a pixel and one byte a label."""
        n, own = len(labels), self.backend
        self.data = own.from_host(HostArray("uint8", (n, 1, *self.size), pixels))
        self.label = own.xp.astype(own.from_host(HostArray("uint8", (n,), labels)), own.dtype("int64"))
