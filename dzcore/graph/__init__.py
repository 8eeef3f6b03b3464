"""The graph: values, rules, modes, and the backward pass."""

from .engine import backward, grad
from .function import Function
from .modes import Config, no_grad, test_mode, using_config
from .rule import rule
from .variable import Parameter, Variable, as_array, as_variable

__all__ = [
    "Config",
    "Function",
    "Parameter",
    "Variable",
    "as_array",
    "as_variable",
    "backward",
    "grad",
    "no_grad",
    "rule",
    "test_mode",
    "using_config",
]
