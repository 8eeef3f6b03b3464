"""Weights by the paths of a model: what fits it, what does not, and all of it or nothing."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..backend import Backend, current_backend
from ..backend.base import FLOATING
from ..errors import BackendError, StateError, WeightsError
from ..graph import Variable, as_variable
from ..graph.variable import owned
from ..io.archive import Archive, Form
from ..state import checked, form, placed

if TYPE_CHECKING:
    from ..graph import Parameter
    from .base import Buffer, Layer

    Value: TypeAlias = Parameter | Buffer

__all__ = ["Names", "Source", "Unmatched", "by_path", "continued", "sized", "stage", "state"]

#: From the names in a file to paths of a model: a mapping, or a function. None leaves an entry out.
Names = Mapping[str, str | None] | Callable[[str], str | None]


class Unmatched(NamedTuple):
    """What `strict=False` has left alone."""

    missing: tuple[str, ...]  #: paths of the model that nothing was for
    unexpected: tuple[str, ...]  #: names of arrays that the model lacks


class Source(NamedTuple):
    """Named arrays that may be for a model: those of a file, read when they are asked for, or of a dictionary."""

    title: str
    what: str  #: "the file" or "the state", for messages
    forms: Mapping[str, Form | None]  #: None: no array, for a parameter without size
    read: Callable[[Iterable[str]], Iterable[tuple[str, Any]]]
    place: Callable[[Any, Backend], Any]  #: makes a new array of one of them

    @classmethod
    def of_file(cls, archive: Archive) -> "Source":
        """Take the arrays of an open file."""
        return cls(repr(archive.path), "the file", archive.forms, archive.read, lambda host, home: home.adopt(host))

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any], path: str | os.PathLike[str] | None = None) -> "Source":
        """Take arrays that are in memory; `path` says which file they come from."""
        if not isinstance(arrays, Mapping):
            raise TypeError(f"the state is a {type(arrays).__name__}; it must be a dictionary from paths to arrays")
        title, what = ("the state", "the state") if path is None else (repr(os.fspath(path)), "the file")
        forms = {name: _form(name, x) for name, x in arrays.items()}
        return cls(title, what, forms, lambda names: ((name, arrays[name]) for name in names), placed)


class _Entry(NamedTuple):
    """An array that is for a path of the model."""

    name: str
    form: Form | None
    transposed: bool


# What fits -----------------------------------------------------------------------------------------------------------


def stage(
    layer: "Layer", source: Source, strict: bool = True, names: Names | None = None, problems: Iterable[str] = ()
) -> tuple[Unmatched, Callable[[], None]]:
    """Check all names and forms, then make the arrays that are wanted; return what is left over, and what sets them.

    Raises:
        WeightsError: lists everything that does not fit, after `problems`; no array has been read.
    """
    own = by_path(layer)
    entries, unexpected, found = _assign(source.forms, own, names)
    problems = [*problems, *found]
    left = Unmatched(tuple(path for path in own if path not in entries), tuple(unexpected))
    if strict:
        problems += [f"missing: {path}" for path in left.missing]
        problems += [f"unexpected: {name} {source.forms[name] or ''}".rstrip() for name in left.unexpected]
    for path, entry in entries.items():
        if problem := _misfit(own[path], entry.form):
            which = f"{source.what} {entry.form or 'has none yet'}{', transposed' * entry.transposed}"
            problems.append(f"{path}: the model has {problem}, {which}")
    problems = problems or _disagreements(layer, {id(own[path]): entry.form for path, entry in entries.items()})
    if not problems and not entries and (own or source.forms):
        problems = [f"it has none of {', '.join(own) or 'its names, for there are none'}"]
    if problems:
        raise WeightsError(f"{source.title} does not fit this {type(layer).__name__}: {'; '.join(problems)}")

    paths = {entry.name: path for path, entry in entries.items()}
    made: list[tuple[Value, Any, Backend]] = []
    for name, x in source.read([name for name in source.forms if name in paths]):
        if x is None:
            continue
        value, home = own[paths[name]], _home(own[paths[name]])
        array = source.place(x, home)
        made.append((value, _transposed(array, home) if entries[paths[name]].transposed else array, home))

    def commit() -> None:
        for value, array, home in made:
            value._set(array, home)

    return left, commit


def _assign(
    forms: Mapping[str, Form | None], own: Mapping[str, "Value"], names: Names | None
) -> tuple[dict[str, _Entry], list[str], list[str]]:
    """Return the entry of each path, the names of those that have none, and what is wrong with `names`."""
    entries: dict[str, _Entry] = {}
    unexpected, problems = [], []
    if isinstance(names, Mapping):
        problems += [f"names has {name!r}, which is not there" for name in names if name not in forms]
    for name, found in forms.items():
        path = _renamed(name, names)
        if path is None:
            continue
        transposed = path != name and path not in own and path.endswith(".T")
        target = path.removesuffix(".T") if transposed else path
        if target not in own:
            if path == name:
                unexpected.append(name)
            else:
                problems.append(f"names says {name!r} is {path!r}, which the model lacks")
        elif target in entries:
            problems.append(f"{target}: both {entries[target].name!r} and {name!r} are for it")
        elif transposed and found is not None and len(found.shape) != 2:
            problems.append(f"{target}: {name!r} is {found}, and .T is for two axes")
        else:
            turned = Form(found.dtype, found.shape[::-1]) if transposed and found is not None else found
            entries[target] = _Entry(name, turned, transposed)
    return entries, unexpected, problems


def _renamed(name: str, names: Names | None) -> str | None:
    if names is None:
        return name
    if not isinstance(names, Mapping) and not callable(names):
        raise TypeError(f"names={names!r} must be a mapping or a function, from names to paths of the model")
    path = names.get(name, name) if isinstance(names, Mapping) else names(name)
    if path is not None and not isinstance(path, str):
        raise TypeError(f"names gives {path!r} for {name!r}; it must be a path of the model, or None to leave it out")
    return path


def _misfit(value: "Value", found: Form | None) -> str | None:
    """Return what a parameter must be, if an array is not."""
    if value._data is not None:
        mine = form(value)
        return None if mine == found else str(mine)
    if found is None:
        return None
    wanted, home = value.lazy_shape, _home(value)
    if wanted is not None and (
        len(wanted) != len(found.shape) or any(n not in (None, m) for n, m in zip(wanted, found.shape, strict=True))
    ):
        return f"shape {wanted} (None: any)"
    if value.lazy_dtype is not None and value.lazy_dtype != found.dtype:
        return f"dtype {value.lazy_dtype}"
    if found.dtype not in FLOATING or found.dtype not in home.dtypes:
        return f"one of the dtypes {', '.join(d for d in home.dtypes if d in FLOATING)} of {home}"
    return None


def _disagreements(layer: "Layer", forms: Mapping[int, Form | None]) -> list[str]:
    """List the layers whose parameters fit one by one, and not together; `forms` has the new ones by their id."""
    from .tree import named_layers

    problems = []
    for path, each in named_layers(layer).items():
        shapes = {}
        for name, value in vars(each).items():
            if new := forms.get(id(value)):
                shapes[name] = new.shape
            elif isinstance(value, Variable) and value._data is not None:
                shapes[name] = value.shape
        if problem := each._disagreement(shapes):
            problems.append(f"{path}: {problem}" if path else problem)
    return problems


# Values --------------------------------------------------------------------------------------------------------------


def by_path(layer: "Layer") -> dict[str, "Value"]:
    """Return all parameters and buffers by their paths."""
    own: dict[str, Value] = {}
    for path, value in layer.named_state():
        if own.setdefault(path, value) is not value:  # a slash in a key, or the keys 1 and "1"
            raise WeightsError(f"two arrays of this {type(layer).__name__} have the path {path!r}; rename one")
    return own


def sized(layer: "Layer") -> dict[str, "Value"]:
    """Return all parameters and buffers by their paths; each must have data."""
    own = by_path(layer)
    for path, value in own.items():
        if value._data is None:
            raise WeightsError(f"{path} has no size yet; call the model once, or give its layer in_size, before saving")
    return own


def _form(name: Any, x: Any) -> Form | None:
    if not isinstance(name, str):
        raise StateError(f"{name!r} is a {type(name).__name__}; it must be a path of the model")
    try:
        return None if x is None else form(x)
    except (AttributeError, BackendError, TypeError) as error:
        raise StateError(f"{name!r} is a {type(x).__name__}; it must be an array with data") from error


def _home(value: "Value | None") -> Backend:
    return current_backend() if value is None or value._data is None else value.backend


def _transposed(array: Any, home: Backend) -> Any:
    """Return a matrix with its axes exchanged, in C order again: a Parameter is no view."""
    return owned(home.xp.permute_dims(array, (1, 0)), home)


# For checkpoints -----------------------------------------------------------------------------------------------------


def state(layer: "Layer") -> dict[str, Any]:
    """Return what a training goes on from: weights (None without a size), and what layers carry between steps."""
    weights = {path: None if value._data is None else value.detach() for path, value in by_path(layer).items()}
    values = {path: getattr(each, name) for path, (each, name) in _carried(layer).items()}
    return {"weights": weights, "carried": {path: x if x is None else as_variable(x) for path, x in values.items()}}


def continued(layer: "Layer", state: dict[str, Any]) -> Callable[[], None]:
    """Check what `state` returned, and return what sets it."""
    carried = checked(layer, state, weights=dict, carried=dict)["carried"]
    own = _carried(layer)
    problems = [f"missing: {path}, which is carried" for path in own if path not in carried]
    problems += [f"unexpected: {path}, which would be carried" for path in carried if path not in own]
    homes = {path: _home(next((value for _, value in each.named_state()), None)) for path, (each, _) in own.items()}
    for path in own.keys() & carried.keys():
        if (found := _form(path, carried[path])) and found.dtype not in homes[path].dtypes:
            problems.append(f"{path}: it is {found}, which {homes[path]} does not have")
    _, commit = stage(layer, Source.of_arrays(state["weights"]), problems=problems)
    values = [
        (each, name, None if (x := carried[path]) is None else Variable._of(placed(x, homes[path]), homes[path], None))
        for path, (each, name) in own.items()
    ]

    def commit_all() -> None:
        commit()
        for each, name, x in values:
            setattr(each, name, x)

    return commit_all


def _carried(layer: "Layer") -> dict[str, tuple["Layer", str]]:
    """Return the layers and names of all attributes that are carried, by their paths."""
    from .tree import named_layers

    return {
        f"{path}/{name}" if path else name: (each, name)
        for path, each in named_layers(layer).items()
        for name in each.carried
    }
