"""What the current thread or task is doing: recording a graph or not, training or testing."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

__all__ = ["Config", "no_grad", "test_mode", "using_config"]

recording: ContextVar[bool] = ContextVar("recording", default=True)
training: ContextVar[bool] = ContextVar("training", default=True)

_MODES = {"enable_backprop": recording, "train": training}


class _ConfigType(type):
    """Reads and writes the modes of the running context as attributes of `Config`."""

    def __getattr__(cls, name: str) -> bool:
        return _mode(name).get()

    def __setattr__(cls, name: str, value: bool) -> None:
        _mode(name).set(bool(value))


class Config(metaclass=_ConfigType):
    """`Config.train` and `Config.enable_backprop`, for the running thread or task alone."""


def _mode(name: str) -> ContextVar[bool]:
    try:
        return _MODES[name]
    except KeyError:
        raise AttributeError(f"name={name!r} is no mode of dzcore; there are {', '.join(_MODES)}") from None


@contextmanager
def using_config(name: str, value: bool) -> Iterator[None]:
    """Set the mode `name` to `value` inside a with block, for this thread or task alone."""
    mode = _mode(name)
    token = mode.set(bool(value))
    try:
        yield
    finally:
        mode.reset(token)


def no_grad() -> AbstractContextManager[None]:
    """Record no graph inside the with block."""
    return using_config("enable_backprop", False)


def test_mode() -> AbstractContextManager[None]:
    """Let layers and functions behave as at test time inside the with block: no dropout, running statistics."""
    return using_config("train", False)


test_mode.__test__ = False  # type: ignore[attr-defined]  # pytest must not collect it
