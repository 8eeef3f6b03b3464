"""Plans: a primitive of the library, and what brings operands into the layouts that it likes, and the result back."""

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from ctypes import c_int, c_int64, c_void_p
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .. import team
from .library import Handle, call, engine, library, make

__all__ = ["BIAS", "DIFF_DST", "DIFF_SRC", "DIFF_WEIGHTS", "DST", "SRC", "WEIGHTS", "Operand", "Plan",
           "attributes", "form", "numbers", "run"]  # fmt: skip

F32, ANY, IN_ORDER, USER = 3, 1, 1, 1  # numbers of dnnl_types.h, as are those below
SRC, DST, WEIGHTS, BIAS, SCRATCHPAD = 1, 17, 33, 41, 80
DIFF_SRC, DIFF_DST, DIFF_WEIGHTS = 129, 145, 161
#: By which number a descriptor is asked how an argument is to lie. That of a bias is known.
LAYOUTS = {SRC: 129, DIFF_SRC: 130, WEIGHTS: 131, DIFF_WEIGHTS: 132, DST: 133, DIFF_DST: 134, SCRATCHPAD: 136}
RESULTS = (DST, DIFF_SRC, DIFF_WEIGHTS)

#: How many plans a thread keeps, and how many bytes of work space; a plan that needs more gives it back.
PLANS, ROOM = 256, 2**26
ALIGNED = 64


class Operand(NamedTuple):
    """An argument of a primitive: which one, and how the array lies in memory, strides being in elements."""

    argument: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Argument(ctypes.Structure):
    _fields_ = (("number", c_int), ("memory", c_void_p))


Step = tuple[Handle, Any]  # a primitive and its arguments


class Plan:
    """A compiled primitive, and the copies of operands that it needs. It is for one thread at a time."""

    def __init__(self, primitive: Handle, operands: Sequence[Operand]) -> None:
        """Compile what the descriptor `primitive` describes, for arrays that lie as `operands` say."""
        self.size = 0  #: bytes of work space
        self._descriptor = primitive  # layouts belong to it
        self._room: list[tuple[Handle, int]] = []  # memories in the work space, and where they begin
        self._at = 0
        own = [form(each.shape, each.strides) for each in operands]
        self._arrays = [_memory(layout) for layout in own]
        before, after, arguments = list[Step](), list[Step](), list[tuple[int, Handle]]()
        for (number, *_), given, array in zip(operands, own, self._arrays, strict=True):
            wanted = _layout(primitive, number) if number in LAYOUTS else given
            used = array
            if not library().dnnl_memory_desc_equal(given, wanted):
                used = self._reserve(wanted)
                if number in RESULTS:
                    after.append(_reorder(wanted, used, given, array))
                else:
                    before.append(_reorder(given, array, wanted, used))
            arguments.append((number, used))
        arguments.append((SCRATCHPAD, self._reserve(_layout(primitive, SCRATCHPAD))))
        self._steps = [*before, _step(primitive, arguments), *after]

    def _reserve(self, layout: c_void_p | Handle) -> Handle:
        """Return a memory in the work space."""
        memory = _memory(layout)
        self._room.append((memory, self.size))
        self.size += -(-int(library().dnnl_memory_desc_get_size(layout)) // ALIGNED) * ALIGNED
        return memory

    def run(self, stream: Handle, at: int, arrays: Sequence[Any]) -> None:
        """Run with the arrays and the work space at the address `at`."""
        place = library().dnnl_memory_set_data_handle
        if at != self._at:
            for memory, offset in self._room:
                place(memory, at + offset)
            self._at = at
        for memory, array in zip(self._arrays, arrays, strict=True):
            place(memory, array.ctypes.data)
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


def _layout(primitive: Handle, argument: int) -> c_void_p:
    return c_void_p(library().dnnl_primitive_desc_query_md(primitive, LAYOUTS[argument], 0))


# A thread's plans ----------------------------------------------------------------------------------------------------


class _Desk(threading.local):
    """What a thread has: plans, the least recently used first, work space, and the library's queue of work."""

    def __init__(self) -> None:
        self.plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self.space = np.empty(0, np.uint8)
        self.stream = make("stream", "stream_create", engine(), IN_ORDER)


@cache
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
    space = desk.space
    if len(space) < plan.size + ALIGNED:
        space = np.empty(plan.size + ALIGNED, np.uint8)
        if len(space) <= ROOM:
            desk.space = space
    at: int = space.ctypes.data
    plan.run(desk.stream, -(-at // ALIGNED) * ALIGNED, arrays)
