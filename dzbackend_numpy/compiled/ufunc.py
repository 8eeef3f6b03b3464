"""A traced formula as a universal function of NumPy's own kind, for arrays that are not worth several threads.

NumPy does then what it does for `np.add`: it looks at dtypes, broadcasts, allocates, and copies where what is written
to overlaps what is read. That takes half a microsecond, whatever the formula is.
https://numpy.org/doc/stable/reference/c-api/ufunc.html
"""

import ctypes
from importlib import import_module
from typing import Any

import numpy as np

from ..once import once
from ..trace import Trace
from .emit import CannotEmitError, Code, Term, stored
from .native import compiler
from .operations import apply

__all__ = ["loop", "ufunc"]

#: The loop, twice: for elements side by side, which the compiler makes vectors of, and for others. What the mathematics
#: leaves in the processor's flags is no news to anybody: they are cleared, or NumPy would warn of it.
FRAME = """
define void @loop(ptr %args, ptr %lengths, ptr %steps, ptr %nothing) nounwind {{
  %length = load i64, ptr %lengths
  %nothing.there = icmp eq i64 %length, 0
  br i1 %nothing.there, label %end, label %begin
begin:
{before}
  br i1 {together}, label %near, label %far
near:
  %i = phi i64 [ 0, %begin ], [ %i.next, %near ]
{near}
  %i.next = add nuw i64 %i, 1
  %i.again = icmp ult i64 %i.next, %length
  br i1 %i.again, label %near, label %end, !llvm.loop !0
far:
  %j = phi i64 [ 0, %begin ], [ %j.next, %far ]
{far}
  %j.next = add nuw i64 %j, 1
  %j.again = icmp ult i64 %j.next, %length
  br i1 %j.again, label %far, label %end, !llvm.loop !3
end:
  %cleared = call i32 @feclearexcept(i32 {flags})
  ret void
}}
declare i32 @feclearexcept(i32)
{declarations}
!0 = distinct !{{!0, !1{several}}}
!1 = !{{!"llvm.loop.parallel_accesses", !2}}
!2 = distinct !{{}}
!3 = distinct !{{!3, !4, !5}}
!4 = !{{!"llvm.loop.vectorize.enable", i1 false}}
!5 = !{{!"llvm.loop.unroll.disable"}}
!9 = !{{!"llvm.loop.interleave.count", i32 4}}
"""

#: What mathematics does to one vector has to wait for each step before; four vectors in turn take up to half the time.
SEVERAL = ", !9"
MOST = 64  #: operands of a universal function, NPY_MAXARGS
FLAGS = 0b111101  # FE_ALL_EXCEPT of fenv.h on x86-64; the low bits are all there are elsewhere


