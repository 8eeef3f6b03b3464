"""A formula, run on stand-ins for its inputs: first on arrays without elements, then on what CuPy's fusion offers.

The first run tells the dtype of every step, launching nothing, and which numbers are computed from others. The second
run, inside the fusion, gives those numbers as further inputs, for a fusion would compute them in float16; and it stops
if any step has another dtype than before.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cupy
import numpy as np

from dzcore.backend.namespace import EXTENSIONS

__all__ = ["CannotFuseError", "Program"]

OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
    "floordiv": operator.floordiv, "mod": operator.mod, "pow": operator.pow, "and": operator.and_, "or": operator.or_,
    "xor": operator.xor, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq,
    "ne": operator.ne, "neg": operator.neg, "invert": operator.invert, "abs": operator.abs,
}  # fmt: skip
UNARY = ("neg", "invert", "abs")
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
#: What CuPy's stand-ins have no operator for.
FUNCTIONS = {operator.pow: cupy.power, operator.abs: cupy.absolute}


class CannotFuseError(Exception):
    """The formula does something that has no place in an elementwise kernel, or that would differ there."""


class Value:
    """Stands for an array, `content`, or for a number, which lies in a `place` of the run's list."""

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, run: "Run", content: Any, place: int | None = None) -> None:
        self.run, self.content, self.place = run, content, place

    @property
    def dtype(self) -> Any:
        """The dtype; numbers have none."""
        return self.content.dtype

    def __bool__(self) -> bool:
        raise CannotFuseError("the formula branches on a value")


def _install(name: str, function: Callable[..., Any]) -> None:
    setattr(Value, f"__{name}__", lambda self, *other: self.run.call(function, self, *other))
    if name not in UNARY and name not in COMPARISONS:
        setattr(Value, f"__r{name}__", lambda self, other: self.run.call(function, other, self))


for _name, _function in OPERATORS.items():
    _install(_name, _function)


class Run:
    """The namespace that a formula is run with: every step passes here."""

    def __init__(self, program: "Program", contents: list[Any], known: bool) -> None:
        self._program, self._contents, self._known = program, contents, known
        self._steps = self._numbers = 0

    @property
    def backend(self) -> Any:
        """The backend, which tells formulas the names of dtypes."""
        return self._program.xp.backend

    def fused(self, formula: Callable[..., Any], *inputs: Any) -> Any:
        """Run a formula within the formula."""
        return formula(self, *inputs)

    def sign(self, x: Any) -> Any:
        """Return the sign, and nan of nan, in steps that a kernel can have: the namespace has a kernel for it."""
        return self.where(x != x, x, self.call(cupy.sign, x)) if x.dtype.kind == "f" else self.call(cupy.sign, x)

    def clip(self, x: Any, /, min: Any = None, max: Any = None) -> Any:
        """Limit floating-point numbers, in steps that a kernel can have."""
        if x.dtype.kind != "f":
            raise CannotFuseError("the limits of whole numbers are the namespace's business")
        if min is not None:
            x = self.maximum(x, min)
        return x if max is None else self.minimum(x, max)

    def zeros_like(self, x: Any) -> Any:
        """Return zeros: no x is less than itself."""
        return self.astype(x < x, x.dtype)

    def __getattr__(self, name: str) -> Any:
        if name in EXTENSIONS:
            return partial(EXTENSIONS[name], self)
        function = getattr(self._program.xp, name)
        if isinstance(function, type | np.dtype) or not callable(function):  # dtypes and constants
            return function
        return lambda *operands, **options: self.call(function, *operands, **options)

    def call(self, function: Callable[..., Any], *operands: Any, **options: Any) -> Value:
        """Do a step: with an array among its operands it is the library's, with numbers only it is Python's."""
        if not any(isinstance(x, Value) and x.place is None for x in operands):
            return self._number(function, operands)
        result = FUNCTIONS.get(function, function)(*map(self._open, operands), **options)
        dtypes = self._program.dtypes
        if not self._known:
            dtypes.append(result.dtype)
        elif len(dtypes) <= self._steps or result.dtype != dtypes[self._steps]:
            raise CannotFuseError(f"{function} has another dtype in a kernel, {result.dtype}")
        self._steps += 1
        return Value(self, result)

    def _open(self, x: Any) -> Any:
        if isinstance(x, Value):
            return x.content if x.place is None else self._contents[x.place]
        if isinstance(x, cupy.ndarray | np.ndarray | np.generic):
            raise CannotFuseError("the formula closes over an array")
        return x

    def _number(self, function: Callable[..., Any], operands: Sequence[Any]) -> Value:
        """Return the number that a step gives: a further input."""
        program, place = self._program, len(self._program.arrays) + self._numbers
        self._numbers += 1
        if not self._known:
            if function not in OPERATORS.values():
                raise CannotFuseError(f"{function} of numbers")
            step = function, [(x.place, None) if isinstance(x, Value) else (None, x) for x in operands]
            program.prelude.append(step)
            self._contents.append(_evaluate(step, self._contents))
        return Value(self, None, place)


Step = tuple[Callable[..., Any], list[tuple[int | None, Any]]]  # a function, and of each operand the place or the value


def _evaluate(step: Step, contents: Sequence[Any]) -> Any:
    function, operands = step
    return function(*[x if place is None else contents[place] for place, x in operands])


class Program:
    """What the first run tells of a formula. What the formula raises comes through."""

    def __init__(self, xp: Any, formula: Callable[..., Any], inputs: Sequence[Any]) -> None:
        self.xp, self.formula = xp, formula
        self.arrays = [type(x) is cupy.ndarray for x in inputs]
        self.prelude: list[Step] = []
        self.dtypes: list[Any] = []  #: of the steps
        contents = [x.reshape(-1)[:0] if is_array else x for x, is_array in zip(inputs, self.arrays, strict=True)]
        self.many = False
        self.results = [x.dtype for x in self.run(contents, known=False)]
        self.kinds = [type(x) for x in contents[len(self.arrays) :]]
        if not set(self.kinds) <= {float, int, bool}:
            raise CannotFuseError(f"numbers become {self.kinds}")

    def complete(self, inputs: Sequence[Any]) -> Sequence[Any] | None:
        """Return the inputs with the further ones after them; None if these are not of the kinds that they were."""
        if not self.prelude:
            return inputs
        contents = list(inputs)
        try:
            for step in self.prelude:
                contents.append(_evaluate(step, contents))
        except ArithmeticError:  # which the plain evaluation will raise where it belongs
            return None
        return contents if [type(x) for x in contents[len(inputs) :]] == self.kinds else None

    def run(self, contents: list[Any], known: bool = True) -> list[Any]:
        """Run the formula on arrays and numbers, and on CuPy's stand-ins for them when the dtypes are `known`."""
        run = Run(self, contents, known)
        values = [
            Value(run, x) if is_array else Value(run, None, place)
            for place, (x, is_array) in enumerate(zip(contents, self.arrays, strict=False))
        ]
        results = self.formula(run, *values)
        self.many = isinstance(results, tuple | list)
        found = list(results) if self.many else [results]
        if not all(isinstance(x, Value) and x.place is None for x in found):
            raise CannotFuseError("a result is no array")
        return [x.content for x in found]
