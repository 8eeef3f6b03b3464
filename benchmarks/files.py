"""Saving and loading 100 MB: dzcore, flushed and checked, against NumPy's .npz and the safetensors package.

Also by itself: `python benchmarks/files.py --rounds 40 --folder /on/the/disk/that/counts`.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import safetensors.numpy
from harness import Result, compete, table

import dzcore

MEGABYTES = 100


def run(rounds: int, folder: str | None = None) -> dict[str, list[Result]]:
    """Time both formats, 100 MB of float32 as 1 array and as 25; return results in microseconds per megabyte."""
    dzcore.set_default_backend("numpy")
    whole = np.random.default_rng(0).standard_normal(MEGABYTES * 250_000, dtype=np.float32)
    results: dict[str, list[Result]] = {".npz": [], ".safetensors": []}
    with TemporaryDirectory(dir=folder) as name:
        for pieces in (1, 25):
            arrays = {f"l{i}": part.copy() for i, part in enumerate(np.split(whole, pieces))}
            case = f"{pieces} array{'s' * (pieces > 1)}"
            for suffix, (peer, save, load) in PEERS.items():
                ours, theirs = Path(name) / f"ours{suffix}", Path(name) / f"theirs{suffix}"
                saving = {
                    "dzcore": partial(dzcore.save, ours, arrays, compress=False),
                    peer: partial(save, theirs, arrays),
                    f"{peer} + fsync": partial(_flushed, save, theirs, arrays),
                }
                loading = {"dzcore": partial(dzcore.load, ours), peer: partial(load, theirs)}
                results[suffix].append(_compete(f"save {case}", saving, rounds))
                results[suffix].append(_compete(f"load {case}", loading, rounds))
    return results


def _compete(case: str, steps: Mapping[str, Callable[[], object]], rounds: int) -> Result:
    return compete(case, steps, ours="dzcore", units=MEGABYTES, rounds=rounds)


def _savez(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, **arrays)


def _loadz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def _save_file(path: Path, arrays: dict[str, np.ndarray]) -> None:
    safetensors.numpy.save_file(arrays, path)


PEERS = {
    ".npz": ("NumPy", _savez, _loadz),
    ".safetensors": ("safetensors", _save_file, safetensors.numpy.load_file),
}


def _flushed(save: Callable[[Path, dict[str, np.ndarray]], None], path: Path, arrays: dict[str, np.ndarray]) -> None:
    save(path, arrays)
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def report(results: dict[str, list[Result]]) -> None:
    """Print the tables."""
    for suffix, cases in results.items():
        print(f"{suffix}, microseconds per megabyte, float32\n")
        print(table(cases, "dzcore"), "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--folder", help="where to write; the system's temporary folder by default")
    arguments = parser.parse_args()
    report(run(arguments.rounds, arguments.folder))
