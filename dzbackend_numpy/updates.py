"""Updates of many arrays by one formula, in one call of compiled loops, step after step."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .compiled.calls import Calls, Row
from .compiled.loops import Plan
from .fuse import Fused, apart

__all__ = ["Updates"]

ndarray = np.ndarray


class Made(NamedTuple):
    """The call for rows whose arrays have one form and memory of their own."""

    rows: dict[int, Row]  #: by their numbers among all
    calls: Calls | None  #: None where there are none

    def run(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> dict[int, Row]:
        """Update them; return those where that was done, all or none."""
        if self.calls is None:
            return {}
        mine = inputs if len(self.rows) == len(inputs) else [inputs[k] for k in self.rows]
        return self.rows if self.calls.run(mine, numbers) else {}


class Updates:
    """What replaces the targets by the formula's results: `updates(inputs, numbers)`."""

    def __init__(self, fused: Fused, targets: Sequence[tuple[Any, ...]]) -> None:
        self.fused, self.targets = fused, targets
        self.made: Made | None = None

    def __call__(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        """Return the arrays with the new values, those of a row the same tuple where they were written in place."""
        made = self.made
        rows = {} if made is None else made.run(inputs, numbers)
        if not rows and (made is None or made.rows):  # where none could be in a call, none will
            self.made = made = self._make(inputs, numbers)
            rows = made.run(inputs, numbers)
        if len(rows) == len(self.targets):
            return self.targets
        return [
            own if k in rows else self.fused.update(own, (x, *numbers))
            for k, (own, x) in enumerate(zip(self.targets, inputs, strict=True))
        ]

    def _make(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> Made:
        found = [self._row(own, x, numbers) for own, x in zip(self.targets, inputs, strict=True)]
        rows = {k: row for k, row in enumerate(found) if row is not None}
        spans = sorted(span for row in rows.values() for span in row.written)
        if not rows or any(end > start for (_, end), (start, _) in pairwise(spans)):
            return Made({}, None)
        return Made(rows, Calls([*rows.values()], [target for k in rows for target in self.targets[k]], numbers))

    def _row(self, own: tuple[Any, ...], x: Any, numbers: tuple[Any, ...]) -> Row | None:
        everything = (*own, x)
        if not all(type(a) is ndarray for a in everything):
            return None
        form = x.dtype, x.shape, x.strides
        if any((a.dtype, a.shape, a.strides) != form for a in own) or not apart(own, everything):
            return None
        if not all(target.flags.writeable for target in own):
            return None
        plan = self.fused.plan((*everything, *numbers), own)
        return Row(plan, tuple(a[...] for a in own)) if isinstance(plan, Plan) else None
