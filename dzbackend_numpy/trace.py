"""Turn an elementwise formula into a straight-line program by running it once on stand-ins for its inputs."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Program", "trace"]

#: Functions of the namespace that are elementwise and no ufuncs.
ELEMENTWISE = frozenset(
    ("astype", "ceil", "clip", "floor", "full_like", "ones_like", "round", "sign", "trunc", "where", "zeros_like")
)
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
Call = tuple[Callable[..., Any], Callable[[list[Any]], Any], int]  # function, getter of its operands, result


class Program(NamedTuple):
    """Calls over registers, which hold inputs, constants, scalars, scratch memory and results."""

    constants: list[Any]  #: the registers at the start
    prelude: list[Step]  #: arithmetic among Python scalars, once a run
    steps: list[Call]  #: ufunc calls, once a block
    inputs: list[int]
    outputs: list[int]
    scratch: list[tuple[int, Any]]  #: registers and dtypes
    dtypes: list[Any]  #: of the results
    many: bool  #: whether the formula returns a tuple

    def start(self, inputs: Sequence[Any]) -> list[Any]:
        """Return registers with the constants and scalars filled in."""
        registers = self.constants.copy()
        for register, value in zip(self.inputs, inputs, strict=True):
            registers[register] = value
        for function, operands, result in self.prelude:
            registers[result] = function(*[registers[i] for i in operands])
        return registers


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
        function = getattr(self._xp, name)
        if isinstance(function, np.ufunc) and function.nout == 1 and function.signature is None:
            return lambda *operands: self.record(None, function, *operands)
        if name in ELEMENTWISE:
            return lambda *operands: self.record(None, Copied(function), *operands)
        if isinstance(function, type | np.dtype | float):  # dtypes and constants: xp.float32, xp.pi
            return function
        raise CannotFuseError(f"xp.{name} is not known to be elementwise")

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
        return self.record(operator.pow, Copied(operator.pow), base, exponent)


class Copied:
    """Give an elementwise function that has no `out` argument one."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *operands: Any) -> Any:
        return self.function(*operands)

    def into(self, *operands: Any, out: Any) -> None:
        """Evaluate, and copy the result into `out`."""
        out[...] = self.function(*operands)


def _copy(source: Any, out: Any) -> None:
    out[...] = source


def _call(function: Callable[..., Any], operands: list[int], result: int) -> Call:
    get = operator.itemgetter(*operands) if len(operands) > 1 else lambda registers: (registers[operands[0]],)
    return getattr(function, "into", function), get, result


def trace(xp: Any, formula: Callable[..., Any], signature: Sequence[Any], targets: int) -> Program | None:
    """Return the program of a formula for inputs of these dtypes (or scalar types), None if there is none.

    With `targets` not 0, the results are written over that many first inputs.
    """
    tracer = Tracer(xp)
    # Samples of size 0 give the dtype of every result without computing anything; scalars are told apart.
    samples = [0.5 + i / 64 if s is float else 2 + i if s is int else np.empty(0, s) for i, s in enumerate(signature)]
    values = [tracer.new(sample) for sample in samples]
    try:
        results = formula(tracer, *values)
        many = isinstance(results, tuple | list)
        found = [tracer.lift(r) for r in (results if many else (results,))]
        # An input handed back is copied, so that no target is overwritten that another one still needs.
        found = [tracer.record(None, Copied(np.copy), r) if r.number < len(values) else r for r in found]
    except Exception:  # whatever it is, the plain evaluation will do better, or raise it where it belongs
        return None
    dtypes = [getattr(r.sample, "dtype", None) for r in found]
    if not all(isinstance(r.sample, np.ndarray) and r.sample.dtype.kind != "O" for r in found):
        return None
    if targets and dtypes != list(signature[:targets]):
        return None
    return _allocate(tracer, len(values), [r.number for r in found], dtypes, targets, many)


def _allocate(tracer: Tracer, inputs: int, results: list[int], dtypes: list[Any], targets: int, many: bool) -> Program:
    """Give every value a register: scratch memory is used again as soon as its value is no longer needed."""
    registers: list[Any] = [None] * len(tracer.samples)
    for number, constant in tracer.constants.items():
        registers[number] = constant
    outputs = list(range(targets)) if targets else [len(registers) + k for k in range(len(results))]
    registers += [None] * (0 if targets else len(results))
    last = {operand: n for n, (_, operands, _) in enumerate(tracer.steps) for operand in operands}
    place = {number: number for number in range(len(tracer.samples))}
    scratch: dict[int, Any] = {}
    free: dict[Any, list[int]] = {}
    steps: list[Call] = []
    for n, (function, operands, result) in enumerate(tracer.steps):
        sources = [place[i] for i in operands]
        for number in set(operands):
            if last[number] == n and place[number] in scratch and number not in results:
                free.setdefault(scratch[place[number]], []).append(place[number])
        # A result goes straight to its place, unless what lies there (a target's old value) is still to be read.
        home = [o for o, r in zip(outputs, results, strict=True) if r == result and last.get(o, -1) <= n]
        dtype = tracer.samples[result].dtype
        if home:
            place[result] = home[0]
        elif free.get(dtype):
            place[result] = free[dtype].pop()
        else:
            place[result] = len(registers)
            registers.append(None)
            scratch[place[result]] = dtype
        steps.append(_call(function, sources, place[result]))
    for output, result in zip(outputs, results, strict=True):
        if place[result] != output:
            steps.append(_call(_copy, [place[result]], output))
    return Program(registers, tracer.prelude, steps, list(range(inputs)), outputs, list(scratch.items()), dtypes, many)
