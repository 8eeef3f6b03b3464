"""The manifest of a checkpoint: what is in it and where, under a digest. docs/checkpoint-format.md says it in full."""

import sys
from typing import Any, NamedTuple, Self

from ..errors import CheckpointError
from . import tree
from .archive import WIDTHS, Form, is_shape

__all__ = ["Entry", "Manifest", "file_name"]

FORMAT, VERSION = "dzcore checkpoint", 1
_HEAD, _MIDDLE, _TAIL = b'{"sha256":"', b'","content":', b"}\n"


class Entry(NamedTuple):
    """What an array is like, and where it is."""

    form: Form
    file: int
    offset: int
    sha256: str


class Manifest(NamedTuple):
    """The content of a manifest; `metadata` and `structure` are nodes of a structure (io/tree.py)."""

    step: int
    serial: int
    made: Any  #: by what versions
    metadata: Any
    structure: Any
    sizes: list[int]  #: of the files
    entries: dict[str, Entry]
    byte_order: str = sys.byteorder

    def to_bytes(self) -> bytes:
        """Write it."""
        import json
        from hashlib import sha256

        content = {
            "format": FORMAT, "version": VERSION, "step": self.step, "serial": self.serial,
            "byte_order": self.byte_order, "made": self.made, "metadata": self.metadata, "tree": self.structure,
            "files": [{"name": file_name(i), "size": size} for i, size in enumerate(self.sizes)],
            "arrays": {
                name: {"file": e.file, "offset": e.offset, "size": e.form.nbytes, "dtype": e.form.dtype,
                       "shape": e.form.shape, "sha256": e.sha256}
                for name, e in self.entries.items()
            },
        }  # fmt: skip
        text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
        return _HEAD + sha256(text).hexdigest().encode() + _MIDDLE + text + _TAIL

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read it, with every check that needs no other file.

        Raises:
            ValueError: it is damaged.
            CheckpointError: it is of a newer version of the format.
        """
        content = _content(data)
        try:
            return cls._of(content)
        except KeyError as e:
            raise ValueError(f"it lacks {e}") from e
        except TypeError as e:  # a list where a dictionary belongs, and the like
            raise ValueError(str(e)) from e

    @classmethod
    def _of(cls, content: dict[str, Any]) -> Self:
        _expect(content["format"] == FORMAT, f"its format is {content['format']!r:.80} and not {FORMAT!r}")
        if (version := _whole(content, "version", 1)) > VERSION:
            raise CheckpointError(
                f"it was written by a newer dzcore, in version {version} of the format, and this one reads up to "
                f"version {VERSION}; upgrade dzcore"
            )
        _expect(content["byte_order"] in ("little", "big"), f"its byte_order is {content['byte_order']!r:.80}")
        sizes = [_whole(file, "size") for file in _kind(content, "files", list)]
        names = [file["name"] for file in content["files"]]
        _expect(names == [file_name(i) for i in range(len(names))], f"its files have the names {names!r:.80}")
        entries = _entries(_kind(content, "arrays", dict), sizes)
        _kind(_kind(content, "tree", dict), "dict", dict)
        tree.check(content["tree"], entries)
        _kind(_kind(content, "metadata", dict), "dict", dict)
        tree.check(content["metadata"], ())
        return cls(
            _whole(content, "step"), _whole(content, "serial"), content["made"], content["metadata"],
            content["tree"], sizes, entries, content["byte_order"],
        )  # fmt: skip


def file_name(i: int) -> str:
    """Return the name of a file of arrays."""
    return f"arrays-{i:04}.bin"


def _content(data: bytes) -> dict[str, Any]:
    """Check the outside of a manifest, and parse the inside."""
    import json
    from hashlib import sha256

    start = len(_HEAD) + 64
    digest, text = data[len(_HEAD) : start], data[start + len(_MIDDLE) : -len(_TAIL)]
    _expect(data == _HEAD + digest + _MIDDLE + text + _TAIL, "it does not begin or end like a manifest")
    _expect(digest == sha256(text).hexdigest().encode(), "its content is not what was written (SHA-256)")
    try:
        content = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _expect(isinstance(content, dict), "its content is no dictionary")
    return content  # type: ignore[no-any-return]


def _entries(arrays: dict[str, Any], sizes: list[int]) -> dict[str, Entry]:
    """Check the table of arrays, which lie in the files one after the other, without gaps and to the end."""
    entries, last, filled = {}, 0, [0] * len(sizes)
    for name, entry in arrays.items():
        form = Form(entry["dtype"], tuple(entry["shape"]))
        _expect(form.dtype in WIDTHS, f"array {name!r} has dtype {form.dtype!r:.80}")
        _expect(is_shape(form.shape), f"array {name!r} has no proper shape")
        size, file, offset = _whole(entry, "size"), _whole(entry, "file"), _whole(entry, "offset")
        _expect(size == form.nbytes, f"array {name!r}, {form}, has size {size}")
        follows = last <= file <= last + 1 and file < len(sizes) and offset == filled[file]
        _expect(follows, f"array {name!r} does not follow the one before")
        filled[file] += size
        last = file
        entries[name] = Entry(form, file, offset, entry["sha256"])
    _expect(filled == sizes, "its arrays and its files have different sizes")
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    _expect(len(made) == len(pairs), "a name occurs twice")
    return made


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number in JSON")


def _kind(node: dict[str, Any], name: str, kind: type) -> Any:
    _expect(type(node[name]) is kind, f"its {name} is {node[name]!r:.80}")
    return node[name]


def _whole(node: dict[str, Any], name: str, least: int = 0) -> int:
    number = node[name]
    _expect(type(number) is int and least <= number < 1 << 63, f"its {name} is {number!r:.80}")
    return number  # type: ignore[no-any-return]


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
