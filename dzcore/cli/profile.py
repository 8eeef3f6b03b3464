"""`dz profile`: where the time of a training goes."""

from argparse import Namespace

from ..backend import use_backend
from ..profiling import profile as profiled
from .measure import Tally, open_backend
from .parser import complete
from .train import check_writable
from .training import make_optimizer, prepare, steps

__all__ = ["profile"]


def profile(arguments: Namespace) -> int:
    """Take some steps of a training, and print what each operation took."""
    complete(arguments)
    backend = open_backend(arguments.backend)
    optimizer = make_optimizer(arguments.optimizer, arguments.lr)
    if arguments.trace is not None:
        check_writable(arguments.trace, "--trace")
    with use_backend(backend):
        recipe, model, loader = prepare(arguments, optimizer)
        tally = Tally(backend)

        def take(number: int) -> None:
            done = 0
            while done < number:
                for _ in steps(model, optimizer, loader, tally):
                    done += 1
                    if done == number:
                        break

        take(arguments.warm_up)
        backend.synchronize()
        with profiled() as found:
            take(arguments.steps)
    print(f"{recipe} on {arguments.dataset}: {arguments.steps} steps of {arguments.batch_size}, backend {backend}")
    print(found)
    if arguments.trace is not None:
        found.write(arguments.trace)
        print(f"Trace in {arguments.trace}; open it in ui.perfetto.dev or chrome://tracing")
    return 0
