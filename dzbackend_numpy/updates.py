"""Updates of many arrays by one formula, in one call of compiled loops, step after step."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .compiled.calls import Calls, Row
from .compiled.loops import Plan
from .fuse import Fused, apart

__all__ = ["Updates"]

ndarray = np.ndarray


class Updates:
    """What replaces the targets by the formula's results: `updates(inputs, numbers)`."""

    def __init__(self, fused: Fused, targets: Sequence[tuple[Any, ...]]) -> None:
        self.fused, self.targets = fused, targets
        self._calls: Calls | None = None
        self._rows: dict[int, Row] = {}  #: those that are in the call, by their numbers

    def __call__(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        """Return the arrays with the new values, those of a row the same tuple where they were written in place."""
        done = self._run(inputs, numbers)
        if not done:
            self._gather(inputs, numbers)
            done = self._run(inputs, numbers)
        if done and len(self._rows) == len(self.targets):
            return self.targets
        return [
            own if done and k in self._rows else self.fused.update(own, (x, *numbers))
            for k, (own, x) in enumerate(zip(self.targets, inputs, strict=True))
        ]

    def _run(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> bool:
        if self._calls is None:
            return False
        if len(self._rows) < len(inputs):
            inputs = [inputs[k] for k in self._rows]
        return self._calls.run(inputs, numbers)

    def _gather(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> None:
        """Make the call for rows whose arrays have one form, and memory of their own."""
        found = [self._row(own, x, numbers) for own, x in zip(self.targets, inputs, strict=True)]
        self._rows = {k: row for k, row in enumerate(found) if row is not None}
        spans = sorted(span for row in self._rows.values() for span in row.written)
        if any(end > start for (_, end), (start, _) in pairwise(spans)):
            self._rows = {}
        watched = [target for k in self._rows for target in self.targets[k]]
        self._calls = Calls([*self._rows.values()], watched, numbers) if self._rows else None

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
