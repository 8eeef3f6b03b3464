"""Variable: an array, and its place in the graph."""

from collections.abc import Iterator
from numbers import Integral, Number
from struct import unpack
from typing import TYPE_CHECKING, Any

from ..backend import Backend, HostArray, backend_of, current_backend, get_backend
from ..errors import GraphError, MixedBackendError
from .node import Leaf, Node, Part, Value

__all__ = ["Parameter", "Variable", "as_array", "as_variable", "is_scalar", "operand"]

#: The dtype of Python floats that meet no array, on every backend.
DEFAULT_FLOAT = "float32"


class Variable:
    """An array with a gradient.

    `data` is an array of any backend, a Python number or a (nested) list of them; `dtype` and `backend` are for
    the latter, which become float32, int64 or bool on the current backend. Floating-point values carry a
    gradient, others do not.
    """

    __slots__ = ("__weakref__", "_data", "_name", "backend", "node")
    _data: Any
    _name: str | None
    backend: Backend
    node: Value | None  #: the value's identity in the graph; None for a constant

    def __init__(
        self, data: Any, name: str | None = None, *, dtype: Any = None, backend: str | Backend | None = None
    ) -> None:
        data, own = _coerce(data, dtype, backend)
        self.node = Leaf() if own.is_floating(data.dtype) else None
        self._set(data, own)
        self.name = name

    @classmethod
    def _of(cls, data: Any, backend: Backend, node: Value | None) -> "Variable":
        """Make a handle on a value that is known to be in order."""
        handle = Variable.__new__(Variable)
        handle._data = data
        handle.backend = backend
        handle.node = node
        handle._name = None
        return handle

    def _set(self, data: Any, backend: Backend) -> None:
        """Hold this array from now on; a leaf stays the same value for graphs that know it."""
        self._data = data
        self.backend = backend
        if isinstance(self.node, Leaf):
            self.node.describe(data, backend)

    # The array -------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The array itself, of the backend's own type."""
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        mine = None if self._data is None or not self.backend.owns(data) else self.backend  # others may own it as well
        data, own = _coerce(data, None, mine)
        if self.node is not None and not own.is_floating(data.dtype):
            raise TypeError(
                f"data has dtype {data.dtype}, and this variable carries a gradient; give it floating-point data"
            )
        if isinstance(self, Parameter) and data is not self._data:
            data = owned(data, own)  # optimizers write in place, and must not reach anybody else's array
        self._set(data, own)

    @property
    def name(self) -> str | None:
        """What to call it in pictures of the graph, which last longer than the Variable."""
        return self._name

    @name.setter
    def name(self, name: str | None) -> None:
        self._name = name
        if self.node is not None:
            self.node.label = name

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._data.shape)  # some libraries have a class of their own for it

    @property
    def dtype(self) -> Any:
        """The dtype, as the backend's library spells it."""
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return len(self._data.shape)

    @property
    def size(self) -> int:
        size = 1
        for length in self._data.shape:
            size *= length
        return size

    @property
    def device(self) -> Any:
        return self._data.device

    def __len__(self) -> int:
        if not self._data.shape:
            raise TypeError("len() of a Variable without axes; use float(x) for its value")
        return self._data.shape[0]  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator["Variable"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        if self._data is None:
            return "variable(None)"
        return f"variable({str(self._data).replace(chr(10), chr(10) + ' ' * 9)})"

    def _repr_html_(self) -> str:
        from . import notebook

        return notebook.variable(self)

    def __float__(self) -> float:
        return float(self._data)

    def __int__(self) -> int:
        return int(self._data)

    def __bool__(self) -> bool:
        return bool(self._data)

    def __index__(self) -> int:
        if self.shape or "int" not in self.backend.dtype_name(self.dtype):
            raise TypeError(
                f"a Variable of shape {self.shape} and dtype {self.dtype} is no index; it takes one integer"
            )
        return int(self._data)

    def item(self) -> Any:
        """Return the value of a Variable with one element as a Python number."""
        if self.size != 1:
            raise ValueError(f"item() takes a Variable with one element; this one has shape {self.shape}")
        host = self.to_host()
        if host.dtype == "bfloat16":
            return float(self._data)
        (value,) = unpack(_STRUCT[host.dtype], host.buffer)
        return value

    def to_host(self) -> HostArray:
        """Copy the array out of its library, bit for bit."""
        return self.backend.to_host(self._data)

    def __dlpack__(self, **options: Any) -> Any:
        """Hand the array to another library, which shares its memory; the gradient stays behind."""
        return self._data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[Any, int]:
        return self._data.__dlpack_device__()  # type: ignore[no-any-return]

    # NumPy and others must leave mixed operators to Variable.
    __array_ufunc__ = None
    __array_priority__ = 200

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """Return dzcore, which is the array API on Variables."""
        import dzcore

        return dzcore

    # The graph -------------------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @property
    def grad(self) -> "Variable | None":
        """The gradient that `backward` left here, or None. It adds up until `cleargrad`."""
        node = self.node
        if node is None:
            return None
        if isinstance(node, Leaf):
            node.owned = False  # from now on somebody else may hold it
        return node.grad

    @grad.setter
    def grad(self, grad: Any) -> None:
        if self.node is None:
            if grad is None:
                return
            raise GraphError(f"a constant of dtype {self.dtype} has no gradient to set; only floating-point values do")
        if grad is not None:
            grad = as_variable(grad, self.backend)
            if grad.shape != self.shape or grad.dtype != self.dtype:
                raise ValueError(
                    f"grad has shape {grad.shape}, dtype {grad.dtype}, and its variable has {self.shape}, {self.dtype}"
                )
        self.node.grad = grad

    def cleargrad(self) -> None:
        """Forget the gradient."""
        if self.node is not None:
            self.node.grad = None

    @property
    def creator(self) -> Any:
        """What computed this value: the user's Function, a node of a built-in rule, or None for a leaf."""
        node = self.node
        if node is None or not node.edges:
            return None
        return node.edges[0].function if isinstance(node, Part) else node  # type: ignore[attr-defined]

    def set_creator(self, func: Any) -> None:
        """Make this the result of a user's Function that has its `inputs`; calling a Function does it by itself."""
        from .function import Call

        if not getattr(func, "inputs", ()):
            raise GraphError(f"func={func!r} has no inputs; call it, which makes the result and its place in the graph")
        self.node = Call(func, func.inputs, (self,)).part(0)

    @property
    def generation(self) -> int:
        """The number of operations on the longest way from a leaf to this value; found by walking all of the graph."""
        from .engine import reachable
        from .function import Call

        depth: dict[Value, int] = {}
        for node in sorted(reachable([] if self.node is None else [self.node]), key=lambda node: -node.order):
            steps = isinstance(node, (Node, Call)) and bool(node.edges)
            depth[node] = max((depth[edge] for edge in node.edges), default=0) + steps
        return 0 if self.node is None else depth[self.node]

    def alias(self) -> "Variable":
        """Return another handle on the same value, which later changes of this one leave alone."""
        alias = Variable._of(self._data, self.backend, self.node)
        alias._name = self._name
        return alias

    def detach(self) -> "Variable":
        """Return the same array as a constant."""
        return Variable._of(self._data, self.backend, None)

    def unchain(self) -> None:
        """Cut this value from what it was computed from: it becomes a leaf."""
        if self.node is not None:
            self.node = Leaf()
            self._set(self._data, self.backend)
            self.name = self._name

    def unchain_backward(self) -> None:
        """Cut every value that this one was computed from; truncated back-propagation through time ends here."""
        from .engine import reachable

        if self.node is not None:
            for node in reachable([self.node]):
                node.edges = ()
            self.unchain()

    # Moving ----------------------------------------------------------------------------------------------------

    def to_cpu(self) -> None:
        """Move the array, in place, to the host's backend."""
        from ..backend import host_backend

        self.move(host_backend())

    def to_gpu(self) -> None:
        """Move the array, in place, to the best accelerator; an error says why if there is none."""
        from ..backend import accelerator_backend

        self.move(accelerator_backend())

    def move(self, target: Backend) -> None:
        """Move the array and its gradient, in place, to another backend; `to` makes a copy instead.

        Raises:
            GraphError: the value was computed, and its gradients will come back on the backend it was computed on.
        """
        if self.backend is target:
            return
        if self.node is not None and not isinstance(self.node, Leaf):
            raise GraphError(f"a computed value cannot be moved in place; take x.to({str(target)!r}) instead")
        grad = self.grad
        self._set(transfer(self._data, self.backend, target), target)
        if grad is not None:
            self.grad = Variable._of(transfer(grad._data, grad.backend, target), target, None)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Variable":
        copy = type(self).__new__(type(self))
        memo[id(self)] = copy
        if isinstance(self, Parameter) and isinstance(copy, Parameter):
            copy.lazy_shape, copy.lazy_dtype = self.lazy_shape, self.lazy_dtype
        copy.node = None if self.node is None else Leaf()
        copy.name = self._name
        memo[id(self.node)] = copy.node  # an optimizer that is copied along keeps its state by it
        copy._data = None
        if self._data is not None:
            copy._set(self.backend.xp.asarray(self._data, copy=True), self.backend)
        return copy

    if TYPE_CHECKING:  # installed by the engine, and by dzcore.functions, which knows the rules

        def backward(
            self, retain_grad: bool = False, create_graph: bool = False, *, retain_graph: bool = False
        ) -> None: ...
        def __add__(self, other: Any) -> "Variable": ...
        def __radd__(self, other: Any) -> "Variable": ...
        def __sub__(self, other: Any) -> "Variable": ...
        def __rsub__(self, other: Any) -> "Variable": ...
        def __mul__(self, other: Any) -> "Variable": ...
        def __rmul__(self, other: Any) -> "Variable": ...
        def __truediv__(self, other: Any) -> "Variable": ...
        def __rtruediv__(self, other: Any) -> "Variable": ...
        def __pow__(self, other: Any) -> "Variable": ...
        def __rpow__(self, other: Any) -> "Variable": ...
        def __matmul__(self, other: Any) -> "Variable": ...
        def __rmatmul__(self, other: Any) -> "Variable": ...
        def __neg__(self) -> "Variable": ...
        def __abs__(self) -> "Variable": ...
        def __getitem__(self, index: Any) -> "Variable": ...
        def __lt__(self, other: Any) -> "Variable": ...
        def __le__(self, other: Any) -> "Variable": ...
        def __gt__(self, other: Any) -> "Variable": ...
        def __ge__(self, other: Any) -> "Variable": ...
        def reshape(self, *shape: Any) -> "Variable": ...
        def transpose(self, *axes: Any) -> "Variable": ...
        def sum(self, axis: Any = None, keepdims: bool = False) -> "Variable": ...
        def mean(self, axis: Any = None, keepdims: bool = False) -> "Variable": ...
        def max(self, axis: Any = None, keepdims: bool = False) -> "Variable": ...
        def min(self, axis: Any = None, keepdims: bool = False) -> "Variable": ...
        def dot(self, other: Any) -> "Variable": ...
        def matmul(self, other: Any) -> "Variable": ...
        def astype(self, dtype: Any) -> "Variable": ...
        def to(self, backend: str | Backend) -> "Variable": ...
        @property
        def T(self) -> "Variable": ...
        @property
        def mT(self) -> "Variable": ...


class Parameter(Variable):
    """A Variable that is learnt: layers collect their Parameters.

    Without data (None) its layer fills it in later, in `dtype` and a shape like `lazy_shape`, where None stands for
    any length.
    """

    __slots__ = ("lazy_dtype", "lazy_shape")

    def __init__(
        self,
        data: Any = None,
        name: str | None = None,
        *,
        dtype: Any = None,
        backend: str | Backend | None = None,
        lazy_shape: tuple[int | None, ...] | None = None,
    ) -> None:
        self.lazy_shape = lazy_shape
        self.lazy_dtype = dtype
        if data is not None:
            super().__init__(data, name, dtype=dtype, backend=backend)
            self._data = owned(self._data, self.backend)  # an optimizer will write into it
        else:
            self._data = None
            self.node = Leaf()
            self.name = name

    def __getattr__(self, name: str) -> Any:
        if name in ("backend", "shape", "dtype", "ndim", "size", "device"):  # they come here only without data
            raise AttributeError(
                f"the parameter {self.name!r} has no data yet; call its layer once, or give it its size"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_STRUCT = {"bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B", "uint16": "H",
           "uint32": "I", "uint64": "Q", "float16": "e", "float32": "f", "float64": "d"}  # fmt: skip


def is_scalar(x: object) -> bool:
    """Tell whether `x` is a Python number, which has no backend and takes the dtype of what it meets."""
    return isinstance(x, (float, int))


def operand(x: Any, backend: Backend, name: str) -> Any:
    """Return a number or raw array as what the backend's functions take, or say why it cannot be an operand."""
    kind = type(x)
    if kind is float or kind is int or kind is bool:
        return x
    if isinstance(x, Parameter) and x._data is None:
        raise ValueError(f"{name}: the parameter {x.name!r} has no data yet; call its layer once, or give it its size")
    if isinstance(x, float):
        return float(x)  # np.float64 is one, and must not turn float32 into float64
    if isinstance(x, Integral):
        return int(x)  # nor np.int64, which float32 would meet in float64
    if backend.owns(x):
        return _real(backend.xp.asarray(x), backend)
    if isinstance(x, (list, tuple, str, bytes, Number)) or x is None:
        raise TypeError(f"{name}: an operand is a {type(x).__name__}; make it an array first, with dzcore.asarray")
    other = backend_of(x)
    raise MixedBackendError(
        f"{name}: one operand is on {backend} and one on {other}; move one with dzcore.asarray(x).to(…)"
    )


def as_variable(x: Any, backend: Backend | None = None) -> Variable:
    """Return a Variable as it is, and anything else as a constant Variable; on `backend`, if given, or raise."""
    if isinstance(x, Variable):
        if backend is None or x.backend is backend:
            return x
        raise MixedBackendError(f"a Variable on {x.backend} meets {backend}; move it with x.to({str(backend)!r})")
    if backend is not None:
        x = operand(x, backend, "as_variable")
    return Variable._of(*_coerce(x, None, backend), None)


def as_array(x: Any, backend: Any = None, *, array_module: Any = None) -> Any:
    """Return the raw array of a Variable, array, number or (nested) list, on its own backend or on `backend`.

    In DeZero's form there is a library's namespace in place of the backend (`array_module`), and numbers alone become
    arrays of that library; what else x may be, it stays.
    """
    module = array_module if backend is None else backend
    if not isinstance(module, (str, Backend)) and hasattr(module, "asarray"):
        return as_array(x, backend_of(module.asarray(0.0))) if is_scalar(x) else x
    data, own = (
        (x._data, x.backend) if isinstance(x, Variable) else _coerce(x, None, None if backend is None else backend)
    )
    return data if backend is None else transfer(data, own, get_backend(backend))


def owned(data: Any, own: Backend) -> Any:
    """Return a copy of a raw array in C order: how products round depends on the order, and files do not keep it."""
    return own.xp.reshape(own.xp.reshape(data, (-1,), copy=True), data.shape)


def transfer(data: Any, source: Backend, target: Backend) -> Any:
    """Move a raw array from one backend to another, bit for bit."""
    return data if source is target else target.from_host(source.to_host(data))


def _coerce(data: Any, dtype: Any, backend: str | Backend | None) -> tuple[Any, Backend]:
    """Find the array and the backend in whatever a caller gave."""
    if isinstance(data, Variable):
        data, own = data._data, data.backend
    elif isinstance(data, HostArray):
        own = current_backend() if backend is None else get_backend(backend)
        data = own.from_host(data)
    elif isinstance(data, (bool, int, float, list, tuple)):
        own = current_backend() if backend is None else get_backend(backend)
        data, dtype = own.asarray(data, dtype or _default_dtype(data)), None
    else:
        own = backend if isinstance(backend, Backend) and backend.owns(data) else backend_of(data)
        data = own.xp.asarray(data)
    if backend is not None and (target := get_backend(backend)) is not own:
        data, own = transfer(data, own, target), target
    if dtype is not None:
        data = own.xp.astype(data, own.dtype(dtype), copy=False)
    return _real(data, own), own


def _real(array: Any, backend: Backend) -> Any:
    if backend.dtype_name(array.dtype).startswith("complex"):
        raise TypeError(f"an array has dtype {array.dtype}; dzcore differentiates real numbers only")
    return array


def _collect_types(item: Any, kinds: set[type]) -> None:
    if isinstance(item, (list, tuple)):
        for inner in item:
            _collect_types(inner, kinds)
    else:
        kinds.add(type(item))


def _default_dtype(data: Any) -> str | None:
    """Return the dtype for Python numbers in nested lists: float32, int64 or bool, whichever holds them all."""
    kinds: set[type] = set()
    _collect_types(data, kinds)
    if kinds <= {bool} and kinds:
        return "bool"
    if kinds <= {bool, int} and kinds:
        return "int64"
    return DEFAULT_FLOAT if kinds <= {bool, int, float} else None
