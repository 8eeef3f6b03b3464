"""Nested containers as named arrays and a structure in JSON, and back.

A node of a structure is a plain value (None, a bool, an int, a finite float, a str) or an object with one key:
`{"array": name}`, `{"dict": {key: node}}`, `{"list": [node]}`, `{"tuple": [node]}`, `{"float": "nan"}` (or inf, -inf),
`{"int": "0x…"}` for more than 64 bits.
"""

from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from typing import Any

from ..backend import HostArray, backend_of
from ..errors import FileError
from .archive import Form

__all__ = ["borrow", "check", "form", "host_array", "is_array", "join", "over", "split"]

DEEPEST = 100  #: levels of nesting, far from what Python's and json's recursion bear
ALONE = "array"  #: the name of an array that is in no container


def split(tree: Any, root: str = "x") -> tuple[Any, dict[str, Any]]:
    """Return the structure of nested containers, which JSON can hold, and the arrays in them by name.

    An array's name is its path. A dictionary of arrays alone needs no structure: it is None then.

    Raises:
        TypeError: something cannot be saved; it is named by its place, beginning with `root`.
        FileError: a container contains itself or is nested too deeply, or an array has no data yet.
    """
    arrays: dict[str, Any] = {}
    if tree is None:
        raise TypeError(f"{root} is None; there is nothing to save")
    structure = _take(tree, [root], [], arrays, [])
    flat = structure == {"dict": {name: {"array": name} for name in arrays}}
    return None if flat else structure, arrays


def _take(x: Any, place: list[str], path: list[str], arrays: dict[str, Any], parents: list[int]) -> Any:
    """Return the structure of x, which is at `place` (in Python) and `path` (in names), and add its arrays."""
    kind = type(x)
    if x is None or kind is bool or kind is str:
        return x
    if kind is int:
        return x if x.bit_length() <= 64 else {"int": hex(x)}
    if kind is float:
        return x if isfinite(x) else {"float": str(x)}
    if kind not in (dict, list, tuple):
        if not is_array(x):
            raise TypeError(f"{''.join(place)} is a {kind.__qualname__}; {_remedy(x)}")
        if getattr(x, "_data", x) is None:
            raise FileError(f"{''.join(place)} has no data yet; call its layer once, or give it its size")
        try:
            form(x)
        except TypeError as e:
            raise TypeError(f"{''.join(place)} cannot be saved: {e}") from None
        name = _new_name("/".join(path) if path else ALONE, arrays)
        arrays[name] = x
        return {"array": name}
    if id(x) in parents:
        raise FileError(f"{''.join(place)} contains itself; a file cannot")
    if len(parents) == DEEPEST:
        raise FileError(f"{''.join(place[:4])}… is nested deeper than {DEEPEST} levels, the most that is saved")
    items = x.items() if kind is dict else enumerate(x)
    parents.append(id(x))
    taken = []
    for key, item in items:
        if kind is dict and type(key) is not str:
            raise TypeError(
                f"{''.join(place)} has the key {key!r:.80}; keys are strings in a file, so use {str(key)!r:.80}"
            )
        taken.append((key, _take(item, [*place, f"[{key!r}]"], [*path, str(key)], arrays, parents)))
    parents.pop()
    return {"dict": dict(taken)} if kind is dict else {kind.__name__: [node for _, node in taken]}


def _remedy(x: Any) -> str:
    for kind in (dict, list, tuple, bool, int, float, str):
        if isinstance(x, kind):
            return f"it would come back as a {kind.__name__}, so make it one"
    if hasattr(x, "state_dict"):
        return "save its state_dict()"
    if isinstance(x, set | frozenset):
        return "make it a list"
    return "what can be saved are arrays, numbers, strings, None, and dicts, lists and tuples of them"


def _new_name(path: str, taken: dict[str, Any]) -> str:
    """Return the path, or, where a slash in a key makes two paths equal, the path and a number."""
    name, n = path, 1
    while name in taken:
        name, n = f"{path}~{n + 1}", n + 1
    return name


def join(structure: Any, arrays: Callable[[str], Any]) -> Any:
    """Put containers together again, asking for each array by its name; `check` has seen the structure before."""
    if not isinstance(structure, dict):
        return structure
    ((kind, value),) = structure.items()
    match kind:
        case "array":
            return arrays(value)
        case "dict":
            return {key: join(node, arrays) for key, node in value.items()}
        case "list":
            return [join(node, arrays) for node in value]
        case "tuple":
            return tuple([join(node, arrays) for node in value])
        case "float":
            return float(value)
    return int(value, 16)


def check(structure: Any, names: Iterable[str]) -> None:
    """Check a structure that was read from a file, and that it holds each of these arrays once.

    Raises:
        FileError: it is damaged.
    """
    found, known = sorted(_names(structure, DEEPEST)), sorted(names)
    if found != known:
        raise FileError(f"its structure has {len(found)} arrays, not each of the file's {len(known)} once")


def _names(node: Any, levels: int) -> Iterator[str]:
    """Yield the names of the arrays in a structure, checking all of it."""
    match node:
        case None | bool() | int() | float() | str():
            return
        case {"array": str(name)} if len(node) == 1:
            yield name
        case {"dict": dict(value)} if len(node) == 1 and levels:
            for item in value.values():
                yield from _names(item, levels - 1)
        case {"list": list(value)} | {"tuple": list(value)} if len(node) == 1 and levels:
            for item in value:
                yield from _names(item, levels - 1)
        case {"float": "nan" | "inf" | "-inf"} if len(node) == 1:
            return
        case {"int": str(text)} if len(node) == 1 and _is_hex(text):
            return
        case _:
            raise FileError(f"its structure is damaged at {node!r:.80}")


def _is_hex(text: str) -> bool:
    try:
        return hex(int(text, 16)) == text
    except ValueError:
        return False


def over(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Return new containers with the function applied to all arrays."""
    arrays: dict[str, Any] = {}
    return join(_take(tree, ["x"], [], arrays, []), lambda name: function(arrays[name]))


def is_array(x: object) -> bool:
    """Tell whether this is an array: a Variable, a HostArray, or an array of a library."""
    if isinstance(x, HostArray) or hasattr(x, "to_host"):
        return True
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        return False  # without asking every backend
    try:
        backend_of(x)
    except TypeError:
        return False
    return True


def host_array(x: Any) -> HostArray:
    """Copy a Variable or an array of any backend out of its library; a HostArray stays as it is."""
    if isinstance(x, HostArray):
        return x
    host: HostArray = x.to_host() if hasattr(x, "to_host") else backend_of(x).to_host(x)
    return host


def form(x: Any) -> Form:
    """Return the dtype and shape of a Variable, an array of any backend or a HostArray."""
    if isinstance(x, HostArray):
        return Form(x.dtype, tuple(int(n) for n in x.shape))
    backend = x.backend if hasattr(x, "to_host") else backend_of(x)
    try:
        return Form(backend.dtype_name(x.dtype), tuple(int(n) for n in x.shape))
    except TypeError:  # in another byte order; or it cannot be copied either
        return form(host_array(x))


def borrow(x: Any) -> HostArray:
    """Return a Variable or array as a HostArray that shares its memory, if its library lends it, or has a copy."""
    if isinstance(x, HostArray):
        return x
    try:
        view = memoryview(x.data if hasattr(x, "to_host") else x)
    except (BufferError, RuntimeError, TypeError, ValueError):  # it is on a device, or a dtype that buffers lack
        return host_array(x)
    if view.c_contiguous and len(view.format) == 1:  # two characters: in another byte order
        return HostArray(*form(x), view)
    return host_array(x)
