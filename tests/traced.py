"""A save, again and again, with a fault at each of its system calls in turn: `python -m tests.traced FOLDER FAULT`.

The fault is one that strace injects, such as `signal=KILL`. Prints what came of each, in JSON. A process of its own, in
one thread: what it forks has everything imported already.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dzcore.io import Checkpoint, CheckpointWarning
from dzcore.layers import Linear

CALLS = "openat,mkdir,mkdirat,write,pwrite64,fsync,fdatasync,rename,renameat,unlink,unlinkat,rmdir,ftruncate,fchmod"
PR_SET_PTRACER = 0x59616D61


class Outcome(NamedTuple):
    """What came of a save whose n-th call `call` was hit."""

    call: str
    n: int
    status: int  #: of the process
    said: str  #: "saved", an error, or nothing
    step: int  #: of the checkpoint that the next process restores


def save(folder: Path, traced: bool) -> str:
    """Restore what there is, and save one more; return "saved" or the error."""
    model = Linear(3, in_size=2)
    with Checkpoint(folder, keep=1, model=model) as checkpoint:
        saved = checkpoint.restore()
        step = 1 if saved is None else saved.step + 1
        for param in model.params():
            param.data[...] = step
        if traced:
            ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # strace is not one of our parents
            os.kill(os.getpid(), signal.SIGSTOP)
        try:
            checkpoint.save(step, {"step": step})
        except OSError as error:
            return str(error)
    return "saved"


def trace(folder: Path, *options: str) -> tuple[int, str, str]:
    """Save in a child under strace, from the stop on; return its status, what it said, and the trace."""
    log = folder.with_name("log")
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(theirs, save(folder, traced=True).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    os.waitpid(child, os.WUNTRACED)
    command = ["strace", "-f", "-p", str(child), "-o", str(log), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        first = tracer.stderr.readline()
        if "attached" not in first:
            os.kill(child, signal.SIGKILL)
            sys.exit(f"strace does not work here: {first.strip()}")
        os.kill(child, signal.SIGCONT)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(ours) as file:
            return status, file.read(), log.read_text() if tracer.wait() is not None else ""


def calls(folder: Path) -> list[tuple[str, int]]:
    """Return the system calls of a save in their order, each with its number among those of its name."""
    _, said, log = trace(folder, "-e", f"trace={CALLS}")
    assert said == "saved", said
    counts: Counter[str] = Counter()
    found = []
    for name, arguments in re.findall(r"^\d+ +(\w+)\((.*)$", log, re.MULTILINE):
        if name == "write" and '"saved"' in arguments:
            break
        counts[name] += 1
        found.append((name, counts[name]))
    return found


def step_restored(folder: Path) -> int:
    """Restore what is there, as the next process would, and look at every number."""
    model = Linear(3, in_size=2)
    with Checkpoint(folder, model=model) as checkpoint:
        saved = checkpoint.restore()
        assert saved is not None
        assert not [name for name in os.listdir(folder) if name.startswith(".tmp")]
    for param in model.params():
        assert (np.asarray(param.data) == saved.step).all()
    assert saved.metadata == {"step": saved.step}
    return saved.step


def outcomes(folder: Path, fault: str) -> list[Outcome]:
    """Let the fault hit every call."""
    good, place = folder / "good", folder / "hit"
    assert save(good, traced=False) == "saved"
    shutil.copytree(good, place)
    found = []
    for name, n in calls(place):
        shutil.rmtree(place)
        shutil.copytree(good, place)
        status, said, _ = trace(place, "-e", f"trace={name}", "-e", f"inject={name}:{fault}:when={n}")
        found.append(Outcome(name, n, status, said, step_restored(place)))
    return found


if __name__ == "__main__":
    warnings.simplefilter("error", CheckpointWarning)  # nothing half is ever seen
    print(json.dumps(outcomes(Path(sys.argv[1]), sys.argv[2])))