class Writer:
    """Writes the parts of a loop."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.before = Code("b")
        self.dtypes = [*[self._dtype(sample) for sample in trace.samples[: trace.inputs]], *trace.dtypes]
        self.arrays = [isinstance(sample, np.ndarray) for sample in trace.samples[: trace.inputs]]

    @staticmethod
    def _dtype(sample: Any) -> Any:
        if type(sample) is int:
            raise CannotEmitError("an integer, whose range is for NumPy to look after")
        return np.dtype(np.float64) if type(sample) is float else sample.dtype

    def write(self) -> str:
        """Return the module."""
        before, count = self.before, len(self.dtypes)
        self.bases = [self._given("args", "ptr", k) for k in range(count)]
        steps = [self._given("steps", "i64", k) for k in range(count)]
        together = "true"
        for k in [k for k in range(count) if k >= self.trace.inputs or self.arrays[k]]:
            beside = before.line(f"icmp eq i64 {steps[k]}, {self.dtypes[k].itemsize}")
            together = before.line(f"and i1 {together}, {beside}")
        near, far = Code("n"), Code("f")
        self._turn(near, lambda k: f"getelementptr {stored(self.dtypes[k])}, ptr {self.bases[k]}, i64 %i", True)
        self._turn(
            far,
            lambda k: f"getelementptr i8, ptr {self.bases[k]}, i64 {far.line(f'mul i64 {steps[k]}, %j')}",
            False,
        )
        return FRAME.format(
            before="\n".join(before.lines), near="\n".join(near.lines), far="\n".join(far.lines), together=together,
            declarations="\n".join(sorted(near.declared | far.declared)), flags=FLAGS,
            several=SEVERAL if self.trace.mathematics else "",
        )  # fmt: skip

    def _given(self, name: str, kind: str, k: int) -> str:
        place = self.before.line(f"getelementptr i8, ptr %{name}, i64 {8 * k}")
        return self.before.line(f"load {kind}, ptr {place}")

    def _turn(self, code: Code, address: Any, marked: bool) -> None:
        """Write one turn: of loads, the steps of the trace, and stores."""
        trace, mark = self.trace, ", !llvm.access.group !2" if marked else ""
        terms: dict[int, Term] = {}
        for k, dtype in enumerate(self.dtypes[: trace.inputs]):
            place = code.line(address(k)) if self.arrays[k] else self.bases[k]
            terms[k] = code.read(dtype, code.line(f"load {stored(dtype)}, ptr {place}, align 1{mark}"))

        def term(number: int, dtype: Any) -> Term:
            if number in terms:
                return terms[number].astype(dtype)
            sample = trace.samples[number]
            if number not in trace.constants or not isinstance(sample, bool | int | float | np.bool | np.number):
                raise CannotEmitError(f"a value of {type(sample)}")
            return code.constant(dtype, sample)

        for step in trace.steps:
            terms[step[2]] = apply(step, trace.samples, trace.constants, term)
        found = [term(number, dtype) for number, dtype in zip(trace.results, trace.dtypes, strict=True)]
        for k, value in enumerate(found, trace.inputs):
            name, place = value.stored(), code.line(address(k))
            code.lines.append(f"  store {stored(value.dtype)} {name}, ptr {place}, align 1{mark}")


class _Api:
    """What NumPy offers to extensions in C: `PyUFunc_FromFuncAndData` stands at place 1 of its table."""

    def __init__(self) -> None:
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        table = ctypes.cast(
            pointer(import_module("numpy._core._multiarray_umath")._UFUNC_API, None), ctypes.POINTER(ctypes.c_void_p)
        )
        kind = ctypes.PYFUNCTYPE(
            ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int] * 4,
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int,
        )  # fmt: skip
        self.new = kind(table[1])

    def make(self, address: int, dtypes: list[Any], inputs: int, name: str) -> Any:
        functions, data = (ctypes.c_void_p * 1)(address), (ctypes.c_void_p * 1)(None)
        types = ctypes.create_string_buffer(bytes(dtype.num for dtype in dtypes))
        label = ctypes.create_string_buffer(name.encode())
        _kept.append((functions, data, types, label))
        return self.new(
            ctypes.addressof(functions), ctypes.addressof(data), ctypes.addressof(types), 1, inputs,
            len(dtypes) - inputs, -1, ctypes.addressof(label), None, 0,
        )  # fmt: skip


@once
def _clears() -> bool:
    """Tell whether the process has the function that clears flags, without which LLVM would end it."""
    try:
        return hasattr(ctypes.CDLL(None), "feclearexcept")
    except (OSError, TypeError):  # Windows
        return False


_kept: list[Any] = []  #: what NumPy points to and does not copy
_api = once(_Api)


def loop(trace: Trace) -> tuple[int, list[Any]] | None:
    """Return the address of the loop of a trace, and the dtypes of its operands; None where there is none."""
    llvm = compiler()
    if llvm is None or trace.prelude or len(trace.dtypes) + trace.inputs > MOST or not _clears():
        return None
    try:
        writer = Writer(trace)
        text = writer.write()
    except (CannotEmitError, OverflowError):
        return None
    return llvm.load(text, "loop"), writer.dtypes


def ufunc(trace: Trace, name: str) -> Any:
    """Return the universal function of a trace, exactly of its dtypes; None where there is none."""
    found = loop(trace)
    return None if found is None else _api().make(*found, trace.inputs, name)
