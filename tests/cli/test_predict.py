"""`dz predict`: pictures in, names and probabilities out."""

import re
import sys
from pathlib import Path

import pytest

import dzcore
from dzcore.cli.recipe import load
from dzcore.datasets import Digits

from .run import Dz

Image = pytest.importorskip("PIL.Image", reason="dz predict needs Pillow: pip install pillow")


def picture(i: int) -> tuple[object, int]:
    """Test picture i as an 8×8 image, and its digit."""
    data = Digits(train=False)
    pixels = bytes(min(255, 16 * int(v)) for v in data.data[i].reshape(-1))
    return Image.frombytes("L", (8, 8), pixels), int(data.label[i])


def answers(out: str) -> list[tuple[str, str, float]]:
    found = [re.fullmatch(r"(.*): (.*) \(([01]\.\d{4})\)", line) for line in out.splitlines()]
    return [(match[1], match[2], float(match[3])) for match in found if match]


def test_pictures(dz: Dz, trained: Path) -> None:
    digits = []
    for i in range(20):
        image, digit = picture(i)
        image.save(trained / f"{i}.png")  # type: ignore[attr-defined]
        digits.append(str(digit))
    done = dz("predict", "model.npz", *(f"{i}.png" for i in range(20)))
    got = answers(done.out)
    assert [name for name, _, _ in got] == [f"{i}.png" for i in range(20)]
    assert sum(a == b for (_, a, _), b in zip(got, digits, strict=True)) >= 18
    with dzcore.test_mode():
        model, _ = load("model.npz")
        p = dzcore.functions.softmax(model(Digits(train=False).batch(range(20))[0])).data
    assert [probability for *_, probability in got] == pytest.approx(p.max(axis=1).tolist(), abs=0.02)


def test_sizes_modes_and_paper(dz: Dz, trained: Path) -> None:
    from PIL import ImageOps

    image, digit = picture(0)
    image.save("plain.png")  # type: ignore[attr-defined]
    image.resize((80, 80), Image.Resampling.NEAREST).save("large.png")  # type: ignore[attr-defined]
    image.convert("RGB").resize((64, 64), Image.Resampling.NEAREST).save("color.jpg", quality=95)  # type: ignore[attr-defined]
    image.convert("P").save("palette.png")  # type: ignore[attr-defined]
    ink = Image.merge("RGBA", (*[Image.new("L", (8, 8))] * 3, image))
    ink.save("ink.png")  # black strokes on nothing
    ImageOps.invert(image).save("paper.png")
    got = answers(dz("predict", "model.npz", "plain.png", "large.png", "color.jpg", "palette.png").out)
    dark = answers(dz("predict", "model.npz", "--invert", "paper.png", "ink.png").out)
    assert {answer for _, answer, _ in got + dark} == {str(digit)}
    assert all(p == pytest.approx(got[0][2], abs=0.05) for *_, p in got + dark)
    assert got[0][2] == got[3][2] == dark[0][2]


def test_wrong_pictures(dz: Dz, trained: Path) -> None:
    (trained / "text.png").write_text("no picture")
    Image.new("L", (300, 300), 7).save("cut.png")
    (trained / "cut.png").write_bytes((trained / "cut.png").read_bytes()[:80])
    Image.new("I;16", (8, 8)).save("deep.png")
    Image.new("L", (8, 8)).save("good.png")
    for name, message in {
        "none.png": "argument IMAGE: 'none.png' does not exist; give the name of a PNG or JPEG file",
        "text.png": "argument IMAGE: 'text.png' is no picture that can be read",
        "cut.png": "argument IMAGE: 'cut.png' is no picture that can be read",
        "deep.png": "argument IMAGE: 'deep.png' has more than 8 bits a pixel; save it with 8",
        ".": "argument IMAGE: '.' is no picture that can be read",
    }.items():
        assert message in dz.fails("predict", "model.npz", "good.png", name)


def test_without_pillow(dz: Dz, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install pillow" in dz.fails("predict", "model.npz", "x.png")


def test_a_network_without_pictures(dz: Dz) -> None:
    dz("train", "--dataset", "spiral", "--epochs", 1)
    assert "trained on spiral, which has no pictures" in dz.fails("predict", "model.npz", "x.png")
