"""Model, the base of whole networks, and Sequential, a chain."""

import os
from collections.abc import Callable
from typing import Any

from ..graph import Variable, using_config
from ..graph.dot import Dot, plot_dot_graph
from ..layers import Layer
from .summary import Summary, as_input, stand_in, summarize, variables

__all__ = ["Model", "Sequential"]


class Model(Layer):
    """A layer that is a whole network."""

    def plot(self, *inputs: Any, verbose: bool = True, to_file: str | os.PathLike[str] = "model.png") -> Dot:
        """Draw the graph of one call into a file, by its suffix: .svg, .png, .pdf, or as text .dot; return it.

        `inputs` as for `summary`. Parameters are named by their paths. The call happens in the present mode and
        changes nothing. See `dzcore.graph.dot.plot_dot_graph`.
        """
        with stand_in(self) as twin, using_config("enable_backprop", True):
            xs = [Variable(as_input(x, twin), getattr(x, "name", None) or f"x{i or ''}") for i, x in enumerate(inputs)]
            ys = [y for y in variables(twin(*xs)) if y.requires_grad]
            return plot_dot_graph(ys, verbose, to_file, names=dict(twin.named_params()))

    def summary(self, *inputs: Any) -> Summary:
        """Return a table of the layers in the order in which they run, with output shapes, parameters and memory.

            print(model.summary((1, 3, 224, 224)))

        Each of `inputs` is an array or a shape. It lists the layers that have parameters of their own or no layers in
        them; one that runs, or a parameter that is used, more than once counts once. The output memory is what the
        results of these layers take, which a training step keeps for the backward pass. A copy is run, in test mode:
        nothing of the model changes, and layers that wait for their size go on waiting.
        """
        return summarize(self, *inputs)


class Sequential(Model):
    """A chain of layers and functions, each applied to the result of the one before.

    The layers are named `l0`, `l1` … by their places.
    """

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        self._length = len(layers)
        for i, layer in enumerate(layers):
            if not callable(layer):
                raise TypeError(f"layers[{i}]={layer!r} cannot be called; give a Layer or a function")
            setattr(self, f"l{i}", layer)

    @property
    def layers(self) -> list[Callable[[Any], Any]]:
        """The links of the chain."""
        return [getattr(self, f"l{i}") for i in range(self._length)]

    def forward(self, x: Any) -> Any:
        """Send x through the chain."""
        for layer in self.layers:
            x = layer(x)
        return x
