"""Saving and loading .safetensors with the package, and once more with the flush to the disk that dzcore does."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import safetensors.numpy

Step = Callable[[], Any]
Numbers = SimpleNamespace


def start(threads: int) -> None:
    """Do nothing: nothing is computed."""


def about() -> dict[str, str]:
    return {"safetensors": safetensors.__version__}


def read(result: np.ndarray) -> np.ndarray:
    return result.astype(np.float64).reshape(-1)


def saving(flush: bool, numbers: Numbers) -> Step:
    return partial(_save, flush, numbers.folder / "file.safetensors", numbers.arrays)


def _save(flush: bool, path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    safetensors.numpy.save_file(arrays, path)
    if flush:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    return np.array([sum(array.size for array in arrays.values())])


def loading(numbers: Numbers) -> Step:
    path = numbers.folder / "file.safetensors"
    _save(False, path, numbers.arrays)
    return partial(_load, path)


def _load(path: Path) -> np.ndarray:
    return safetensors.numpy.load_file(path)["l3"]


CONTENDERS: dict[str, dict[str, Callable[[Numbers], Step]]] = {
    "save-safetensors": {"safetensors": partial(saving, False), "safetensors + fsync": partial(saving, True)},
    "load-safetensors": {"safetensors": loading},
}
