"""What tests of dzcore, of its backends and of your own functions need: comparisons, gradient checks, the op table."""

from .compare import allclose, assert_close, values
from .gradients import check_gradients
from .ops import OPS, Op

__all__ = ["OPS", "Op", "allclose", "assert_close", "check_gradients", "values"]
