"""`dz train`: train a network and save its weights."""

import math
import os
import signal
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import functions as F
from .. import random
from ..backend import use_backend
from ..dataloaders import DataLoader
from ..errors import DzcoreError
from ..models import Model
from ..optimizers import SGD, AdaDelta, AdaGrad, Adam, AdamW, MomentumSGD, Optimizer
from .measure import Tally, evaluate_model, open_backend
from .parser import UsageError, complete
from .progress import Epoch, Progress, make_progress
from .recipe import Recipe, build, check_model, class_names, open_dataset, save

__all__ = ["train"]

RULES: dict[str, Any] = {
    "sgd": SGD, "momentum": MomentumSGD, "adagrad": AdaGrad, "adadelta": AdaDelta, "adam": Adam, "adamw": AdamW,
}  # fmt: skip


def train(arguments: Namespace) -> int:
    """Train as the arguments say; everything that can be wrong with them is found before the first step."""
    complete(arguments)
    backend = open_backend(arguments.backend)
    optimizer = make_optimizer(arguments.optimizer, arguments.lr)
    check_output(arguments.output)
    if arguments.plot is not None:
        from .plot import check_plot

        check_plot(arguments.plot)
    with use_backend(backend):
        recipe, model, loader = prepare(arguments, optimizer)
        test = open_dataset(arguments.dataset, arguments.data, False, recipe.flat)
        history: list[Epoch] = []
        begin, stopped = time.perf_counter(), False
        with interruptible() as interrupted, make_progress(arguments.epochs, loader.data_size) as progress:
            progress.say(f"{recipe} on {arguments.dataset}: {loader.data_size:,} samples, backend {backend}")
            for number in range(1, arguments.epochs + 1):
                stopped = not run_epoch(number, model, optimizer, loader, test, progress, interrupted, history)
                if stopped:
                    break
        about = {name: getattr(arguments, name) for name in ("optimizer", "lr", "batch_size", "seed")}
        save(model, recipe, arguments.output, {**about, "history": [epoch._asdict() for epoch in history]})
    if arguments.plot is not None and history:
        from .plot import draw

        draw(history, arguments.plot)
        print(f"Curves in {arguments.plot}")
    if (report := backend.report()) is not None:
        print(report)
    if stopped:
        print(f"Interrupted in epoch {len(history) + 1}; the weights so far are in {arguments.output}")
        return 130
    seconds = time.perf_counter() - begin
    print(f"Test accuracy {history[-1].test_accuracy:.4f} after {seconds:.1f} s; weights in {arguments.output}")
    return 0


def prepare(arguments: Namespace, optimizer: Optimizer) -> tuple[Recipe, Model, DataLoader]:
    """Open the training data and make the network, with the weights that follow from the seed."""
    check_model(arguments.model, arguments.dataset)
    training = open_dataset(arguments.dataset, arguments.data, True, flat=arguments.model == "mlp")
    random.seed(arguments.seed)
    recipe = Recipe(
        arguments.dataset, arguments.model, math.prod(training[0][0].shape), arguments.hidden or (),
        len(class_names(arguments.dataset)), arguments.activation or "relu", arguments.dropout,
    )  # fmt: skip
    model = build(recipe)
    optimizer.setup(model)
    return recipe, model, DataLoader(training, arguments.batch_size)


def steps(model: Model, optimizer: Optimizer, loader: DataLoader, tally: Tally) -> Iterator[None]:
    """Train for one epoch, a step at a time; nothing is read back from the device."""
    for x, t in loader:
        y = model(x)
        loss = F.softmax_cross_entropy(y, t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        tally.add(loss.data, y.data, t)
        yield


def run_epoch(
    number: int, model: Model, optimizer: Optimizer, loader: DataLoader, test: Any, progress: Progress,
    interrupted: threading.Event, history: list[Epoch],
) -> bool:  # fmt: skip
    """Train for one epoch, and measure; return False if it was interrupted."""
    tally = Tally(loader.backend)
    progress.begin(number)
    begin = time.perf_counter()
    for _ in steps(model, optimizer, loader, tally):
        progress.step(tally)
        if interrupted.is_set():
            return False
    loss_, accuracy = tally.read()
    rate = tally.samples / (time.perf_counter() - begin)
    if not math.isfinite(loss_):
        raise DzcoreError(f"the loss became {loss_} in epoch {number}, and nothing was saved; give a smaller --lr")
    history.append(Epoch(number, loss_, accuracy, *evaluate_model(model, test, loader.backend), rate))
    progress.say(str(history[-1]))
    return True


def make_optimizer(name: str, lr: float | None) -> Optimizer:
    """Make the optimizer, with its own learning rate or the one given."""
    if lr is None:
        return RULES[name]()  # type: ignore[no-any-return]
    if name == "adadelta":
        raise UsageError("argument --lr: adadelta has no learning rate; leave it out, or give another --optimizer")
    return RULES[name](lr=lr)  # type: ignore[no-any-return]


def check_output(path: str) -> None:
    """Find out whether the weights can be saved, before the work is done."""
    if not path.endswith(".npz"):
        raise UsageError(f"argument --output: {path!r} does not end in .npz; give one such as model.npz")
    check_writable(path, "--output")


def check_writable(path: str, argument: str) -> None:
    """Raise UsageError unless a file can be made beside `path`, and `path` is a file if it exists."""
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise UsageError(f"argument {argument}: {path!r} is a folder; give the name of a file in it")
    if not os.path.isdir(folder):
        raise UsageError(f"argument {argument}: the folder {folder!r} does not exist; make it first")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".dz-"):
            pass
    except OSError as error:
        raise UsageError(
            f"argument {argument}: {folder!r} cannot be written to: {error.strerror}; name another"
        ) from None


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Let the first Ctrl-C set an event, so that the step at hand is finished; the second one interrupts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are none of its business
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
