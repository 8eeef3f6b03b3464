"""SqueezeNet: the accuracy of AlexNet with a fiftieth of its parameters."""

from typing import Any

from .. import functions as F
from .. import layers as L
from ..graph import Variable
from ..layers import Layer
from .base import Model
from .imagenet import normalize
from .pretrained import Weights, load_pretrained

__all__ = ["SqueezeNet"]

#: The fire modules: the channels that they squeeze to, and that each of their two halves expands to.
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
COMMIT = "9ef45be2139eb080c239f596837ac0748050df46"


def _paths() -> dict[str, str]:
    """Map the names of the published file, which numbers all convolutions, to ours."""
    fires = [f"fire{i}/{part}" for i in FIRES for part in ("squeeze1x1", "expand1x1", "expand3x3")]
    return {
        f"squeezenet0_conv{i}_{theirs}": f"{layer}/{ours}"
        for i, layer in enumerate(["conv1", *fires, "conv10"])
        for theirs, ours in (("weight", "W"), ("bias", "b"))
    }


class SqueezeNet(Model):
    """SqueezeNet 1.1 (Iandola et al., arXiv:1602.07360, 2016, and the authors' repository), 1,235,496 parameters.

    Maps pictures (n, 3, height, width) of at least 17×17 pixels to scores (n, classes), averaged over the picture. The
    layers are named as by the authors: `conv1`, `fire2/squeeze1x1`, `fire2/expand1x1`, `fire2/expand3x3` … `conv10`.

    `pretrained=True` takes the weights of the ONNX Model Zoo (Apache 2.0), whose SHA-256 is known.
    """

    WEIGHTS = Weights(
        "squeezenet1.1-7.onnx",
        (
            "https://huggingface.co/onnxmodelzoo/squeezenet1.1-7/resolve/main/squeezenet1.1-7.onnx",
            f"https://github.com/onnx/models/raw/{COMMIT}/vision/classification/squeezenet/model/squeezenet1.1-7.onnx",
        ),
        "1eeff551a67ae8d565ca33b572fc4b66e3ef357b0eb2863bb9ff47a918cc4088",
        _paths(),
    )

    def __init__(self, pretrained: bool = False, *, classes: int = 1000) -> None:
        self.conv1 = L.Conv2d(64, 3, 2)
        for i, (squeezed, expanded) in FIRES.items():
            setattr(self, f"fire{i}", _Fire(squeezed, expanded))
        self.conv10 = L.Conv2d(classes, 1)
        if pretrained:
            load_pretrained(self, self.WEIGHTS, classes)

    def forward(self, x: Any) -> Variable:
        """Map pictures (n, 3, height, width), as `preprocess` makes them, to scores (n, classes)."""
        x = F.relu(self.conv1(x))
        for i in FIRES:
            if i in (2, 4, 6):
                x = F.pooling(x, 3, 2, ceil_mode=True)
            x = getattr(self, f"fire{i}")(x)
        return F.global_average_pooling(F.relu(self.conv10(F.dropout(x))))

    @staticmethod
    def preprocess(image: Any, size: tuple[int, int] | None = (224, 224), dtype: Any = "float32") -> Any:
        """Turn a Pillow image into an array (3, height, width): red, green, blue, each scaled as over ImageNet.

        Pixels in [0, 1] less 0.485, 0.456 and 0.406, divided by 0.229, 0.224 and 0.225. `size` is (width, height) as
        in Pillow; with None the image keeps its own.
        """
        return normalize(image, size, dtype, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class _Fire(Layer):
    """A convolution of 1×1 to few channels, and from these one of 1×1 and one of 3×3, side by side."""

    def __init__(self, squeezed: int, expanded: int) -> None:
        self.squeeze1x1 = L.Conv2d(squeezed, 1)
        self.expand1x1 = L.Conv2d(expanded, 1)
        self.expand3x3 = L.Conv2d(expanded, 3, pad=1)

    def forward(self, x: Any) -> Variable:
        x = F.relu(self.squeeze1x1(x))
        return F.relu(F.concat([self.expand1x1(x), self.expand3x3(x)], axis=1))
