"""A small training to save and restore: its state at each step is known."""

from pathlib import Path
from typing import Any

import dzcore as dz
import dzcore.layers as L
from dzcore.io import Checkpoint, Saved
from dzcore.io.tree import host_array, over

__all__ = ["Training", "state_at"]


class Counter:
    """A part of one's own, with plain values and an array."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


class Training:
    """A model, a counter, and dzcore's random numbers, each of which depends on the step."""

    def __init__(self, folder: Path, step: int = 0, **options: Any) -> None:
        self.folder, self.options = folder, {"file_size": 30, **options}
        self.model, self.counter = L.Linear(5, in_size=3), Counter()
        self.set(step)

    def set(self, step: int) -> None:
        generator = dz.random.Generator(step)
        self.model.W.data = generator.normal((3, 5))
        self.model.b.data = generator.normal((5,))
        self.counter.state = {"step": step, "x": dz.asarray([step, step + 1]), "nan": float("nan")}
        dz.random.set_state((step, step))

    def state(self) -> str:
        """Return all of it, bit by bit."""
        hosts = over([self.model.state_dict(), self.counter.state], host_array)
        return repr([dz.random.get_state(), over(hosts, lambda x: (x.dtype, x.shape, bytes(x.buffer)))])

    def open(self) -> Checkpoint:
        return Checkpoint(self.folder, model=self.model, counter=self.counter, **self.options)

    def save(self, step: int) -> None:
        """Continue from what is there, and save as of a step."""
        with self.open() as checkpoint:
            checkpoint.restore()
            self.set(step)
            checkpoint.save(step, {"loss": 1 / (1 + step)})

    def restore(self) -> Saved | None:
        with self.open() as checkpoint:
            return checkpoint.restore()


def state_at(step: int) -> str:
    return Training(Path(), step).state()
