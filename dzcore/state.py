"""Stateful: what can be saved in the middle of a training, and continued from there."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from .backend import Backend, HostArray
from .errors import StateError
from .graph import Variable, as_array, as_variable
from .graph.variable import owned
from .io.tree import form, over

__all__ = ["Stateful", "checked", "form", "placed"]


class Stateful:
    """An object with a state: nested dictionaries (with strings as keys), lists and tuples of arrays and plain values
    (None, bool, int, float, str).

    A subclass says what its state is (`_state`), and what is to be done to have another one (`_stage`). The latter
    finds everything that can be wrong before it returns, and changes nothing: that is left to the function that it
    returns. So several objects can be restored, all or none.
    """

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """Return the state; arrays in it may be those that the object goes on working with."""

    @abstractmethod
    def _stage(self, state: dict[str, Any]) -> Callable[[], None]:
        """Check a state, whose arrays may be HostArrays, arrays or Variables of any backend; return what sets it.

        Raises:
            StateError: it does not fit; everything that does not is listed.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state, which later training does not change; arrays are Variables without gradient."""
        return over(self._state(), _copy)  # type: ignore[no-any-return]

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Continue from a state that `state_dict` returned; all of it, or nothing changes."""
        self._stage(state)()


def _copy(x: Any) -> Variable:
    variable = as_variable(x)
    return Variable._of(placed(variable, variable.backend), variable.backend, None)


def placed(x: Any, backend: Backend) -> Any:
    """Return a copy of a HostArray, or of a Variable or array of any backend, as an array of `backend`."""
    if not isinstance(x, HostArray):
        variable = as_variable(x)
        if variable.backend is backend:
            return owned(variable.data, backend)
    return as_array(x, backend)


def checked(what: Any, state: Any, /, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """Return a state of `what` that has these entries, of these types, and no others; in their order.

    Raises:
        StateError: it is another kind of state.
    """
    name = what if isinstance(what, str) else type(what).__name__
    if not isinstance(state, dict) or set(state) != set(kinds):
        found = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise StateError(f"this is not the state of a {name}: it has {found}, and {sorted(kinds)} were expected")
    wrong = [
        f"{key}={state[key]!r:.80} cannot be"
        for key, kind in kinds.items()
        if not isinstance(state[key], kind) or isinstance(state[key], bool) is not (kind is bool)
    ]
    if wrong:
        raise StateError(f"this is not the state of a {name}: {'; '.join(wrong)}")
    return {key: state[key] for key in kinds}
