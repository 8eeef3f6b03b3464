"""Published weights: found in the user's folder or the cache, or downloaded, and checked."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, FileError
from ..io import cache_folder, check_digest, check_recorded, download
from ..layers.weights import Source, stage
from .base import Model
from .onnx import read_onnx

__all__ = ["Weights", "load_pretrained"]

VARIABLE = "DZCORE_DATA"
FOLDER = "weights"


class Weights(NamedTuple):
    """A file with weights, and where it is published."""

    name: str  #: of the file
    urls: tuple[str, ...]
    digest: str | None = None  #: the SHA-256, where the publisher states one
    paths: Mapping[str, str] | None = None  #: for an ONNX file: the names in it -> the paths in the model


def load_pretrained(model: Model, weights: Weights, classes: int) -> None:
    """Load published weights into a model of as many `classes`.

    The file is looked for in $DZCORE_DATA, in its subfolder weights/, and in the cache, to which it is downloaded in
    the end (this needs dzcore[data]). A download is let into the cache when it is whole: by its SHA-256 where the
    publisher states one, and otherwise by the checksum that an .npz file has of each array; then it is trusted on first
    use, and has to be the same file later on. All names, shapes and dtypes must be those of the model.

    Raises:
        DataError: the file cannot be downloaded, or is not the one that it was.
        FileError: it is damaged, or does not fit the model (WeightsError).
    """
    if classes != 1000:
        raise ValueError(
            f"classes={classes}, and the weights of pretrained=True are for the 1000 of ImageNet; leave classes out, "
            "and replace the last layer afterwards"
        )
    path = locate(weights)
    if weights.paths is None:
        model.load_weights(path)
        return
    _, commit = stage(model, Source.of_arrays(read_onnx(path), path), names=weights.paths)
    commit()


def locate(weights: Weights) -> Path:
    """Return the path of a file with weights, which is on this machine then."""
    if asked := os.environ.get(VARIABLE):
        given = Path(asked).expanduser()
        if not given.is_dir():
            what = "is a file" if given.exists() else "does not exist"
            raise DataError(f"{VARIABLE}={asked!r} {what}; name the folder that has {weights.name}, or unset it")
        for path in (given / FOLDER / weights.name, given / weights.name):
            if path.is_file():
                return _known(path, weights.digest)
    path = cache_folder() / FOLDER / weights.name
    if not path.is_file():
        remedy = f"set {VARIABLE} to the folder that has it"
        download(path, weights.urls, lambda part: _check(part, weights.digest), remedy)
    if weights.digest is None:
        check_recorded(path)
    return _known(path, weights.digest)


def _known(path: Path, digest: str | None) -> Path:
    """Return the path of a file that has the digest, if one is known."""
    try:
        if digest is not None:
            check_digest(path, digest)
    except DataError as error:
        raise DataError(f"{str(path)!r} is damaged or another file: {error}; remove it, or get it again") from error
    return path


def _check(path: Path, digest: str | None) -> None:
    """Raise DataError unless a download is whole."""
    if digest is not None:
        check_digest(path, digest)
        return
    from ..io.npz import NpzArchive  # as it is read later: nothing enters the cache that would be refused there

    try:
        with NpzArchive(path) as archive:
            for _ in archive.read():
                pass
    except FileError as error:
        raise DataError(f"it is no whole .npz file ({error})") from error
