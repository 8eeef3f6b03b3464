"""The .safetensors format, in which models are published: a header in JSON, then the bytes of the arrays.

Format: https://github.com/huggingface/safetensors#format. It has no checksums; what is written here has one for each
array and one for these, in the header's metadata, which other readers pass over.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..backend import HostArray
from ..errors import FileError
from . import disk, tree
from .archive import WIDTHS, Archive, Form, contents, is_shape, open_regular
from .atomic import atomic_write
from .staging import Crc32, Memory, beside, read_checked, write

__all__ = ["SafetensorsArchive", "write_safetensors"]

#: dzcore's dtypes as the format calls them.
CODES = {
    "bool": "BOOL", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "uint8": "U8", "uint16": "U16",
    "uint32": "U32", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
}  # fmt: skip
NAMES = {code: name for name, code in CODES.items()}

LONGEST_HEADER = 1 << 24  #: bytes, enough for 100,000 arrays
METADATA = "__metadata__"
OURS, OUR_CRC = "dzcore", "dzcore.crc32"  #: our entries in the metadata: a JSON text, and its checksum
VERSION = 1  #: of that text


def write_safetensors(path: str | os.PathLike[str], arrays: Mapping[str, Any], structure: Any = None) -> None:
    """Write named arrays, Variables or arrays of any backend, all or nothing; no more than three are on the host.

    Raises:
        FileError: the format has no such dtype or name, or not so many.
    """
    title = repr(os.fspath(path))
    _check_byte_order(title)
    forms = {name: tree.form(x) for name, x in arrays.items()}
    for name, form in forms.items():
        if form.dtype not in CODES:
            what = f"{name!r} has dtype {form.dtype}, which .safetensors files cannot hold"
            raise FileError(f"{title}: {what}; convert it to float32")
        if name == METADATA:
            raise FileError(f"{title}: no array can be called {METADATA!r} in a .safetensors file; rename it")
    crcs = {name: Crc32(_signed(form)) for name, form in forms.items()}
    header = _header(title, forms, structure, crcs)
    with atomic_write(path) as file:
        disk.write(file, header)
        with beside(_update, sum(form.nbytes for form in forms.values())) as check:
            for name in _in_order_of_data(forms):
                data = contents(tree.borrow(arrays[name]))
                check((crcs[name], data))
                write(file, data)
        file.seek(0)
        disk.write(file, _header(title, forms, structure, crcs))  # as long as before


def _update(job: tuple[Crc32, memoryview]) -> None:
    crc, data = job
    crc.update(data)


def _check_byte_order(title: str) -> None:
    if sys.byteorder != "little":
        raise FileError(f"{title}: .safetensors files are little-endian and this machine is not; use .npz here")


def _in_order_of_data(forms: Mapping[str, Form]) -> list[str]:
    """Sort names as the arrays lie in a file: the widest elements first, so that all are aligned to their size."""
    return sorted(forms, key=lambda name: -WIDTHS[forms[name].dtype])


def _signed(form: Form) -> bytes:
    """Return what the checksum of an array begins with."""
    return f"{form.dtype}{list(form.shape)}".encode()


def _header(title: str, forms: Mapping[str, Form], structure: Any, crcs: Mapping[str, Crc32]) -> bytes:
    """Return the bytes before the data, as many whatever the checksums."""
    import json

    digits = {name: crc.hexdigest() for name, crc in crcs.items()}
    text = json.dumps({"version": VERSION, "structure": structure, "crc32": digits}, allow_nan=False)
    # Hugging Face's tools refuse metadata without a format; "pt" (for torch) is that of published models.
    metadata = {"format": "pt", OURS: text, OUR_CRC: Crc32(text.encode()).hexdigest()}
    spans, end = {}, 0
    for name in _in_order_of_data(forms):
        begin, end = end, end + forms[name].nbytes
        spans[name] = [begin, end]
    entries = {
        name: {"dtype": CODES[form.dtype], "shape": form.shape, "data_offsets": spans[name]}
        for name, form in forms.items()
    }
    try:
        header = json.dumps({METADATA: metadata, **entries}, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise FileError(f"{title}: an array has a name that is no text ({error.object[error.start]!r})") from None
    if len(header) > LONGEST_HEADER:
        what = f"{title}: the names and plain values need {len(header)} bytes, and {LONGEST_HEADER} are the most"
        raise FileError(f"{what} in a .safetensors file; use .npz, or fewer of them")
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


class _Span(NamedTuple):
    """Where the data of an array is in the file, and its checksum, if the file has one."""

    begin: int
    end: int
    crc: str | None


class SafetensorsArchive(Archive):
    """An open .safetensors file, of ours or from elsewhere."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the header, and hold it against the format, its checksum and the size of the file.

        Raises:
            FileError: the file is damaged, or no .safetensors file.
            OSError: what the system says about the path.
        """
        self.path = os.fspath(path)
        _check_byte_order(repr(self.path))
        self._file = open_regular(path)
        try:
            start, end, header = self._read_header()
            self.structure, crcs = self._read_metadata(header.pop(METADATA, {}), set(header))
            forms, self._spans = {}, {}
            for name, entry in header.items():
                forms[name], (first, last) = self._read_entry(name, entry)
                self._spans[name] = _Span(start + first, start + last, crcs.get(name))
            self.forms = forms
            self._check_gapless(start, end)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def read(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, HostArray]]:
        wanted = self.wanted(names)
        for name in wanted:
            if self.forms[name].dtype not in CODES:
                raise self._error(f"it has dtype {self.forms[name].dtype}, which dzcore has not", name)
        memory = Memory(self._spans[name].end - self._spans[name].begin for name in wanted)
        for name in wanted:
            yield name, self._load(name, memory)

    def _load(self, name: str, memory: Memory) -> HostArray:
        form, span = self.forms[name], self._spans[name]
        view, crc = memory.take(span.end - span.begin), Crc32(_signed(form))
        try:
            read_checked(self._file, span.begin, view, crc.update)
        except EOFError as error:
            raise self._error(str(error), name) from None
        if span.crc not in (None, crc.hexdigest()):
            raise self._error(f"it is damaged: its CRC-32 is {crc.hexdigest()}, and {span.crc} was written", name)
        return HostArray(*form, view)

    # The header --------------------------------------------------------------------------------------------------

    def _error(self, reason: str, name: str | None = None) -> FileError:
        entry = "" if name is None else f", array {name!r:.200}"
        return FileError(f"{self.path!r}{entry} is not readable as .safetensors: {reason}")

    def _read_header(self) -> tuple[int, int, dict[str, Any]]:
        """Return where the data begins and ends, and what the header says."""
        import json

        size = os.fstat(self._file.fileno()).st_size
        length = int.from_bytes(self._file.read(8) or b"", "little")
        if not 2 <= length <= min(size - 8, LONGEST_HEADER):
            what = f"its header would have {length} bytes, of {size} in the file and at most {LONGEST_HEADER}"
            raise self._error(what)
        text = self._file.read(length) or b""
        if text[:1] != b"{":
            raise self._error("its header does not begin with a brace")
        try:
            header = json.loads(text.decode(), object_pairs_hook=_unique)
            "".join(header).encode()  # JSON can name what is no text
        except (ValueError, RecursionError) as error:
            raise self._error(f"its header is no proper JSON: {error!s:.200}") from None
        return 8 + length, size, header

    def _read_metadata(self, metadata: Any, names: set[str]) -> tuple[Any, dict[str, str]]:
        """Return the structure, and the checksums of the arrays; nothing where the file is from elsewhere."""
        import json

        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise self._error("its metadata is no dictionary of strings")
        if OURS not in metadata and OUR_CRC not in metadata:
            return None, {}
        try:
            text, crc = metadata[OURS], metadata[OUR_CRC]
            if Crc32(text.encode()).hexdigest() != crc:
                raise ValueError("their CRC-32 is another")
            content = json.loads(text, object_pairs_hook=_unique)
            if content["version"] != VERSION:
                version = content["version"]
                raise self._error(f"it is of a newer dzcore (version {version!r:.80} of its metadata); update this one")
            structure, crcs = content["structure"], dict(content["crc32"])
            if set(crcs) != names or not all(isinstance(crc, str) for crc in crcs.values()):
                raise ValueError("they are of other arrays")
        except FileError:
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._error(f"its checksums are damaged: {error!s:.200}") from None
        if structure is not None:
            try:
                tree.check(structure, names)
            except FileError as error:
                raise self._error(str(error)) from None
        return structure, crcs

    def _read_entry(self, name: str, entry: Any) -> tuple[Form, tuple[int, int]]:
        """Return the form of an array, and where its data is."""
        match entry:
            case {"dtype": str(code), "shape": list(shape), "data_offsets": [begin, end]} if len(entry) == 3:
                proper = is_shape(shape) and type(begin) is int and type(end) is int and begin <= end
            case _:
                raise self._error("its entry is not that of an array", name)
        if not proper or code in CODES:
            raise self._error(f"its entry is not that of an array: {entry!r:.200}", name)
        form = Form(NAMES.get(code, code), tuple(shape))
        if code in NAMES and end - begin != form.nbytes:
            raise self._error(f"{form!s:.200} needs {form.nbytes} bytes, and it has {end - begin}", name)
        return form, (begin, end)

    def _check_gapless(self, start: int, end: int) -> None:
        """Check that every byte between the header and the end of the file belongs to one array."""
        for name, span in sorted(self._spans.items(), key=lambda item: item[1][:2]):
            if span.begin != start:
                raise self._error(f"its data begins at byte {span.begin}, and {start} is next in the file", name)
            start = span.end
        if start != end:
            raise self._error(f"its data ends at byte {start}, and the file at {end}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary, and raise ValueError where a key comes twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice")
    return made
