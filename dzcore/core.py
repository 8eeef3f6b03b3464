"""DeZero's name for the graph: `from dzcore.core import Variable, Parameter, as_array`."""

from typing import Any

from .functions import add, pow
from .functions import divide as div
from .functions import multiply as mul
from .functions import negative as neg
from .functions import subtract as sub
from .graph import (
    Config,
    Function,
    Parameter,
    Variable,
    as_array,
    as_variable,
    no_grad,
    test_mode,
    using_config,
)

__all__ = [
    "Config", "Function", "Parameter", "Variable", "add", "as_array", "as_variable", "div", "mul", "neg", "no_grad",
    "pow", "rdiv", "rsub", "setup_variable", "sub", "test_mode", "using_config",
]  # fmt: skip


def rsub(x0: Any, x1: Any) -> Variable:
    """Calculate x1 - x0."""
    return sub(x1, x0)


def rdiv(x0: Any, x1: Any) -> Variable:
    """Calculate x1 / x0."""
    return div(x1, x0)


def setup_variable() -> None:
    """Do nothing: a Variable has its operators from the start."""
