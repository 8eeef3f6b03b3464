"""The whole kit on the backends of `--dz-backend`, for `pytest --pyargs dzcore.testing.conformance`."""

from . import Conformance

__all__ = ["TestConformance"]


class TestConformance(Conformance):
    """All groups."""
