"""What is done to an item of a data set before it is used.

A picture is a PIL image, or an array (channels, height, width) of any backend. Sizes are an int for squares, or
(width, height), as in Pillow. What is random draws from dzcore's generator, whatever the backend: the same choices
everywhere, and in a DataLoader the same ones with any number of workers.

>>> from dzcore.transforms import Compose, Normalize, RandomHorizontalFlip, ToFloat
>>> transform = Compose([RandomHorizontalFlip(), ToFloat(), Normalize(mean=127.5, std=127.5)])
"""

from collections.abc import Callable, Sequence
from typing import Any

from . import random
from .backend import Backend, HostArray, backend_of, current_backend, get_backend, host_backend
from .graph import Variable

__all__ = [
    "AsType", "CenterCrop", "Compose", "Convert", "Flatten", "Normalize", "RandomCrop", "RandomHorizontalFlip",
    "Resize", "ToArray", "ToFloat", "ToInt", "ToPIL",
]  # fmt: skip

Size = int | tuple[int, int]

#: Pillow's modes with numbers other than bytes.
_WIDE = {"I": "int32", "F": "float32", "I;16": "uint16"}
#: Pillow's modes of bytes, by the number of channels.
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class Compose:
    """Apply transforms one after the other; none leaves x as it is."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]] = ()) -> None:
        self.transforms = list(transforms)
        for each in self.transforms:
            if not callable(each):
                raise TypeError(f"transforms holds {each!r}, which cannot be called")

    def __call__(self, x: Any) -> Any:
        for transform in self.transforms:
            x = transform(x)
        return x


# Pictures ------------------------------------------------------------------------------------------------------------


class Convert:
    """Convert a PIL image to one of Pillow's modes, or to "BGR": red and blue exchanged."""

    def __init__(self, mode: str = "RGB") -> None:
        self.mode = mode

    def __call__(self, picture: Any) -> Any:
        image, mode = _image(picture, "Convert"), self.mode
        if mode != "BGR":
            return image.convert(mode)
        r, g, b = image.convert("RGB").split()
        return pillow().merge("RGB", (b, g, r))


class Resize:
    """Resize a PIL image to `size`; `mode` is one of Pillow's filters, bilinear by default."""

    def __init__(self, size: Size, mode: int | None = None) -> None:
        self.size, self.mode = _pair("size", size), mode

    def __call__(self, picture: Any) -> Any:
        mode = pillow().Resampling.BILINEAR if self.mode is None else self.mode
        return _image(picture, "Resize").resize(self.size, mode)


