"""NumPy's .npz format, without NumPy: a zip archive of .npy members.

The structure of nested containers, as compressed JSON, is the archive's comment: NumPy sees arrays and nothing else.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO, FileIO
from struct import unpack
from typing import TYPE_CHECKING, Any, NamedTuple

from ..backend import HostArray
from ..errors import FileError
from . import disk, tree
from .archive import Archive, Form, contents, default_limit, open_regular
from .atomic import atomic_write
from .npy import CODES, Head, in_order, read_head, write_head
from .staging import PIECE, Crc32, Memory, beside, pieces, read_checked, write

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

__all__ = ["NpzArchive", "write_npz"]

_STRUCTURE = "structure.json"  #: the member with the structure, where the comment is too small for it
_COMMENT = 0xFFFF  #: bytes of a comment at most, and of a name
_TEXT = 1 << 20  #: bytes of the structure in a comment at most; each can become many in memory
_PAGE = 1 << 12
_DATE = (1980, 1, 1, 0, 0, 0)  #: zip's first: equal arrays make equal files
_STORED, _DEFLATED = 0, 8  #: as zipfile calls them
_UTF8, _LATER = 1 << 11, 1 << 3  #: flags: the name is in UTF-8; checksum and sizes are behind the data
_FLAGS = _UTF8 | _LATER | 6  #: all that an .npz file can have; 6: how hard the compression tried
_GAIN = 1032  #: times at most that compressed data grow
_SMALL = 1 << 24  #: bytes of arrays that are put together in memory, and written at once


# Writing -------------------------------------------------------------------------------------------------------------


def write_npz(
    path: str | os.PathLike[str], arrays: Mapping[str, Any], structure: Any = None, *, compress: bool = True
) -> None:
    """Write named arrays for `numpy.load` and `NpzArchive` to read, all or nothing; one at a time is on the host."""
    import json
    from zipfile import ZipFile
    from zlib import compress as compressed

    forms = {name: tree.form(x) for name, x in arrays.items()}
    heads = {name: _head(path, name, form) for name, form in forms.items()}
    size = sum(form.nbytes for form in forms.values())
    with atomic_write(path) as file, beside(partial(_write_at, file), size) as later:
        target = BytesIO() if size < _SMALL else _Behind(later)
        with ZipFile(target, "w") as archive:  # type: ignore[call-overload]  # which wants no more than this of a file
            total = 0
            for name, x in arrays.items():
                data = contents(tree.borrow(x))
                total += len(heads[name]) + len(data)
                _write(archive, f"{name}.npy", heads[name], data, compress and not _swells(data, total, target.tell()))
            if structure is not None:
                text = json.dumps(structure, separators=(",", ":"), allow_nan=False).encode()
                comment = compressed(text)
                if len(text) > _TEXT or len(comment) > _COMMENT or b"PK" in comment:  # that could look like the end
                    _write(archive, _STRUCTURE, b"", memoryview(text), compress=False)
                else:
                    archive.comment = comment
        if isinstance(target, BytesIO):
            disk.write(file, target.getbuffer())
        else:
            target.finish()


class _Behind:
    """A file to write to, in which a thread does the writing while zipfile computes the checksum of what comes next."""

    def __init__(self, later: Callable[[tuple[int, Any]], object]) -> None:
        self._later, self._place = later, 0
        self._small: dict[int, bytes] = {}  # headers, of which zipfile writes a first version that it corrects

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if size <= _PAGE:
            self._small[self._place] = bytes(data)
        else:
            self._later((self._place, data))
        self._place += size
        return size

    def finish(self) -> None:
        """Write the headers; earlier they would wait for the disk, which is at the pages that they are in."""
        for job in sorted(self._small.items()):
            self._later(job)

    def tell(self) -> int:
        return self._place

    def seek(self, place: int) -> int:
        self._place = place
        return place

    def flush(self) -> None:
        """Do nothing: who made the file waits for the thread, and flushes."""


def _write_at(file: disk.File, job: tuple[int, Any]) -> None:
    place, data = job
    file.seek(place)
    write(file, memoryview(data))


def _head(path: str | os.PathLike[str], name: str, form: Form) -> bytes:
    """Return what stands before the data of an array; or say why there cannot be such an array in the file."""
    try:
        raw = f"{name}.npy".encode()
    except UnicodeEncodeError:
        raise FileError(f"{os.fspath(path)!r} cannot hold the name {name!r:.80}: it is not Unicode") from None
    if b"\0" in raw or len(raw) > _COMMENT:
        reason = "a null character" if b"\0" in raw else f"{len(raw)} bytes, and {_COMMENT} are possible"
        raise FileError(f"{os.fspath(path)!r} cannot hold the name {name!r:.80}: it has {reason}")
    if form.dtype not in CODES:
        raise FileError(f"{os.fspath(path)!r} cannot hold {name!r:.80}: it is {form.dtype}; save real numbers")
    return write_head(form)


def _write(archive: "ZipFile", name: str, head: bytes, data: memoryview, compress: bool) -> None:
    from zipfile import ZipInfo

    info = ZipInfo(name, _DATE)
    info.file_size = len(head) + len(data)  # whether it needs fields of 64 bits
    info.compress_type = _DEFLATED if compress else _STORED
    with archive.open(info, "w") as member:
        member.write(head)
        for piece in pieces(data):
            member.write(piece)


def _swells(data: memoryview, total: int, size: int) -> bool:
    """Tell whether `size` bytes, and these data compressed, would be too few in a file for arrays of `total` bytes."""
    from zlib import compressobj

    squeezer = compressobj()
    for piece in pieces(data, PIECE):
        if total <= default_limit(size):
            return False
        size += len(squeezer.compress(piece))
    return total > default_limit(size)


# Reading -------------------------------------------------------------------------------------------------------------


class _Member(NamedTuple):
    """An array in the archive."""

    info: "ZipInfo"
    head: Head
    place: int  #: where it begins in the file


class NpzArchive(Archive):
    """An .npz file, open for reading. Whatever is wrong with it is a FileError that names file and member."""

    def __init__(self, path: str | os.PathLike[str], *, limit: int | None = None) -> None:
        self.path = os.fspath(path)
        self._file = open_regular(path)
        try:
            self._open(limit)
        except BaseException:
            self._file.close()
            raise

    def _open(self, limit: int | None) -> None:
        from zipfile import ZipFile

        with self._named():
            self._zip = ZipFile(self._file)
            _check_claims(self._zip.infolist(), os.fstat(self._file.fileno()).st_size, limit)
        self._members: dict[str, _Member] = {}
        structure, spans, seen = None, [], set[str]()
        for info in self._zip.infolist():
            with self._named(info):
                _check_info(info, seen)
                place = _place(self._file, info)
                spans.append((info.header_offset, place + info.compress_size))
                if info.filename == _STRUCTURE:
                    if info.compress_type != _STORED:
                        raise ValueError("the structure is compressed, and could become any size in memory")
                    structure = info
                elif info.filename.endswith(".npy"):
                    self._members[info.filename[: -len(".npy")]] = _Member(info, self._head(info, place), place)
                else:
                    raise ValueError("the name does not end in .npy")
        with self._named():
            _check_table(self._file, self._zip, spans)
        self.forms = {name: member.head.form for name, member in self._members.items()}
        with self._named(structure):
            if structure and self._zip.comment:
                raise ValueError("it has a structure in two places")
            if structure or self._zip.comment:
                text = self._zip.read(structure) if structure else _unpacked(self._zip.comment)
                self.structure = _parsed(text)
                tree.check(self.structure, self.forms)

    @contextmanager
    def _named(self, info: "ZipInfo | None" = None) -> Iterator[None]:
        """Turn what is found wrong into the one error, which names the file and the member."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as e:  # a damaged archive makes zipfile and zlib raise nearly anything
            if isinstance(e, OSError) and e.errno != errno.EINVAL:  # but this is a damaged disk
                raise
            where = f", member {info.filename!r:.200}" if info else ""
            raise FileError(f"{self.path!r}{where} is not a readable .npz file: {str(e) or type(e).__name__}") from e

    def _head(self, info: "ZipInfo", place: int) -> Head:
        if info.compress_type == _STORED:
            self._file.seek(place)
            return read_head(self._file.read, info.file_size)
        with self._zip.open(info) as stream:
            return read_head(stream.read, info.file_size)

    def read(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, HostArray]]:
        """Yield the arrays of these names, or all, checked, each in memory of its own."""
        wanted = self.wanted(names)
        memory = Memory(self.forms[name].nbytes for name in wanted)
        for name in wanted:
            member = self._members[name]
            with self._named(member.info):
                view = memory.take(member.head.form.nbytes)
                self._fill(member, view)
            yield name, HostArray(*member.head.form, in_order(view, member.head))

    def _fill(self, member: _Member, view: memoryview) -> None:
        """Fill `view` with the data of an array, and check them."""
        if member.info.compress_type == _STORED:  # straight into its place, and checked meanwhile
            crc = Crc32(member.head.raw)
            read_checked(self._file, member.place + len(member.head.raw), view, crc.update)
            if crc.value != member.info.CRC:
                raise ValueError(f"its checksum is {crc.value:08x} instead of {member.info.CRC:08x}; it was damaged")
            return
        with self._zip.open(member.info) as stream:
            stream.read(len(member.head.raw))
            for piece in pieces(view, PIECE):
                if len(data := stream.read(len(piece))) < len(piece):
                    raise EOFError("its compressed data end too early")
                piece[:] = data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _check_info(info: "ZipInfo", seen: set[str]) -> None:
    """Check an entry of the table of contents by itself, and its name against those before."""
    if info.filename in seen:
        raise ValueError("the name occurs twice")
    seen.add(info.filename)
    if info.orig_filename != info.filename:
        raise ValueError("its name has a null character")
    if info.flag_bits & ~_FLAGS:
        raise ValueError(f"it is encrypted, or has other flags that .npz files do not use ({info.flag_bits:#06x})")
    if info.compress_type not in (_STORED, _DEFLATED):
        raise ValueError(f"it is compressed by method {info.compress_type}, which .npz files do not use")
    if info.file_size > (1 if info.compress_type == _STORED else _GAIN) * info.compress_size:
        raise ValueError(f"it claims {info.file_size} bytes, and {info.compress_size} in the file cannot hold them")


