"""The whole kit passes on the backends of this repository, and on strict arrays of every kind."""

from dzcore.testing.conformance import Conformance


class TestConformance(Conformance):
    backends = ("numpy", "strict", "strict:device1", "strict:no_float64")
