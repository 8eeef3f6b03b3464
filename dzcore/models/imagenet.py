"""Pictures as networks that were trained on ImageNet expect them."""

from collections.abc import Sequence
from typing import Any

from ..backend import HostArray, current_backend
from ..layers.linear import _floating

__all__ = ["normalize", "read_rgb", "subtract_mean"]


def read_rgb(image: Any, size: tuple[int, int] | None, dtype: Any) -> Any:
    """Turn a Pillow image into an array (3, height, width) of red, green and blue in [0, 255].

    It is on the current backend. `size` is (width, height) as in Pillow, whose default interpolation is used; with
    None the image keeps its own.
    """
    if not (hasattr(image, "convert") and hasattr(image, "resize")):
        raise TypeError(f"image is a {type(image).__name__}; open it with PIL.Image.open")
    if image.mode[0] in "IF":  # Pillow would make 255 of all that is more
        raise ValueError(f"image has mode {image.mode!r}, more than 8 bits a pixel; scale it to 0 … 255 and RGB")
    name, own = _floating(dtype), current_backend()
    image = image.convert("RGB")
    if size:
        image = image.resize(size)
    width, height = image.size
    raw = own.from_host(HostArray("uint8", (height, width, 3), image.tobytes()))
    return own.xp.permute_dims(own.xp.astype(raw, own.dtype(name)), (2, 0, 1))


def subtract_mean(image: Any, size: tuple[int, int] | None, dtype: Any, mean: Sequence[float]) -> Any:
    """Turn a Pillow image into an array (3, height, width) of blue, green and red, each less its mean."""
    x, own = read_rgb(image, size, dtype), current_backend()
    return own.xp.flip(x, axis=0) - _channels(mean, x)


def normalize(
    image: Any, size: tuple[int, int] | None, dtype: Any, mean: Sequence[float], deviation: Sequence[float]
) -> Any:
    """Turn a Pillow image into an array (3, height, width): red, green and blue in [0, 1], less the mean, scaled."""
    x = read_rgb(image, size, dtype)
    return (x * (1 / 255) - _channels(mean, x)) / _channels(deviation, x)


def _channels(numbers: Sequence[float], x: Any) -> Any:
    """Return one number for each channel, in the dtype of x (3, height, width)."""
    own = current_backend()
    return own.xp.reshape(own.asarray(list(numbers), x.dtype), (3, 1, 1))
