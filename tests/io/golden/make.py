"""Made the golden checkpoints of version 1, from docs/checkpoint-format.md and without dzcore. Never run it again for
version 1: every later version of dzcore reads the files as they are. `python -m tests.io.golden.make FOLDER`.
"""

import hashlib
import json
import sys
from math import prod
from pathlib import Path
from typing import Any

STEP, SERIAL = 120, 7
NAME = "000007-step-120"
FILE_SIZE = 64

#: dtype, shape, and the elements as unsigned numbers of as many bits.
ARRAYS: dict[str, tuple[str, tuple[int, ...], list[int]]] = {
    "model/weights/l1/W": ("float32", (2, 3), [0, 1 << 31, 0x3FC00000, 0x7F800000, 0x7FC00001, 1]),
    "model/weights/l1/b": ("float64", (2,), [0x3FF8000000000000, 0xFFF0000000000000]),
    "model/weights/half": ("float16", (1, 3), [0x3E00, 0x8001, 0x7E00]),
    "model/weights/brain": ("bfloat16", (3,), [0x3FC0, 0x8000, 0x7FC1]),
    "model/weights/none": ("float32", (0, 5), []),
    "model/carried/rnn~1/h": ("float32", (), [0x40490FDB]),
    "counts/0": ("bool", (3,), [1, 0, 1]),
    "counts/1/0": ("int8", (2,), [0x80, 0x7F]),
    "counts/1/1": ("int16", (2,), [0x8000, 0x1234]),
    "counts/2/a/b": ("int32", (2,), [0x80000000, 0x12345678]),
    "counts/2/a/b~2": ("int64", (1,), [0x8000000000000001]),
    "counts/3": ("uint8", (1,), [0xFF]),
    "counts/4": ("uint16", (1,), [0xFFFE]),
    "counts/5": ("uint32", (1,), [0xFFFFFFFE]),
    "counts/6": ("uint64", (2, 1), [0xFFFFFFFFFFFFFFFE, 0]),
}
WIDTHS = {name: int("".join(filter(str.isdigit, name)) or 8) // 8 for name, _, _ in ARRAYS.values()}


def node(x: Any) -> dict[str, Any]:
    return {"array": x}


TREE = {
    "dict": {
        "model": {
            "dict": {
                "weights": {
                    "dict": {
                        "l1": {"dict": {"W": node("model/weights/l1/W"), "b": node("model/weights/l1/b")}},
                        "half": node("model/weights/half"),
                        "brain": node("model/weights/brain"),
                        "none": node("model/weights/none"),
                    }
                },
                "carried": {"dict": {"rnn~1": {"dict": {"h": node("model/carried/rnn~1/h")}}, "c": None}},
            }
        },
        "counts": {
            "list": [
                node("counts/0"),
                {"tuple": [node("counts/1/0"), node("counts/1/1")]},
                {"dict": {"a": {"dict": {"b": node("counts/2/a/b")}}, "a/b": node("counts/2/a/b~2")}},
                node("counts/3"),
                node("counts/4"),
                node("counts/5"),
                node("counts/6"),
            ]
        },
        "random": {"dict": {"seed": 18446744073709551615, "position": 4611686018427387904}},
    }
}
METADATA = {
    "dict": {
        "accuracy": 0.9375,
        "loss": {"float": "nan"},
        "bounds": {"list": [{"float": "-inf"}, {"float": "inf"}, -0.0]},
        "big": {"int": "0x123456789abcdef0123456789abcdef"},
        "names": {"tuple": ["Élise", "\ud800", "", None, True, {"dict": {"": {"list": []}}}]},
    }
}
MADE = {"dzcore": "0.1.0", "python": "3.11.7", "backends": {"some": "dzbackend-some 1.0", "own": None}}


def packed(name: str, byte_order: str) -> bytes:
    dtype, shape, elements = ARRAYS[name]
    assert len(elements) == prod(shape)
    return b"".join(e.to_bytes(WIDTHS[dtype], byte_order) for e in elements)  # type: ignore[arg-type]


def files(byte_order: str) -> dict[str, bytes]:
    """Return all files of the checkpoint by name."""
    data, entries = [b""], {}
    for name, (dtype, shape, _) in ARRAYS.items():
        content = packed(name, byte_order)
        if data[-1] and len(data[-1]) + len(content) > FILE_SIZE:
            data.append(b"")
        entries[name] = {
            "file": len(data) - 1, "offset": len(data[-1]), "size": len(content), "dtype": dtype, "shape": shape,
            "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        data[-1] += content
    content = {
        "format": "dzcore checkpoint", "version": 1, "step": STEP, "serial": SERIAL, "byte_order": byte_order,
        "made": MADE, "metadata": METADATA, "tree": TREE,
        "files": [{"name": f"arrays-{i:04}.bin", "size": len(d)} for i, d in enumerate(data)], "arrays": entries,
    }  # fmt: skip
    text = json.dumps(content, separators=(",", ":"))
    manifest = f'{{"sha256":"{hashlib.sha256(text.encode()).hexdigest()}","content":{text}}}\n'
    return {"manifest.json": manifest.encode()} | {f"arrays-{i:04}.bin": d for i, d in enumerate(data)}


def main(folder: Path) -> None:
    for byte_order in ("little", "big"):
        path = folder / f"version-1-{byte_order}" / NAME
        path.mkdir(parents=True)
        for name, content in files(byte_order).items():
            (path / name).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
