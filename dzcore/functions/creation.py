"""Creation functions of the array API, on the current backend; and its dtypes, constants and questions about them.

What they return are constants. `Variable(...)` makes a value whose gradient is wanted.
"""

import math
from collections.abc import Sequence
from typing import Any

from ..backend import Backend, current_backend, get_backend
from ..backend.base import DTYPES
from ..graph import Variable, as_variable
from ..graph.variable import DEFAULT_FLOAT

__all__ = [
    "arange", "asarray", "can_cast", "e", "empty", "empty_like", "eye", "finfo", "from_dlpack", "full", "full_like",
    "iinfo", "inf", "isdtype", "linspace", "nan", "newaxis", "ones", "ones_like", "pi", "result_type", "zeros",
    "zeros_like",
]  # fmt: skip

e, pi, inf, nan, newaxis = math.e, math.pi, math.inf, math.nan, None

Target = str | Backend | None


class DType(str):
    """A dtype by its standard name; equal to every library's dtype of that name."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        name = other if isinstance(other, str) else getattr(other, "__name__", None) or str(other).rpartition(".")[2]
        return str.__eq__(self, name)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


dtypes = {name: DType(name) for name in DTYPES if not name.startswith("complex")}


def _make(name: str, *args: Any, dtype: Any, backend: Target, device: Any, **options: Any) -> Variable:
    own = current_backend() if backend is None else get_backend(backend)
    options["device"] = own.device if device is None else device
    array = getattr(own.xp, name)(*args, dtype=own.dtype(dtype), **options)
    return Variable._of(array, own, None)


def asarray(
    obj: Any, *, dtype: Any = None, backend: Target = None, device: Any = None, copy: bool | None = None
) -> Variable:
    """Make a constant of an array of any backend, a number, or a nested list (float32, int64 or bool)."""
    if isinstance(obj, Variable) and dtype is None and backend is None and not copy:
        return obj
    if isinstance(obj, Variable):
        x = obj.astype(dtype) if dtype is not None else obj
        x = x.to(backend) if backend is not None else x
        if not copy or x is not obj:
            return x
        return x * 1 if x.requires_grad else Variable._of(x.backend.xp.asarray(x._data, copy=True), x.backend, None)
    x = Variable(obj, dtype=dtype, backend=backend).detach()
    return Variable._of(x.backend.xp.asarray(x._data, copy=True), x.backend, None) if copy else x


def zeros(
    shape: int | Sequence[int], *, dtype: Any = DEFAULT_FLOAT, backend: Target = None, device: Any = None
) -> Variable:
    """Make an array of zeros."""
    return _make("zeros", shape, dtype=dtype or DEFAULT_FLOAT, backend=backend, device=device)


def ones(
    shape: int | Sequence[int], *, dtype: Any = DEFAULT_FLOAT, backend: Target = None, device: Any = None
) -> Variable:
    """Make an array of ones."""
    return _make("ones", shape, dtype=dtype or DEFAULT_FLOAT, backend=backend, device=device)


def empty(
    shape: int | Sequence[int], *, dtype: Any = DEFAULT_FLOAT, backend: Target = None, device: Any = None
) -> Variable:
    """Make an array whose elements are whatever lies in memory."""
    return _make("empty", shape, dtype=dtype or DEFAULT_FLOAT, backend=backend, device=device)


def _number_dtype(*numbers: Any) -> str:
    if all(isinstance(n, bool) for n in numbers):
        return "bool"
    return "int64" if all(isinstance(n, int) for n in numbers) else DEFAULT_FLOAT


def full(
    shape: int | Sequence[int], fill_value: Any, *, dtype: Any = None, backend: Target = None, device: Any = None
) -> Variable:
    """Make an array that holds one number everywhere."""
    return _make("full", shape, fill_value, dtype=dtype or _number_dtype(fill_value), backend=backend, device=device)


def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, backend: Target = None, device: Any = None
) -> Variable:
    """Make the numbers start, start + step, … below stop; with one argument, 0, 1, … below it."""
    if stop is None:
        start, stop = 0, start
    return _make(
        "arange", start, stop, step, dtype=dtype or _number_dtype(start, stop, step), backend=backend, device=device
    )


def linspace(
    start: float, stop: float, /, num: int, *, dtype: Any = None, backend: Target = None, device: Any = None,
    endpoint: bool = True,
) -> Variable:  # fmt: skip
    """Make `num` evenly spaced numbers from start to stop."""
    return _make(
        "linspace", start, stop, num, dtype=dtype or DEFAULT_FLOAT, backend=backend, device=device, endpoint=endpoint
    )


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: Any = None,
    backend: Target = None,
    device: Any = None,
) -> Variable:
    """Make a matrix with ones on diagonal k and zeros elsewhere."""
    return _make("eye", n_rows, n_cols, k=k, dtype=dtype or DEFAULT_FLOAT, backend=backend, device=device)


def _like(name: str, x: Any, *args: Any, dtype: Any) -> Variable:
    x = as_variable(x)
    own = x.backend
    target = x.dtype if dtype is None else own.dtype(dtype)
    return Variable._of(getattr(own.xp, name)(x._data, *args, dtype=target), own, None)


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Variable:
    """Make zeros of x's shape, dtype and backend."""
    return _like("zeros_like", x, dtype=dtype)


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Variable:
    """Make ones of x's shape, dtype and backend."""
    return _like("ones_like", x, dtype=dtype)


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Variable:
    """Make an array of x's shape, dtype and backend with whatever lies in memory."""
    return _like("empty_like", x, dtype=dtype)


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Variable:
    """Make an array of x's shape, dtype and backend that holds one number everywhere."""
    return _like("full_like", x, fill_value, dtype=dtype)


