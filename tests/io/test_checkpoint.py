"""Checkpoint: what it saves and restores, all of it or nothing, and what it does about damage."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dzcore import random
from dzcore.backend import Backend, use_backend
from dzcore.errors import CheckpointError, CheckpointWarning, StateError
from dzcore.io import Checkpoint, Saved
from dzcore.layers import Linear

from .checkpoints import Foreign, Part, Training, array_part, edit, flip, names, save_all, save_arrays

# Saving and restoring -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [False, True])
def test_a_training_goes_on_as_if_it_had_never_stopped(backend: Backend, tmp_path: Path, background: bool) -> None:
    def begin(seed: int) -> Training:
        return Training(backend, seed)

    whole = begin(0)
    random.seed(1)
    whole.train(None)
    first = begin(0)
    random.seed(1)
    with Checkpoint(tmp_path, every=3, background=background, **first.parts) as checkpoint:
        first.train(checkpoint, stop=7)  # in the second epoch, and after the last checkpoint
    second = begin(2)
    with Checkpoint(tmp_path, every=3, background=background, **second.parts) as checkpoint:
        saved = checkpoint.restore()
        assert saved is not None
        assert saved.step == second.optimizer.t == 6
        second.train(checkpoint)
    assert second.losses == whole.losses[6:]
    assert second.result() == whole.result()
    assert names(tmp_path) == [".lock", "000002-step-6", "000003-step-9", "000004-step-12"]


def test_metadata_come_back(tmp_path: Path) -> None:
    metadata = {"accuracy": 0.5, "nested": {"a": [1, None, ("x", True)]}, "big": 1 << 100, "none": {}}
    with Checkpoint(tmp_path) as checkpoint:
        checkpoint.save(0, metadata)
        checkpoint.save(1)
    checkpoint = Checkpoint(tmp_path)
    saved = checkpoint.restore()
    assert saved is not None
    assert saved.metadata == {}
    assert [(each.step, each.serial, each.metadata) for each in checkpoint.saved()] == [(0, 1, metadata), (1, 2, {})]


@pytest.mark.parametrize(
    ("metadata", "error", "cause"),
    [
        ([1], TypeError, "metadata=\\[1\\] must be a dict"),
        ({"a": {1, 2}}, TypeError, "metadata\\['a'\\] is a set"),
        ({1: 2}, TypeError, "metadata has the key 1"),
    ],
)
def test_metadata_that_cannot_be_saved(metadata: Any, error: type[Exception], cause: str, tmp_path: Path) -> None:
    with Checkpoint(tmp_path) as checkpoint:
        with pytest.raises(error, match=cause):
            checkpoint.save(1, metadata)
        assert names(tmp_path) == [".lock"]


def test_arrays_are_no_metadata(backend: Backend, tmp_path: Path) -> None:
    with Checkpoint(tmp_path) as checkpoint, pytest.raises(CheckpointError, match="an array at 'loss'.*float"):
        checkpoint.save(1, {"loss": backend.xp.zeros(3)})


def test_saves_at_every_so_many_steps_and_when_forced(tmp_path: Path) -> None:
    with Checkpoint(tmp_path, every=3, keep=None) as checkpoint:
        did = [checkpoint.save(step) for step in range(8)]
        assert did == [True, False, False, True, False, False, True, False]
        assert checkpoint.save(8, force=True)
        assert [saved.step for saved in checkpoint.saved()] == [0, 3, 6, 8]
        for step in (-1, 1.0, True, 10**18):
            with pytest.raises(ValueError, match="step="):
                checkpoint.save(step)  # type: ignore[arg-type]
    assert not [name for name in names(tmp_path) if name.startswith(".tmp")]


def test_serial_numbers_and_not_steps_say_what_is_newest(tmp_path: Path) -> None:
    save_all(tmp_path, range(5, 8))
    part = Part()
    with Checkpoint(tmp_path, part=part) as checkpoint:
        first = checkpoint.saved()[0]
        assert checkpoint.restore(first) is first
        assert part.value == 5
        part.value = 55
        checkpoint.save(6)
        assert names(tmp_path) == [".lock", "000002-step-6", "000003-step-7", "000004-step-6"]
        part.value = 0
        saved = checkpoint.restore()
        assert saved is not None
        assert (saved.serial, part.value) == (4, 55)


def test_serial_numbers_grow_beyond_their_digits(tmp_path: Path) -> None:
    save_all(tmp_path, range(1, 2))
    saved = tmp_path / "000001-step-1"
    content = saved / "manifest.json"
    edit(saved, lambda c: c.update(serial=999999))
    saved.rename(tmp_path / "999999-step-1")
    save_all(tmp_path, range(2, 4))
    assert names(tmp_path) == [".lock", "1000000-step-2", "1000001-step-3", "999999-step-1"]
    assert [each.step for each in Checkpoint(tmp_path).saved()] == [1, 2, 3]
    assert not content.exists()


def test_an_empty_folder_has_nothing_to_restore(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with Checkpoint(folder, part=(part := Part(3))) as checkpoint:
        assert checkpoint.restore() is None
        assert checkpoint.saved() == []
        assert part.value == 3


def test_checkpoints_of_another_training_are_not_buried(tmp_path: Path) -> None:
    save_all(tmp_path, range(1, 3))
    with Checkpoint(tmp_path, part=Part()) as checkpoint:
        with pytest.raises(CheckpointError, match="holds checkpoints already: call restore"):
            checkpoint.save(1)
        checkpoint.restore()
        assert checkpoint.save(3)
    assert names(tmp_path) == [".lock", "000001-step-1", "000002-step-2", "000003-step-3"]


class Drawing(Foreign):
    """A part that draws while it is loaded."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        random.uniform(10)


