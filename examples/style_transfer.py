"""Paint one picture in the style of another (Gatys, Ecker and Bethge, Image Style Transfer, CVPR 2016).

What a picture shows is in the feature maps of a network; its style is in their Gram matrices, which tell what features
come together, wherever. Adam changes the picture itself until its features are near those of the content, and its Gram
matrices near those of the style. Random weights do surprisingly well at it (He, Wang and Hopcroft, A Powerful
Generative Model Using Random Weights for the Deep Image Representation, 2016), so that nothing needs to be downloaded;
the trained ones are taken where $DZCORE_DATA/weights/vgg16.npz has them.

Content and style are drawn by formulas here; for your own, open two pictures of one size with PIL.Image.open. The
content is gray because features see colors as well, and these are to be the style's.
"""

import os
from math import atan2, hypot, sin
from pathlib import Path
from typing import Any

from options import options
from PIL import Image

import dzcore
import dzcore.functions as F
from dzcore import Parameter, Variable, optimizers, random
from dzcore.cuda import as_numpy
from dzcore.models import VGG16

STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1")
CONTENT, WEIGHT, RATE = "conv3_1", 0.01, 8.0


def features(model: VGG16, x: Variable, last: str) -> dict[str, Variable]:
    """Return the maps (channels, places) of VGG16's layers up to the `last`, with means where it has maxima."""
    maps: dict[str, Variable] = {}
    for name in (name for name in vars(model) if name.startswith("conv")):
        if name.endswith("_1") and maps:
            x = F.average_pooling(x, 2, 2)
        x = F.relu(getattr(model, name)(x))
        maps[name] = F.reshape(x, (x.shape[1], -1))
        if name == last:
            break
    return maps


def gram(maps: Variable) -> Variable:
    return maps @ maps.T / maps.shape[1]


def distance(a: Variable, b: Variable) -> Variable:
    """Return |a - b|² / |b|², so that every layer counts alike."""
    return F.sum((a - b) ** 2) / F.sum(b**2)


def transfer(model: VGG16, content: Variable, style: Variable, steps: int, layers: tuple[str, ...]) -> Variable:
    """Return a picture like `content`, in the style of `style`, both (1, 3, height, width)."""
    with dzcore.no_grad():
        goal = features(model, content, layers[-1])[CONTENT]
        grams = {name: gram(maps) for name, maps in features(model, style, layers[-1]).items() if name in layers}
    black, white = (F.asarray(VGG16.preprocess(Image.new("RGB", (1, 1), name), None)) for name in ("black", "white"))
    picture = Parameter(content.data)
    optimizer = optimizers.Adam(RATE, eps=1e-12).setup([picture])  # the gradient of a pixel is as small as 1e-8
    for step in range(1, steps + 1):
        maps = features(model, picture, layers[-1])
        of_style = sum(distance(gram(maps[name]), grams[name]) for name in layers) / len(layers)
        of_content = distance(maps[CONTENT], goal)
        (picture.grad,) = dzcore.grad(of_style + WEIGHT * of_content, picture)  # and not those of the weights
        optimizer.update()
        picture.data = F.clip(picture.detach(), black, white).data
        if step % (steps // 5) == 0:
            print(f"step {step}: style {float(of_style):.4f}, content {float(of_content):.4f}", flush=True)
    return picture


def painted(side: int, color: Any) -> Image.Image:
    """Return a square picture with the `color(x, y)` of each place, x and y in [-1, 1]."""
    axis = [(2 * i + 1) / side - 1 for i in range(side)]
    return Image.frombytes("RGB", (side, side), b"".join(bytes(color(x, y)) for y in axis for x in axis))


def landscape(x: float, y: float) -> tuple[int, int, int]:
    """Return the color of a sun, two mountains, and a lake."""
    if y > 0.45:
        return 40, 90, 130
    if y > 0.45 - max(0.9 - 1.3 * abs(x + 0.35), 0.6 - 1.1 * abs(x - 0.55)):
        return (110, 80, 70) if y > -0.1 else (235, 235, 240)
    return (250, 220, 90) if hypot(x - 0.5, y + 0.55) < 0.22 else (150, 190, 230)


def swirls(x: float, y: float) -> tuple[int, int, int]:
    """Return the color of rings around two centers, in four colors."""
    a, b = (hypot(x - p, y - q) for p, q in ((-0.5, -0.4), (0.6, 0.5)))
    wave = sin(45 * min(a, b) + 2 * sin(3 * atan2(y, x)) + sin(9 * x))
    return ((20, 30, 90), (40, 90, 170), (230, 170, 40), (245, 240, 210))[int(1.999 * (wave + 1))]


def pixels(x: Variable) -> Any:
    """Undo VGG16.preprocess: return an array (height, width, 3) of red, green and blue in [0, 1]."""
    black = VGG16.preprocess(Image.new("RGB", (1, 1)), None)
    return as_numpy(F.clip(F.permute_dims(F.flip(x[0, ...] - black, axis=0), (1, 2, 0)) / 255, 0.0, 1.0))


def draw(pictures: dict[str, Variable], file: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(pictures), figsize=(9, 3.3), layout="constrained")
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(pixels(picture), interpolation="bicubic")
        axis.set(title=name, xticks=[], yticks=[])
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    random.seed(0)
    model = VGG16(pretrained=Path(os.environ.get("DZCORE_DATA", ""), "weights", "vgg16.npz").is_file())
    side, steps, layers = (32, 5, STYLE[:3]) if args.small else (96, 150, STYLE)
    images = painted(side, landscape).convert("L"), painted(side, swirls)
    content, style = (F.asarray(VGG16.preprocess(image, None))[None, ...] for image in images)
    result = transfer(model, content, style, steps, layers)
    if args.picture:
        draw({"content": content, "style": style, "both": result}, args.picture)
