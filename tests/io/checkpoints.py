"""Parts of a training, and folders of checkpoints, for the tests of Checkpoint."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dzcore.functions as F
import dzcore.layers as L
from dzcore import dataloaders, optimizers, random
from dzcore.backend import Backend, current_backend
from dzcore.errors import StateError
from dzcore.io import Checkpoint, tree

HERE = Path(__file__).parents[2]


class Part:
    """The smallest part that can check first."""

    def __init__(self, value: Any = 0) -> None:
        self.value = value

    def _state(self) -> dict[str, Any]:
        return {"value": self.value}

    def _stage(self, state: dict[str, Any]) -> Callable[[], None]:
        if set(state) != {"value"} or type(state["value"]) is not type(self.value):
            raise StateError(f"value={state.get('value')!r} is not of type {type(self.value).__name__}")

        def commit() -> None:
            self.value = state["value"]

        return commit


class Foreign:
    """A part as other libraries have them."""

    def __init__(self, value: Any = 0) -> None:
        self.value, self.loads = value, 0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loads += 1
        self.value = state["value"]
        if isinstance(self.value, str) and self.value == "bad":
            raise KeyError("bad")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def save_all(folder: Path, steps: range, **options: Any) -> None:
    with Checkpoint(folder, part=(part := Part()), **options) as checkpoint:
        checkpoint.restore()
        for step in steps:
            part.value = step
            checkpoint.save(step, {"loss": 10 - step})


def flip(path: Path, i: int = 0) -> None:
    """Flip a bit of a file."""
    content = bytearray(path.read_bytes())
    content[i] ^= 1
    path.write_bytes(content)


def array_part(n: int) -> Foreign:
    xp = current_backend().xp
    return Foreign(xp.full((3,), float(n), dtype=xp.float32))


def save_arrays(folder: Path, *steps: int) -> None:
    with Checkpoint(folder, part=(part := array_part(0))) as checkpoint:
        checkpoint.restore()
        for step in steps:
            part.value = array_part(step).value
            checkpoint.save(step)


class Training:
    """A model that learns something, with all that has a state."""

    def __init__(self, backend: Backend, seed: int) -> None:
        random.seed(seed)
        self.backend = backend
        self.model = L.Linear(3, in_size=4).to(backend)
        self.optimizer = optimizers.Adam(0.01).setup(self.model)
        x = random.Generator(0).uniform((20, 4), backend=backend)
        t = backend.xp.zeros(20, dtype=backend.xp.int64, device=backend.device)
        self.loader = dataloaders.DataLoader((x, t), batch_size=6)
        self.losses: list[float] = []

    @property
    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "loader": self.loader}

    def train(self, checkpoint: Checkpoint | None, epochs: int = 3, stop: int = 1000) -> None:
        for _ in range(self.loader.epoch, epochs):
            for x, t in self.loader:
                loss = F.softmax_cross_entropy(F.dropout(self.model(x), 0.3), t)
                self.model.cleargrads()
                loss.backward()
                self.optimizer.update()
                self.losses.append(float(loss.data))
                if checkpoint is not None:
                    checkpoint.save(self.optimizer.t)
                if self.optimizer.t == stop:
                    return

    def result(self) -> Any:
        hosts = {path: tree.host_array(param) for path, param in self.model.named_params()}
        return {path: bytes(host.buffer) for path, host in hosts.items()}, random.get_state()


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a script in a process of its own, for a minute at most."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE,
        env={**os.environ, "PYTHONPATH": str(HERE), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    limit = threading.Timer(60, process.kill)
    limit.daemon = True
    limit.start()
    return process


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of a manifest, with the digest that belongs to it."""
    path = folder / "manifest.json"
    content = json.loads(path.read_bytes())["content"]
    change(content)
    seal(path, json.dumps(content))


def seal(path: Path, text: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(f'{{"sha256":"{digest}","content":{text}}}\n', "utf-8")