class DrawingPart(Part):
    """The same, with a check first."""

    def _stage(self, state: dict[str, Any]) -> Callable[[], None]:
        return lambda: random.seed(9)


@pytest.mark.parametrize("part", [Drawing(), DrawingPart()])
def test_the_default_generator_is_saved_and_restored_last(tmp_path: Path, part: Any) -> None:
    random.seed(5)
    random.uniform(7)
    with Checkpoint(tmp_path, part=part) as checkpoint:
        checkpoint.save(1)
        random.seed(6)
        checkpoint.restore()
    assert random.get_state() == (5, 7)


def test_a_generator_can_be_a_part(tmp_path: Path) -> None:
    own = random.Generator(3)
    own.uniform(5)
    with Checkpoint(tmp_path, own=own) as checkpoint:
        checkpoint.save(1)
        own.state = (0, 0)
        checkpoint.restore()
    assert own.state == (3, 5)


def test_parts_of_other_libraries_get_arrays_of_the_current_backend(backend: Backend, tmp_path: Path) -> None:
    part = Foreign([backend.xp.asarray([1.0, 2.0], device=backend.device), ("x", None)])
    with Checkpoint(tmp_path, part=part) as checkpoint:
        checkpoint.save(1)
        part.value = [backend.xp.zeros(2, device=backend.device), ("y", None)]
        checkpoint.restore()
    x, rest = part.value
    assert backend.owns(x)
    assert [float(x[0]), float(x[1])] == [1.0, 2.0]
    assert rest == ("x", None)


# All or nothing -------------------------------------------------------------------------------------------------------


def test_a_part_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"a": Part(1), "b": Foreign(2), "c": Part(3)}
    with Checkpoint(tmp_path, **parts) as checkpoint:
        checkpoint.save(1)
    parts = {"a": Part(10), "b": Foreign(20), "c": Part("text")}
    random.seed(99)
    with Checkpoint(tmp_path, **parts) as checkpoint:
        with pytest.raises(StateError, match="part 'c' of '.*000001-step-1' does not fit: value=3 is not of type str"):
            checkpoint.restore()
        with pytest.raises(CheckpointError, match="holds checkpoints already"):
            checkpoint.save(2)
    assert [part.value for part in parts.values()] == [10, 20, "text"]
    assert parts["b"].loads == 0
    assert random.get_state() == (99, 0)


def test_a_part_that_fails_to_load_changes_nothing(tmp_path: Path) -> None:
    with Checkpoint(tmp_path, a=Part(1), b=Foreign(2), c=Foreign("bad")) as checkpoint:
        checkpoint.save(1)
    parts: dict[str, Any] = {"a": Part(10), "b": Foreign([20]), "c": Foreign(30)}
    random.seed(99)
    with Checkpoint(tmp_path, **parts) as checkpoint, pytest.raises(KeyError, match="bad"):
        checkpoint.restore()
    assert [part.value for part in parts.values()] == [10, [20], 30]
    assert random.get_state() == (99, 0)


