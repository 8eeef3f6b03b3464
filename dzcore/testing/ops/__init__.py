"""The op table: every function of dzcore with sample inputs, options, a reference, and how often it is differentiable.

    for op in OPS:
        xs = op.draw(backend)                    # Variables, the same on every backend
        y = op.call(dzcore, *xs)
        expected = op.reference(numpy, *arrays)  # any namespace with the array API's functions

A reference is written against such a namespace. Where none stands here, it is the namespace's own function of this
name.
"""

from . import arrays, conv, elementwise, networks, norm, plain, recurrent
from .table import OPS, Op, Real, Whole

__all__ = ["OPS", "Op", "Real", "Whole"]
