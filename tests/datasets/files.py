"""Little IDX files, and where the real ones are."""

import gzip
import os
from pathlib import Path

import pytest


def idx(dims: tuple[int, ...], data: bytes, code: int = 8) -> bytes:
    return bytes((0, 0, code, len(dims))) + b"".join(n.to_bytes(4, "big") for n in dims) + data


def pictures(n: int = 5, size: tuple[int, int] = (28, 28)) -> bytes:
    count = n * size[0] * size[1]
    return idx((n, *size), bytes(k * 7 % 256 for k in range(count)))


def labels(n: int = 5) -> bytes:
    return idx((n,), bytes(k % 10 for k in range(n)))


def write_set(folder: Path, part: str = "train", n: int = 5) -> Path:
    """Write both files of one part of a set of n pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pictures(n)))
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels(n)))
    return folder


#: The user's folder, before a test takes the variable away.
GIVEN = os.environ.get("DZCORE_DATA")


def real_data() -> Path:
    """The folder with the real MNIST, or a reason to skip."""
    folder = Path(GIVEN) if GIVEN else Path(__file__).parents[3] / "shared" / "data"
    if not (folder / "mnist" / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip(f"no mnist/ in {folder}; set DZCORE_DATA to a folder that has it")
    return folder