def test_a_part_gets_back_what_it_had_even_if_it_loads_in_place(numpy_backend: Backend, tmp_path: Path) -> None:
    class InPlace(Foreign):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.value[...] = state["value"]

    def part(n: float) -> InPlace:
        return InPlace(numpy_backend.xp.full((2,), n))

    with use_backend(numpy_backend):
        with Checkpoint(tmp_path, a=part(1), b=Foreign("bad")) as checkpoint:
            checkpoint.save(1)
        with Checkpoint(tmp_path, a=(a := part(10)), b=Foreign(2)) as checkpoint, pytest.raises(KeyError):
            checkpoint.restore()
        assert a.value.tolist() == [10, 10]


@pytest.mark.parametrize(
    ("parts", "cause"), [("bcd", "Missing in it: c, d. Unexpected: a."), ("b", "Missing in it: none. Unexpected: a."),
                         ("abc", "Missing in it: c. Unexpected: none.")],
)  # fmt: skip
def test_other_parts_are_listed(tmp_path: Path, parts: str, cause: str) -> None:
    with Checkpoint(tmp_path, a=Part(1), b=Part(2)) as checkpoint:
        checkpoint.save(1)
    others = {name: Part(5) for name in parts}
    with Checkpoint(tmp_path, **others) as checkpoint:
        with pytest.raises(CheckpointError, match=f"000001-step-1' has other parts. {cause}"):
            checkpoint.restore()
        assert others["b"].value == 5


@pytest.mark.parametrize("part", [3, "x", None, object(), Part, [Part()]])
def test_what_cannot_be_a_part(part: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="part= is no option, and as a part it is a .*state_dict"):
        Checkpoint(tmp_path / "folder", part=part)
    assert not (tmp_path / "folder").exists()


def test_an_empty_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="folder='' is no name"):
        Checkpoint("", part=Part(1))
    assert names(tmp_path) == []


@pytest.mark.parametrize("chosen", [1, "000001-step-1"])
def test_restore_takes_one_of_saved(tmp_path: Path, chosen: Any) -> None:
    with Checkpoint(tmp_path, part=Part(1)) as checkpoint:
        checkpoint.save(1)
        with pytest.raises(TypeError, match=r"give one of those that saved\(\) returns"):
            checkpoint.restore(chosen)


def test_random_is_no_name_for_a_part(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'random' is the name for"):
        Checkpoint(tmp_path, random=Part())


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"every": 0}, "every=0"),
        ({"every": None}, "every=None"),
        ({"every": 1.0}, "every=1.0"),
        ({"keep": 0}, "keep=0"),
        ({"keep": True}, "keep=True"),
        ({"best": 0, "metric": "x"}, "best=0"),
        ({"file_size": 0}, "file_size=0"),
        ({"mode": "least"}, "mode='least'"),
        ({"best": 1}, "best=1 and metric=None"),
        ({"metric": "x"}, "best=None and metric='x'"),
    ],
)
def test_options_are_checked(options: dict[str, Any], cause: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=cause):
        Checkpoint(tmp_path / "folder", **options)
    assert not (tmp_path / "folder").exists()


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["arrays-0000.bin", "manifest.json"])
def test_a_damaged_newest_falls_back_with_a_warning(tmp_path: Path, name: str) -> None:
    save_arrays(tmp_path, 1, 2, 3)
    flip(tmp_path / "000003-step-3" / name, 5)
    part = array_part(0)
    with Checkpoint(tmp_path, part=part) as checkpoint:
        with pytest.warns(CheckpointWarning, match=f"passed over: .*000003-step-3/{name}' is damaged"):
            saved = checkpoint.restore()
        assert saved is not None
        assert (saved.step, float(part.value[0])) == (2, 2.0)
        checkpoint.save(3)
    assert names(tmp_path) == [".lock", "000001-step-1", "000002-step-2", "000004-step-3"]  # the damaged one is gone


def test_several_damaged_ones(tmp_path: Path) -> None:
    save_arrays(tmp_path, 1, 2, 3)
    flip(tmp_path / "000003-step-3" / "arrays-0000.bin")
    os.remove(tmp_path / "000002-step-2" / "manifest.json")
    with Checkpoint(tmp_path, part=(part := array_part(0))) as checkpoint:
        with pytest.warns(CheckpointWarning) as caught:
            assert checkpoint.restore() is not None
        assert [str(warning.message).count("passed over") for warning in caught] == [1, 1]
        assert float(part.value[0]) == 1.0
        assert [saved.step for saved in checkpoint.saved()] == [1]


