"""LeNet: convolutions, pooling, and a small network on top of them."""

from typing import Any

from .. import functions as F
from .. import layers as L
from ..graph import Variable
from .base import Model

__all__ = ["LeNet"]


class LeNet(Model):
    """LeNet (LeCun et al., Gradient-based learning applied to document recognition, 1998) in today's form.

    Two convolutions of 5×5, to 20 and 50 channels, each followed by max pooling, then linear layers of 500 and of
    `classes` outputs, with ReLU between them. Maps pictures (n, channels, height, width) of at least 16×16 pixels to
    scores (n, classes); for 28×28 gray pixels and 10 classes it has 431,080 parameters. `dropout` is the ratio before
    the last layer.
    """

    def __init__(self, classes: int = 10, *, dropout: float = 0.5) -> None:
        self.conv1 = L.Conv2d(20, 5)
        self.conv2 = L.Conv2d(50, 5)
        self.fc3 = L.Linear(500)
        self.fc4 = L.Linear(classes)
        self.dropout = dropout

    def forward(self, x: Any) -> Variable:
        """Map pictures (n, channels, height, width) to scores (n, classes)."""
        x = F.pooling(F.relu(self.conv1(x)), 2, 2)
        x = F.pooling(F.relu(self.conv2(x)), 2, 2)
        x = F.relu(self.fc3(F.flatten(x)))
        return self.fc4(F.dropout(x, self.dropout))  # type: ignore[no-any-return]