def _place(file: FileIO, info: "ZipInfo") -> int:
    """Return where a member begins, and hold its own header against the table of contents."""
    file.seek(info.header_offset)
    local = (file.read(30) or b"").ljust(30)
    mark, _, flags, method, _, crc, packed, size, length, extra = unpack("<4s3HI3I2H", local)
    name = info.orig_filename.encode("utf-8" if flags & _UTF8 else "cp437")
    same = (mark, flags, method, file.read(length)) == (b"PK\3\4", info.flag_bits, info.compress_type, name)
    for a, b in ((crc, info.CRC), (packed, info.compress_size), (size, info.file_size)):
        same = same and (a == b or bool(flags & _LATER) or a == 0xFFFFFFFF)  # then it is elsewhere
    if not same:
        raise ValueError("its header differs from the table of contents")
    return info.header_offset + 30 + int(length + extra)


def _check_table(file: FileIO, archive: "ZipFile", spans: list[tuple[int, int]]) -> None:
    """Check the end of the archive, and that no member is in another one's place."""
    end = file.seek(-22 - len(archive.comment), os.SEEK_END)
    last = file.read(22) or b""
    count, start, length = (int.from_bytes(last[i:j], "little") for i, j in ((10, 12), (16, 20), (20, 22)))
    agree = count == min(len(spans), 0xFFFF) and start in (archive.start_dir, 0xFFFFFFFF)  # the latter: is elsewhere
    if last[:4] != b"PK\5\6" or length != len(archive.comment) or not agree:
        raise ValueError("its table of contents is damaged")
    before = 0
    for begin, after in [*sorted(spans), (end, end)]:
        if begin < before:
            raise ValueError("its members overlap, or lie outside of the file")
        before = after


def _check_claims(infos: list["ZipInfo"], size: int, limit: int | None) -> None:
    """Refuse more data than anybody expects of a file of this size."""
    total, most = sum(info.file_size for info in infos), default_limit(size) if limit is None else limit
    if total > most:
        raise ValueError(f"it holds {total} bytes, and the limit is {most}; trust it with limit={total}")


def _unpacked(comment: bytes) -> bytes:
    """Return the text of a structure in a comment."""
    from zlib import decompressobj

    stream = decompressobj()
    text = stream.decompress(comment, _TEXT + 1)
    if len(text) > _TEXT:
        raise ValueError(f"its comment holds more than {_TEXT} bytes")
    if not stream.eof or stream.unused_data:
        raise ValueError("its comment is damaged, or not of dzcore")
    return text


def _parsed(text: bytes) -> Any:
    from json import loads

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return loads(text, parse_constant=refuse)
