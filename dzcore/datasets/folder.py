"""Pictures in folders, a folder for each class."""

import os
from pathlib import Path
from typing import Any

from ..backend import Backend
from ..errors import DataError
from ..transforms import ToArray, pillow
from .base import Dataset, Transform

__all__ = ["ImageFolder"]

ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class ImageFolder(Dataset):
    """The pictures `root/CLASS/….png`, in any folders below; t is the number of the class in the order of its names.

    Each is opened when it is asked for, with Pillow, and converted to RGB. A `transform` gets the PIL image; without
    one, x is float32 (3, height, width) in [0, 1]. Files with other endings than those of pictures are left out, and so
    is what begins with a dot. `files` are the paths, `classes` the names.

    Raises:
        DataError: there is no such folder, no class, a class without pictures; on access, a picture cannot be read.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        self.root = Path(root).expanduser()
        super().__init__(True, transform, target_transform, backend=backend)

    def prepare(self) -> None:
        """List the files; none is opened."""
        if not self.root.is_dir():
            raise DataError(f"root={str(self.root)!r} is not a folder; name the one that has a folder for each class")
        folders = sorted(each for each in self.root.iterdir() if each.is_dir() and not each.name.startswith("."))
        if not folders:
            raise DataError(f"root={str(self.root)!r} has no folders; put the pictures of each class into one")
        self.classes = tuple(folder.name for folder in folders)
        self.files: list[str] = []
        numbers: list[int] = []
        for number, folder in enumerate(folders):
            found = sorted(str(path) for path in folder.rglob("*") if _is_picture(path.relative_to(folder), path))
            if not found:
                endings = ", ".join(sorted(ENDINGS))
                raise DataError(f"{str(folder)!r} has no pictures ({endings}); remove it, or fill it")
            self.files += found
            numbers += [number] * len(found)
        self.data, self.label = self.files, numbers

    def labels(self) -> dict[int, str]:
        """Map the number of each class to its name."""
        return dict(enumerate(self.classes))

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        path, t = self.files[index], self.label[index]
        image = _opened(path)
        if self.transform is not None:
            x = self.transform(image)
        else:
            x = ToArray(backend=self.backend)(image) * (1 / 255)
        return x, t if self.target_transform is None else self.target_transform(t)


def _is_picture(inside: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") for part in inside.parts)
    return not hidden and path.suffix.lower() in ENDINGS and path.is_file()


def _opened(path: str) -> Any:
    image = pillow()
    try:
        with image.open(path) as file:
            if file.mode[0] in "IF":  # Pillow would make 255 of all that is more
                raise ValueError("it has more than 8 bits a pixel")
            return file.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{path!r} was there before, and is gone") from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise DataError(f"{path!r} is no readable picture: {error}; remove it, or replace it") from error
