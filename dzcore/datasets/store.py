"""Where the files of data sets are: in a folder that the user names, in the cache, or on a mirror."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import DataError
from ..io import cache_folder, check_digest, check_recorded, download

__all__ = ["VARIABLE", "cache_folder", "locate"]

VARIABLE = "DZCORE_DATA"


def locate(
    folder: str,
    checksums: Mapping[str, str | None],
    mirrors: Sequence[str],
    root: str | os.PathLike[str] | None = None,
    *,
    packed: bool = True,
    check: Callable[[Path], object] | None = None,
) -> list[str]:
    """Return the paths of the files named in `checksums`, all in one folder.

    They are looked for in `root` and its subfolder `folder`, or else in those of $DZCORE_DATA and in the cache, to
    which they are downloaded from the first mirror that has what `checksums` says.

    `packed` means that each is a file NAME.gz, or one called NAME without compression, and that `checksums` holds the
    SHA-256 of the content. Otherwise files have the names given, and `checksums` their SHA-256, their MD5 as
    `md5:…`, or None where it is not known: then the first download is trusted, and compared with later on. A download
    for which `check` raises DataError is none.

    Raises:
        DataError: there is no such folder, or files are missing; it says where they were looked for.
    """
    end = ".gz" if packed else ""
    cache = cache_folder() / folder
    for place in _places(folder, root, f"{end} files".strip()):
        found = {name: _find(place, name, end) for name in checksums}
        paths = [path for path in found.values() if path is not None]
        if len(paths) == len(found):
            return paths
        if paths:
            missing = ", ".join(f"{name}{end}" for name, path in found.items() if path is None)
            raise DataError(f"{str(place)!r} lacks {missing}, which belongs to {os.path.basename(paths[0])}")
    if root is not None:
        files = " and ".join(f"{name}{end}" for name in checksums)
        raise DataError(f"root={os.fspath(root)!r} holds no {files}, nor does its subfolder {folder}")
    return [_cached(cache, name, end, digest, mirrors, check) for name, digest in checksums.items()]


def _places(folder: str, root: str | os.PathLike[str] | None, files: str) -> list[Path]:
    """Return the folders in which the user may have the files."""
    asked, label = (root, "root") if root is not None else (os.environ.get(VARIABLE) or None, VARIABLE)
    if asked is None:
        return []
    given = Path(asked).expanduser()
    if not given.is_dir():
        what = "is a file" if given.exists() else "does not exist"
        raise DataError(f"{label}={os.fspath(asked)!r} {what}; name the folder with the {files} of {folder}")
    return [given / folder, given]


def _find(place: Path, name: str, end: str) -> str | None:
    return next((str(path) for path in (place / f"{name}{end}", place / name) if path.is_file()), None)


def _cached(
    cache: Path,
    name: str,
    end: str,
    digest: str | None,
    mirrors: Sequence[str],
    check_form: Callable[[Path], object] | None,
) -> str:
    """Return the path of a file in the cache; get it, and let it in when it has been checked."""

    def check(path: Path) -> None:
        if digest is not None:
            (_check_content if end else check_digest)(path, digest)
        if check_form is not None:
            check_form(path)

    goal = cache / f"{name}{end}"
    path = _find(cache, name, end)
    if path is None:
        remedy = f"set {VARIABLE} to a folder that has it in {cache.name}/"
        path = str(download(goal, [f"{mirror}{goal.name}" for mirror in mirrors], check, remedy))
    if digest is None:
        check_recorded(Path(path))
    return path


def _check_content(path: Path, digest: str) -> None:
    """Compare the SHA-256 of what a gzip file holds, which does not depend on who compressed it."""
    import gzip
    import hashlib
    from zlib import error as ZlibError

    seen = hashlib.sha256()
    try:
        with gzip.open(path, "rb") as file:
            while piece := file.read(1 << 20):
                seen.update(piece)
    except (EOFError, gzip.BadGzipFile, ZlibError) as error:
        raise DataError(f"truncated or damaged ({error})") from error
    if seen.hexdigest() != digest:
        raise DataError(f"the content has SHA-256 {seen.hexdigest()[:16]}…, and {digest[:16]}… was expected")
