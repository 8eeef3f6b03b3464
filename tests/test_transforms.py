"""Transforms: pictures and arrays give the same, on every backend, from the same stream."""

import pickle
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
from dzcore import random
from dzcore.backend import Backend, use_backend
from dzcore.transforms import (
    AsType,
    CenterCrop,
    Compose,
    Convert,
    Flatten,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToArray,
    ToFloat,
    ToInt,
    ToPIL,
)

from .datasets.test_base import host

Image = pytest.importorskip("PIL.Image", reason="pictures need Pillow: pip install 'dzcore[data]'")


def pixels(width: int = 5, height: int = 4, channels: int = 3) -> np.ndarray:
    return np.arange(channels * height * width, dtype=np.uint8).reshape(channels, height, width)


def picture(width: int = 5, height: int = 4) -> Any:
    return ToPIL()(pixels(width, height))


def as_numpy(x: Any) -> np.ndarray:
    return np.asarray(x).transpose(2, 0, 1) if isinstance(x, Image.Image) else np.asarray(x)


def test_compose() -> None:
    assert Compose()(3) == 3
    assert Compose([lambda x: x + 1, lambda x: x * 10])(3) == 40
    with pytest.raises(TypeError, match="transforms holds 5, which cannot be called"):
        Compose([5])  # type: ignore[list-item]


def test_a_chain_as_in_dezero(backend: Backend) -> None:
    chain = Compose([Convert("RGB"), Resize(6), CenterCrop(4), ToArray(), Normalize(0.5, 0.5), Flatten(), ToFloat()])
    x = chain(picture())
    assert backend.owns(x)
    assert (x.shape, x.dtype) == ((48,), backend.dtype("float32"))


# Pictures ------------------------------------------------------------------------------------------------------------


def test_convert() -> None:
    assert Convert("L")(picture()).mode == "L"
    rgb, bgr = (as_numpy(Convert(mode)(picture())) for mode in ("RGB", "BGR"))
    assert rgb[:, 0, 0].tolist() == [0, 20, 40]
    np.testing.assert_array_equal(bgr, rgb[::-1])
    with pytest.raises(TypeError, match=r"Convert takes a PIL image, and got a ndarray; put ToPIL\(\) before"):
        Convert()(pixels())


def test_resize() -> None:
    assert Resize((7, 3))(picture()).size == (7, 3)
    assert Resize(8)(picture()).size == (8, 8)
    np.testing.assert_array_equal(Resize((7, 3))(picture()), picture().resize((7, 3), Image.Resampling.BILINEAR))
    near = Resize((10, 8), Image.Resampling.NEAREST)(picture())
    np.testing.assert_array_equal(as_numpy(near), pixels().repeat(2, 1).repeat(2, 2))
    with pytest.raises(TypeError, match=r"Resize takes a PIL image, and got a str; open it with PIL.Image.open"):
        Resize(8)("cat.png")


@given(w=st.integers(1, 9), h=st.integers(1, 9), data=st.data())
def test_center_crop(w: int, h: int, data: Any) -> None:
    a, b = data.draw(st.integers(1, w)), data.draw(st.integers(1, h))
    left, up = (w - a) // 2, (h - b) // 2
    expected = pixels(w, h)[:, up : up + b, left : left + a]
    np.testing.assert_array_equal(CenterCrop((a, b))(pixels(w, h)), expected)
    np.testing.assert_array_equal(as_numpy(CenterCrop((a, b))(picture(w, h))), expected)
    gray = CenterCrop((a, b))(pixels(w, h)[0])
    np.testing.assert_array_equal(gray, expected[0])


@given(
    w=st.integers(1, 9), h=st.integers(1, 9), pad=st.integers(0, 3), seed=st.integers(0, 2**32), data=st.data()
)  # fmt: skip
def test_random_crop(w: int, h: int, pad: int, seed: int, data: Any) -> None:
    """Some window of the padded picture, and the same one for pictures and arrays."""
    a, b = data.draw(st.integers(1, w + 2 * pad)), data.draw(st.integers(1, h + 2 * pad))
    x = pixels(w, h) + np.uint8(1)
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    crop = RandomCrop((a, b), pad)
    with random.use_generator(random.Generator(seed)) as generator:
        found = crop(x)
        assert generator.state == (seed, 2)
    windows = [
        padded[:, i : i + b, j : j + a].tolist() for i in range(h + 2 * pad - b + 1) for j in range(w + 2 * pad - a + 1)
    ]
    assert found.tolist() in windows
    with random.use_generator(random.Generator(seed)):
        np.testing.assert_array_equal(as_numpy(crop(ToPIL()(x))), found)


