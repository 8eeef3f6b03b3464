"""`dz backends`: what is there, and why not."""

import pytest

from dzcore.backend import discovery, register_backend, registry, select, unregister_backend, use_backend
from tests.strict_backend import StrictBackend

from .run import Dz


class Broken(StrictBackend):
    name = "broken"

    @classmethod
    def why_unavailable(cls) -> str | None:
        return "no device was found"


def test_the_list(dz: Dz, strict: str) -> None:
    register_backend(Broken)
    try:
        done = dz("backends")
    finally:
        unregister_backend("broken")
    head, *lines = [line.split(maxsplit=4) for line in done.out.splitlines()]
    assert head[:3] == ["name", "from", "usable"]
    rows = {line[0] if line[0] != "*" else line[1]: " ".join(" ".join(line).split()) for line in lines[:-1]}
    assert rows["numpy"].startswith("* numpy dzbackend-numpy ")
    assert "index_add" in rows["numpy"]
    assert rows["strict"] == "strict register_backend yes CPU_DEVICE, device1, device2 -"
    assert rows["broken"] == "broken register_backend no: no device was found - -"
    assert done.out.splitlines()[-1].startswith("* is the default, numpy: ")
    assert done.status == 0


def test_the_reason(dz: Dz, strict: str) -> None:
    with use_backend("strict:device1"):
        assert "* is the default, strict:device1: use_backend('strict:device1')" in dz("backends").out


def test_none(dz: Dz, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (discovery, "_installed", ()), (registry, "_registered", {}), (registry, "_by_spec", {}),
        (select, "_automatic", None), (select, "_default", None),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    done = dz("backends")
    assert (done.status, done.out) == (1, "There is no default: No backend is installed. pip install dzbackend-numpy\n")
    assert "pip install dzbackend-numpy" in dz.fails("train", status=1)
