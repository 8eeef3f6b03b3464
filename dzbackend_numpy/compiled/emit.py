"""Values of one turn of a loop, with operators that write lines of LLVM's intermediate language.

No flag for faster mathematics is set anywhere: every operation rounds on its own, as NumPy's do, and NaN, infinities
and signed zeros are what they are there. The one exception asks for it by name, `Term.fma`.
https://llvm.org/docs/LangRef.html
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["CannotEmitError", "Code", "Term", "fields", "stored", "suffix", "type_of", "vector"]

BOOL = np.dtype(bool)
TYPES = {"f4": "float", "f8": "double", "b1": "i1", **{f"{k}{n}": f"i{8 * n}" for k in "iu" for n in (1, 2, 4, 8)}}
#: Comparisons of floating-point numbers are false for NaN, but for `ne`.
COMPARISONS = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}


class CannotEmitError(Exception):
    """There is no loop for this; NumPy's own functions will do."""


def type_of(dtype: Any) -> str:
    """Return LLVM's type for values of a dtype of NumPy.

    Raises:
        CannotEmitError: loops have no such dtype.
    """
    kind = f"{dtype.kind}{dtype.itemsize}"
    if kind not in TYPES or not dtype.isnative:
        raise CannotEmitError(f"no loops in {dtype}")
    return TYPES[kind]


def stored(dtype: Any) -> str:
    """Return LLVM's type for a value of a dtype in memory, where a boolean has a byte."""
    return "i8" if dtype == BOOL else type_of(dtype)


def vector(kind: str, width: int) -> str:
    """Return the type of so many values of a type."""
    return kind if width == 1 else f"<{width} x {kind}>"


def suffix(kind: str, width: int) -> str:
    """Return what the name of an intrinsic for them ends with."""
    return ("" if width == 1 else f"v{width}") + kind.replace("double", "f64").replace("float", "f32")


def fields(numbers: Sequence[str], addresses: Sequence[str]) -> list[str]:
    """Load what a call holds, 8 bytes each: which chunks are taken, then `numbers`, then `addresses`."""
    lines = []
    for place, name in enumerate((*numbers, *addresses), 1):
        lines += [
            f"  %{name}.field = getelementptr i64, ptr %call, i64 {place}",
            f"  %{name} = load {'i64' if name in numbers else 'ptr'}, ptr %{name}.field",
        ]
    return lines


class Code:
    """Lines of a part of a function, whose values have names that begin with `part`: numbers, or vectors of `width`."""

    def __init__(self, part: str, width: int = 1) -> None:
        self.part, self.width = part, width
        self.lines: list[str] = []
        self.declared: set[str] = set()

    def kind(self, dtype: Any) -> str:
        """Return LLVM's type for values of a dtype."""
        return vector(type_of(np.dtype(dtype)), self.width)

    def stored(self, dtype: Any) -> str:
        """Return LLVM's type for values of a dtype in memory, where a boolean has a byte."""
        return vector(stored(dtype), self.width)

    def read(self, dtype: Any, name: str) -> "Term":
        """Return the value of what was in memory."""
        if dtype == BOOL:
            name = self.line(f"icmp ne {self.stored(dtype)} {name}, zeroinitializer")
        return Term(self, dtype, name)

    def line(self, text: str) -> str:
        """Write an instruction, and return the name of its result."""
        name = f"%{self.part}{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def term(self, dtype: Any, text: str) -> "Term":
        """Write an instruction, and return its result."""
        return Term(self, np.dtype(dtype), self.line(text))

    def constant(self, dtype: Any, value: Any) -> "Term":
        """Return a number of the dtype, as near to `value` as NumPy would come."""
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                bits = np.float64(dtype.type(value)).view(np.uint64)
            name = f"0x{int(bits):016X}"
        elif dtype == BOOL:
            name = "true" if value else "false"
        elif np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            name = str(int(value))
        else:
            raise CannotEmitError(f"{value} is no {dtype}")
        if self.width > 1:
            name = f"<{', '.join([f'{type_of(dtype)} {name}'] * self.width)}>"
        return Term(self, dtype, name)

    def intrinsic(self, name: str, *operands: "Term") -> "Term":
        """Call one of LLVM's own functions, all of whose operands and whose result have one type."""
        dtype, kind = operands[0].dtype, operands[0].type
        result = self.call(f"{name}.{suffix(type_of(dtype), self.width)}", kind, [(kind, x.name) for x in operands])
        return self.term(dtype, result)

    def call(self, name: str, result: str, operands: Sequence[tuple[str, str]]) -> str:
        """Declare a function of LLVM's own; return the call of it with operands, each a type and a name."""
        self.declared.add(f"declare {result} @llvm.{name}({', '.join(kind for kind, _ in operands)})")
        return f"call {result} @llvm.{name}({', '.join(f'{kind} {value}' for kind, value in operands)})"