def from_dlpack(x: Any, /, *, backend: Target = None, device: Any = None, copy: bool | None = None) -> Variable:
    """Take over an array of another library by DLPack: in the same memory, unless `copy` or the device forbids it.

    Raises:
        BufferError: the backend cannot read this memory, or would have to copy with `copy=False`.
    """
    own = current_backend() if backend is None else get_backend(backend)
    options = {"device": own.device if device is None else device, "copy": copy}
    given = {name: value for name, value in options.items() if value is not None}
    try:
        array = own.xp.from_dlpack(x._data if isinstance(x, Variable) else x, **given)
    except BufferError as error:
        raise BufferError(f"from_dlpack: {error}; dzcore.asarray(x, backend={str(own)!r}) copies the values") from error
    return as_variable(array, own)


def _native(x: Any, own: Backend) -> Any:
    if isinstance(x, Variable):
        return x._data
    return x if isinstance(x, (bool, int, float)) else own.dtype(x) if isinstance(x, str) else x


def _ask(name: str, *args: Any) -> Any:
    own = next((a.backend for a in args if isinstance(a, Variable)), None) or current_backend()
    return getattr(own.xp, name)(*[_native(a, own) for a in args])


def result_type(*arrays_and_dtypes: Any) -> Any:
    """Find the dtype that these promote to."""
    own = next((a.backend for a in arrays_and_dtypes if isinstance(a, Variable)), None) or current_backend()
    return dtypes[own.dtype_name(own.xp.result_type(*[_native(a, own) for a in arrays_and_dtypes]))]


def can_cast(from_: Any, to: Any, /) -> bool:
    """Tell whether a dtype converts to another without loss, by the standard's rules."""
    return bool(_ask("can_cast", from_, to))


def finfo(type: Any, /) -> Any:
    """Describe a floating-point dtype."""
    return _ask("finfo", type)


def iinfo(type: Any, /) -> Any:
    """Describe an integer dtype."""
    return _ask("iinfo", type)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Tell whether a dtype is of a kind such as "real floating"."""
    own = current_backend()
    kinds = tuple(own.dtype(k) if isinstance(k, DType) else k for k in (kind if isinstance(kind, tuple) else (kind,)))
    return bool(own.xp.isdtype(own.dtype(dtype), kinds))
