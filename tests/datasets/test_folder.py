"""ImageFolder: a folder for each class, opened picture by picture."""

import sys
from pathlib import Path

import numpy as np
import pytest

from dzcore.backend import Backend
from dzcore.dataloaders import DataLoader
from dzcore.datasets import ImageFolder
from dzcore.errors import DataError
from dzcore.transforms import CenterCrop, Compose, Resize, ToArray

from .test_base import host

Image = pytest.importorskip("PIL.Image", reason="pictures need Pillow: pip install 'dzcore[data]'")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, pictures of different sizes and modes, and what is none of the two."""
    for name, mode, color, size in [
        ("dog/b.png", "RGB", (255, 0, 51), (4, 3)),
        ("dog/deep/a.PNG", "L", 102, (4, 3)),
        ("cat/z.png", "RGBA", (1, 2, 3, 0), (4, 3)),
        ("cat/.hidden.png", "L", 0, (1, 1)),
        (".git/x.png", "L", 0, (1, 1)),
    ]:
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, color).save(path, format="PNG")
    (tmp_path / "pictures" / "readme.txt").write_text("no class")
    (tmp_path / "pictures" / "cat" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


def test_items(root: Path, backend: Backend) -> None:
    data = ImageFolder(root)
    assert data.classes == ("cat", "dog")
    assert data.labels() == {0: "cat", 1: "dog"}
    assert [path.rsplit("/", 1)[1] for path in data.files] == ["z.png", "b.png", "a.PNG"]
    assert len(data) == 3
    x, t = data[1]
    assert backend.owns(x)
    assert (x.shape, x.dtype, t) == ((3, 3, 4), backend.dtype("float32"), 1)
    np.testing.assert_allclose(host(x, backend)[:, 2, 3], [1.0, 0.0, 0.2], rtol=1e-6)
    np.testing.assert_allclose(host(data[2][0], backend)[:, 0, 0], 0.4, rtol=1e-6)
    assert data[-3][1] == 0


def test_batches(root: Path, backend: Backend) -> None:
    for workers in (0, 2):
        x, t = next(DataLoader(ImageFolder(root), 3, shuffle=False, workers=workers))
        assert x.shape == (3, 3, 3, 4)
        assert host(t, backend).tolist() == [0, 1, 1]


def test_a_transform_gets_the_picture(root: Path) -> None:
    transform = Compose([Resize(8), CenterCrop(2), ToArray("uint8")])
    x, t = ImageFolder(root, transform, lambda t: 10 * t)[1]
    assert (x.shape, x.dtype, t) == ((3, 2, 2), np.uint8, 10)
    assert x[:, 0, 0].tolist() == [255, 0, 51]


def test_nothing_is_opened_before_it_is_asked_for(root: Path) -> None:
    (root / "cat" / "z.png").write_bytes(b"no picture")
    assert ImageFolder(root)[1][1] == 1


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_damaged_picture_is_named(root: Path, content: bytes | None) -> None:
    path = root / "dog" / "b.png"
    Image.effect_noise((40, 40), 50).save(path)
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    with pytest.raises(DataError, match=r"dog/b\.png' is no readable picture: .*; remove it, or replace it") as caught:
        list(DataLoader(ImageFolder(root, lambda image: image.size[0]), 2, shuffle=False))
    assert "item 1" in caught.value.__notes__[0]


def test_a_picture_of_16_bits_is_not_cut_off_at_255(root: Path) -> None:
    Image.new("I;16", (4, 4), 300).save(root / "dog" / "b.png")
    with pytest.raises(DataError, match=r"dog/b\.png' is no readable picture: it has more than 8 bits a pixel; remove"):
        ImageFolder(root)[1]


def test_a_picture_that_is_gone(root: Path) -> None:
    data = ImageFolder(root)
    (root / "cat" / "z.png").unlink()
    with pytest.raises(DataError, match=r"z\.png' was there before, and is gone"):
        data[0]
    with pytest.raises(IndexError):
        data[3]


def test_sizes_that_differ(root: Path) -> None:
    Image.new("RGB", (9, 9)).save(root / "dog" / "b.png")
    with pytest.raises(DataError, match="different shapes, .* give a transform that makes them equal"):
        next(DataLoader(ImageFolder(root), 3))


def test_wrong_folders(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"root='.*nowhere' is not a folder; name the one that has a folder for each"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"root='.*dog/deep' has no folders; put the pictures of each class into one"):
        ImageFolder(root / "dog" / "deep")
    (root / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty' has no pictures \(\.bmp, .*\); remove it, or fill it"):
        ImageFolder(root)


def test_without_pillow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageFolder(root)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'dzcore\[data\]'"):
        data[0]
