"""The parts of a checkpoint: taking their states, and setting them, all or none."""

import sys
from collections.abc import Callable
from typing import Any

from .. import random
from .._version import __version__
from ..backend import HostArray, backend_of, current_backend, installed_backends
from ..errors import CheckpointError, StateError
from . import tree
from .saved import Saved

__all__ = ["check_parts", "copy_of", "made_by", "set_parts", "state_of"]

RANDOM = "random"


class _Random:
    """The place of dzcore's default generator in its stream."""

    def _state(self) -> dict[str, int]:
        return random.default_generator.state_dict()

    def _stage(self, state: dict[str, int]) -> Callable[[], None]:
        checked = random.Generator(0)
        checked.load_state_dict(state)
        return lambda: random.set_state(checked.state)


def check_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts with dzcore's random numbers as the last one.

    Raises:
        TypeError: a part cannot be saved.
    """
    for name, part in parts.items():
        if name == RANDOM:
            raise TypeError(f"{RANDOM!r} is the name for dzcore's own random numbers; give the part another name")
        if isinstance(part, type) or not (_is_stateful(part) or _has(part, "state_dict", "load_state_dict")):
            kind = type(part).__qualname__
            raise TypeError(
                f"{name}= is no option, and as a part it is a {kind}; a part needs the methods state_dict() and "
                f"load_state_dict(state)"
            )
        if _is_stateful(part) and _overrides(part):
            raise TypeError(
                f"{name}: {type(part).__qualname__} extends state_dict or load_state_dict, which are not asked here; "
                f"extend _state and _stage, on which they rest"
            )
    return {**parts, RANDOM: _Random()}


def _overrides(part: Any) -> bool:
    """Tell whether the public methods of a Stateful part were extended further down than those behind them."""

    def depth(method: str) -> int:
        order = type(part).__mro__
        return next((i for i, kind in enumerate(order) if method in vars(kind)), len(order))

    return depth("state_dict") < depth("_state") or depth("load_state_dict") < depth("_stage")


def _is_stateful(part: Any) -> bool:
    """Tell whether a part is one of dzcore.state.Stateful, which lies above this module."""
    return _has(part, "_state", "_stage")


def _has(part: Any, *methods: str) -> bool:
    return all(callable(getattr(part, method, None)) for method in methods)


def state_of(part: Any) -> Any:
    """Return the state of a part; arrays in it may be those that it works with."""
    return part._state() if _is_stateful(part) else part.state_dict()


def copy_of(x: Any) -> HostArray:
    """Copy an array out of its library, and a HostArray too: its buffer may be anything."""
    return HostArray(x.dtype, x.shape, bytes(x.buffer)) if isinstance(x, HostArray) else tree.host_array(x)


def made_by(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the versions of what makes a checkpoint of these arrays."""
    own = {getattr(x, "backend", None) or backend_of(x) for x in arrays.values() if not isinstance(x, HostArray)}
    origins = {each.name: str(each) for each in installed_backends()}
    return {
        "dzcore": __version__,
        "python": sys.version.split()[0],
        "backends": {str(backend): origins.get(backend.name) for backend in sorted(own, key=str)},
    }


def set_parts(parts: dict[str, Any], saved: Saved) -> None:
    """Set all parts: everything is read, checked and made before anything is changed.

    Raises:
        CheckpointError: the checkpoint has other parts, or cannot be read.
        StateError: a state does not fit its part.
    """
    missing, unexpected = sorted(set(parts) - set(saved.parts)), sorted(set(saved.parts) - set(parts))
    if missing or unexpected:
        raise CheckpointError(
            f"{saved.path!r} has other parts. Missing in it: {', '.join(missing) or 'none'}. Unexpected: "
            f"{', '.join(unexpected) or 'none'}. Make the Checkpoint with the parts that it was saved with; one part "
            f"alone can be read by saved.load(name)"
        )
    commits, others = [], []
    for name, part in parts.items():
        if _is_stateful(part):
            try:
                commits.append(part._stage(saved.host_state(name)))
            except StateError as e:
                raise StateError(f"part {name!r} of {saved.path!r} does not fit: {e}") from e
        else:
            others.append((part, saved.load(name)))
    _load(others)
    for commit in commits:
        commit()


def _load(states: list[tuple[Any, Any]]) -> None:
    """Load states into parts that cannot check first; if one raises, the others get back what they had."""
    own, before = current_backend(), []
    try:
        for part, state in states:
            before.append((part, tree.over(part.state_dict(), lambda x: own.from_host(tree.host_array(x)))))
            part.load_state_dict(state)
    except BaseException:
        for part, state in reversed(before):
            part.load_state_dict(state)
        raise
