"""The conformance kit: what a backend must do, as tests that its author runs.

    pytest -p dzcore.testing.plugin --dz-backend=NAME --pyargs dzcore.testing.conformance

or `dz conformance NAME`, or a file of one's own:

    from dzcore.testing.conformance import Conformance

    class TestMine(Conformance):
        backends = ["mine"]
        known_failures = {"Operations.test_values[sort*]": "the library cannot sort"}

A group alone is a class too: `class TestMine(Transfer)`.
"""

from .dropout import Dropout
from .dtypes import Dtypes
from .group import Group
from .layers import Layers
from .leaks import State
from .namespace import Namespace
from .operations import Operations
from .primitives import Primitives
from .stream import RandomStream
from .transfer import Transfer
from .weights import Weights

__all__ = [
    "GROUPS", "Conformance", "Dropout", "Dtypes", "Group", "Layers", "Namespace", "Operations", "Primitives",
    "RandomStream", "State", "Transfer", "Weights",
]  # fmt: skip

GROUPS: tuple[type[Group], ...] = (
    Namespace, Dtypes, Transfer, Primitives, RandomStream, Operations, Dropout, Layers, Weights, State,
)  # fmt: skip


class Conformance(*GROUPS):  # type: ignore[misc]  # mypy wants bases one by one
    """All groups: subclass it, and say in `backends` what it runs on, unless `--dz-backend` does."""


def _tests_of(group: type[Group]) -> set[str]:
    return {name for name in vars(group) if name.startswith("test_")}


# One class inherits from all of them: a name that two groups share would be lost.
if sum(len(_tests_of(group)) for group in GROUPS) != len(set().union(*map(_tests_of, GROUPS))):
    raise TypeError("two groups of the conformance kit have a test of one name")
