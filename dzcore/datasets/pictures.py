"""Pictures: data sets of gray pixels."""

from typing import Any, ClassVar

from ..backend import Backend, HostArray
from .base import Dataset, Transform

__all__ = ["Pictures"]


class Pictures(Dataset):
    """Gray pictures: `data` is uint8 (n, 1, height, width), `label` int64 (n,).

    x is float32 (height * width,) in [0, 1]: row by row, 0 for pixel 0 and 1 for pixel `white`. With `flat=False` it
    keeps its form, (1, height, width), as convolutions want it.
    """

    white: ClassVar[int] = 255
    size: ClassVar[tuple[int, int]]  #: height and width
    classes: ClassVar[tuple[str, ...]]  #: the names of the classes, by number

    def __init__(
        self,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        flat: bool = True,
        backend: str | Backend | None = None,
    ) -> None:
        if not isinstance(flat, bool):
            raise TypeError(f"flat={flat!r} must be True or False")
        self.flat = flat
        super().__init__(train, transform, target_transform, backend=backend)

    @classmethod
    def labels(cls) -> dict[int, str]:
        """Map the number of each class to its name."""
        return dict(enumerate(cls.classes))

    def convert(self, x: Any) -> Any:
        """Scale pixels (n, 1, height, width) to [0, 1], and make them (n, height * width) if `flat`."""
        own = self.backend
        if self.flat:
            height, width = x.shape[-2:]
            x = own.xp.reshape(x, (-1, height * width))
        return own.xp.astype(x, own.dtype("float32")) * (1 / self.white)

    def fill(self, pixels: bytes, labels: bytes) -> None:
        """Set data and label from one byte a pixel and one byte a label."""
        n, own = len(labels), self.backend
        self.data = own.from_host(HostArray("uint8", (n, 1, *self.size), pixels))
        self.label = own.xp.astype(own.from_host(HostArray("uint8", (n,), labels)), own.dtype("int64"))
