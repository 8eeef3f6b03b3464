"""DeZero's name for the graph: `from dzcore.core import Variable`."""

__all__: list[str] = []
