"""One checkpoint on the disk: a folder of raw arrays and a manifest with their digests. docs/checkpoint-format.md."""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from ..backend import HostArray, current_backend
from ..errors import CheckpointError, DamagedError, FileError
from . import disk, tree
from .archive import WIDTHS, Archive, Form, contents, open_regular
from .manifest import Entry, Manifest, file_name
from .staging import Memory, read_checked, write_checked

__all__ = ["MANIFEST", "Saved", "discard", "write_checkpoint"]

MANIFEST = "manifest.json"
LONGEST = 1 << 26  #: bytes of a manifest; it takes about 250 for an array


class Saved(Archive):
    """A checkpoint that was saved: its step and metadata, and its arrays, read when they are asked for.

    It can be read while another process trains and saves.

    Raises:
        DamagedError: it is not what was written.
        CheckpointError: it is of a newer version, or was removed meanwhile.
        OSError: what else the system says about the path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)
        try:
            content = Manifest.from_bytes(self._manifest())
        except DamagedError:
            raise
        except CheckpointError as e:
            raise CheckpointError(f"{self.path!r}: {e}") from e
        except ValueError as e:
            raise self._damaged(MANIFEST, str(e)) from e
        self.step, self.serial, self.made = content.step, content.serial, content.made
        self.metadata: Any = tree.join(content.metadata, str)  #: the user's own; there are no arrays in it
        self.structure = content.structure
        self.forms = {name: entry.form for name, entry in content.entries.items()}
        self._entries, self._swapped = content.entries, content.byte_order != sys.byteorder
        for i, size in enumerate(content.sizes):
            self._open(file_name(i), size).close()

    @property
    def parts(self) -> list[str]:
        """The names of the parts."""
        return list(self.structure["dict"])

    def load(self, part: str) -> Any:
        """Return the state of a part, with arrays of the current backend."""
        own = current_backend()
        return tree.over(self.host_state(part), own.adopt)

    def host_state(self, part: str) -> Any:
        """Return the state of a part, with HostArrays."""
        names: list[str] = []
        tree.join(self._node(part), names.append)
        return tree.join(self._node(part), dict(self.read(names)).__getitem__)

    def read(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, HostArray]]:
        """Yield the arrays of these names, or all, checked, each in memory of its own."""
        wanted = self.wanted(names)
        memory = Memory(self.forms[name].nbytes for name in wanted)
        for name in wanted:
            yield name, self._fill(name, memory.take(self.forms[name].nbytes))

    def verify(self) -> None:
        """Read everything, and raise if a byte is not what was written."""
        for _ in self.read():
            pass

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def __repr__(self) -> str:
        return f"<Saved {os.path.basename(self.path)}: step={self.step} metadata={self.metadata!r}>"

    # Reading -------------------------------------------------------------------------------------------------------

    def _node(self, part: str) -> Any:
        """Return the structure of a part."""
        try:
            return self.structure["dict"][part]
        except KeyError:
            found = ", ".join(map(repr, self.parts))
            raise CheckpointError(f"{self.path!r} has no part {part!r}; it has {found}") from None

    def _fill(self, name: str, view: memoryview) -> HostArray:
        """Read an array into memory, checked."""
        from hashlib import sha256

        entry, digest = self._entries[name], sha256()
        where = file_name(entry.file)
        with self._open(where) as file:
            try:
                read_checked(file, entry.offset, view, digest.update)
            except EOFError as e:
                raise self._damaged(where, f"array {name!r}: {e}") from e
            except OSError as e:
                if e.errno != errno.EIO:
                    raise
                raise self._damaged(where, f"array {name!r}: {e}") from e
        if digest.hexdigest() != entry.sha256:
            raise self._damaged(where, f"array {name!r}: its bytes are not those that were written (SHA-256)")
        if self._swapped:
            _swap(view, WIDTHS[entry.form.dtype])
        return HostArray(entry.form.dtype, entry.form.shape, view)

    def _manifest(self) -> bytes:
        with self._open(MANIFEST) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LONGEST:
                raise self._damaged(MANIFEST, f"it has {size} bytes; a manifest has up to {LONGEST}")
            data = bytearray(size)
            try:
                read_checked(file, 0, memoryview(data), lambda _: None)
            except EOFError as e:
                raise self._damaged(MANIFEST, str(e)) from e
            return bytes(data)

    def _open(self, name: str, size: int | None = None) -> Any:
        """Open one of the files for reading, which is a regular one, of this size if one is given."""
        path = os.path.join(self.path, name)
        try:
            file = open_regular(path, follow=False)
        except FileNotFoundError as e:
            if not os.path.exists(self.path):
                raise CheckpointError(f"the checkpoint {self.path!r} is not there, or not any more") from e
            raise self._damaged(name, "it is not there") from e
        except (FileError, IsADirectoryError, NotADirectoryError) as e:
            raise self._damaged(name, str(e)) from e
        except OSError as e:
            if e.errno not in (errno.ELOOP, errno.EIO):
                raise
            raise self._damaged(name, "it is a link" if e.errno == errno.ELOOP else str(e)) from e
        found = file.seek(0, os.SEEK_END)
        if size is not None and found != size:
            file.close()
            raise self._damaged(name, f"it has {found} bytes; {size} were written")
        return file

    def _damaged(self, name: str, cause: str) -> DamagedError:
        return DamagedError(f"{os.path.join(self.path, name)!r} is damaged: {cause}")


def _swap(view: memoryview, width: int) -> None:
    """Turn elements of the other byte order into ours, in place."""
    from array import array

    if width > 1:
        elements = array({2: "H", 4: "I", 8: "Q"}[width], view.tobytes())
        elements.byteswap()
        view[:] = memoryview(elements).cast("B")


# Writing -----------------------------------------------------------------------------------------------------------


def write_checkpoint(
    path: str,
    arrays: Iterable[tuple[str, HostArray]],
    structure: Any,
    *,
    step: int,
    serial: int,
    metadata: Any,
    made: Any,
    file_size: int,
) -> Saved:
    """Write a checkpoint into a new folder, flush it to the disk, and read it back; return what was read.

    One array at a time is asked for. `metadata` is a structure, as `structure` is.
    """
    disk.make_folder(path)
    sizes, entries = _write_arrays(path, arrays, file_size)
    manifest = Manifest(step, serial, made, metadata, structure, sizes, entries).to_bytes()
    if len(manifest) > LONGEST:
        raise CheckpointError(
            f"the manifest would have {len(manifest)} bytes, and {LONGEST} are the most that is read; put long lists "
            "of numbers into an array of a part"
        )
    with disk.create(os.path.join(path, MANIFEST)) as file:
        disk.write(file, manifest)
        disk.flush(file)
    disk.flush_folder(path)
    saved = Saved(path)
    if saved._manifest() != manifest:
        raise saved._damaged(MANIFEST, "what was read back is not what was written")
    saved.verify()
    return saved


def _write_arrays(
    path: str, arrays: Iterable[tuple[str, HostArray]], file_size: int
) -> tuple[list[int], dict[str, Entry]]:
    """Write arrays one after the other, into a new file when one is full; return the files' sizes and the table."""
    sizes: list[int] = []
    entries: dict[str, Entry] = {}
    file = None
    try:
        for name, host in arrays:
            view = _bytes(name, host)
            if file is None or (sizes[-1] and sizes[-1] + len(view) > file_size):
                _finish(file)
                file = disk.create(os.path.join(path, file_name(len(sizes))))
                sizes.append(0)
            form = Form(host.dtype, tuple(int(n) for n in host.shape))  # whatever tuple the library has
            entries[name] = Entry(form, len(sizes) - 1, sizes[-1], _write(file, view))
            sizes[-1] += len(view)
        _finish(file)
    finally:
        if file is not None:
            file.close()
    return sizes, entries


def _finish(file: disk.File | None) -> None:
    if file is not None:
        disk.flush(file)
        file.close()


def _bytes(name: str, host: HostArray) -> memoryview:
    """Return the bytes of an array, checked against what it says of itself."""
    if host.dtype not in WIDTHS:
        raise CheckpointError(f"array {name!r} has dtype {host.dtype!r}; checkpoints hold {', '.join(WIDTHS)}")
    try:
        return contents(host)
    except ValueError as e:
        raise CheckpointError(f"array {name!r}: {e}") from e


def _write(file: disk.File, view: memoryview) -> str:
    """Write; return the digest of what was to be written."""
    from hashlib import sha256

    digest = sha256()
    write_checked(file, view, digest.update)
    return digest.hexdigest()


def discard(path: str) -> None:
    """Remove a checkpoint, its manifest first, so that no half of it passes for a whole; or a file of its name."""
    if os.path.isdir(path) and not os.path.islink(path):
        for name in sorted(os.listdir(path), key=lambda name: name != MANIFEST):
            disk.remove(os.path.join(path, name))
        disk.remove_folder(path)
    else:
        disk.remove(path)
