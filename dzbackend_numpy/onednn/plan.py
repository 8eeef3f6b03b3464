"""Plans: a primitive of the library, and what brings operands into the layouts that it likes, and the result back."""

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from ctypes import c_int, c_int64, c_void_p
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import team
from ..once import once
from .library import Handle, call, engine, library, make

__all__ = ["BIAS", "DIFF_DST", "DIFF_SRC", "DIFF_WEIGHTS", "DST", "SRC", "WEIGHTS", "Operand", "Plan",
           "attributes", "form", "numbers", "run"]  # fmt: skip

F32, ANY, IN_ORDER, USER = 3, 1, 1, 1  # numbers of dnnl_types.h, as are those below
SRC, DST, WEIGHTS, BIAS, SCRATCHPAD = 1, 17, 33, 41, 80
DIFF_SRC, DIFF_DST, DIFF_WEIGHTS = 129, 145, 161
#: By which number a descriptor is asked how an argument is to lie. That of a bias is known.
LAYOUTS = {SRC: 129, DIFF_SRC: 130, WEIGHTS: 131, DIFF_WEIGHTS: 132, DST: 133, DIFF_DST: 134, SCRATCHPAD: 136}
RESULTS = (DST, DIFF_SRC, DIFF_WEIGHTS)

#: How many plans a thread keeps.
PLANS = 256
#: Up to how many bytes a copy shares the work space with others, where it is aligned.
SHARED, ALIGNED = 2**22, 64


class Operand(NamedTuple):
    """An argument of a primitive: which one, and how the array lies in memory, strides being in elements."""

    argument: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Argument(ctypes.Structure):
    _fields_ = (("number", c_int), ("memory", c_void_p))


Step = tuple[Handle, Any]  # a primitive and its arguments


