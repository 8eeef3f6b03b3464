"""Downloads: whole or not at all, continued after a cut, and once for all processes that want the same file."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from ..errors import DataError

__all__ = ["cache_folder", "check_digest", "check_recorded", "digest_of", "download"]

TIMEOUT = 30  #: seconds without a byte after which a server counts as gone
CUTS = 5  #: how often one download is continued before it is left to the next run
CHUNK = 1 << 14  #: bytes at a time; what a cut leaves of the last piece is lost


def cache_folder() -> Path:
    """Return the folder for downloaded files: dzcore/ in $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "dzcore"


def download(goal: Path, urls: Sequence[str], check: Callable[[Path], None], remedy: str) -> Path:
    """Get the file `goal` from the first of `urls` that sends what `check` accepts; return `goal`.

    It appears under its name when it has been checked, so that nobody sees a half. `check` raises DataError. A download
    that was cut is continued, now or in the next run, if the server promises that the file is still the same one
    (If-Range, RFC 9110, section 13.1.5), and begun again otherwise. A process that wants a file which another one is
    downloading waits for it. `remedy` ends the error where nothing helps.

    Raises:
        DataError: pooch is missing, the disk is full, the folder cannot be written to, or no address has the file.
    """
    try:
        import pooch  # noqa: F401  # requests comes with it
        from requests import RequestException
    except ImportError:
        what = f"{goal.name} is not on this machine. Let it be downloaded (pip install 'dzcore[data]')"
        raise DataError(f"{what}, or {remedy}") from None
    problems = []
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        with _alone(goal) as owner:
            if goal.is_file():
                return goal
            for url in urls:
                part = _Part(goal, url, owner)
                print(f"Downloading {url}", file=sys.stderr)
                try:
                    part.fetch()
                    check(part.path)
                except (RequestException, DataError) as error:
                    problems.append(f"{url}: {error}")
                    part.settle(keep=isinstance(error, RequestException))
                except OSError:
                    part.settle(keep=False)  # a full disk wants its room back
                    raise
                else:
                    os.replace(part.path, goal)
                    for rest in goal.parent.glob(f".{goal.name}.*.part*"):
                        rest.unlink(missing_ok=True)
                    return goal
    except OSError as error:
        what = f"{str(goal.parent)!r} cannot be written to ({error.strerror or error})"
        raise DataError(f"{what}; set XDG_CACHE_HOME to a folder with room for {goal.name}") from error
    raise DataError(f"{goal.name} could not be downloaded; get it by hand, and {remedy}. " + "; ".join(problems))


