"""Saving and loading .npz with NumPy, and once more with the flush to the disk that dzcore does."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

Step = Callable[[], Any]
Numbers = SimpleNamespace


def start(threads: int) -> None:
    """Do nothing: nothing is computed."""


def about() -> dict[str, str]:
    return {"numpy's files": np.__version__}


def read(result: np.ndarray) -> np.ndarray:
    return result.astype(np.float64).reshape(-1)


def saving(flush: bool, numbers: Numbers) -> Step:
    return partial(_save, flush, numbers.folder / "file.npz", numbers.arrays)


def _save(flush: bool, path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    with open(path, "wb") as file:
        np.savez(file, **arrays)
        if flush:
            file.flush()
            os.fsync(file.fileno())
    return np.array([sum(array.size for array in arrays.values())])


def loading(numbers: Numbers) -> Step:
    path = numbers.folder / "file.npz"
    _save(False, path, numbers.arrays)
    return partial(_load, path)


def _load(path: Path) -> np.ndarray:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}["l3"]


CONTENDERS: dict[str, dict[str, Callable[[Numbers], Step]]] = {
    "save-npz": {"numpy": partial(saving, False), "numpy + fsync": partial(saving, True)},
    "load-npz": {"numpy": loading},
}
