"""What a backend is measured by: its own portable form, another backend, and plain Python."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from ...backend import Backend, HostArray, get_backend, select
from ...backend.portable import device_of
from ...errors import BackendError
from ...graph import Variable
from ..compare import host_array, values

__all__ = [
    "COMPUTED", "FLOATS", "LAYOUTS", "bits", "constant", "describe", "flat", "host_of", "lay_out", "measures_of",
    "numbers", "offered", "on_device", "own", "portable_form", "prove", "reference_for", "send", "widest",
]  # fmt: skip

#: Floating dtypes that are moved and saved, as far as the backend has them.
FLOATS = ("float16", "bfloat16", "float32", "float64")
#: Those that are computed in: for many a library bfloat16 is one to store numbers in.
COMPUTED = ("float16", "float32", "float64")


class _Portable(Backend):
    """Another backend's arrays and namespace, with every primitive in its portable form."""

    name = "portable"
    api_version = (1, 0)

    def __init__(self, origin: Backend) -> None:
        super().__init__(f"of {origin}")
        self.origin = origin
        self.accelerator = origin.accelerator  # type: ignore[misc]

    @classmethod
    def why_unavailable(cls) -> str | None:
        return None

    @property
    def xp(self) -> Any:
        return self.origin.xp

    @property
    def device(self) -> Any:
        return self.origin.device

    @property
    def dtypes(self) -> dict[str, Any]:
        return self.origin.dtypes

    def owns(self, obj: object) -> bool:
        return self.origin.owns(obj)

    def to_host(self, array: Any) -> HostArray:
        return self.origin.to_host(array)

    def from_host(self, host: HostArray) -> Any:
        return self.origin.from_host(host)


@cache
def portable_form(backend: Backend) -> Backend:
    """Return the same library as a backend that overrides nothing: the measure of every override."""
    return _Portable(backend)


def reference_for(backend: Backend) -> Backend:
    """Return the other usable host backend of highest priority; if none has one above 0, the backend's portable form.

    The priority of the backend under test does not count: nobody may be a measure of themselves by claiming a high one.
    """
    for cls in select._ranked():
        if cls is not type(backend) and not cls.accelerator and cls.priority > 0:
            with suppress(BackendError):
                return get_backend(cls.name)
    return portable_form(backend)


def measures_of(backend: Backend) -> list[Backend]:
    """Return what a backend is compared with: the reference, and its portable form where it overrides anything."""
    plain = [portable_form(backend)] if backend.capabilities() else []
    return list(dict.fromkeys([reference_for(backend), *plain]))


def offered() -> Any:
    """Return the namespace of Variables, which is dzcore itself."""
    return Variable.__array_namespace__(None)  # type: ignore[arg-type]  # it is the same for all


def widest(backend: Backend) -> str:
    """Name the widest floating dtype that the backend has."""
    return "float64" if "float64" in backend.dtypes else "float32"


# Arrays --------------------------------------------------------------------------------------------------------------


def send(backend: Backend, numbers: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """Make a raw array of Python numbers in C order."""
    return backend.from_host(host_array(list(numbers), shape, dtype))


def own(backend: Backend, array: Any) -> Any:
    """Return a result as an array (some libraries make scalars of those without axes); it must be the backend's."""
    assert backend.owns(array), f"{type(array).__module__}.{type(array).__qualname__} is no array of {backend}"
    return backend.xp.asarray(array)


def host_of(backend: Backend, array: Any) -> HostArray:
    """Copy an array of the backend out."""
    return backend.to_host(own(backend, array))


def bits(backend: Backend, array: Any) -> tuple[str, tuple[int, ...], bytes]:
    """Return dtype, shape and bytes of an array of the backend: equal where the arrays are, bit for bit."""
    host = host_of(backend, array)
    return host.dtype, tuple(host.shape), bytes(host.buffer)


def numbers(backend: Backend, array: Any) -> list[Any]:
    """Return the elements of an array of the backend as Python numbers, in C order."""
    return values(host_of(backend, array))


def constant(backend: Backend, array: Any) -> Variable:
    """Return a raw array of the backend as a constant Variable."""
    return Variable._of(own(backend, array), backend, None)


def describe(backend: Backend, array: Any) -> tuple[str, tuple[int, ...]]:
    """Return dtype and shape."""
    return backend.dtype_name(array.dtype), tuple(array.shape)


def on_device(backend: Backend, array: Any) -> bool:
    """Tell whether the array lies on the device that the backend names."""
    return backend.device is None or bool(device_of(array) == backend.device)


#: Ways in which an array can lie in memory, as functions of (xp, array (m, n)).
LAYOUTS: dict[str, Callable[[Any, Any], Any]] = {
    "plain": lambda xp, x: x,
    "transposed": lambda xp, x: xp.permute_dims(x, (1, 0)),
    "strided": lambda xp, x: x[:, ::2],
    "sliced": lambda xp, x: x[1:, 1:],
    "reversed": lambda xp, x: xp.flip(x),
    "broadcast": lambda xp, x: xp.broadcast_to(x[:1, :], x.shape),
}


def lay_out(layout: str, rows: list[list[Any]]) -> list[list[Any]]:
    """Return nested lists (m, n) as `LAYOUTS[layout]` arranges them."""
    return {
        "plain": lambda: rows,
        "transposed": lambda: [list(column) for column in zip(*rows, strict=True)],
        "strided": lambda: [row[::2] for row in rows],
        "sliced": lambda: [row[1:] for row in rows[1:]],
        "reversed": lambda: [row[::-1] for row in rows[::-1]],
        "broadcast": lambda: [rows[0]] * len(rows),
    }[layout]()


def flat(rows: list[list[Any]]) -> list[Any]:
    """Return the elements of nested lists (m, n) in C order."""
    return list(chain.from_iterable(rows))


# Properties ----------------------------------------------------------------------------------------------------------


def prove(prove_this: Callable[..., None], *strategies: Any, examples: int = 25, **named: Any) -> None:
    """Run a property on drawn examples: the same ones at every run, whatever profile hypothesis has.

    A test calls it with a function of its own, since hypothesis objects to a decorated method that several classes
    inherit.
    """
    chosen = settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # no smaller example is looked for: on a slow library that takes minutes
    )  # fmt: skip
    decorate: Any = given(*strategies, **named)
    chosen(decorate(prove_this))()