class _Part:
    """What has come of a file from one address, and how the server calls that version of it."""

    def __init__(self, goal: Path, url: str, owner: str) -> None:
        from zlib import crc32

        self.name, self.url = goal.name, url
        self.path = goal.with_name(f".{goal.name}.{crc32(url.encode()):08x}{owner}.part")
        self.mark = Path(f"{self.path}.etag")
        self.expected: int | None = None  #: the length of the whole file, where the server tells

    def settle(self, keep: bool) -> None:
        """Keep what can be continued, remove what cannot."""
        if not (keep and self.mark.is_file()):
            self.path.unlink(missing_ok=True)
            self.mark.unlink(missing_ok=True)

    def fetch(self) -> None:
        """Get what is missing, and continue after a cut as long as more comes."""
        from requests import RequestException

        for left in reversed(range(CUTS)):
            before = self._size()
            try:
                self._request()
            except RequestException:
                now = self._size()
                on = (now > before and self.mark.is_file()) or now < before  # there is more to come, or it begins anew
                if not (left and on):
                    raise
            else:
                return

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def _request(self) -> None:
        """Append the rest of the file, or write all of it where the server does not continue."""
        from types import SimpleNamespace

        import pooch
        from requests import RequestException

        headers = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file itself
        with open(self.path, "ab") as file, _bar(self.name) as show:
            if self.mark.is_file() and file.tell():
                headers |= {"Range": f"bytes={file.tell()}-", "If-Range": self.mark.read_text("ascii")}

            def write(piece: bytes) -> None:
                file.write(piece)
                show(file.tell(), self.expected)

            get = pooch.HTTPDownloader(
                timeout=TIMEOUT, chunk_size=CHUNK, headers=headers, hooks={"response": partial(self._begin, file)}
            )
            get(self.url, SimpleNamespace(write=write, flush=file.flush), None)
            file.flush()
            os.fsync(file.fileno())
            if self.expected not in (None, file.tell()):
                raise RequestException(f"the connection was cut after {file.tell():,} of {self.expected:,} bytes")

    def _begin(self, file: IO[bytes], response: Any, **_: Any) -> None:
        """See from the head of an answer where in the file its body belongs, before that is read."""
        from requests import RequestException

        status, head = response.status_code, response.headers
        if status not in (200, 206, 416):  # a redirection or an error
            return
        span = head.get("Content-Range", "")
        if status == 206 and span.startswith(f"bytes {file.tell()}-"):
            whole = span.rpartition("/")[2]
            self.expected = int(whole) if whole.isdecimal() else None
            return
        file.seek(0)
        file.truncate()  # another version, a server without ranges, or one that is confused
        self.mark.unlink(missing_ok=True)
        if status != 200:
            response.close()
            raise RequestException(f"status {status} with the range {span!r}, which does not continue the file")
        tag = head.get("ETag", "")
        if version := tag if tag.startswith('"') else head.get("Last-Modified", ""):  # weak tags promise no equal bytes
            self.mark.write_text(version, "ascii", "ignore")
        length, plain = head.get("Content-Length", ""), "Content-Encoding" not in head
        self.expected = int(length) if length.isdecimal() and plain else None


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show on a terminal how far a download is, where rich is installed."""
    bar: Any = None
    if sys.stderr.isatty():
        with suppress(ImportError):
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

            columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
    if bar is None:
        yield lambda done, whole: None
    else:
        task = bar.add_task(name, total=None)
        with bar:
            yield lambda done, whole: bar.update(task, completed=done, total=whole)


@contextmanager
def _alone(goal: Path) -> Iterator[str]:
    """Keep other processes and threads from downloading the same file at the same time, by a lock that dies with us.

    Yields what makes the names of unfinished files our own: nothing, but where the system has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        yield f".{os.getpid()}"  # two may download at once; each has its own half, and the whole is the same
        return
    lock = goal.with_name(f".{goal.name}.lock")
    while True:
        with open(lock, "ab") as file:  # closing it ends the lock
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"Waiting for another process that downloads {goal.name}", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is(lock, file):
                try:
                    yield ""
                finally:
                    lock.unlink(missing_ok=True)
                return


def _is(path: Path, file: IO[bytes]) -> bool:
    """Tell whether an open file is still the one at `path`: whoever had the lock before removes it in the end."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of a file, in hexadecimal digits."""
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def check_digest(path: Path, digest: str) -> None:
    """Raise DataError unless a file has a digest: 64 hexadecimal digits of SHA-256, or `md5:` and 32 of MD5."""
    name, _, wanted = digest.rpartition(":")
    name = name or "sha256"
    found = digest_of(path, name)
    if found != wanted:
        raise DataError(f"it has {name.upper()} {found[:16]}…, and {wanted[:16]}… was expected")


def check_recorded(path: Path) -> None:
    """Record the SHA-256 of a file beside it at its first use, and raise DataError if it is another one later.

    Trust on first use, for a file whose publisher states no digest: a change or damage after the download is found, a
    wrong file in the beginning is not. The record is in `NAME.sha256`, in the form that `sha256sum --check` reads.
    """
    from .atomic import atomic_write

    record = path.with_name(f"{path.name}.sha256")
    found = digest_of(path)
    try:
        known = record.read_text("utf-8").split()[:1]
    except FileNotFoundError:
        with atomic_write(record) as file:
            file.write(f"{found}  {path.name}\n".encode())
        return
    if known != [found]:
        what = f"{str(path)!r} has SHA-256 {found[:16]}…, and {' '.join(known)[:16]}… when it was first used"
        raise DataError(f"{what}; remove it, to download it again, or {record.name}, to trust it as it is")
