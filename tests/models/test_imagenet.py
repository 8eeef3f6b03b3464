"""Pictures for networks that were trained on ImageNet: the order of channels, means, sizes, dtypes."""

import numpy as np
import pytest

from dzcore.models import VGG16, ResNet, ResNet50, SqueezeNet

Image = pytest.importorskip("PIL.Image", reason="pictures need Pillow: pip install pillow")


def host(array, backend):
    found = backend.to_host(array)
    return np.frombuffer(bytes(found.buffer), found.dtype).reshape(found.shape)


def picture(width=20, height=10):
    """A picture whose rows, columns and channels all differ."""
    pixels = np.arange(height * width * 3).reshape(height, width, 3) * 7 % 256
    return Image.fromarray(pixels.astype("uint8")), pixels


@pytest.mark.parametrize(
    ("model", "mean"), [(VGG16, (103.939, 116.779, 123.68)), (ResNet50, (103.063, 115.903, 123.152))]
)
def test_blue_green_red_less_the_mean(backend, model, mean):
    image, pixels = picture()
    x = host(model.preprocess(image, size=None), backend)
    assert (x.shape, x.dtype) == ((3, 10, 20), np.float32)
    want = np.stack([pixels[:, :, 2 - c] - mean[c] for c in range(3)])
    np.testing.assert_allclose(x, want, rtol=1e-6, atol=1e-5)


def test_squeezenet_scales(backend):
    image, pixels = picture()
    x = host(SqueezeNet.preprocess(image, size=None), backend)
    want = (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(x, want.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", [VGG16, ResNet, SqueezeNet])
def test_size_is_width_and_height(backend, model):
    image, _ = picture()
    assert tuple(model.preprocess(image).shape) == (3, 224, 224)
    assert tuple(model.preprocess(image, (40, 30)).shape) == (3, 30, 40)
    assert tuple(model.preprocess(image, size=None).shape) == (3, 10, 20)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_a_picture_of_16_bits_is_not_cut_off_at_255(mode):
    with pytest.raises(ValueError, match=f"image has mode '{mode}', more than 8 bits a pixel; scale it to 0 … 255"):
        ResNet.preprocess(Image.new(mode, (40, 30), 300))


def test_it_is_resized_as_pillow_does(numpy_backend):
    image, _ = picture()
    np.testing.assert_array_equal(VGG16.preprocess(image, (40, 30)), VGG16.preprocess(image.resize((40, 30)), None))


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("float64"), "float32", np.float32])
def test_dtypes(backend, dtype):
    image, _ = picture()
    for model in (VGG16, SqueezeNet):
        x = model.preprocess(image, None, dtype)
        assert backend.dtype_name(x.dtype) == np.dtype(dtype).name
        assert backend.owns(x)


def test_other_modes(numpy_backend):
    """Gray pictures, palettes and transparency become red, green and blue, each pixel as Pillow converts it."""
    gray = Image.fromarray(np.full((4, 5), 100, "uint8"))
    for image in (gray, gray.convert("RGBA"), gray.convert("P")):
        x = VGG16.preprocess(image, None)
        np.testing.assert_allclose(x[:, 0, 0], 100 - np.array((103.939, 116.779, 123.68)), rtol=1e-5)
    assert gray.mode == "L"


@pytest.mark.parametrize("image", ["cat.jpg", np.zeros((3, 4, 4)), None])
def test_what_is_no_picture(image):
    with pytest.raises(TypeError, match="image is a .*; open it with PIL.Image.open"):
        VGG16.preprocess(image)


def test_a_dtype_that_cannot_hold_it():
    with pytest.raises(TypeError, match="dtype='uint8'"):
        VGG16.preprocess(picture()[0], None, "uint8")
