"""A backend is small: the five required members of each example take at most 30 lines."""

import ast
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
REQUIRED = ["why_unavailable", "xp", "owns", "to_host", "from_host"]


@pytest.mark.parametrize("name", ["torch", "jax", "counting"])
def test_the_required_members_take_at_most_30_lines(name: str) -> None:
    tree = ast.parse((EXAMPLES / f"dzbackend_{name}" / "backend.py").read_text("utf-8"))
    (cls,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Backend")]
    members = {node.name: node for node in cls.body if isinstance(node, ast.FunctionDef)}
    found = [members[each] for each in REQUIRED if each in members]
    assert len(found) >= 4  # a wrapper's xp is an attribute
    assert sum((node.end_lineno or 0) - node.lineno + 1 + len(node.decorator_list) for node in found) <= 30
