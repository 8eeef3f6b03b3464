"""A fixed part of the fuzzing; `python -m tests.fuzz.run --count 100000` does more of it."""

from random import Random

import pytest

import dzcore as dz
from dzcore.io.staging import Crc32

from . import target
from .run import try_many
from .target import FORMATS, try_one


@pytest.mark.parametrize("name", FORMATS)
def test_a_thousand_mutations(name):
    outcomes = try_many(name, 0, range(1000))
    findings = [(seed, outcome) for seed, outcome in outcomes if outcome.kind == "finding"]
    assert findings == []
    kinds = {outcome.kind for _, outcome in outcomes}
    assert kinds == {"equal", "refused", "foreign"}, "mutations that are never noticed, or always, test nothing"


@pytest.mark.parametrize("name", FORMATS)
def test_every_mutation_of_a_file_changes_it_most_of_the_time(name):
    changed = [files != case.files for i in range(300) for _, case, files, _ in [target.mutated(name, Random(i))]]
    assert sum(changed) > 250


# The target has teeth: it finds what is made wrong on purpose ---------------------------------------------------------


def findings(name: str, count: int = 400) -> list[str]:
    return [outcome.detail for _, outcome in try_many(name, 1, range(count)) if outcome.kind == "finding"]


def test_it_finds_another_exception(monkeypatch):
    original = dz.load

    def broken(path):
        try:
            return original(path)
        except ValueError as e:
            raise KeyError(str(e)) from None

    monkeypatch.setattr(dz, "load", broken)
    assert any("KeyError" in finding for finding in findings("npz"))


def test_it_finds_damage_that_is_not_noticed(monkeypatch):
    target.cases.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(Crc32, "update", lambda self, data: None)  # all checksums are equal
        found = findings("safetensors")
    target.cases.cache_clear()
    assert any("another content" in finding for finding in found)


def test_it_finds_too_much_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(target, "MOST_MEMORY", -1)
    assert try_one("npz", "0", tmp_path).kind == "finding"
