"""The reader of ONNX weights: what the format allows is read, and what is damaged is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dzcore.errors import WeightsError
from dzcore.models.onnx import read_onnx

from .onnx_files import integer, message, onnx_file, tensor

WEIGHTS = {
    "conv_weight": np.arange(24, dtype="float32").reshape(2, 3, 2, 2),
    "conv_bias": np.array([0.5, -1.0], "float32"),
    "scale": np.array(3.0, "float32"),
    "none": np.zeros((0, 300), "float32"),
    "wide": np.ones((1, 300), "float32"),  # a length of two bytes
}


def read(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    return {
        name: np.frombuffer(bytes(host.buffer), host.dtype).reshape(host.shape)
        for name, host in read_onnx(tmp_path / "model.onnx").items()
    }


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_all_forms(tmp_path, raw, packed):
    found = read(tmp_path, onnx_file(WEIGHTS, raw=raw, packed=packed))
    assert list(found) == list(WEIGHTS)
    for name, array in WEIGHTS.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array, strict=True)


ARRAYS = arrays("float32", array_shapes(min_dims=0, max_side=200, max_dims=2))


@given(st.dictionaries(st.text(max_size=9), ARRAYS, min_size=1, max_size=3))
def test_what_was_written(tmp_path_factory, weights):
    found = read(tmp_path_factory.mktemp("onnx"), onnx_file(weights))
    assert set(found) == set(weights)
    for name, array in weights.items():
        assert found[name].tobytes() == array.tobytes()


def test_other_dtypes_are_no_weights(tmp_path):
    assert list(read(tmp_path, onnx_file({"shape": np.array([0, -1]), **WEIGHTS}))) == list(WEIGHTS)


def test_other_kinds_of_fields_are_passed_over(tmp_path):
    odd = bytes([15 * 8 + 1]) + bytes(8) + bytes([15 * 8 + 5]) + bytes(4)  # of 8 bytes, and of 4
    content = message(7, odd + message(5, odd + tensor("w", WEIGHTS["wide"]))) + odd
    assert list(read(tmp_path, content)) == ["w"]


GOOD = onnx_file(WEIGHTS)
SMALL = message(7, message(5, tensor("w", np.ones(3, "f4"))))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it holds no weights of dtype float32"),
        (onnx_file({"n": np.array([1])}), "it holds no weights of dtype float32"),
        (GOOD[:-1], "of"),
        (GOOD[: len(GOOD) // 2], r"field 7 has \d+ bytes of \d+"),
        (b"<html>Please log in</html>", "there is no field of the type 4"),
        (integer(7, 1), "field 7 is a number"),
        (b"\xff" * 20, "a number goes on and on"),
        (b"\x80", "index out of"),
        (SMALL.replace(b"\x08\x03", b"\x08\x04"), r"'w' of shape \[4\] needs 16 bytes, there are 12"),
        (SMALL.replace(b"w", b"\xff"), "codec"),
    ],
)
def test_damage_is_named(tmp_path, content, message):
    with pytest.raises(WeightsError, match=rf"model.onnx' is not a readable ONNX file: .*{message}"):
        read(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_onnx(tmp_path / "none.onnx")
