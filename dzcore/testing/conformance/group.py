"""What every group of the kit stands on: its name, and a watch over the state that a test may leave behind."""

import random as pyrandom
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from ... import random
from ...backend import registry, select
from ...graph import modes

__all__ = ["Group", "state"]


def state() -> dict[str, Any]:
    """Describe what a test must leave as it found it."""
    return {
        "recording": modes.recording.get(),
        "training": modes.training.get(),
        "the backend of use_backend": select._scoped.get(),
        "the default backend": select._default,
        "the registered backends": dict(registry._registered),
        "the default generator": random.default_generator,
        "Python's random": pyrandom.getstate(),
    }


# An overflow or a nan is often what a test is about, and NumPy warns of it.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
class Group:
    """A group of tests: methods that take the fixture `backend`."""

    #: What the tests run on, where a subclass says so; otherwise `--dz-backend` does.
    backends: ClassVar[Sequence[str]] = ()
    #: Patterns of tests, `Group.test_name[parameter]` as of fnmatch, and the reason why each is expected to fail.
    known_failures: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def group_of(cls, test: str) -> str:
        """Name the group that a test method belongs to, where the class inherits from several."""
        owners = [c for c in cls.__mro__ if test in vars(c)]
        inside = [c for c in owners if c.__module__.startswith(f"{__package__}.")]
        return (inside or owners or [cls])[0].__name__

    @pytest.fixture(autouse=True)
    def no_leaks(self, backend: Any) -> Iterator[None]:
        """Fail a test that leaves the modes, the backends or the default generator other than it found them."""
        before, stream = state(), random.get_state()
        yield
        after = state()
        random.set_state(stream)  # and put back what can be, for the tests that follow
        modes.recording.set(before["recording"])
        modes.training.set(before["training"])
        pyrandom.setstate(before["Python's random"])
        changed = [name for name in before if before[name] is not after[name] and before[name] != after[name]]
        assert not changed, f"the test has changed {', '.join(changed)}"
