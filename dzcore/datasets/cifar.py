"""CIFAR-10 and CIFAR-100: small color photographs."""

import os
from typing import ClassVar

from ..backend import Backend, HostArray
from ..errors import DataError
from .base import Transform
from .pictures import Pictures
from .store import locate

__all__ = ["CIFAR10", "CIFAR100"]

PIXELS = 3 * 32 * 32

#: The classes of CIFAR-100.
KINDS = (
    "apple, aquarium fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, bridge, bus, butterfly, "
    "camel, can, castle, caterpillar, cattle, chair, chimpanzee, clock, cloud, cockroach, couch, crab, crocodile, "
    "cup, dinosaur, dolphin, elephant, flatfish, forest, fox, girl, hamster, house, kangaroo, keyboard, lamp, lawn "
    "mower, leopard, lion, lizard, lobster, man, maple tree, motorcycle, mountain, mouse, mushroom, oak tree, orange, "
    "orchid, otter, palm tree, pear, pickup truck, pine tree, plain, plate, poppy, porcupine, possum, rabbit, "
    "raccoon, ray, road, rocket, rose, sea, seal, shark, shrew, skunk, skyscraper, snail, snake, spider, squirrel, "
    "streetcar, sunflower, sweet pepper, table, tank, telephone, television, tiger, tractor, train, trout, tulip, "
    "turtle, wardrobe, whale, willow tree, wolf, woman, worm"
)
GROUPS = (
    "aquatic mammals, fish, flowers, food containers, fruit and vegetables, household electrical devices, household "
    "furniture, insects, large carnivores, large man-made outdoor things, large natural outdoor scenes, large "
    "omnivores and herbivores, medium-sized mammals, non-insect invertebrates, people, reptiles, small mammals, "
    "trees, vehicles 1, vehicles 2"
)


class CIFAR10(Pictures):
    """Photographs of 10 kinds of things, 32×32 pixels: 50,000 to train with, 10,000 to test (Krizhevsky, 2009).

    x is float32 (3, 32, 32) in [0, 1], red, green and blue; a `transform` gets uint8 (3, 32, 32) instead.

    Read from the archive of the binary version, `cifar-10-binary.tar.gz`, as it is; nothing is unpickled. It is looked
    for in the folder `root`, where it is given, and else in those that the environment variable DZCORE_DATA names
    (`$DZCORE_DATA/cifar-10` and `$DZCORE_DATA`) and in the cache folder, to which it is downloaded in the end (this
    needs dzcore[data]) and compared with the MD5 that its page states, https://www.cs.toronto.edu/~kriz/cifar.html.

    Raises:
        DataError: the archive is missing, damaged, or another one.

    >>> x, t = CIFAR10(train=False)[0]  # doctest: +SKIP
    >>> x.shape, t  # doctest: +SKIP
    ((3, 32, 32), 3)
    """

    folder: ClassVar[str] = "cifar-10"
    archive: ClassVar[str] = "cifar-10-binary.tar.gz"
    checksum: ClassVar[str] = "md5:c32a1d4ab5d03f1284b67883e8d87530"
    mirrors: ClassVar[tuple[str, ...]] = ("https://www.cs.toronto.edu/~kriz/",)
    files: ClassVar[dict[bool, tuple[str, ...]]] = {
        True: tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        False: ("test_batch.bin",),
    }
    heading: ClassVar[int] = 1  #: how many labels, of a byte each, stand before a picture
    size = (32, 32)
    classes: ClassVar[tuple[str, ...]] = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip

    def __init__(
        self,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        backend: str | Backend | None = None,
    ) -> None:
        self.root = root
        super().__init__(train, transform, target_transform, flat=False, backend=backend)

    def prepare(self) -> None:
        """Find the archive, and read one part of it."""
        self.read(0, len(self.classes))

    def read(self, which: int, classes: int) -> None:
        """Set the pictures, and as labels the bytes `which` of their headings."""
        (path,) = locate(self.folder, {self.archive: self.checksum}, self.mirrors, self.root, packed=False)
        names, record = self.files[self.train], self.heading + PIXELS
        parts = _members(path, names)
        for name in names:
            if len(parts[name]) % record or not parts[name]:
                raise DataError(f"{path!r}: {name} has {len(parts[name])} bytes, not {record} for each picture")
        whole = memoryview(b"".join(parts[name] for name in names))
        labels = bytes(whole[which::record])
        if max(labels) >= classes:
            raise DataError(f"{path!r} holds the class {max(labels)}; there are {classes}")
        pixels = b"".join(whole[start : start + PIXELS] for start in range(self.heading, len(whole), record))
        own = self.backend
        self.data = own.from_host(HostArray("uint8", (len(labels), 3, *self.size), pixels))
        self.label = own.xp.astype(own.from_host(HostArray("uint8", (len(labels),), labels)), own.dtype("int64"))


class CIFAR100(CIFAR10):
    """Photographs of 100 kinds of things, with 20 groups of five: 50,000 to train with, 10,000 to test.

    t is the kind, or the group with `label_type="coarse"`. Read from `cifar-100-binary.tar.gz`; see CIFAR10.
    """

    folder = "cifar-100"
    archive = "cifar-100-binary.tar.gz"
    checksum = "md5:03b5dce01913d631647c71ecec9e9cb8"
    files: ClassVar[dict[bool, tuple[str, ...]]] = {True: ("train.bin",), False: ("test.bin",)}
    heading = 2  # the group, then the kind
    classes = tuple(KINDS.split(", "))
    groups: ClassVar[tuple[str, ...]] = tuple(GROUPS.split(", "))

    def __init__(
        self,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        label_type: str = "fine",
        *,
        root: str | os.PathLike[str] | None = None,
        backend: str | Backend | None = None,
    ) -> None:
        self.label_type = _checked(label_type)
        super().__init__(train, transform, target_transform, root=root, backend=backend)

    def prepare(self) -> None:
        """Find the archive, and read one part of it."""
        if self.label_type == "fine":
            self.read(1, len(self.classes))
        else:
            self.read(0, len(self.groups))

    @classmethod
    def labels(cls, label_type: str = "fine") -> dict[int, str]:
        """Map the number of each kind, or of each group, to its name."""
        return dict(enumerate(cls.classes if _checked(label_type) == "fine" else cls.groups))


def _checked(label_type: str) -> str:
    if label_type not in ("fine", "coarse"):
        raise ValueError(f"label_type={label_type!r} must be 'fine', of 100 kinds, or 'coarse', of 20 groups")
    return label_type


def _members(path: str, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return the files of these names, in whatever folder of an archive; all of it is read, down to its checksum."""
    import gzip
    import tarfile
    from zlib import error as ZlibError

    found: dict[str, bytes] = {}
    try:
        with gzip.open(path) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = os.path.basename(member.name)
                    if name in names and (file := archive.extractfile(member)) is not None:
                        found[name] = file.read()
            while stream.read(1 << 20):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, ZlibError) as error:
        raise DataError(f"{path!r} is truncated or damaged ({error}); remove it, to download it again") from error
    if missing := [name for name in names if name not in found]:
        raise DataError(f"{path!r} holds no {', '.join(missing)}; it is another archive")
    return found
