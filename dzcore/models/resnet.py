"""ResNet: blocks that learn what is to be added to their input."""

from typing import Any, ClassVar

from .. import functions as F
from .. import layers as L
from ..graph import Variable
from ..layers import Layer
from .base import Model
from .imagenet import subtract_mean
from .pretrained import Weights, load_pretrained

__all__ = ["ResNet", "ResNet18", "ResNet34", "ResNet50", "ResNet101", "ResNet152"]

#: Number of layers -> number of blocks in each of the four stages.
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
SITE = "https://github.com/koki0702/dezero-models/releases/download/v0.1/"


class ResNet(Model):
    """ResNet of 18, 34, 50, 101 or 152 layers (He et al., arXiv:1512.03385, 2015).

    Maps pictures (n, 3, height, width) of at least 3×3 pixels to scores (n, classes): the last features are averaged
    over the picture. The form is that of the authors' published networks: where a stage halves the picture, the first
    convolution of its first block does; the windows of the pooling may hang over the edge; and `conv1` has a bias,
    which makes 64 parameters more than in other libraries (50 layers: 25,557,096).

    `pretrained=True` takes the authors' weights (MIT license) by way of DeZero, which there are for 50, 101 and 152
    layers, and whose names the layers have: `conv1`, `bn1`, `res2/a/conv1`, `res2/b1/conv1` … `fc6`.
    """

    WEIGHTS: ClassVar = {n: Weights(f"resnet{n}.npz", (f"{SITE}resnet{n}.npz",)) for n in (50, 101, 152)}

    def __init__(self, n_layers: int = 152, pretrained: bool = False, *, classes: int = 1000) -> None:
        if n_layers not in STAGES:
            raise ValueError(f"n_layers={n_layers!r} must be one of {', '.join(map(str, STAGES))}")
        if pretrained and n_layers not in self.WEIGHTS:
            known = ", ".join(map(str, self.WEIGHTS))
            raise ValueError(f"pretrained=True needs n_layers to be one of {known}, and it is {n_layers}")
        self.conv1 = L.Conv2d(64, 7, 2, 3)
        self.bn1 = L.BatchNorm()
        for stage, blocks in enumerate(STAGES[n_layers]):
            setattr(self, f"res{stage + 2}", _Stage(blocks, 64 << stage, 1 if stage == 0 else 2, n_layers >= 50))
        self.fc6 = L.Linear(classes)
        if pretrained:
            load_pretrained(self, self.WEIGHTS[n_layers], classes)

    def forward(self, x: Any) -> Variable:
        """Map pictures (n, 3, height, width), as `preprocess` makes them, to scores (n, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.pooling(x, 3, 2, ceil_mode=True)
        for stage in range(2, 6):
            x = getattr(self, f"res{stage}")(x)
        return self.fc6(F.global_average_pooling(x))  # type: ignore[no-any-return]

    @staticmethod
    def preprocess(image: Any, size: tuple[int, int] | None = (224, 224), dtype: Any = "float32") -> Any:
        """Turn a Pillow image into an array (3, height, width): blue, green, red, each less its mean over ImageNet.

        `size` is (width, height) as in Pillow; with None the image keeps its own. The means are 103.063, 115.903 and
        123.152, of pixels in [0, 255]: those of the authors' mean picture, and not quite VGG16's.
        """
        return subtract_mean(image, size, dtype, (103.063, 115.903, 123.152))


class ResNet18(ResNet):
    """ResNet of 18 layers."""

    def __init__(self, pretrained: bool = False, *, classes: int = 1000) -> None:
        super().__init__(18, pretrained, classes=classes)


class ResNet34(ResNet):
    """ResNet of 34 layers."""

    def __init__(self, pretrained: bool = False, *, classes: int = 1000) -> None:
        super().__init__(34, pretrained, classes=classes)


class ResNet50(ResNet):
    """ResNet of 50 layers."""

    def __init__(self, pretrained: bool = False, *, classes: int = 1000) -> None:
        super().__init__(50, pretrained, classes=classes)


class ResNet101(ResNet):
    """ResNet of 101 layers."""

    def __init__(self, pretrained: bool = False, *, classes: int = 1000) -> None:
        super().__init__(101, pretrained, classes=classes)


class ResNet152(ResNet):
    """ResNet of 152 layers."""

    def __init__(self, pretrained: bool = False, *, classes: int = 1000) -> None:
        super().__init__(152, pretrained, classes=classes)


class _Stage(Layer):
    """Blocks `a`, `b1`, `b2` … of the same size; the first changes size and number of channels."""

    def __init__(self, blocks: int, channels: int, stride: int, bottleneck: bool) -> None:
        self.names = ["a", *[f"b{i}" for i in range(1, blocks)]]
        for name in self.names:
            first = name == "a"
            block = _Block(channels, stride if first else 1, bottleneck, projected=first and (bottleneck or stride > 1))
            setattr(self, name, block)

    def forward(self, x: Any) -> Variable:
        for name in self.names:
            x = getattr(self, name)(x)
        return x  # type: ignore[no-any-return]


class _Block(Layer):
    """Convolutions, each followed by a normalization, whose result is added to the input.

    Two of 3×3; as a bottleneck 1×1, 3×3 and 1×1, the last one with four times the channels. If `projected`, the input
    passes through a convolution of 1×1 of its own, the last one by number.
    """

    def __init__(self, channels: int, stride: int, bottleneck: bool, projected: bool) -> None:
        out = 4 * channels if bottleneck else channels
        forms = ((channels, 1), (channels, 3), (out, 1)) if bottleneck else ((channels, 3), (out, 3))
        for i, (n, size) in enumerate(forms):
            self._add(i + 1, n, size, stride if i == 0 else 1)
        if projected:
            self._add(len(forms) + 1, out, 1, stride)
        self.length = len(forms)
        self.projected = projected

    def _add(self, number: int, channels: int, size: int, stride: int) -> None:
        setattr(self, f"conv{number}", L.Conv2d(channels, size, stride, size // 2, nobias=True))
        setattr(self, f"bn{number}", L.BatchNorm())

    def _apply(self, number: int, x: Any) -> Variable:
        return getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))  # type: ignore[no-any-return]

    def forward(self, x: Any) -> Variable:
        y = x
        for number in range(1, self.length):
            y = F.relu(self._apply(number, y))
        y = self._apply(self.length, y)
        return F.relu(y + (self._apply(self.length + 1, x) if self.projected else x))
