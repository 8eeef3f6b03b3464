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

from ..backend import use_backend
from ..errors import DzcoreError
from .keeper import Keeper, check_checkpoint
from .measure import Tally, evaluate_model, open_backend
from .parser import UsageError, complete
from .progress import Epoch, Progress, make_progress
from .recipe import describe, open_dataset, save
from .training import RULES, Training, make_optimizer, prepare, steps

__all__ = ["RULES", "train"]


def train(arguments: Namespace) -> int:
    """Train as the arguments say; everything that can be wrong with them is found before the first step."""
    complete(arguments)
    check_checkpoint(arguments)
    backend = open_backend(arguments.backend)
    optimizer = make_optimizer(arguments.optimizer, arguments.lr)
    check_output(arguments.output)
    if arguments.plot is not None:
        from .plot import check_plot

        check_plot(arguments.plot)
    with use_backend(backend):
        recipe, model, loader = prepare(arguments, optimizer)
        test = open_dataset(arguments.dataset, arguments.data, False, recipe.flat)
        about = {name: getattr(arguments, name) for name in ("optimizer", "lr", "batch_size", "seed")}
        about = describe(recipe, {**about, "history": []})
        training = Training(model, optimizer, loader, test, Tally(loader.backend), about)
        begin, stopped = time.perf_counter(), False
        with Keeper(training, arguments) as keeper:
            with interruptible() as interrupted, make_progress(arguments.epochs, loader.data_size) as progress:
                progress.say(f"{recipe} on {arguments.dataset}: {loader.data_size:,} samples, backend {backend}")
                if keeper.where:
                    progress.say(keeper.where)
                while not stopped and len(training.history) < arguments.epochs:
                    stopped = not run_epoch(training, progress, interrupted, keeper)
            save(model, about, arguments.output)
    history = [Epoch(**epoch) for epoch in training.history]
    if arguments.plot is not None and history:
        from .plot import draw

        draw(history, arguments.plot)
        print(f"Curves in {arguments.plot}")
    if (report := backend.report()) is not None:
        print(report)
    if stopped:
        print(f"Interrupted in epoch {len(history) + 1}; the weights so far are in {arguments.output}")
        if keeper.checkpoint is not None:
            print("To go on, give the same command with --resume")
        return 130
    seconds = time.perf_counter() - begin
    print(f"Test accuracy {history[-1].test_accuracy:.4f} after {seconds:.1f} s; weights in {arguments.output}")
    return 0


def run_epoch(training: Training, progress: Progress, interrupted: threading.Event, keeper: Keeper) -> bool:
    """Train for one epoch, or the rest of it, and measure; return False if it was interrupted."""
    model, optimizer, loader, test, tally, _ = training
    number = len(training.history) + 1
    if not tally.samples:  # a new one
        tally.clear()
    progress.begin(number)
    for _ in steps(model, optimizer, loader, tally):
        progress.step(tally)
        stopped = interrupted.is_set()
        if stopped or loader.iteration < len(loader):  # the last step is saved below
            keeper.save(force=stopped)
        if stopped:
            return False
    loss_, accuracy = tally.read()
    rate = tally.rate
    if not math.isfinite(loss_):
        raise DzcoreError(
            f"the loss became {loss_} in epoch {number}, and no weights were saved; begin anew with a smaller --lr"
        )
    epoch = Epoch(number, loss_, accuracy, *evaluate_model(model, test, loader.backend), rate)
    training.history.append(epoch._asdict())
    tally.clear()
    keeper.save(force=True)
    progress.say(str(epoch))
    return True


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
