"""Turn an elementwise formula into a straight-line program by running it once on stand-ins for its inputs."""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dzcore.backend.namespace import EXTENSIONS

__all__ = ["CannotFuseError", "Copied", "Step", "Trace", "name_of", "trace"]

#: Functions of the namespace that are elementwise and no ufuncs.
ELEMENTWISE = frozenset(
    ("astype", "ceil", "clip", "floor", "full_like", "ones_like", "round", "sign", "trunc", "where", "zeros_like")
)
FUNCTIONS = frozenset({"exp", "expm1", "log", "log1p", "logaddexp", "tanh"})
OPERATORS: dict[str, tuple[Callable[..., Any], Any]] = {
    "add": (operator.add, np.add),
    "sub": (operator.sub, np.subtract),
    "mul": (operator.mul, np.multiply),
    "truediv": (operator.truediv, np.true_divide),
    "floordiv": (operator.floordiv, np.floor_divide),
    "mod": (operator.mod, np.remainder),
    "and": (operator.and_, np.bitwise_and),
    "or": (operator.or_, np.bitwise_or),
    "xor": (operator.xor, np.bitwise_xor),
    "lt": (operator.lt, np.less),
    "le": (operator.le, np.less_equal),
    "gt": (operator.gt, np.greater),
    "ge": (operator.ge, np.greater_equal),
    "eq": (operator.eq, np.equal),
    "ne": (operator.ne, np.not_equal),
    "neg": (operator.neg, np.negative),
    "abs": (operator.abs, np.absolute),
    "invert": (operator.invert, np.invert),
}
COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})

Step = tuple[Callable[..., Any], list[int], int]  # function, operands, result: all of them numbers of values


