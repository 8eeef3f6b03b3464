"""MNIST, and the set of the same form that shows clothes."""

import os
from typing import Any, ClassVar

from ..backend import Backend
from ..errors import DataError
from .base import Transform
from .idx import read_idx
from .pictures import Pictures
from .store import locate

__all__ = ["MNIST", "FashionMNIST"]


class MNIST(Pictures):
    """Handwritten digits, 28×28 pixels: 60,000 to train with, 10,000 to test (LeCun et al., 1998).

    x is float32 (784,) in [0, 1], or (1, 28, 28) with `flat=False`.

    The original IDX files, such as `train-images-idx3-ubyte.gz`, are looked for in the folder `root`, where it is
    given, and else in those that the environment variable DZCORE_DATA names (`$DZCORE_DATA/mnist` and
    `$DZCORE_DATA`) and in the cache folder, to which they are downloaded in the end (this needs dzcore[data]).

    Raises:
        DataError: a file is missing, damaged, or of another data set.

    >>> x, t = MNIST(train=False)[0]  # doctest: +SKIP
    >>> x.shape, t  # doctest: +SKIP
    ((784,), 7)
    """

    folder: ClassVar[str] = "mnist"
    mirrors: ClassVar[tuple[str, ...]] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    #: SHA-256 of what is in the files, which does not depend on who compressed it.
    checksums: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
    size = (28, 28)
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")

    def __init__(
        self,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        flat: bool = True,
        root: str | os.PathLike[str] | None = None,
        backend: str | Backend | None = None,
    ) -> None:
        self.root = root
        super().__init__(train, transform, target_transform, flat=flat, backend=backend)

    def prepare(self) -> None:
        """Find the two files of this part, and read them."""
        part = "train" if self.train else "t10k"
        names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
        where = locate(self.folder, {name: self.checksums[name] for name in names}, self.mirrors, self.root)
        (images, pixels), (labels, numbers) = ((path, read_idx(path)) for path in where)
        if pixels.dtype != "uint8" or pixels.shape[1:] != self.size:
            raise DataError(f"{images!r} holds {pixels.dtype}{list(pixels.shape)}, not uint8 pictures of 28×28 pixels")
        if numbers.dtype != "uint8" or numbers.shape != pixels.shape[:1]:
            found = f"{numbers.dtype}{list(numbers.shape)}"
            raise DataError(f"{labels!r} holds {found}, not one uint8 for each of the {pixels.shape[0]} pictures")
        if numbers.buffer and max(numbers.buffer) >= len(self.classes):
            raise DataError(f"{labels!r} holds the class {max(numbers.buffer)}; there are {len(self.classes)}")
        _check_whose(labels, numbers, names[1], type(self))
        self.fill(pixels.buffer, numbers.buffer)


class FashionMNIST(MNIST):
    """Clothes, 28×28 pixels: 60,000 to train with, 10,000 to test (Xiao et al., arXiv:1708.07747, 2017).

    The files bear the names of MNIST's; `$DZCORE_DATA/fashion-mnist` is where they are looked for. See MNIST.
    """

    folder = "fashion-mnist"
    mirrors = (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    )
    checksums: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    }
    classes = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip


def _check_whose(path: str, labels: Any, name: str, cls: type[MNIST]) -> None:
    """Refuse the labels of the other set, whose files have the same names; unknown ones are the user's own affair."""
    import hashlib

    header = bytes((0, 0, 8, 1)) + labels.shape[0].to_bytes(4, "big")
    digest = hashlib.sha256(header + labels.buffer).hexdigest()
    for other in (MNIST, FashionMNIST):
        if digest == other.checksums[name] != cls.checksums[name]:
            raise DataError(f"{path!r} belongs to {other.folder}, not to {cls.folder}; give root= or --data its folder")
