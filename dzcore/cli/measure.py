"""Loss and accuracy, added up on the device and read only when somebody looks."""

import time
from collections.abc import Callable
from typing import Any

from .. import functions as F
from ..backend import Backend
from ..dataloaders import DataLoader
from ..datasets import Dataset
from ..graph import no_grad, test_mode
from ..models import Model
from ..state import Stateful, checked

__all__ = ["Tally", "evaluate_model", "open_backend"]


class Tally(Stateful):
    """Sums over batches: the number of samples, of hits, and the loss times the samples; and the time they took."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.pending: list[tuple[Any, Any]] = []
        self.counts: list[int] = []
        self.samples = self.hits = 0
        self.total = 0.0
        self.begin = time.perf_counter()

    def add(self, loss: Any, y: Any, t: Any) -> None:
        """Note a batch: its mean loss (), scores y (n, classes) and classes t (n,)."""
        xp = self.backend.xp
        self.pending.append((loss, xp.sum(xp.astype(xp.argmax(y, axis=1) == t, xp.int64))))
        self.counts.append(t.shape[0])

    def read(self) -> tuple[float, float]:
        """Return mean loss and accuracy so far."""
        if self.pending:
            own = self.backend
            losses, hits = (own.to_host(own.xp.stack(list(each))) for each in zip(*self.pending, strict=True))
            kind = {"float32": "f", "float64": "d"}[losses.dtype]
            means = memoryview(losses.buffer).cast("B").cast(kind)  # type: ignore[call-overload]
            for mean, n in zip(means, self.counts, strict=True):  # one by one: whoever looks in between changes no bit
                self.total += mean * n
            self.hits += sum(memoryview(hits.buffer).cast("B").cast("q"))
            self.samples += sum(self.counts)
            self.pending, self.counts = [], []
        return self.total / max(self.samples, 1), self.hits / max(self.samples, 1)

    @property
    def rate(self) -> float:
        """Samples per second, of those that have been read."""
        return self.samples / (time.perf_counter() - self.begin)

    def _state(self) -> dict[str, Any]:
        self.read()
        seconds = time.perf_counter() - self.begin
        return {"samples": self.samples, "hits": self.hits, "total": self.total, "seconds": seconds}

    def _stage(self, state: dict[str, Any]) -> Callable[[], None]:
        checked(self, state, samples=int, hits=int, total=float, seconds=float)

        def commit() -> None:
            self.clear()
            self.samples, self.hits, self.total = state["samples"], state["hits"], state["total"]
            self.begin -= state["seconds"]

        return commit


def evaluate_model(model: Model, dataset: Dataset, backend: Backend) -> tuple[float, float]:
    """Return mean loss and accuracy on a data set, in test mode."""
    tally = Tally(backend)
    with no_grad(), test_mode():
        for x, t in DataLoader(dataset, 1000, shuffle=False, backend=backend):
            y = model(x)
            tally.add(F.softmax_cross_entropy(y, t).data, y.data, t)
    return tally.read()


def open_backend(spec: str | None, argument: str = "--backend") -> Backend:
    """Return the backend that an argument names, or the current one."""
    from ..backend import current_backend, get_backend
    from ..errors import BackendError
    from .parser import UsageError

    if spec is None:
        return current_backend()
    try:
        return get_backend(spec)
    except (BackendError, ValueError) as error:
        raise UsageError(f"argument {argument}: {error} See dz backends.") from error