class Trace(NamedTuple):
    """A formula as steps over numbered values; the inputs are the first of them."""

    inputs: int
    samples: list[Any]  #: of each value: an empty array of its dtype, or a number
    constants: dict[int, Any]  #: what stands in the formula itself
    prelude: list[Step]  #: arithmetic among Python scalars, once a run
    steps: list[Step]  #: functions of arrays
    results: list[int]
    dtypes: list[Any]  #: of the results
    many: bool  #: whether the formula returns a tuple

    @property
    def mathematics(self) -> int:
        """How many steps are transcendental functions, which take much longer than arithmetic."""
        return sum(name_of(function) in FUNCTIONS for function, _, _ in self.steps)

    @property
    def partial(self) -> bool:
        """Whether a result may be smaller than all inputs together, as it does not depend on each array of them."""
        reached = {i: {i} for i in range(self.inputs)}
        for _, operands, result in self.steps:
            reached[result] = set().union(*[reached.get(i, ()) for i in operands])
        arrays = {i for i in range(self.inputs) if isinstance(self.samples[i], np.ndarray)}
        return any(not arrays <= reached.get(result, set()) for result in self.results)

    def values(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the values with inputs, constants and scalars filled in."""
        values: list[Any] = [*inputs, *[None] * (len(self.samples) - len(inputs))]
        for number, constant in self.constants.items():
            values[number] = constant
        for function, operands, result in self.prelude:
            values[result] = function(*[values[i] for i in operands])
        return values


class CannotFuseError(Exception):
    """The formula does something that has no place in a straight-line program."""


class Value:
    """Stands for an array or a Python scalar while a formula is traced."""

    __array_ufunc__ = None  # NumPy's scalars leave their operators to us
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, tracer: "Tracer", number: int, sample: Any) -> None:
        self.tracer, self.number, self.sample = tracer, number, sample

    @property
    def dtype(self) -> Any:
        """The dtype; Python scalars have none."""
        return self.sample.dtype

    def __bool__(self) -> bool:
        raise CannotFuseError("the formula branches on a value")

    def __pow__(self, other: Any) -> Any:
        return self.tracer.power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return self.tracer.power(other, self)


def _install(name: str, plain: Callable[..., Any], ufunc: Any) -> None:
    setattr(Value, f"__{name}__", lambda self, *other: self.tracer.record(plain, ufunc, self, *other))
    if ufunc.nin == 2 and name not in COMPARISONS:
        setattr(Value, f"__r{name}__", lambda self, other: self.tracer.record(plain, ufunc, other, self))


for _name, (_plain, _ufunc) in OPERATORS.items():
    _install(_name, _plain, _ufunc)


class Tracer:
    """The namespace that a formula is traced with: it writes down every call."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self.samples: list[Any] = []
        self.constants: dict[int, Any] = {}
        self.prelude: list[Step] = []
        self.steps: list[Step] = []

    def __getattr__(self, name: str) -> Any:
        if name in EXTENSIONS:
            return partial(EXTENSIONS[name], self)
        function = getattr(self._xp, name)
        if isinstance(function, np.ufunc) and function.nout == 1 and function.signature is None:
            return lambda *operands: self.record(None, function, *operands)
        if name in ELEMENTWISE:
            return lambda *operands: self.record(None, Copied(name, function), *operands)
        if isinstance(function, type | np.dtype | float):  # dtypes and constants: xp.float32, xp.pi
            return function
        raise CannotFuseError(f"xp.{name} is not known to be elementwise")

    @property
    def backend(self) -> Any:
        """The backend, which tells formulas the names of dtypes."""
        return self._xp.backend

    def fused(self, formula: Callable[..., Any], *inputs: Any) -> Any:
        """Trace a formula within the formula."""
        return formula(self, *inputs)

    def astype(self, x: Any, dtype: Any, /, *, copy: bool = True) -> Value:
        """Write down a cast; there is no difference between copies and others here."""
        return self.record(None, Copied("astype", self._xp.astype), x, dtype)

    def clip(self, x: Any, /, min: Any = None, max: Any = None) -> Value:
        """Write down what the namespace makes of it: a maximum and a minimum, where these are all."""
        x = self.lift(x)
        bounds = [self.lift(bound).sample for bound in (min, max) if bound is not None]
        if not isinstance(x.sample, np.ndarray) or x.dtype.kind != "f" or any(type(b) is not float for b in bounds):
            return self.record(None, Copied("clip", self._xp.clip), x, min, max)
        if min is not None:
            x = self.record(None, np.maximum, x, min)
        return x if max is None else self.record(None, np.minimum, x, max)

    def new(self, sample: Any) -> Value:
        """Return a stand-in for values like `sample`."""
        self.samples.append(sample)
        return Value(self, len(self.samples) - 1, sample)

    def lift(self, obj: Any) -> Value:
        """Return a stand-in for an operand: itself if it is one, else a constant."""
        if isinstance(obj, Value):
            return obj
        if isinstance(obj, np.ndarray):
            raise CannotFuseError("the formula closes over an array")
        value = self.new(obj)
        self.constants[value.number] = obj
        return value

    def record(self, plain: Callable[..., Any] | None, function: Callable[..., Any], *operands: Any) -> Value:
        """Write down a call and return a stand-in for its result."""
        values = [self.lift(x) for x in operands]
        samples, numbers = [v.sample for v in values], [v.number for v in values]
        if any(isinstance(s, np.ndarray) for s in samples):
            result = self.new(function(*samples))
            self.steps.append((function, numbers, result.number))
        elif plain is not None:
            result = self.new(plain(*samples))
            self.prelude.append((plain, numbers, result.number))
        else:
            raise CannotFuseError("a function of the namespace needs an array")
        return result

    def power(self, base: Any, exponent: Any) -> Value:
        """Write down `base ** exponent`, for which NumPy has more than one way."""
        floating = isinstance(base, Value) and isinstance(base.sample, np.ndarray) and base.sample.dtype.kind == "f"
        if floating and type(exponent) in (int, float) and exponent in (0.5, 2):
            return self.record(None, np.square if exponent == 2 else np.sqrt, base)
        if type(self.lift(base).sample) is type(self.lift(exponent).sample) is int:
            raise CannotFuseError("int ** int may be an int or a float")
        return self.record(operator.pow, Copied("power", operator.pow), base, exponent)


class Copied:
    """An elementwise function that has no `out` argument, and gets one."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function

    def __call__(self, *operands: Any) -> Any:
        return self.function(*operands)

    def into(self, *operands: Any, out: Any) -> None:
        """Evaluate, and copy the result into `out`."""
        out[...] = self.function(*operands)


def name_of(function: Any) -> str:
    """Return the name of a step's function: that of the ufunc, or of the namespace."""
    return str(function.name if isinstance(function, Copied) else function.__name__)


def trace(xp: Any, formula: Callable[..., Any], signature: Sequence[Any]) -> Trace | None:
    """Return the steps of a formula for inputs of these dtypes (or scalar types), None if it cannot be one pass."""
    tracer = Tracer(xp)
    # Samples of size 0 give the dtype of every result without computing anything; scalars are told apart.
    samples = [0.5 + i / 64 if s is float else 2 + i if s is int else np.empty(0, s) for i, s in enumerate(signature)]
    values = [tracer.new(sample) for sample in samples]
    try:
        results = formula(tracer, *values)
        many = isinstance(results, tuple | list)
        found = [tracer.lift(r) for r in (results if many else (results,))]
        # An input handed back is copied, so that no target is overwritten that another one still needs.
        found = [tracer.record(None, Copied("copy", np.copy), r) if r.number < len(values) else r for r in found]
    except Exception:  # whatever it is, the plain evaluation will do better, or raise it where it belongs
        return None
    dtypes = [getattr(r.sample, "dtype", None) for r in found]
    if not all(isinstance(r.sample, np.ndarray) and r.sample.dtype.kind != "O" for r in found):
        return None
    numbers = [r.number for r in found]
    return Trace(len(values), tracer.samples, tracer.constants, tracer.prelude, tracer.steps, numbers, dtypes, many)
