"""The content of the golden checkpoints as dzcore has it."""

import sys
from collections.abc import Iterator
from pathlib import Path

from dzcore.backend import HostArray
from dzcore.io.saved import Saved, write_checkpoint

from . import make

FOLDER = Path(__file__).parent


def hosts() -> Iterator[tuple[str, HostArray]]:
    """The arrays of the golden checkpoints."""
    for name, (dtype, shape, _) in make.ARRAYS.items():
        yield name, HostArray(dtype, shape, make.packed(name, sys.byteorder))


def write(path: Path, file_size: int = make.FILE_SIZE) -> Saved:
    return write_checkpoint(
        str(path), hosts(), make.TREE, step=make.STEP, serial=make.SERIAL, metadata=make.METADATA,
        made=make.MADE, file_size=file_size,
    )  # fmt: skip
