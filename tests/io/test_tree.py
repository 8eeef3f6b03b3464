"""Trees: whatever goes in comes out, the same to the bit, and what cannot go in is named by its place."""

import json
import math
from collections import OrderedDict, namedtuple
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import dzcore
from dzcore import HostArray, Parameter, Variable
from dzcore.backend import Backend
from dzcore.errors import FileError
from dzcore.io import tree

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 200), 1 << 200)
    | st.floats()
    | st.text(st.characters(), max_size=5)  # lone surrogates as well
)
ARRAYS = st.builds(lambda n: HostArray("uint8", (1,), bytes([n])), st.integers(0, 255))
KEYS = st.sampled_from(["", "a", "b", "a/b", "0", "1", "~2", "a~2", "a/b~2", "array", "dict", "ä"])
TREES = st.recursive(
    PLAIN | ARRAYS,
    lambda x: st.lists(x, max_size=4) | st.lists(x, max_size=4).map(tuple) | st.dictionaries(KEYS, x, max_size=4),
    max_leaves=30,
)


def identical(a: Any, b: Any) -> bool:
    """Whether two trees are equal in everything: types, order of keys, signs of zeros, nan."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, HostArray):
        return a is b
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, float):
        return a.hex() == b.hex()
    return bool(a == b)


def through_json(x: Any) -> Any:
    structure, arrays = tree.split(x)
    text = json.dumps(structure, allow_nan=False)
    assert text.isascii()
    if structure is None:
        return dict(arrays)
    again = json.loads(text)
    tree.check(again, arrays)
    return tree.join(again, arrays.__getitem__)


@given(TREES.filter(lambda x: x is not None))
@example({"a": {"b": HostArray("uint8", (1,), b"1")}, "a/b": HostArray("uint8", (1,), b"2")})
@example([-0.0, math.nan, math.inf, -math.inf, 1 << 64, -(1 << 64), 10**5000, "\ud800", True, 1, 1.0])
def test_trees_come_back_exactly(x: Any) -> None:
    assert identical(through_json(x), x)


@given(TREES)
def test_over_makes_new_containers_and_keeps_all_else(x: Any) -> None:
    seen = []
    copy = tree.over(x, lambda a: (seen.append(a), a)[1])
    assert identical(copy, x)
    assert type(x) not in (dict, list) or copy is not x
    assert all(isinstance(a, HostArray) for a in seen)


def test_over_sees_every_array_in_its_place() -> None:
    a, b = HostArray("uint8", (), b"1"), HostArray("uint8", (), b"2")
    x = {"p": [a, {"q": b}], "p/0": a, "n": None}
    assert tree.over(x, lambda array: array.buffer) == {"p": [b"1", {"q": b"2"}], "p/0": b"1", "n": None}
    assert tree.over(None, print) is None


def test_names_are_paths() -> None:
    a = HostArray("uint8", (), b"1")
    nested = {"l1": {"W": a, "b": a}, "blocks": [a, (a,)], "": a}
    structure, arrays = tree.split(nested)
    assert list(arrays) == ["l1/W", "l1/b", "blocks/0", "blocks/1/0", ""]
    assert structure == {
        "dict": {
            "l1": {"dict": {"W": {"array": "l1/W"}, "b": {"array": "l1/b"}}},
            "blocks": {"list": [{"array": "blocks/0"}, {"tuple": [{"array": "blocks/1/0"}]}]},
            "": {"array": ""},
        }
    }
    assert tree.split(a) == ({"array": "array"}, {"array": a})


def test_equal_paths_get_numbers() -> None:
    a = [HostArray("uint8", (), bytes([n])) for n in range(5)]
    x = {"a/b": a[0], "a": {"b": a[1]}, "a/b~2": a[2], "": {"": a[3]}, "/": a[4]}
    _, arrays = tree.split(x)
    assert list(tree.split({"a/b/c": a[0], "a": {"b/c": a[1], "b": {"c": a[2]}}})[1]) == ["a/b/c", "a/b/c~2", "a/b/c~3"]
    assert list(arrays.items()) == [("a/b", a[0]), ("a/b~2", a[1]), ("a/b~2~2", a[2]), ("/", a[3]), ("/~2", a[4])]


@pytest.mark.parametrize("x", [{}, {"a/b": np.ones(2), "0": np.ones(2), "": np.float32(1)}])
def test_dictionaries_of_arrays_need_no_structure(x: Any) -> None:
    structure, arrays = tree.split(x)
    assert structure is None
    assert list(arrays) == list(x)


@pytest.mark.parametrize("x", [[], (), {"a": 1}, {"a": []}, {"a": np.ones(1), "b": None}, 3, "text", np.ones(1)])
def test_everything_else_has_one(x: Any) -> None:
    assert tree.split(x)[0] is not None


class Color(IntEnum):
    RED = 1


class Word(str):
    __slots__ = ()


Point = namedtuple("Point", "x")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"a": [0, 1, 2, {3}]}, r"^x\['a'\]\[3\] is a set; make it a list"),
        ((object(),), r"^x\[0\] is a object; "),
        ([1j], r"^x\[0\] is a complex; "),
        ([b"bytes"], r"^x\[0\] is a bytes; "),
        ({"a": {"b": print}}, r"^x\['a'\]\['b'\] is a builtin_function_or_method; "),
        (None, "^x is None; there is nothing to save"),
        ({1: 2}, "^x has the key 1; keys are strings in a file, so use '1'"),
        ([{None: 2}], r"^x\[0\] has the key None; keys are strings"),
        ({"a": {Word("b"): 1}}, r"^x\['a'\] has the key 'b'; keys are strings"),
        ([Color.RED], r"^x\[0\] is a Color; it would come back as a int, so make it one"),
        ([Point(1)], r"^x\[0\] is a Point; it would come back as a tuple"),
        (OrderedDict(a=1), "^x is a OrderedDict; it would come back as a dict, so make it one"),
        ([Word("a")], r"^x\[0\] is a Word; it would come back as a str"),
    ],
)
def test_what_cannot_be_saved_is_named(x: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        tree.split(x)
    with pytest.raises(TypeError, match=message.replace("x", "state", 1)):
        tree.split(x, "state")


def test_parameters_without_data_are_named() -> None:
    for empty in (Parameter(None), dzcore.layers.base.Buffer(None)):
        with pytest.raises(FileError, match=r"^x\['l'\] has no data yet; call its layer once, or give it its size"):
            tree.split({"l": empty})


def test_cycles_are_named_and_repetition_is_none() -> None:
    x: dict[str, Any] = {"a": [1, 2]}
    x["b"] = [x["a"], x["a"]]
    assert identical(through_json(x), x)
    x["a"].append({"c": x["a"]})
    with pytest.raises(FileError, match=r"^x\['a'\]\[2\]\['c'\] contains itself; a file cannot"):
        tree.split(x)


def nested(levels: int) -> Any:
    x: Any = 1
    for _ in range(levels):
        x = [x]
    return x


def test_nesting_has_a_limit_long_before_python_s_own() -> None:
    assert identical(through_json(nested(100)), nested(100))
    for levels in (101, 100_000):
        with pytest.raises(FileError, match=r"^x\[0\]\[0\]\[0\]… is nested deeper than 100 levels"):
            tree.split(nested(levels))


# Structures from files -----------------------------------------------------------------------------------------------


def deep(levels: int) -> Any:
    node: Any = 1
    for _ in range(levels):
        node = {"list": [node]}
    return node


@pytest.mark.parametrize(
    "structure",
    [
        [], {}, {"array": 1}, {"array": "a", "list": []}, {"other": 1}, {"list": {}}, {"list": 1}, {"tuple": "ab"},
        {"dict": []}, {"dict": {"a": []}}, {"list": [{"float": "1.5"}]}, {"float": 1.5}, {"float": "NAN"},
        {"float": "nan", "int": "0x1"}, {"int": 3}, {"int": "3"}, {"int": "0x"}, {"int": "0X10"}, {"int": "0x1_0"},
        {"list": [], "tuple": []}, {"dict": {"a": {"array": "a"}, "b": {}}}, deep(101),
    ],
)  # fmt: skip
def test_damaged_structures_are_refused(structure: Any) -> None:
    with pytest.raises(FileError, match="its structure is damaged at "):
        tree.check(structure, ["a"])


@pytest.mark.parametrize(
    "names", [[], ["a"], ["a", "b", "c"], ["a", "x"]], ids=["none", "too few", "too many", "another"]
)
def test_structures_of_other_arrays_are_refused(names: list[str]) -> None:
    structure = {"list": [{"array": "a"}, {"array": "b"}]}
    tree.check(structure, ["b", "a"])
    with pytest.raises(FileError, match="its structure has 2 arrays, not each of the file's"):
        tree.check(structure, names)
    with pytest.raises(FileError, match="its structure has 2 arrays"):
        tree.check({"list": [{"array": "a"}, {"array": "a"}]}, ["a"])


# Arrays --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3)])
def test_arrays_of_all_kinds_become_host_arrays(backend: Backend, dtype: str, shape: tuple[int, ...]) -> None:
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend} has no {dtype}")
    numbers = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    raw = backend.from_host(HostArray(dtype, shape, numbers.tobytes()))
    for x in (raw, Variable(raw, backend=backend)):
        assert tree.is_array(x)
        assert tree.form(x) == (dtype, shape)
        for host in (tree.host_array(x), tree.borrow(x)):
            assert (host.dtype, tuple(host.shape), bytes(host.buffer)) == (dtype, shape, numbers.tobytes())
    host = tree.host_array(raw)
    assert tree.host_array(host) is tree.borrow(host) is host
    assert tree.is_array(host)


def test_borrowed_memory_is_not_copied_and_copies_are() -> None:
    array = np.arange(6.0).reshape(2, 3)
    borrowed, copied = tree.borrow(Variable(array)), tree.host_array(array)
    array[0, 0] = 9
    assert bytes(borrowed.buffer) == array.tobytes() != bytes(copied.buffer)


@pytest.mark.parametrize(
    "array", [np.arange(12.0).reshape(3, 4).T, np.arange(9)[::2], np.arange(3, dtype=">i4"), np.float32(2)]
)
def test_what_cannot_be_borrowed_as_it_is_gets_copied(array: Any) -> None:
    native = array.astype(array.dtype.newbyteorder("="))
    host = tree.borrow(array)
    assert (host.dtype, host.shape) == (native.dtype.name, array.shape)
    assert memoryview(host.buffer).c_contiguous
    assert bytes(host.buffer) == native.tobytes()


@pytest.mark.parametrize("x", [1, "a", None, [np.ones(2)], object(), type("Odd", (), {"shape": (), "dtype": "f4"})()])
def test_other_things_are_no_arrays(x: Any) -> None:
    assert not tree.is_array(x)
