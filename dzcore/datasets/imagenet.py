"""The names of the ImageNet classes."""

import os
from pathlib import Path

from ..errors import DataError
from .store import locate

__all__ = ["ImageNet"]

FILE = "imagenet1000_clsidx_to_labels.txt"
MIRRORS = (
    "https://gist.githubusercontent.com/yrevar/942d3a0ac09ec9e5eb3a/raw/238f720ff059c1f82f368259d1ca4ffa5dd8f9f5/",
)


class ImageNet:
    """The 1,000 classes of the ImageNet challenge (Russakovsky et al., 2015); for pictures there is ImageFolder."""

    def __init__(self) -> None:
        raise TypeError("ImageNet only has labels(); read a folder of its pictures with ImageFolder")

    @staticmethod
    def labels(root: str | os.PathLike[str] | None = None) -> dict[int, str]:
        """Map the number of each class to its name, as models with weights from ImageNet number them.

        The list is looked for in `root`, or else in `$DZCORE_DATA/imagenet`, `$DZCORE_DATA` and the cache, to which it
        is downloaded in the end (this needs dzcore[data]). Nobody states its digest: the first download is trusted if
        it has the right form, its SHA-256 recorded beside it, and another content refused later on.

        Raises:
            DataError: the file is missing, damaged, or another one than at its first use.
        """
        (path,) = locate("imagenet", {FILE: None}, MIRRORS, root, packed=False, check=_read)
        return _read(Path(path))


def _read(path: Path) -> dict[int, str]:
    """Read a dictionary in Python's notation; nothing is evaluated."""
    from ast import literal_eval

    try:
        labels = literal_eval(path.read_text("utf-8"))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{str(path)!r} is no list of classes ({str(error)[:80]})") from error
    if not isinstance(labels, dict) or list(labels) != list(range(1000)):
        raise DataError(f"{str(path)!r} does not number the classes from 0 to 999")
    if not all(type(name) is str and name for name in labels.values()):
        raise DataError(f"{str(path)!r} has a class without a name")
    return labels
