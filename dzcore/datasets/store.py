"""Where the files of data sets are: in a folder that the user names, in the cache, or on a mirror."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DataError

__all__ = ["VARIABLE", "cache_folder", "locate"]

VARIABLE = "DZCORE_DATA"


def cache_folder() -> Path:
    """Return the folder for downloaded files: dzcore/ in $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "dzcore"


def locate(
    folder: str, checksums: Mapping[str, str], mirrors: Sequence[str], root: str | os.PathLike[str] | None = None
) -> list[str]:
    """Return the paths of the files named in `checksums`, all in one folder, compressed or not.

    They are looked for in `root` and its subfolder `folder`, or else in those of $DZCORE_DATA and in the cache, to
    which they are downloaded from the first mirror that has what `checksums` says (name: SHA-256 of the content).

    Raises:
        DataError: there is no such folder, or files are missing; it says where they were looked for.
    """
    cache = cache_folder() / folder
    asked, label = (root, "root") if root is not None else (os.environ.get(VARIABLE) or None, VARIABLE)
    places: list[Path] = []
    if asked is not None:
        given = Path(asked).expanduser()
        if not given.is_dir():
            what = "is a file" if given.exists() else "does not exist"
            raise DataError(f"{label}={os.fspath(asked)!r} {what}; name the folder with the .gz files of {folder}")
        places += [given / folder, given]
    if root is None:
        places.append(cache)
    for place in places:
        found = {name: _find(place, name) for name in checksums}
        paths = [path for path in found.values() if path is not None]
        if len(paths) == len(found):
            return paths
        if paths and place != cache:
            missing = ", ".join(f"{name}.gz" for name, path in found.items() if path is None)
            raise DataError(f"{str(place)!r} lacks {missing}, which belongs to {os.path.basename(paths[0])}")
    if root is not None:
        files = " and ".join(f"{name}.gz" for name in checksums)
        raise DataError(f"{label}={os.fspath(root)!r} holds no {files}, nor does its subfolder {folder}")
    return [_find(cache, name) or _download(cache, name, digest, mirrors) for name, digest in checksums.items()]


def _find(place: Path, name: str) -> str | None:
    return next((str(path) for path in (place / f"{name}.gz", place / name) if path.is_file()), None)


def _download(cache: Path, name: str, digest: str, mirrors: Sequence[str]) -> str:
    """Get a file from the first mirror that has it whole; it appears in the cache only when it has been checked."""
    import tempfile

    goal = cache / f"{name}.gz"
    try:
        import pooch
    except ImportError:
        raise DataError(
            f"{goal.name} is not on this machine. Let it be downloaded (pip install 'dzcore[data]'), or set "
            f"{VARIABLE} to a folder that has it in {cache.name}/"
        ) from None
    problems = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as box:
            part = Path(box) / goal.name
            for mirror in mirrors:
                url = f"{mirror}{goal.name}"
                print(f"Downloading {url}", file=sys.stderr)
                try:
                    pooch.HTTPDownloader(timeout=30)(url, str(part), None)
                    _verify(part, digest)
                except (OSError, DataError) as error:  # what requests raises is an OSError
                    problems.append(f"{url}: {error}")
                else:
                    os.replace(part, goal)
                    return str(goal)
    except OSError as error:
        raise DataError(f"{str(cache)!r} cannot be written to ({error.strerror}); set XDG_CACHE_HOME") from error
    raise DataError(
        f"{goal.name} could not be downloaded; get it by hand, and set {VARIABLE} to its folder. " + "; ".join(problems)
    )


def _verify(path: Path, digest: str) -> None:
    """Compare the SHA-256 of what a gzip file holds."""
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
