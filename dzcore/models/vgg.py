"""VGG16: sixteen layers with weights, all convolutions 3×3."""

from typing import Any

from .. import functions as F
from .. import layers as L
from ..graph import Variable
from .base import Model
from .imagenet import subtract_mean
from .pretrained import Weights, load_pretrained

__all__ = ["VGG16"]

#: Channels and number of the convolutions between two poolings.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VGG16(Model):
    """VGG16 (Simonyan and Zisserman, arXiv:1409.1556, 2014, configuration D), with 138,357,544 parameters.

    Maps pictures (n, 3, height, width) of at least 32×32 pixels to scores (n, classes). The layers are named as in the
    paper, `conv1_1` … `conv5_3`, `fc6`, `fc7`, `fc8`. `fc6` takes its size from the first picture, or from the weights:
    224×224 pixels for those of `pretrained=True`, which come from the authors (CC BY 4.0) by way of DeZero.
    """

    WEIGHTS = Weights("vgg16.npz", ("https://github.com/koki0702/dezero-models/releases/download/v0.1/vgg16.npz",))

    def __init__(self, pretrained: bool = False, *, classes: int = 1000) -> None:
        for stage, (channels, n) in enumerate(STAGES, 1):
            for i in range(1, n + 1):
                setattr(self, f"conv{stage}_{i}", L.Conv2d(channels, 3, pad=1))
        self.fc6 = L.Linear(4096)
        self.fc7 = L.Linear(4096)
        self.fc8 = L.Linear(classes)
        if pretrained:
            load_pretrained(self, self.WEIGHTS, classes)

    def forward(self, x: Any) -> Variable:
        """Map pictures (n, 3, height, width), as `preprocess` makes them, to scores (n, classes)."""
        for stage, (_, n) in enumerate(STAGES, 1):
            for i in range(1, n + 1):
                x = F.relu(getattr(self, f"conv{stage}_{i}")(x))
            x = F.pooling(x, 2, 2)
        x = F.flatten(x)
        x = F.dropout(F.relu(self.fc6(x)))
        x = F.dropout(F.relu(self.fc7(x)))
        return self.fc8(x)  # type: ignore[no-any-return]

    @staticmethod
    def preprocess(image: Any, size: tuple[int, int] | None = (224, 224), dtype: Any = "float32") -> Any:
        """Turn a Pillow image into an array (3, height, width): blue, green, red, each less its mean over ImageNet.

        `size` is (width, height) as in Pillow; with None the image keeps its own. The means are 103.939, 116.779 and
        123.68, of pixels in [0, 255].
        """
        return subtract_mean(image, size, dtype, (103.939, 116.779, 123.68))