class CenterCrop:
    """Cut `size` out of the middle of a picture; an odd rest is one pixel more on the right and below.

    Raises:
        ValueError: the picture is smaller.
    """

    def __init__(self, size: Size) -> None:
        self.size = _pair("size", size)

    def __call__(self, picture: Any) -> Any:
        left, up = (n // 2 for n in _room(picture, self.size))
        return _cut(picture, left, up, self.size)


class RandomCrop:
    """Cut `size` out of a picture at a random place, after a border of `pad` zero pixels was put around it.

    Raises:
        ValueError: the picture and its border are smaller.
    """

    def __init__(self, size: Size, pad: int = 0) -> None:
        self.size, self.pad = _pair("size", size), pad
        if isinstance(pad, bool) or not isinstance(pad, int) or pad < 0:
            raise ValueError(f"pad={pad!r} must be a number of pixels, 0 or more")

    def __call__(self, picture: Any) -> Any:
        room = _room(picture, self.size, self.pad)
        if self.pad and _is_array(picture):
            picture = _bordered(picture, self.pad)
            left, up = (_draw(n + 1) for n in room)
        else:
            left, up = (_draw(n + 1) - self.pad for n in room)  # Pillow cuts beyond the border, and finds zeros there
        return _cut(picture, left, up, self.size)


class RandomHorizontalFlip:
    """Mirror a picture, left to right, with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p={p} is not a probability; it must be in [0, 1]")
        self.p = p

    def __call__(self, picture: Any) -> Any:
        if _draw(2**31) >= round(self.p * 2**31):
            return picture
        if not _is_array(picture):
            return _image(picture, "RandomHorizontalFlip").transpose(pillow().Transpose.FLIP_LEFT_RIGHT)
        x, own = _raw(picture)
        return own.xp.flip(x, axis=-1)


class ToArray:
    """Make an array (channels, height, width) of a PIL image, on `backend` or the current one; arrays stay as they are.

    The numbers are those of the image, 0 … 255 as a rule. Palettes are resolved to colors, bits to 0 and 255.
    """

    def __init__(self, dtype: Any = "float32", *, backend: str | Backend | None = None) -> None:
        self.dtype, self.backend = dtype, backend

    def __call__(self, picture: Any) -> Any:
        if _is_array(picture):
            return picture
        image = _image(picture, "ToArray")
        own = current_backend() if self.backend is None else get_backend(self.backend)
        if image.mode in ("P", "1"):
            image = image.convert("L" if image.mode == "1" else "RGBA" if "transparency" in image.info else "RGB")
        elif image.mode.startswith("I;16") and image.mode not in _WIDE:
            image = image.convert("I")  # big-endian, as TIFF files may be
        width, height = image.size
        shape = (height, width, len(image.getbands()))
        x = own.from_host(HostArray(_WIDE.get(image.mode, "uint8"), shape, image.tobytes()))
        return own.xp.astype(own.xp.permute_dims(x, (2, 0, 1)), own.dtype(self.dtype))


class ToPIL:
    """Make a PIL image of a uint8 array (channels, height, width): gray, gray and alpha, RGB, or RGB and alpha.

    Raises:
        TypeError: the dtype is another one: what its numbers mean as colors, only you know.
        ValueError: the shape is no picture's.
    """

    def __call__(self, array: Any) -> Any:
        if not _is_array(array):
            return _image(array, "ToPIL")
        x, own = _raw(array)
        if own.dtype_name(x.dtype) != "uint8":
            raise TypeError(f"ToPIL: the array has dtype {x.dtype}; scale it to 0 … 255 and put AsType('uint8') before")
        shape = tuple(x.shape)
        if len(shape) != 3 or shape[0] not in _MODES:
            raise ValueError(f"ToPIL: the array has shape {shape}; it must be (1 … 4 channels, height, width)")
        host = own.to_host(own.xp.permute_dims(x, (1, 2, 0)))
        return pillow().frombytes(_MODES[shape[0]], (shape[2], shape[1]), bytes(host.buffer))


# Arrays --------------------------------------------------------------------------------------------------------------


class Normalize:
    """Return (x - mean) / std of a floating-point array, each a number or one number for each channel, the first axis.

    Raises:
        TypeError: the array holds integers.
        ValueError: `std` has a zero, or there are more or fewer numbers than channels.
    """

    def __init__(self, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0) -> None:
        self.mean, self.std = (
            float(each) if not hasattr(each, "__len__") else [float(n) for n in each]  # type: ignore[union-attr]
            for each in (mean, std)
        )
        if 0.0 in (self.std if isinstance(self.std, list) else [self.std]):
            raise ValueError(f"std={std!r} has a zero, by which nothing can be divided")

    def __call__(self, array: Any) -> Any:
        x, own = _raw(array)
        if not own.is_floating(x.dtype):
            raise TypeError(f"Normalize: the array has dtype {x.dtype}; put ToFloat() before")
        return (x - self._fit("mean", self.mean, x, own)) / self._fit("std", self.std, x, own)

    def _fit(self, name: str, numbers: Any, x: Any, own: Backend) -> Any:
        if isinstance(numbers, float):
            return numbers
        if not x.shape or len(numbers) not in (1, x.shape[0]):
            raise ValueError(f"Normalize: {name} has {len(numbers)} numbers, and the array has shape {tuple(x.shape)}")
        return own.xp.reshape(own.asarray(numbers, x.dtype), (-1, *(1 for _ in x.shape[1:])))


class Flatten:
    """Make an array of one axis."""

    def __call__(self, array: Any) -> Any:
        x, own = _raw(array)
        return own.xp.reshape(x, (-1,))


class AsType:
    """Convert an array to `dtype`, a name such as "float32" or any library's dtype."""

    def __init__(self, dtype: Any = "float32") -> None:
        self.dtype = dtype

    def __call__(self, array: Any) -> Any:
        x, own = _raw(array)
        return own.xp.astype(x, own.dtype(self.dtype))


ToFloat = AsType


class ToInt(AsType):
    """Convert an array to integers, int64 by default."""

    def __init__(self, dtype: Any = "int64") -> None:
        super().__init__(dtype)


# What they share -----------------------------------------------------------------------------------------------------


def pillow() -> Any:
    """Return PIL.Image, or say how to get it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("Pillow is not installed; pip install 'dzcore[data]'") from None
    return Image


def _is_array(picture: Any) -> bool:
    return hasattr(picture, "shape") and hasattr(picture, "dtype")


def _image(picture: Any, name: str) -> Any:
    if not isinstance(picture, pillow().Image):
        remedy = "put ToPIL() before" if _is_array(picture) else "open it with PIL.Image.open"
        raise TypeError(f"{name} takes a PIL image, and got a {type(picture).__name__}; {remedy}")
    return picture


def _raw(array: Any) -> tuple[Any, Backend]:
    """Return an array of a library, and its backend."""
    if isinstance(array, Variable):
        return array.data, array.backend
    if not _is_array(array):
        raise TypeError(f"this transform takes an array, and got a {type(array).__name__}; put ToArray() before")
    return array, backend_of(array)


def _pair(name: str, size: Any) -> tuple[int, int]:
    both = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(both) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in both):
        raise ValueError(f"{name}={size!r} must be a number of pixels, at least 1, or (width, height)")
    return both


def _room(picture: Any, size: tuple[int, int], pad: int = 0) -> tuple[int, int]:
    """Return by how much a picture with a border is wider and higher than `size`."""
    if _is_array(picture):
        if len(picture.shape) < 2:
            raise ValueError(f"a picture has shape {tuple(picture.shape)}; it must end in (height, width)")
        height, width = picture.shape[-2:]
    else:
        width, height = _image(picture, "a crop").size
    right, down = width + 2 * pad - size[0], height + 2 * pad - size[1]
    if right < 0 or down < 0:
        border = f" with a border of {pad}" if pad else ""
        raise ValueError(f"size={size} is larger than the picture of {width}×{height} pixels{border}; Resize it first")
    return right, down


def _cut(picture: Any, left: int, up: int, size: tuple[int, int]) -> Any:
    width, height = size
    if not _is_array(picture):
        return picture.crop((left, up, left + width, up + height))
    x, _ = _raw(picture)
    return x[..., up : up + height, left : left + width]


def _bordered(picture: Any, pad: int) -> Any:
    """Put a border of zeros around the last two axes."""
    x, own = _raw(picture)
    for axis in (-2, -1):
        shape = list(x.shape)
        shape[axis] = pad
        border = own.xp.zeros(tuple(shape), dtype=x.dtype, device=own.device)
        x = own.xp.concat([border, x, border], axis=axis)
    return x


def _draw(n: int) -> int:
    """Draw a number below `n` from the default generator, on the host: nobody waits for an accelerator."""
    own = host_backend()
    return int(random.default_generator.integers(0, n, 1, own)[0])
