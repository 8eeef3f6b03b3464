"""docs/examples.md shows every example: the command, and the picture that the example draws."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "examples.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
SCRIPTS = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem != "options")


def test_every_example_is_shown_and_every_one_shown_exists() -> None:
    assert len(re.findall(r"^### ", TEXT, re.MULTILINE)) == len(SECTIONS), "a section is there twice"
    assert sorted(SECTIONS) == SCRIPTS


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_a_section(name: str) -> None:
    sentence, *_ = SECTIONS[name].strip().split("\n\n")
    assert sentence.endswith(".")
    (command,) = re.findall(r"^    (.*)$", SECTIONS[name], re.MULTILINE)
    assert re.sub(r"^\w+=\w+ ", "", command) == f"python examples/{name}.py --picture {name}.png"
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", SECTIONS[name])
    assert pictures[0] == f"pictures/{name}.png"
    for picture in pictures:
        file = ROOT / "docs" / picture
        assert file.is_file(), "draw it by the command of the section"
        assert file.stat().st_size < 100_000


def test_links() -> None:
    for link in re.findall(r"(?<!!)\[[^\]]+\]\(([^)]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link


def test_no_picture_lies_about_unused() -> None:
    pages = "".join(path.read_text("utf-8") for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
    unused = [path.name for path in (ROOT / "docs" / "pictures").iterdir() if f"pictures/{path.name}" not in pages]
    assert not unused