def test_when_all_are_damaged_nothing_is_restored_and_nothing_saved(tmp_path: Path) -> None:
    save_arrays(tmp_path, 1, 2)
    for name in ("000001-step-1", "000002-step-2"):
        flip(tmp_path / name / "arrays-0000.bin")
    with Checkpoint(tmp_path, part=(part := array_part(7))) as checkpoint:
        with (
            pytest.warns(CheckpointWarning),
            pytest.raises(CheckpointError, match="no checkpoint in .* can be read; .*:\n.*000002.*\n.*000001"),
        ):
            checkpoint.restore()
        with pytest.raises(CheckpointError, match="holds checkpoints already"):
            checkpoint.save(3)
    assert float(part.value[0]) == 7.0
    assert names(tmp_path) == [".lock", "000001-step-1", "000002-step-2"]


def test_a_warning_that_is_an_error_changes_nothing(tmp_path: Path) -> None:
    save_arrays(tmp_path, 1, 2)
    flip(tmp_path / "000002-step-2" / "arrays-0000.bin")
    with Checkpoint(tmp_path, part=(part := array_part(7))) as checkpoint, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointWarning):
            checkpoint.restore()
    assert float(part.value[0]) == 7.0


def test_renamed_and_swapped_checkpoints_are_damaged(tmp_path: Path) -> None:
    save_arrays(tmp_path, 1, 2, 3)
    (tmp_path / "000003-step-3").rename(tmp_path / "x")
    (tmp_path / "000002-step-2").rename(tmp_path / "000003-step-3")
    (tmp_path / "x").rename(tmp_path / "000002-step-2")
    with Checkpoint(tmp_path, part=(part := array_part(0))) as checkpoint:
        with pytest.warns(CheckpointWarning) as caught:
            checkpoint.restore()
        assert "000003-step-3' is damaged: what is in it is number 2, of step 2" in str(caught[0].message)
        assert "000002-step-2' is damaged: what is in it is number 3, of step 3" in str(caught[1].message)
        assert float(part.value[0]) == 1.0


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_has_the_name_of_a_checkpoint_and_is_none(tmp_path: Path, kind: str) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    save_arrays(folder, 1, 2)
    odd = folder / "000002-step-2"
    odd.rename(elsewhere)
    if kind == "link":
        odd.symlink_to(elsewhere)
    else:
        odd.write_bytes(b"x")
    with Checkpoint(folder, part=(part := array_part(0))) as checkpoint:
        with pytest.warns(CheckpointWarning, match="000002-step-2"):
            checkpoint.restore()
        assert float(part.value[0]) == 1.0
        checkpoint.save(2)
    assert names(folder) == [".lock", "000001-step-1", "000003-step-2"]
    Saved(elsewhere).verify()


def test_a_newer_version_is_neither_passed_over_nor_removed(tmp_path: Path) -> None:
    save_arrays(tmp_path, 1, 2)
    edit(tmp_path / "000002-step-2", lambda content: content.update(version=2))
    with Checkpoint(tmp_path, keep=1, part=(part := array_part(7))) as checkpoint:
        with pytest.raises(CheckpointError, match="000002-step-2': it was written by a newer dzcore"):
            checkpoint.restore()
        assert float(part.value[0]) == 7.0
        checkpoint.restore(checkpoint.saved()[0])
        checkpoint.save(3)
    assert names(tmp_path) == [".lock", "000002-step-2", "000003-step-3"]


def test_a_name_that_was_damaged_once_can_be_good_again(tmp_path: Path) -> None:
    save_arrays(tmp_path, 1, 2)
    flip(tmp_path / "000002-step-2" / "arrays-0000.bin")
    with Checkpoint(tmp_path, part=array_part(0)) as checkpoint:
        with pytest.warns(CheckpointWarning):
            checkpoint.restore()
        for name in ("manifest.json", "arrays-0000.bin"):
            os.remove(tmp_path / "000002-step-2" / name)
        (tmp_path / "000002-step-2").rmdir()
        checkpoint.save(2)
        checkpoint.save(3)
        assert [saved.step for saved in checkpoint.saved()] == [1, 2, 3]


def test_a_layer_whose_state_dict_says_more_is_no_part(tmp_path: Path) -> None:
    class Counting(Linear):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "calls": 3}

    with pytest.raises(TypeError, match="model: .*Counting extends state_dict or load_state_dict"):
        Checkpoint(tmp_path, model=Counting(1, in_size=1))
