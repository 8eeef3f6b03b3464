"""The contract between dzcore and an array library."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from ..errors import BackendError
from . import portable
from .namespace import EXTENSIONS, Namespace

__all__ = ["API_VERSION", "DTYPES", "Backend", "HostArray"]

#: Version of this contract. A plugin fits when its major number is equal and its minor one not newer.
API_VERSION = (1, 0)

#: The dtypes that a backend may carry, by their standard names.
DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
)
FLOATING = frozenset({"float16", "bfloat16", "float32", "float64"})


class HostArray(NamedTuple):
    """An array in plain Python terms, the form in which data passes from one library to another.

    `dtype` is a standard name such as `"float32"`, `buffer` anything with the buffer protocol that holds the
    elements in C order and native byte order.
    """

    dtype: str
    shape: tuple[int, ...]
    buffer: Any


class Backend(ABC):
    """One array library, on one of its devices.

    A plugin subclasses this, fills in the five required members (`why_unavailable`, `xp`, `owns`, `to_host`,
    `from_host`), and announces the class in the entry-point group `dzcore.backends`. Every other method has a
    portable form written in standard functions; override one to be faster, never to give another answer.

    dzcore's own functions of arrays, those in `dzcore.backend.namespace.EXTENSIONS`, can be made faster as well: by a
    method of the same name with the same arguments, less the namespace. `dzcore.testing` holds every override against
    the portable form.
    """

    name: ClassVar[str]  #: [a-z][a-z0-9_]*
    api_version: ClassVar[tuple[int, int]]  #: written out in the plugin, never taken from `API_VERSION`
    priority: ClassVar[int] = 0  #: the usable backend with the highest one is the default
    accelerator: ClassVar[bool] = False  #: what `to_gpu()` looks for; its values are not read without need
    known_failures: ClassVar[Mapping[str, str]] = {}  #: patterns of tests in the conformance kit, and why each fails

    def __init__(self, device: str | None = None) -> None:
        """Open the backend on `device`, the part after the colon in `"cupy:1"`; None is the library's default.

        Raises:
            ValueError: the class does nothing about devices, and does not list this one in `devices`.
        """
        cls = type(self)
        if cls.__init__ is Backend.__init__ and cls.device is Backend.device and device not in (None, *cls.devices()):
            raise ValueError(f"device={device!r}: backend {self.name} has no such device; say {self.name!r}")
        self.device_name = device

    # The five required members -------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def why_unavailable(cls) -> str | None:
        """Return None if the backend works on this machine, else one sentence with the reason. Never raises."""

    @property
    @abstractmethod
    def xp(self) -> Any:
        """The array-API namespace, normally one of array_api_compat's."""

    @abstractmethod
    def owns(self, obj: object) -> bool:
        """Tell whether `obj` is an array (or array scalar) of this backend, on this device."""

    @abstractmethod
    def to_host(self, array: Any) -> HostArray:
        """Copy an array out, bit for bit."""

    @abstractmethod
    def from_host(self, host: HostArray) -> Any:
        """Make an array of this backend from a copy of `host`, bit for bit, on this backend's device."""

    # Primitives: what the standard lacks ---------------------------------------------------------------------

    def index_add(self, size: int, index: Any, values: Any) -> Any:
        """Add up rows: `out[i] = sum of values[k] over all k with index[k] == i`, zeros where there is none.

        `index` (n,) holds integers in [0, size), `values` is (n, ...); the result is (size, ...) in the dtype
        of `values`. Repeated indices add up; an inf or nan reaches its own row only.
        """
        return portable.index_add(self.xp, size, index, values)

    def windows(self, x: Any, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Any:
        """Slide a window over the last N axes: (..., *spatial) to (..., *size, *out).

        `out = (spatial - dilation * (size - 1) - 1) // stride + 1`, axis by axis; no padding. The result may be
        a read-only view.
        """
        return portable.windows(self.xp, x, size, stride, dilation)

    def windows_adjoint(
        self,
        columns: Any,
        spatial: tuple[int, ...],
        size: tuple[int, ...],
        stride: tuple[int, ...],
        dilation: tuple[int, ...],
    ) -> Any:
        """Add every window back to where it came from, (..., *size, *out) to (..., *spatial): `windows` transposed."""
        return portable.windows_adjoint(self.xp, columns, spatial, size, stride, dilation)

    def random_bits(self, seed: int, position: int, count: int) -> Any:
        """Return words `position` to `position + count` of the random stream `seed`, each in [0, 2**32).

        The stream is Philox4x64-10 (Salmon et al., 2011) with key (seed, 0) and counters 0, 1, 2 …; each
        64-bit output gives two words, the lower half first. The dtype is any integer dtype that holds the
        values (uint32 or int64).
        """
        return portable.random_bits(self.xp, seed, position, count, device=self.device)

    def update(
        self, formula: Callable[..., tuple[Any, ...]], targets: tuple[Any, ...], *inputs: Any
    ) -> tuple[Any, ...]:
        """Replace `targets` by `formula(xp, *targets, *inputs)`, an elementwise formula with one result a target.

        Return the arrays that hold the new values: the targets themselves where the library can write in place,
        new ones otherwise. Inputs are arrays of the same shape, or Python scalars; where they share memory with a
        target, every input counts as read before anything is written.
        """
        return tuple(formula(self.ops, *targets, *inputs))

    def updater(
        self, formula: Callable[..., tuple[Any, ...]], targets: Sequence[tuple[Any, ...]]
    ) -> Callable[[Sequence[Any], tuple[float, ...]], Sequence[tuple[Any, ...]]]:
        """Return `updates(inputs, numbers)`, which makes the `update` of many targets, again and again.

        Each has an input of its own, and all the same numbers. What comes back as the same tuple as in `targets` has
        been written in place. Arrays of different rows share no memory.
        """
        return lambda inputs, numbers: [
            self.update(formula, own, x, *numbers) for own, x in zip(targets, inputs, strict=True)
        ]

    def fuse(self, formula: Callable[..., Any]) -> Callable[..., Any]:
        """Turn an elementwise `formula(xp, *arrays_and_scalars)` into a function of the arrays and scalars that
        makes one pass over memory; by default into one that simply calls it.

        The arrays broadcast against each other, to a shape that every result of the formula has. `xp` is what it is in
        rules, with dzcore's own functions (`xp.sigmoid`), `xp.fused` for a formula within the formula, and
        `xp.backend`. The formula depends on nothing but its arguments, as a function of a module does: what is made of
        it is kept, in `ops.loops`. Small arrays come as well, and those without elements.
        """
        ops = self.ops
        return lambda *inputs: formula(ops, *inputs)

    def number(self, x: float, dtype: Any) -> Any:
        """Return a number as the library's operators take it fastest beside an array of this dtype, which the result
        has as well if it is floating-point; by default as it is.
        """
        return x

    def adopt(self, host: HostArray) -> Any:
        """Make an array of `host`, bit for bit, perhaps in its memory: nobody else will use that."""
        return self.from_host(host)

    def synchronize(self) -> None:
        """Wait until all work given to the device is done."""

    def get_num_threads(self) -> int:
        """Return how many threads of the processor compute."""
        raise BackendError(f"backend {self} does not say how many threads it computes with")

    def set_num_threads(self, number: int) -> None:
        """Let that many threads compute; it is 1 or more."""
        raise BackendError(f"backend {self} decides itself how many threads it computes with; use its library's means")

    def report(self) -> str | None:
        """Return what the backend has to say about the work so far, for `dz train` to print at its end."""
        return None

    @classmethod
    def devices(cls) -> list[str]:
        """List the devices that `name:device` can name, for `dz backends`."""
        return []

    @classmethod
    def default_device(cls) -> str | None:
        """Name the device that None stands for, so that `name` and `name:device` are one backend, if it has a name."""
        return None

    # What follows from the above; a plugin leaves these alone ------------------------------------------------

    @property
    def device(self) -> Any:
        """The library's own device object for creation functions; None where the default will do."""
        return None

    @cached_property
    def ops(self) -> Namespace:
        """`xp` for rules: the array library's functions and dzcore's own, on raw arrays."""
        return Namespace(self)

    @cached_property
    def dtypes(self) -> dict[str, Any]:
        """The dtypes of this device by their standard names, with float16 and bfloat16 where the library has them."""
        known = dict(self.xp.__array_namespace_info__().dtypes(device=self.device))
        known |= {name: getattr(self.xp, name) for name in ("float16", "bfloat16") if hasattr(self.xp, name)}
        return {name: known[name] for name in DTYPES if name in known}

    @cached_property
    def _dtype_names(self) -> dict[Any, str]:
        return {}

    def dtype_name(self, dtype: Any) -> str:
        """Return the standard name of a dtype of this library."""
        try:
            return self._dtype_names[dtype]
        except KeyError:
            pass
        for name, own in self.dtypes.items():
            if dtype == own:
                self._dtype_names[dtype] = name
                return name
        raise TypeError(f"dtype={dtype!r} is not a dtype of backend {self}; it has {', '.join(self.dtypes)}")

    def dtype(self, dtype: Any) -> Any:
        """Return this library's dtype for a standard name, or for any library's dtype of that name."""
        name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None) or str(dtype).rpartition(".")[2]
        try:
            return self.dtypes[name]
        except KeyError:
            raise TypeError(
                f"dtype={dtype!r} is not known to backend {self}; it has {', '.join(self.dtypes)}"
            ) from None

    def is_floating(self, dtype: Any) -> bool:
        """Tell whether values of this dtype can carry a gradient."""
        return self.dtype_name(dtype) in FLOATING

    def asarray(self, obj: Any, dtype: Any = None) -> Any:
        """Make an array of `obj`, on this backend's device."""
        return self.xp.asarray(obj, dtype=None if dtype is None else self.dtype(dtype), device=self.device)

    @classmethod
    def capabilities(cls) -> list[str]:
        """Name the primitives and dzcore's own functions that this backend overrides."""
        primitives = [name for name in PRIMITIVES if getattr(cls, name) is not getattr(Backend, name)]
        return primitives + [name for name in EXTENSIONS if hasattr(cls, name)]

    def __str__(self) -> str:
        return self.name if self.device_name is None else f"{self.name}:{self.device_name}"

    def __repr__(self) -> str:
        return f"<backend {self}>"

    def __deepcopy__(self, memo: object) -> "Backend":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        from .registry import get_backend

        return get_backend, (str(self),)  # in another process, the backend that has this name there


PRIMITIVES = (
    "index_add", "windows", "windows_adjoint", "random_bits", "number", "update", "updater", "fuse", "synchronize",
)  # fmt: skip
