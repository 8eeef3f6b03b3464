"""`dz predict`: what is in pictures."""

from argparse import Namespace
from typing import Any

from .. import functions as F
from ..backend import HostArray, use_backend
from ..graph import no_grad, test_mode
from .measure import open_backend
from .parser import UsageError
from .recipe import class_names, load, picture_size

__all__ = ["predict"]


def predict(arguments: Namespace) -> int:
    """Print the most probable class of each picture, and its probability."""
    backend = open_backend(arguments.backend)
    with use_backend(backend), no_grad(), test_mode():
        model, recipe = load(arguments.weights)
        size = picture_size(recipe.dataset)
        if size is None:
            raise UsageError(f"argument WEIGHTS: the network was trained on {recipe.dataset}, which has no pictures")
        pixels = b"".join(read_image(path, size, arguments.invert) for path in arguments.images)
        form = (size[0] * size[1],) if recipe.flat else (1, *size)
        raw = backend.from_host(HostArray("uint8", (len(arguments.images), *form), pixels))
        x = backend.xp.astype(raw, backend.dtype("float32")) * (1 / 255)
        scores = F.softmax(model(x)).to_host()
    flat, names = memoryview(scores.buffer).cast("B").cast("f").tolist(), class_names(recipe.dataset)
    for i, path in enumerate(arguments.images):
        row = flat[i * len(names) : (i + 1) * len(names)]
        best = max(range(len(names)), key=row.__getitem__)
        print(f"{path}: {names[best]} ({row[best]:.4f})")
    return 0


def read_image(path: str, size: tuple[int, int], invert: bool) -> bytes:
    """Read a picture as height times width bytes of gray, light strokes on black as in the training data."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise UsageError("argument IMAGE: Pillow, which reads pictures, is not installed; pip install pillow") from None
    try:
        with Image.open(path) as file:
            image: Any = ImageOps.exif_transpose(file)
            if image.mode[0] in "IF":
                raise UsageError(f"argument IMAGE: {path!r} has more than 8 bits a pixel; save it with 8")
            if image.has_transparency_data:
                paper = Image.new("RGBA", image.size, "white" if invert else "black")
                image = Image.alpha_composite(paper, image.convert("RGBA"))
            gray = image.convert("L")
    except FileNotFoundError:
        raise UsageError(f"argument IMAGE: {path!r} does not exist; give the name of a PNG or JPEG file") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(
            f"argument IMAGE: {path!r} is no picture that can be read ({error}); give a PNG or JPEG"
        ) from error
    if invert:
        gray = ImageOps.invert(gray)
    return bytes(gray.resize((size[1], size[0]), Image.Resampling.BILINEAR).tobytes())
