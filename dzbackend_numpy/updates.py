"""Updates of many arrays by one formula, in one call of compiled loops, step after step."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .compiled.loops import Plan, call_all
from .fuse import Fused, apart

__all__ = ["Updates"]

ndarray = np.ndarray


class Row(NamedTuple):
    """A row that has a loop: its arrays have one form, and the targets memory of their own."""

    number: int  #: among all rows
    plan: Plan
    own: tuple[Any, ...]  #: views of the targets: nobody changes their form
    form: tuple[Any, tuple[int, ...], tuple[int, ...]]  #: dtype, shape and strides of an input
    owners: set[int]  #: whose the memory of the targets is; nothing where that is not known


class Updates:
    """What replaces the targets by the formula's results: `updates(inputs, numbers)`."""

    def __init__(self, fused: Fused, targets: Sequence[tuple[Any, ...]]) -> None:
        self.fused, self.targets = fused, targets
        self._together: Together | None = None

    def __call__(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        """Return the arrays with the new values, those of a row the same tuple where they were written in place."""
        together = self._together
        if together is None or not together.fits(inputs, numbers):
            self._together = together = self._gather(inputs, numbers)
        done = together.run(inputs, numbers)
        if len(done) == len(self.targets):
            return self.targets
        return [
            own if k in done else self.fused.update(own, (x, *numbers))
            for k, (own, x) in enumerate(zip(self.targets, inputs, strict=True))
        ]

    def _gather(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> "Together":
        rows = [self._row(k, own, x, numbers) for k, (own, x) in enumerate(zip(self.targets, inputs, strict=True))]
        return Together([row for row in rows if row is not None], self.targets, tuple(map(type, numbers)))

    def _row(self, number: int, own: tuple[Any, ...], x: Any, numbers: tuple[Any, ...]) -> Row | None:
        everything = (*own, x)
        if not all(type(a) is ndarray for a in everything):
            return None
        form = x.dtype, x.shape, x.strides
        if any((a.dtype, a.shape, a.strides) != form for a in own) or not apart(own, everything):
            return None
        if not all(target.flags.writeable for target in own):
            return None
        plan = self.fused.plan((*everything, *numbers), own)
        if not isinstance(plan, Plan):
            return None
        whose = [target if target.base is None else target.base for target in own]
        known = all(type(a) is ndarray and a.flags.owndata for a in whose)
        return Row(number, plan, tuple(a[...] for a in own), form, set(map(id, whose)) if known else set())


class Together:
    """One call for rows, made but for the inputs and the numbers."""

    def __init__(self, rows: list[Row], targets: Sequence[tuple[Any, ...]], kinds: tuple[type, ...]) -> None:
        self.rows, self.kinds = rows, kinds
        self.numbers = {row.number for row in rows}
        self.watched = [target for row in rows for target in targets[row.number]]
        self.effort = sum(row.plan.effort for row in rows)
        words: list[int] = [len(rows)]
        inputs: list[int] = []
        scalars: dict[int, tuple[Row, list[list[int]]]] = {}
        for row in rows:
            own, plan = [id(target) for target in row.own], row.plan
            words += plan.head
            inputs.append(len(words) + len(own))
            words += *own, 0, *own
            numbers = range(len(words), len(words) + len(plan.scalars))
            scalars.setdefault(id(plan.kernel), (row, []))[1].append([*numbers])
            words += [0] * len(numbers)
        self.words = np.array(words, np.uintp)
        #: Where in it the inputs are; and of each kernel a row, and where its numbers are.
        self.inputs = np.array(inputs, np.intp)
        self.scalars = [(row, np.array(places, np.intp)) for row, places in scalars.values()]

    def fits(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> bool:
        """Tell whether the arrays are what they were, and these inputs like those that it was made with."""
        for number, _, own, (dtype, shape, strides), owners in self.rows:
            x = inputs[number]
            if type(x) is not ndarray or x.dtype != dtype or x.shape != shape or x.strides != strides:
                return False
            if not (owners and x.flags.owndata and id(x) not in owners) and not apart(own, (*own, x)):
                return False
        return tuple(map(type, numbers)) == self.kinds and all(x.flags.writeable for x in self.watched)

    def run(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> set[int]:
        """Write the results over the targets; return the numbers of the rows where that is done.

        There are none where a number does not fit.
        """
        if not self.rows:
            return self.numbers
        words = self.words.copy()
        words[self.inputs] = [id(inputs[row.number]) for row in self.rows]
        try:
            for row, places in self.scalars:
                words[places] = np.frombuffer(row.plan.numbers((*row.own, inputs[row.number], *numbers)), np.uintp)
        except (ArithmeticError, TypeError, struct.error):
            return set()
        call_all(words.tobytes(), self.effort)
        return self.numbers
