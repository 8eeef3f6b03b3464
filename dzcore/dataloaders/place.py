"""The place of a DataLoader in its epochs: the state that it goes on from."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import random
from ..errors import StateError
from ..state import checked

if TYPE_CHECKING:
    from .loader import DataLoader

__all__ = ["place_of", "stage_place"]


def place_of(loader: "DataLoader") -> dict[str, Any]:
    """Return the epoch, the number of batches that were given out, and where in the random stream the epoch began.

    The order is not in it: it is drawn again. Nor is the default generator, whose state others save.
    """
    options = _options(loader)
    return {
        "options": options,
        "epoch": loader.epoch,
        "iteration": loader.iteration,
        "origin": loader._origin,
        "generator": loader.generator.state_dict() if options["own seed"] else None,
    }


def _options(loader: "DataLoader") -> dict[str, Any]:
    """Return what must be the same in the loader that goes on."""
    return {
        "class": type(loader).__name__,
        "data_size": loader.data_size,
        "batch_size": loader.batch_size,
        "shuffle": bool(loader.shuffle),
        "drop_last": bool(loader.drop_last),
        "own seed": loader.generator is not random.default_generator,
    }


def stage_place(loader: "DataLoader", state: dict[str, Any]) -> Callable[[], None]:
    """Check a state against a loader, and return what makes it go on from there.

    Raises:
        StateError: the data or the options are others; all that differs is listed.
    """
    none = type(None)
    kinds: dict[str, Any] = {"options": dict, "epoch": int, "iteration": int}
    kinds |= {"origin": (dict, none), "generator": (dict, none)}
    options, epoch, iteration, origin, generator = checked(loader, state, **kinds).values()
    mine, end = _options(loader), loader.max_iter
    problems = [
        f"{name} was {options.get(name)!r} and is {mine.get(name)!r}"
        for name in mine | options
        if options.get(name) != mine.get(name)
    ]
    if not problems and (
        epoch < 0
        or iteration < 0
        or (end is not None and iteration > end)
        or (iteration and not origin)
        or mine["own seed"] is (generator is None)
    ):
        problems.append(f"epoch={epoch}, iteration={iteration} is not a place in epochs of {end} batches")
    if problems:
        raise StateError(f"the state does not fit this {type(loader).__name__}: {'; '.join(problems)}")
    for each in (origin, generator):
        if each is not None:
            random.Generator(0).load_state_dict(each)  # or say what is wrong with it

    def commit() -> None:
        loader.reset()
        loader.epoch, loader.iteration, loader._origin = epoch, iteration, origin and dict(origin)
        if generator is not None:
            loader.generator.load_state_dict(generator)

    return commit