@pytest.mark.parametrize("pad", [0, 1])
def test_every_place_is_as_likely(pad: int) -> None:
    x = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4)
    with random.use_generator(random.Generator(1)):
        found = Counter(RandomCrop((2, 2), pad)(x).tobytes() for _ in range(6000))
    places = (3 + 2 * pad - 1) * (4 + 2 * pad - 1)
    assert len(found) == places
    expected = 6000 / places
    assert all(abs(count - expected) < 5 * expected**0.5 for count in found.values())


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_flips(p: float) -> None:
    flip, n = RandomHorizontalFlip(p), 4000
    with random.use_generator(random.Generator(2)) as generator:
        found = [flip(pixels(2, 1, 1)).tolist() == [[[1, 0]]] for _ in range(n)]
        assert generator.state == (2, n)
    assert abs(sum(found) - n * p) <= 5 * (n * p * (1 - p)) ** 0.5
    with random.use_generator(random.Generator(2)):
        assert found[:200] == [as_numpy(flip(picture(2, 1)))[0].tolist() == [[1, 0]] for _ in range(200)]


def test_flipping_mirrors_left_and_right_only() -> None:
    np.testing.assert_array_equal(RandomHorizontalFlip(1.0)(pixels()), pixels()[:, :, ::-1])
    np.testing.assert_array_equal(as_numpy(RandomHorizontalFlip(1.0)(picture())), pixels()[:, :, ::-1])


def test_the_same_choices_on_every_backend(backend: Backend) -> None:
    chain = Compose([RandomCrop((4, 3), 2), RandomHorizontalFlip(), ToFloat(), Normalize([1, 2, 3], [4.0, 5.0, 6.0])])
    x = pixels()
    for seed in range(20):
        with random.use_generator(random.Generator(seed)):
            found = chain(backend.asarray(x.tolist(), "uint8"))
        assert backend.owns(found)
        with random.use_generator(random.Generator(seed)), use_backend("numpy"):
            np.testing.assert_array_equal(host(found, backend), chain(x))


def test_they_draw_from_the_default_stream() -> None:
    random.seed(8)
    first = [RandomCrop(2)(pixels()).tolist() for _ in range(5)]
    random.seed(8)
    assert [RandomCrop(2)(pixels()).tolist() for _ in range(5)] == first
    assert random.get_state() == (8, 10)


