"""Arrays, and nested containers of them, in files."""

import os
from typing import Any

from .backend import Backend, current_backend, get_backend
from .errors import FileError
from .graph import Variable
from .io import open_archive, tree, write_archive
from .io.archive import check_suffix

__all__ = ["load", "save"]


def save(path: str | os.PathLike[str], x: Any, *, compress: bool = True) -> None:
    """Save an array, or nested lists, tuples and dictionaries of arrays and plain values, all or nothing.

    The suffix of `path` says the format: .npz, which `numpy.load` reads, compressed or not; or .safetensors, which is
    never compressed. An array's name in the file is its path, such as `layers/0/W`. Arrays of any backend and Variables
    (without their graph) are taken, as well as None, bool, int, float and str.

    Raises:
        TypeError: something in x is of another type, or a key no string; its place is named.
        FileError: the format is unknown, or cannot hold x.
        OSError: what the system says about the path; what was there before stays, or all of x is there (where only the
            last flush, that of the folder, failed).
    """
    check_suffix(path)
    structure, arrays = tree.split(x)
    write_archive(path, arrays, structure, compress=compress)


def load(path: str | os.PathLike[str], *, backend: str | Backend | None = None, limit: int | None = None) -> Any:
    """Return what `save` saved, its arrays as Variables without gradient on `backend`, or the current one.

    A file that something else wrote is a dictionary from names to Variables. `limit` is how many bytes the arrays may
    have in all, by default 1 GiB and 100 times the size of the file.

    Raises:
        FileError: the file is damaged, in another format or too large, or `backend` lacks a dtype; what and where.
        OSError: what the system says about the path.
    """
    home = current_backend() if backend is None else get_backend(backend)
    with open_archive(path, limit=limit) as archive:
        for name, form in archive.forms.items():
            if form.dtype not in home.dtypes:
                raise FileError(f"{archive.path!r} has {name!r} as {form}, and backend {home} has no {form.dtype}")
        arrays = {}
        for name, host in archive.read():
            arrays[name] = Variable._of(home.adopt(host), home, None)
        if archive.structure is None:
            return {name: arrays[name] for name in archive.forms}
        return tree.join(archive.structure, arrays.__getitem__)
