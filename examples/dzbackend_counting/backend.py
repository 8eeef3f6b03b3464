"""Another backend with a meter: how often each operation was called, and how many bytes went in and out.

`counting:numpy` computes with NumPy, `counting` alone with the usable backend of highest priority. Nothing here knows
which library that is: what goes in is unwrapped, what comes out is wrapped and counted.
"""

import operator
from collections.abc import Callable
from math import prod
from threading import Lock
from typing import Any

from dzcore.backend import Backend, HostArray, describe_backends, get_backend
from dzcore.backend.namespace import EXTENSIONS

FREE = {"broadcast_to", "expand_dims", "matrix_transpose", "permute_dims", "reshape", "squeeze"}  # views, as a rule
BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")
OTHERS = ("neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge", "getitem", "setitem")


class Counted:
    """An array of the other backend, whose operators are counted."""

    __array_ufunc__ = None  # NumPy's numbers leave mixed operators to this class

    def __init__(self, raw: Any, backend: "CountingBackend") -> None:
        self.raw, self.backend = raw, backend

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return self.backend.xp

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim", "size", "device"):
            return getattr(self.raw, name)
        if name in ("T", "mT"):
            return Counted(getattr(self.raw, name), self.backend)
        raise AttributeError(f"{name!r} is no attribute that the array API gives an array")


def _operator(name: str, apply: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Counted, *operands: Any) -> Any:
        if "item" not in name and not all(isinstance(x, Counted | int | float) for x in operands):
            return NotImplemented
        return self.backend.counted(name, apply)(self, *operands)

    return method


for _name in (*BINARY, *OTHERS):
    setattr(Counted, f"__{_name}__", _operator(_name, getattr(operator, f"__{_name}__")))
for _name in BINARY:
    _plain = getattr(operator, f"__{_name}__")
    setattr(Counted, f"__r{_name}__", _operator(_name, lambda x, y, plain=_plain: plain(y, x)))
for _name, _convert in {"float": float, "int": int, "bool": bool, "index": operator.index, "repr": repr}.items():
    setattr(Counted, f"__{_name}__", lambda self, convert=_convert: convert(self.raw))


class CountedNamespace:
    """The other backend's namespace, whose functions are counted."""

    def __init__(self, backend: "CountingBackend") -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend.inner.xp, name)
        if callable(found) and not isinstance(found, type):  # some libraries' dtypes are classes
            found = self._backend.counted(name, found)
        setattr(self, name, found)
        return found


def _default() -> str:
    """Name the best of all the other backends."""
    others = [info for info in describe_backends() if info.usable and info.name != CountingBackend.name]
    return max(others, key=lambda info: info.priority).name


class CountingBackend(Backend):
    """`counting:SPEC`: the backend that SPEC names, and `report()` of what it was asked for."""

    name = "counting"
    api_version = (1, 0)
    priority = -100  # only for those who ask for it
    xp = device = dtypes = None  # type: ignore[assignment]  # of each instance

    def __init__(self, device: str | None = None) -> None:
        super().__init__(device)
        self.inner = get_backend(device or _default())
        self.xp, self.device, self.dtypes = CountedNamespace(self), self.inner.device, self.inner.dtypes
        self.accelerator = self.inner.accelerator  # type: ignore[misc]
        self.counts: dict[str, tuple[int, int]] = {}  #: operation -> calls, bytes
        self._lock = Lock()
        for name in ("index_add", "windows", "windows_adjoint", "random_bits", *EXTENSIONS):
            if hasattr(self.inner, name):
                setattr(self, name, self.counted(name, getattr(self.inner, name)))

    @classmethod
    def why_unavailable(cls) -> str | None:
        return None  # where there is no other backend, opening it says so

    def owns(self, obj: object) -> bool:
        return isinstance(obj, Counted) and obj.backend is self

    def to_host(self, array: Any) -> HostArray:
        return self.counted("to_host", self.inner.to_host)(array)  # type: ignore[no-any-return]

    def from_host(self, host: HostArray) -> Any:
        return self.counted("from_host", self.inner.from_host)(host)

    def update(self, formula: Callable[..., Any], targets: tuple[Any, ...], *inputs: Any) -> tuple[Any, ...]:
        results = self.counted(f"update {formula.__qualname__}", self.inner.update)(formula, targets, *inputs)
        return tuple(old if old.raw is new.raw else new for old, new in zip(targets, results, strict=True))

    def fuse(self, formula: Callable[..., Any]) -> Callable[..., Any]:
        return self.counted(f"fuse {formula.__qualname__}", self.inner.fuse(formula))

    def synchronize(self) -> None:
        self.inner.synchronize()

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Turn a function of the other backend's arrays into one of this backend's, which counts its calls."""

        def apply(*args: Any, **options: Any) -> Any:
            seen: list[Any] = []
            result = function(*self._unwrap(args, seen), **{k: self._unwrap(v, seen) for k, v in options.items()})
            same = any(result is raw for raw in seen)  # asarray of an array, as a rule
            wrapped = self._wrap(result, seen)
            size = 0 if same or name in FREE else sum(map(self._bytes, seen))
            if seen:  # what has no arrays, such as a question about dtypes, is no operation
                with self._lock:
                    calls, moved = self.counts.get(name, (0, 0))
                    self.counts[name] = calls + 1, moved + size
            return wrapped

        return apply

    def _unwrap(self, x: Any, seen: list[Any]) -> Any:
        if type(x) in (tuple, list):
            return type(x)([self._unwrap(each, seen) for each in x])
        if not isinstance(x, Counted):
            return x
        seen.append(x.raw)
        return x.raw

    def _wrap(self, x: Any, seen: list[Any]) -> Any:
        if isinstance(x, tuple | list) and not self.inner.owns(x):
            parts = [self._wrap(each, seen) for each in x]
            return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
        if not self.inner.owns(x):
            return x
        seen.append(x)
        return Counted(x, self)

    def _bytes(self, raw: Any) -> int:
        bits = "".join(filter(str.isdigit, self.inner.dtype_name(raw.dtype))) or "8"
        return prod(raw.shape) * int(bits) // 8

    def report(self) -> str | None:
        """Return a table of the operations, those first that moved most."""
        rows = sorted(self.counts.items(), key=lambda row: (-row[1][1], row[0]))
        calls, moved = (sum(numbers) for numbers in zip((0, 0), *self.counts.values(), strict=True))
        lines = [f"{'operation':30} {'calls':>9} {'MB in and out':>14} {'share':>6}"]
        for name, (n, size) in [*rows, ("all", (calls, moved))]:
            lines.append(f"{name:30} {n:9,} {size / 1e6:14,.1f} {size / max(moved, 1):6.1%}")
        return "\n".join(lines) if rows else None