@pytest.mark.parametrize("crop", [CenterCrop, RandomCrop])
@pytest.mark.parametrize("what", [pixels, picture])
def test_a_crop_that_does_not_fit(crop: Any, what: Any) -> None:
    for size in (6, (6, 1), (1, 5)):
        with pytest.raises(ValueError, match=r"size=.* is larger than the picture of 5×4 pixels; Resize it first"):
            crop(size)(what())
    with pytest.raises(ValueError, match="larger than the picture of 5×4 pixels with a border of 1"):
        RandomCrop((8, 2), pad=1)(what())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resize(0), r"size=0 must be a number of pixels, at least 1, or \(width, height\)"),
        (lambda: CenterCrop((1, 2, 3)), r"size=\(1, 2, 3\) must be"),
        (lambda: RandomCrop(2.0), r"size=2.0 must be"),
        (lambda: RandomCrop(2, -1), "pad=-1 must be a number of pixels, 0 or more"),
        (lambda: RandomHorizontalFlip(1.5), "p=1.5 is not a probability"),
        (lambda: RandomHorizontalFlip(float("nan")), "p=nan is not a probability"),
        (lambda: Normalize(0, [1, 0]), r"std=\[1, 0\] has a zero"),
        (lambda: Normalize(0, 0), "std=0 has a zero"),
        (lambda: Normalize([1, 2])(np.zeros((3, 2, 2))), r"mean has 2 numbers, and the array has shape \(3, 2, 2\)"),
        (lambda: Normalize(0, [1, 2])(np.zeros(())), r"std has 2 numbers, and the array has shape \(\)"),
        (lambda: ToPIL()(np.zeros((5, 2, 2), np.uint8)), r"shape \(5, 2, 2\); it must be \(1 … 4 channels, height"),
        (lambda: ToPIL()(np.zeros((2, 2), np.uint8)), r"shape \(2, 2\); it must be"),
        (lambda: CenterCrop(1)(np.zeros(3)), r"a picture has shape \(3,\); it must end in \(height, width\)"),
    ],
)
def test_wrong_values(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ToPIL()(np.zeros((3, 2, 2), np.float32)), r"dtype float32; scale it to 0 … 255 and put AsType"),
        (lambda: Normalize()(pixels()), r"Normalize: the array has dtype uint8; put ToFloat\(\) before"),
        (lambda: Normalize()(picture()), r"takes an array, and got a Image; put ToArray\(\) before"),
        (lambda: ToArray()([1, 2]), "ToArray takes a PIL image, and got a list"),
        (lambda: CenterCrop(2)("cat.png"), "a crop takes a PIL image, and got a str"),
        (lambda: AsType("float99")(pixels()), "dtype='float99' is not known to backend"),
    ],
)
def test_wrong_kinds(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


# Between pictures and arrays -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_there_and_back(channels: int, backend: Backend) -> None:
    x = pixels(5, 4, channels)
    image = ToPIL()(backend.asarray(x.tolist(), "uint8"))
    assert (image.size, image.mode) == ((5, 4), ["L", "LA", "RGB", "RGBA"][channels - 1])
    if channels == 3:
        np.testing.assert_array_equal(np.asarray(image).transpose(2, 0, 1), x)
    found = ToArray("uint8")(image)
    assert backend.owns(found)
    np.testing.assert_array_equal(host(found, backend), x)
    assert ToArray()(image).dtype == backend.dtype("float32")
    assert ToPIL()(image) is image


@pytest.mark.parametrize(("mode", "value", "expected"), [
    ("L", 7, [7]), ("1", 1, [255]), ("I", 70_000, [70_000]), ("F", 0.5, [0.5]), ("I;16", 300, [300]),
    ("I;16B", 300, [300]),
    ("CMYK", (1, 2, 3, 4), [1, 2, 3, 4]),
])  # fmt: skip
def test_every_mode_of_pillow(mode: str, value: Any, expected: list[float]) -> None:
    found = ToArray()(Image.new(mode, (3, 2), value))
    assert found.shape == (len(expected), 2, 3)
    assert found[:, 1, 2].tolist() == expected


def test_palettes_become_colors() -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert ToArray()(image)[:, 0, 0].tolist() == [10, 20, 30]
    image.info["transparency"] = 1
    assert ToArray()(image)[:, 0, 0].tolist() == [10, 20, 30, 0]


def test_where_arrays_are_made(strict: str) -> None:
    assert dzcore.get_backend(strict).owns(ToArray(backend=strict)(picture()))
    x = pixels()
    assert ToArray()(x) is x


# Arrays --------------------------------------------------------------------------------------------------------------


def test_normalize_by_channels(backend: Backend) -> None:
    x = backend.asarray(pixels().tolist(), "float32")
    y = Normalize([1, 2, 3], [2.0, 4.0, 8.0])(x)
    assert y.dtype == backend.dtype("float32")
    expected = (pixels() - np.array([1, 2, 3])[:, None, None]) / np.array([2, 4, 8])[:, None, None]
    np.testing.assert_array_equal(host(y, backend), expected)
    one = Normalize([1.0], 2)(x)
    np.testing.assert_array_equal(host(one, backend), (pixels() - 1.0) / 2)
    np.testing.assert_array_equal(host(x, backend), pixels())


def test_types(backend: Backend) -> None:
    x = backend.asarray([[1.5, 2.5]], "float32")
    assert Flatten()(x).shape == (2,)
    assert AsType("float64")(x).dtype == backend.dtype("float64")
    assert ToInt()(x).dtype == backend.dtype("int64")
    assert ToInt(np.int32)(x).dtype == backend.dtype("int32")
    assert ToFloat(np.float64)(ToInt()(x)).dtype == backend.dtype("float64")
    assert ToFloat()(ToInt()(x)).dtype == backend.dtype("float32")
    assert backend.owns(ToFloat()(dzcore.Variable(x)))


def test_they_can_be_sent_to_another_process() -> None:
    chain = Compose([Convert(), Resize(6), RandomCrop(4, 1), RandomHorizontalFlip(), ToArray(), Normalize([1], 2)])
    again = pickle.loads(pickle.dumps(chain))
    for each in (chain, again):
        random.seed(3)
        each.found = each(picture()).tolist()
    assert chain.found == again.found  # type: ignore[attr-defined]


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'dzcore\[data\]'"):
        ToPIL()(pixels())
    assert RandomCrop(2, 1)(pixels()).shape == (3, 2, 2)  # arrays do not need it
