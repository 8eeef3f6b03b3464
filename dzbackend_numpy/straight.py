"""Formulas as straight lines of calls of NumPy's own functions: what small arrays get without the compiler.

The calls, their order and their dtypes are those of the plain evaluation, and so are the bits. What is saved is Python:
formulas within formulas, and numbers that NumPy would convert each time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .scalars import scalars
from .trace import Trace

__all__ = ["straight"]


def straight(trace: Trace, name: str) -> Callable[..., Any] | None:
    """Return a function of the formula's inputs; None where it computes with numbers alone."""
    if trace.prelude:
        return None
    known: dict[str, Any] = {f"v{number}": constant for number, constant in trace.constants.items()}
    lines = [f"def formula({', '.join(f'v{i}' for i in range(trace.inputs))}):"]
    for function, operands, result in trace.steps:
        given = [f"v{number}" for number in operands]
        if isinstance(function, np.ufunc) and function.nin == 2:
            for k, (number, other) in enumerate(zip(operands, reversed(operands), strict=True)):
                if type(trace.constants.get(number)) is float and isinstance(trace.samples[other], np.ndarray):
                    given[k] = f"c{result}"
                    known[given[k]] = scalars[trace.constants[number], trace.samples[other].dtype]
        known[f"f{result}"] = function
        lines.append(f"    v{result} = f{result}({', '.join(given)})")
    found = ", ".join(f"v{number}" for number in trace.results)
    lines.append(f"    return ({found},)" if trace.many else f"    return {found}")
    exec("\n".join(lines), known)
    formula: Callable[..., Any] = known["formula"]
    formula.__name__ = formula.__qualname__ = name
    return formula
