"""Try many mutations and print how many came to what; end with 1 if there is a finding.

    python -m tests.fuzz.run --count 100000 [--seed 0] [--format npz] [--processes 2] [--by-mutation]

A finding is printed with the seed that repeats it:

    python -m tests.fuzz.run --repeat npz:0:4711
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from .target import FORMATS, Outcome, mutated, try_one

__all__ = ["try_many"]


def try_many(name: str, seed: int, numbers: range) -> list[tuple[str, Outcome]]:
    """Try mutations of a format in one folder; return the outcome of each with the seed that repeats it."""
    outcomes = []
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for number in numbers:
            outcomes.append((f"{name}:{seed}:{number}", try_one(name, f"{name}:{seed}:{number}", Path(folder))))
    return outcomes


def _chunk(task: tuple[str, int, range]) -> tuple[Counter[tuple[str, str, str]], list[str]]:
    outcomes = try_many(*task)
    counts = Counter((task[0], outcome.kind, outcome.mutation) for _, outcome in outcomes)
    return counts, [f"{seed} ({o.mutation}) {o.detail}" for seed, o in outcomes if o.kind == "finding"]


def _repeat(seed: str) -> None:
    from random import Random

    with TemporaryDirectory() as folder:
        print(try_one(seed.partition(":")[0], seed, Path(folder)))
    for name, data in mutated(seed.partition(":")[0], Random(seed))[2].items():
        print(name, data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=3000, help="mutations in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=FORMATS, action="append")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--by-mutation", action="store_true", help="count by mutation, too")
    parser.add_argument("--repeat", metavar="FORMAT:SEED:NUMBER", help="try one mutation again, and show the file")
    options = parser.parse_args()
    if options.repeat:
        _repeat(options.repeat)
        return 0
    start, each = time.perf_counter(), 500
    formats = options.format or FORMATS
    tasks = [
        (name, options.seed, range(first, min(first + each, options.count // len(formats))))
        for first in range(0, options.count // len(formats), each)
        for name in formats
    ]
    counts: Counter[tuple[str, str, str]] = Counter()
    findings: list[str] = []
    with multiprocessing.get_context("fork").Pool(options.processes) as pool:
        for some, found in pool.imap_unordered(_chunk, tasks):
            counts += some
            findings += found
            for finding in found:
                print(finding, flush=True)
    print(f"{sum(counts.values())} mutations in {time.perf_counter() - start:.0f} s, {len(findings)} findings")
    for name in formats:
        kinds: Counter[str] = Counter()
        for (of, kind, _), n in counts.items():
            kinds[kind] += n * (of == name)
        print(f"{name:12}", *(f"{kind}={kinds[kind]}" for kind in ("equal", "refused", "foreign", "finding")))
    if options.by_mutation:
        for (name, kind, mutation), n in sorted(counts.items()):
            print(f"  {name:12} {mutation:24} {kind:8} {n}")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
