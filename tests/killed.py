"""A training that is killed and started again until it is done: `python -m tests.killed FOLDER BACKGROUND KILLS SEED`.

Prints what happened, in JSON. A process of its own, in one thread: what it forks has everything imported already.
"""

import json
import os
import random as python_random
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dzcore.functions as F
import dzcore.layers as L
from dzcore import DataLoader, Variable, random
from dzcore.datasets import ArrayDataset
from dzcore.io import Checkpoint, CheckpointWarning
from dzcore.models import Model
from dzcore.optimizers import Adam, CosineAnnealingLR
from dzcore.transforms import Compose, RandomCrop, RandomHorizontalFlip

EPOCHS, EVERY = 4, 3
LONGEST = 0.006  #: seconds from a step to the kill


class Net(Model):
    """A layer with statistics, and one that drops."""

    def __init__(self) -> None:
        self.l1, self.norm, self.l2 = L.Linear(40, in_size=64), L.BatchNorm(40), L.Linear(5, in_size=40)

    def forward(self, x: Variable) -> Variable:
        return self.l2(F.dropout(F.relu(self.norm(self.l1(F.reshape(x, (x.shape[0], -1))))), 0.3))


def train(folder: Path, background: bool, tell: Callable[[], object]) -> None:
    """Train, from the newest checkpoint if there is one; the results are in folder/weights.npz and losses.json."""
    random.seed(1)
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(62, 1, 8, 8)).astype(np.float32)
    augment = Compose([RandomCrop(8, pad=1), RandomHorizontalFlip()])
    loader = DataLoader(ArrayDataset(pictures, rng.integers(0, 5, 62), transform=augment), 6)
    model = Net()
    optimizer = Adam(0.01).setup(model)
    schedule = CosineAnnealingLR(optimizer, EPOCHS * len(loader))
    losses: list[float] = []
    with Checkpoint(
        folder / "checkpoints", every=EVERY, keep=2, background=background,
        model=model, optimizer=optimizer, schedule=schedule, loader=loader,
    ) as checkpoint:  # fmt: skip
        if (saved := checkpoint.restore()) is not None:
            losses = list(saved.metadata["losses"])
        for _ in range(loader.epoch, EPOCHS):
            for x, t in loader:
                loss = F.softmax_cross_entropy(model(x), t)
                model.cleargrads()
                loss.backward()
                optimizer.update()
                schedule.step()
                losses.append(float(loss))
                tell()
                checkpoint.save(optimizer.t, {"losses": losses})
        model.save_weights(folder / "weights.npz")
    (folder / "losses.json").write_text(json.dumps(losses))


def live(folder: Path, background: bool, steps: int, seconds: float) -> bool:
    """Train in a child, which is killed so many seconds after so many steps; return whether it was done before."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(ours)
            train(folder, background, lambda: os.write(theirs, b"."))
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    os.close(theirs)
    while steps > 0 and (seen := os.read(ours, steps)):
        steps -= len(seen)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)  # nothing happens to one that has ended, and nobody has waited for
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(ours)
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the training ended with status {status}")
    return status == 0


def runs(folder: Path, background: bool, kills: int, seed: int) -> dict[str, object]:
    """Train again and again until there were so many kills; return how many hit what, and how many results differ."""
    alone = folder / "alone"
    alone.mkdir()
    train(alone, False, lambda: None)
    results = [(alone / name).read_bytes() for name in ("weights.npz", "losses.json")]
    draw = python_random.Random(seed)
    found = {"kills": 0, "in a save": 0, "before a checkpoint": 0, "runs": 0, "different": 0}
    while found["kills"] < kills:
        place = folder / str(found["runs"])
        place.mkdir()
        checkpoints = place / "checkpoints"
        while not live(place, background, draw.randrange(4 * EVERY), draw.uniform(0, LONGEST)):
            found["kills"] += 1
            names = os.listdir(checkpoints) if checkpoints.is_dir() else []
            found["in a save"] += any(name.startswith(".tmp") for name in names)
            found["before a checkpoint"] += not any("-step-" in n and not n.startswith(".") for n in names)
        found["runs"] += 1
        found["different"] += results != [(place / name).read_bytes() for name in ("weights.npz", "losses.json")]
        left = [name for name in os.listdir(checkpoints) if name.startswith(".tmp")]
        if left:
            raise RuntimeError(f"left over: {left}")
        shutil.rmtree(place)
    return found


if __name__ == "__main__":
    warnings.simplefilter("error", CheckpointWarning)  # nothing half is ever seen
    folder, background, kills, seed = sys.argv[1:]
    print(json.dumps(runs(Path(folder), background == "True", int(kills), int(seed))))
