"""The command `dz`."""

import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence

from ..errors import DzcoreError
from .parser import UsageError, make_parser

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: done; 1: it could not be done; 2: wrong arguments; 130: interrupted. Whatever goes wrong is one line on stderr.
    """
    name = "dz"
    try:
        arguments = make_parser().parse_args(sys.argv[1:] if argv is None else list(argv))
        name = f"dz {arguments.command}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # an overflow ends in a loss that is not finite; we say so
            status = _command(arguments.command)(arguments)
        sys.stdout.flush()
        return status
    except UsageError as error:
        return _fail(error.command or name, error, 2)
    except DzcoreError as error:
        return _fail(name, error, 1)
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush when Python ends
        return 1
    except OSError as error:
        where = f"{error.filename!r}: " if error.filename is not None else ""
        return _fail(name, f"{where}{error.strerror or error}", 1)
    except MemoryError:
        return _fail(name, "the memory is exhausted; give a smaller --batch-size or --hidden", 1)
    except KeyboardInterrupt:
        print("\nInterrupted; no weights were saved.", file=sys.stderr)
        return 130


def _command(name: str) -> Callable[[Namespace], int]:
    """Import what a command needs, and nothing else."""
    if name == "train":
        from .train import train as command
    elif name == "evaluate":
        from .evaluate import evaluate as command
    elif name == "predict":
        from .predict import predict as command
    elif name == "summary":
        from .summary import summary as command
    elif name == "bench":
        from .bench import bench as command
    elif name == "profile":
        from .profile import profile as command
    elif name == "conformance":
        from .conformance import conformance as command
    else:
        from .backends import backends as command
    return command


def _fail(name: str, error: object, status: int) -> int:
    print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
    return status
