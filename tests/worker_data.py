"""What travels to worker processes in tests: here, since they import this module and nothing that is slow."""

import os
import signal
from typing import Any

import numpy as np

from dzcore import random
from dzcore.datasets import Dataset


class Noisy(Dataset):
    """Items with random numbers; `failing` is called for item `at`."""

    def __init__(self, n: int = 10, failing: Any = None, at: int = -1) -> None:
        self.n, self.failing, self.at = n, failing, at
        super().__init__(backend="numpy")

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        if index == self.at:
            self.failing()
        x = random.normal(2, backend="numpy") + np.float32(index)
        return x, index


def no_such_file() -> None:
    raise FileNotFoundError(2, "No such file or directory", "cat.png")


class PickyError(Exception):
    """Cannot be pickled and read again: its arguments are not what it is made of."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def picky() -> None:
    raise PickyError(1, 2)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def padded(items: list[list[int]]) -> dict[str, Any]:
    longest = max(map(len, items))
    rows = np.array([[*item, *[0] * (longest - len(item))] for item in items])
    return {"words": rows, "lengths": (len(items), [np.array(list(map(len, items)))])}
