"""dzcore's conformance kit on the wrapper: what the wrapped backend passes, it passes."""

from dzcore.backend import get_backend
from dzcore.testing.conformance import Conformance


class TestCounting(Conformance):
    backends = ("counting:numpy",)


def test_one_is_opened_for_each_wrapped_backend() -> None:
    assert get_backend("counting:numpy") is get_backend("counting:numpy")
    assert get_backend("counting:numpy").inner is get_backend("numpy")