class Term:
    """A value of a dtype: the result of a line, or a constant."""

    __slots__ = ("code", "dtype", "name", "type")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: Code, dtype: Any, name: str) -> None:
        self.code, self.dtype, self.name, self.type = code, dtype, name, code.kind(dtype)

    def spread(self, code: Code) -> "Term":
        """Return this number in each place of the vectors of other lines, which come later."""
        name = self.name
        if code.width > 1:
            kind = code.kind(self.dtype)
            first = self.code.line(f"insertelement {kind} poison, {self.type} {name}, i64 0")
            name = self.code.line(f"shufflevector {kind} {first}, {kind} poison, <{code.width} x i32> zeroinitializer")
        return Term(code, self.dtype, name)

    def stored(self) -> str:
        """Return the name of what this is in memory."""
        if self.dtype != BOOL:
            return self.name
        return self.code.line(f"zext {self.type} {self.name} to {self.code.stored(BOOL)}")

    # Arithmetic: the other operand is of the same dtype, or a number

    def _two(self, name: str, other: Any) -> "Term":
        other = self.like(other)
        return self.code.term(self.dtype, f"{name} {self.type} {self.name}, {other.name}")

    def _arithmetic(self, name: str, other: Any) -> "Term":
        return self._two(f"f{name}" if self.dtype.kind == "f" else name, other)

    def __add__(self, other: Any) -> "Term":
        return self._arithmetic("add", other)

    def __sub__(self, other: Any) -> "Term":
        return self._arithmetic("sub", other)

    def __rsub__(self, other: Any) -> "Term":
        return self.like(other) - self

    def __mul__(self, other: Any) -> "Term":
        return self._arithmetic("mul", other)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Any) -> "Term":
        return self._two("fdiv", other)

    def __rtruediv__(self, other: Any) -> "Term":
        return self.like(other) / self

    def __neg__(self) -> "Term":
        return self.code.term(self.dtype, f"fneg {self.type} {self.name}") if self.dtype.kind == "f" else 0 - self

    def __abs__(self) -> "Term":
        return self.call("fabs")

    def __and__(self, other: Any) -> "Term":
        return self._two("and", other)

    def __or__(self, other: Any) -> "Term":
        return self._two("or", other)

    def __xor__(self, other: Any) -> "Term":
        return self._two("xor", other)

    def __invert__(self) -> "Term":
        return self ^ (True if self.dtype == BOOL else self.like(0) - 1)

    def __lshift__(self, bits: int) -> "Term":
        return self._two("shl", bits)

    def __rshift__(self, bits: int) -> "Term":
        return self._two("ashr", bits)

    def fma(self, factor: Any, summand: Any) -> "Term":
        """Return self · factor + summand, rounded once where the processor can do that."""
        return self.call("fmuladd", self.like(factor), self.like(summand))

    def call(self, name: str, *others: "Term") -> "Term":
        """Return what an intrinsic makes of this and others of its dtype."""
        return self.code.intrinsic(name, self, *others)

    # Comparison and choice

    def compare(self, relation: str, other: Any) -> "Term":
        """Tell whether `relation`, one of `COMPARISONS`, holds between this and the other."""
        other = self.like(other)
        if self.dtype.kind == "f":
            how = f"fcmp {COMPARISONS[relation]}"
        elif relation in ("eq", "ne"):
            how = f"icmp {relation}"
        else:
            how = f"icmp {'s' if self.dtype.kind == 'i' else 'u'}{relation}"
        return self.code.term(BOOL, f"{how} {self.type} {self.name}, {other.name}")

    def __lt__(self, other: Any) -> "Term":
        return self.compare("lt", other)

    def __gt__(self, other: Any) -> "Term":
        return self.compare("gt", other)

    def where(self, yes: Any, no: Any) -> "Term":
        """Return `yes` where this is true, and `no` elsewhere; one of them at least is a term."""
        yes, no = (yes if isinstance(yes, Term) else no.like(yes)), (no if isinstance(no, Term) else yes.like(no))
        return self.code.term(yes.dtype, f"select {self.type} {self.name}, {yes.type} {yes.name}, {no.type} {no.name}")

    def is_nan(self) -> "Term":
        """Tell whether this is NaN."""
        return self.code.term(BOOL, f"fcmp uno {self.type} {self.name}, {self.name}")

    # Conversion

    def like(self, value: Any) -> "Term":
        """Return a term of this dtype: the value itself, or a constant."""
        return value if isinstance(value, Term) else self.code.constant(self.dtype, value)

    def bits_as(self, dtype: Any) -> "Term":
        """Return the same bits, taken for a value of another dtype."""
        return self.code.term(dtype, f"bitcast {self.type} {self.name} to {self.code.kind(dtype)}")

    def astype(self, dtype: Any) -> "Term":
        """Return the value in another dtype, as `numpy.ndarray.astype` does."""
        old, new = self.dtype, np.dtype(dtype)
        if old == new:
            return self
        if new == BOOL:
            return self.compare("ne", 0)
        if old.kind == "f" and new.kind != "f":
            raise CannotEmitError("what becomes of numbers beyond an integer's range is the processor's own affair")
        if old.kind == "f":
            how = "fpext" if new.itemsize > old.itemsize else "fptrunc"
        elif new.kind == "f":
            how = "sitofp" if old.kind == "i" else "uitofp"
        elif type_of(old) == type_of(new):
            return Term(self.code, new, self.name)
        elif old != BOOL and new.itemsize < old.itemsize:
            how = "trunc"
        else:
            how = "sext" if old.kind == "i" else "zext"
        return self.code.term(new, f"{how} {self.type} {self.name} to {self.code.kind(new)}")
