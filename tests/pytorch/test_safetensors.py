"""Our .safetensors files in PyTorch, and PyTorch's here: every dtype, bit for bit."""

from pathlib import Path
from typing import Any

import pytest

import dzcore
from dzcore import HostArray
from dzcore.io import open_archive, write_archive

torch: Any = pytest.importorskip("torch")
files: Any = pytest.importorskip("safetensors.torch", reason="the format's package: pip install safetensors")

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "bfloat16",
          "float32", "float64"]  # fmt: skip


def tensors() -> dict[str, Any]:
    made = {}
    for i, name in enumerate(DTYPES):
        raw = torch.randint(0, 2 if name == "bool" else 256, (6 * 8,), generator=torch.Generator().manual_seed(i))
        made[name] = raw.to(torch.uint8).view(getattr(torch, name))[:6].reshape(2, 3).clone()
    return made


def raw(tensor: Any) -> bytes:
    return bytes(tensor.contiguous().view(torch.uint8).reshape(-1).tolist())


def test_ours_in_pytorch(tmp_path: Path) -> None:
    arrays = {name: HostArray(name, (2, 3), raw(x)) for name, x in tensors().items()}
    write_archive(tmp_path / "x.safetensors", arrays)
    found = files.load_file(tmp_path / "x.safetensors")
    assert set(found) == set(DTYPES)
    for name, x in found.items():
        assert (x.dtype, tuple(x.shape), raw(x)) == (getattr(torch, name), (2, 3), arrays[name].buffer)


def test_pytorch_s_here(tmp_path: Path) -> None:
    given = tensors()
    files.save_file(given, tmp_path / "x.safetensors", metadata={"format": "pt"})
    with open_archive(tmp_path / "x.safetensors") as file:
        found = {name: (x.dtype, x.shape, bytes(x.buffer)) for name, x in file.read()}
    assert found == {name: (name, (2, 3), raw(x)) for name, x in given.items()}


def test_a_transposed_weight_both_ways(tmp_path: Path) -> None:
    W = dzcore.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    dzcore.save(tmp_path / "x.safetensors", {"W": W.T})
    found = files.load_file(tmp_path / "x.safetensors")["W"]
    assert found.tolist() == [[1, 4], [2, 5], [3, 6]]
    files.save_file({"W": found.T.contiguous()}, tmp_path / "x.safetensors")
    assert dzcore.load(tmp_path / "x.safetensors")["W"].data.tolist() == [[1, 2, 3], [4, 5, 6]]
