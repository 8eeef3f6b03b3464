"""The whole kit passes on the backends of this repository, and on strict arrays of every kind."""

from dzcore.testing.conformance import GROUPS, Conformance
from dzcore.testing.kit import GROUP_NAMES


class TestConformance(Conformance):
    backends = ("numpy", "strict", "strict:device1", "strict:no_float64")


def test_the_command_knows_the_groups() -> None:
    assert tuple(group.__name__ for group in GROUPS) == GROUP_NAMES
