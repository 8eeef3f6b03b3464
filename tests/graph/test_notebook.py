"""What a notebook shows of a Variable: well-formed on every backend, and nothing that a name or a library can break."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
from dzcore import Parameter, Variable
from dzcore.backend import Backend
from dzcore.graph import notebook


def rows(x: Variable) -> tuple[str, dict[str, str], str]:
    """Return the caption, the table, and the values that are shown."""
    root = ET.fromstring(x._repr_html_())
    table = root if root.tag == "table" else root.find("table")
    assert table is not None
    found = {row[0].text or "": row[1].text or "" for row in table.iter("tr")}
    return table.findtext("caption") or "", found, root.findtext("pre") or ""


def test_a_variable(backend: Backend) -> None:
    x = Variable([[1.0, 2.0], [3.0, 4.0]], name="x")
    caption, table, values = rows(x)
    assert caption == "variable"
    assert table == {
        "name": "x", "shape": "(2, 2)", "dtype": "float32", "backend": str(backend), "gradient": "none yet",
    }  # fmt: skip
    assert values
    F.sum(x).backward()
    assert rows(x)[1]["gradient"] == "known"


def test_values_and_constants() -> None:
    assert rows(Variable([[1.5, 2.0]]))[2] == "[[1.5 2. ]]"
    _, table, values = rows(dzcore.asarray([7]))
    assert "name" not in table
    assert (table["dtype"], table["gradient"], values) == ("int64", "this is a constant", "[7]")


def test_a_parameter_without_data() -> None:
    assert rows(Parameter(None, name="W")) == ("parameter", {"name": "W", "data": "none yet"}, "")


def test_long_values_are_cut() -> None:
    x = Variable(list(range(900)))
    assert len(rows(x)[2]) == notebook.LONGEST + 2
    assert rows(x)[2].endswith(" …")


def test_a_library_that_refuses_to_print() -> None:
    class Refuses:
        shape, dtype = (1,), "float32"

        def __str__(self) -> str:
            raise RuntimeError("no <peeking>")

    x = Variable([1.0])
    own: Any = x.backend
    y = Variable._of(Refuses(), own, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(own), "dtype_name", lambda self, dtype: dtype)
        assert rows(y)[2] == "the values cannot be shown: no <peeking>"


@given(st.text(min_size=1))
def test_any_name_is_well_formed(name: str) -> None:
    assert rows(Variable([1.0], name))[1]["name"] == notebook.printable(name)


def test_what_is_printable() -> None:
    assert notebook.printable("a\n\té\0\ud800 漢") == "a\n\\té\\x00\\ud800 漢"