class Plan:
    """A compiled primitive, and the copies of operands that it needs.

    The memory of copies is taken for the time of a run. A large copy has an array of its own, for which there is room
    where another has been freed, while there may be none for several side by side. The result is written when it is
    brought into its own layout, last of all: until then a copy of an operand lies there, if one fits.
    """

    def __init__(self, primitive: Handle, operands: Sequence[Operand]) -> None:
        """Compile what the descriptor `primitive` describes, for arrays that lie as `operands` say."""
        self._descriptor = primitive  # layouts belong to it
        self._size = 0  # bytes of work space
        self._shared: list[tuple[Handle, int]] = []  # memories in the work space, and where they begin
        self._alone: list[tuple[Handle, int]] = []  # memories outside, and their bytes
        self._guests: list[tuple[Handle, int]] = []  # memories in the place of an operand, and which
        self._at = 0
        own = [form(each.shape, each.strides) for each in operands]
        self._arrays = [_memory(layout) for layout in own]
        wanted = [_wanted(primitive, each, given) for each, given in zip(operands, own, strict=True)]
        result = next(i for i, each in enumerate(operands) if each.argument in RESULTS)
        guest = _guest(operands, wanted, result)
        before, after, arguments = list[Step](), list[Step](), list[tuple[int, Handle]]()
        for i, (layout, given, used) in enumerate(zip(wanted, own, self._arrays, strict=True)):
            if layout is not None:
                array, used = used, self._lent(layout, result) if i == guest else self._reserve(layout)
                if i == result:
                    after.append(_reorder(layout, used, given, array))
                else:
                    before.append(_reorder(given, array, layout, used))
            arguments.append((operands[i].argument, used))
        arguments.append((SCRATCHPAD, self._reserve(_layout(primitive, SCRATCHPAD), always=True)))
        self._steps = [*before, _step(primitive, arguments), *after]

    def _reserve(self, layout: c_void_p, always: bool = False) -> Handle:
        """Return a memory in the work space, or outside if it is large, and not `always` to be aligned."""
        memory, size = _memory(layout), _size(layout)
        if size > SHARED and not always:
            self._alone.append((memory, size))
        else:
            self._shared.append((memory, self._size))
            self._size += -(-size // ALIGNED) * ALIGNED
        return memory

    def _lent(self, layout: c_void_p, operand: int) -> Handle:
        """Return a memory in the place of an operand."""
        memory = _memory(layout)
        self._guests.append((memory, operand))
        return memory

    def run(self, stream: Handle, arrays: Sequence[Any]) -> None:
        """Run with the arrays. It is for one thread at a time."""
        place = library().dnnl_memory_set_data_handle
        space = np.empty(self._size + ALIGNED, np.uint8)
        at = -(-space.ctypes.data // ALIGNED) * ALIGNED
        if at != self._at:
            for memory, offset in self._shared:
                place(memory, at + offset)
            self._at = at
        alone = [np.empty(size, np.uint8) for _, size in self._alone]
        for (memory, _), copy in zip(self._alone, alone, strict=True):
            place(memory, copy.ctypes.data)
        places = [array.ctypes.data for array in arrays]
        for memory, address in zip(self._arrays, places, strict=True):
            place(memory, address)
        for memory, i in self._guests:
            place(memory, places[i])
        for primitive, arguments in self._steps:
            call("primitive_execute", primitive, stream, len(arguments), arguments)


def _step(descriptor: Handle, arguments: Sequence[tuple[int, Handle]]) -> Step:
    primitive = make("primitive", "primitive_create", descriptor)
    listed = [_Argument(number, memory.value) for number, memory in arguments]
    return primitive, (_Argument * len(listed))(*listed)


def _reorder(given: Any, source: Handle, wanted: Any, target: Handle) -> Step:
    """Return the step that copies a memory into another layout."""
    copied = make("primitive_desc", "reorder_primitive_desc_create", given, engine(), wanted, engine(), None)
    return _step(copied, [(SRC, source), (DST, target)])


# What the library makes ----------------------------------------------------------------------------------------------


def numbers(each: Sequence[int]) -> Any:
    """Return integers, one for each axis, as the library takes them."""
    return (c_int64 * 12)(*each)


def form(shape: Sequence[int], strides: Sequence[int] | None = None) -> Handle:
    """Describe an array of float32. Without strides, its layout is for the library to choose."""
    if strides is None:
        return make("memory_desc", "memory_desc_create_with_tag", len(shape), numbers(shape), F32, ANY)
    return make("memory_desc", "memory_desc_create_with_strides", len(shape), numbers(shape), F32, numbers(strides))


def attributes() -> Handle:
    """Say that the scratch memory is ours."""
    made = make("primitive_attr", "primitive_attr_create")
    call("primitive_attr_set_scratchpad_mode", made, USER)
    return made


def _memory(layout: c_void_p | Handle) -> Handle:
    return make("memory", "memory_create", layout, engine(), None)


def _size(layout: c_void_p | Handle) -> int:
    return int(library().dnnl_memory_desc_get_size(layout))


def _wanted(primitive: Handle, operand: Operand, given: Handle) -> c_void_p | None:
    """Return the layout into which an array has to be copied; None where it can be used as it is."""
    if operand.argument not in LAYOUTS:
        return None
    layout = _layout(primitive, operand.argument)
    return None if library().dnnl_memory_desc_equal(given, layout) else layout


def _guest(operands: Sequence[Operand], wanted: Sequence[c_void_p | None], result: int) -> int | None:
    """Return which copy is to lie in the memory of the result: the largest that fits, if the result is copied."""
    shape, strides = operands[result].shape, operands[result].strides
    dense = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) == prod(shape) - 1  # else gaps are others'
    if wanted[result] is None or not dense:
        return None
    sizes = {i: _size(layout) for i, layout in enumerate(wanted) if layout is not None and i != result}
    fitting = [i for i, size in sizes.items() if size <= 4 * prod(shape)]
    return max(fitting, key=sizes.__getitem__, default=None)


def _layout(primitive: Handle, argument: int) -> c_void_p:
    return c_void_p(library().dnnl_primitive_desc_query_md(primitive, LAYOUTS[argument], 0))


# A thread's plans ----------------------------------------------------------------------------------------------------


class _Desk(threading.local):
    """What a thread has: plans, the least recently used first, and the library's queue of work."""

    def __init__(self) -> None:
        self.plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self.stream = make("stream", "stream_create", engine(), IN_ORDER)


@once
def _desk() -> _Desk:
    return _Desk()


def run(key: Hashable, planned: Callable[[], Plan], arrays: Sequence[Any]) -> None:
    """Run the plan of this key on arrays; `planned` makes it when it is needed first.

    Raises:
        OneDNNError: there is no such plan, or it did not run.
    """
    desk, key = _desk(), (key, team.size())  # plans divide the work among so many
    plan = desk.plans.get(key)
    if plan is None:
        plan = desk.plans[key] = planned()
        if len(desk.plans) > PLANS:
            desk.plans.popitem(last=False)
    else:
        desk.plans.move_to_end(key)
    plan.run(desk.stream, arrays)
