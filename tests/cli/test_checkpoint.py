"""`dz train --checkpoint`: a training that was cut goes on exactly, and says what it does and what it refuses."""

import errno
import json
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dzcore.cli import keeper, train
from dzcore.cli.parser import UsageError, make_parser
from dzcore.io import Checkpoint, disk
from dzcore.layers import Linear
from tests.datasets.files import write_set

from .run import Dz

RUN = ("train", "--dataset", "spiral", "--hidden", "8,6", "--dropout", 0.2, "--epochs", 3)  # 10 steps an epoch
SAVING = (*RUN, "--checkpoint", "saved", "--checkpoint-every", 4)


class Crash(BaseException):
    """What no command catches, as a kill is."""


@pytest.fixture
def whole(dz: Dz, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a training without checkpoints and cuts writes."""
    folder = tmp_path_factory.mktemp("whole")
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        assert dz(*RUN).status == 0
    return folder


def same(folder: Path, other: Path) -> bool:
    """Compare two trainings: all bytes but for the times."""
    texts = [re.sub(r'"rate": [^\n]*', "", (each / "model.npz.json").read_text()) for each in (folder, other)]
    return texts[0] == texts[1] and (folder / "model.npz").read_bytes() == (other / "model.npz").read_bytes()


def at(n: int, function: Callable[..., Any], happen: Callable[[], object]) -> Callable[..., Any]:
    """Let something happen before the n-th call of a function."""
    count = 0

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == n:
            happen()
        return function(*arguments, **options)

    return wrapped


def crash() -> None:
    raise Crash


def cut(dz: Dz, monkeypatch: pytest.MonkeyPatch, place: str, n: int, words: tuple[object, ...] = SAVING) -> None:
    """Train up to the n-th call of a function that `dz train` uses."""
    target = train.Keeper if place == "Keeper.save" else train
    name = place.rpartition(".")[2]
    with monkeypatch.context() as patch:
        patch.setattr(target, name, at(n, getattr(target, name), crash))
        with pytest.raises(Crash):
            dz(*words)


def steps_saved(folder: Path) -> list[int]:
    return [int(path.name.rpartition("-")[2]) for path in sorted(folder.glob("[0-9]*-step-*"))]


@pytest.mark.parametrize(("every", "stride"), [((), 1), (("--checkpoint-every", 4), 3), (("--checkpoint-every", 1), 7)])
def test_cut_at_any_step_and_resumed(
    dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, every: tuple[object, ...], stride: int
) -> None:
    words = (*RUN, "--checkpoint", "saved", *every)
    for n in range(1, 31, stride):
        cut(dz, monkeypatch, "Keeper.save", n, words)
        done = dz(*words, "--resume")
        assert (done.status, done.err) == (0, ""), done
        assert same(tmp_path, whole), n
        shutil.rmtree(tmp_path / "saved")
        (tmp_path / "model.npz").unlink()


@pytest.mark.parametrize(("place", "n"), [("evaluate_model", 1), ("evaluate_model", 3), ("save", 1)])
def test_cut_beside_the_steps(
    dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, place: str, n: int
) -> None:
    cut(dz, monkeypatch, place, n)
    assert not (tmp_path / "model.npz").exists()
    done = dz(*SAVING, "--resume")
    assert (done.status, done.err) == (0, "")
    assert same(tmp_path, whole)


def test_cut_again_and_again(dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = SAVING
    for _ in range(7):
        cut(dz, monkeypatch, "Keeper.save", 5, words)
        words = (*SAVING, "--resume")
    assert dz(*words).status == 0
    assert same(tmp_path, whole)


def test_what_is_saved_and_kept(dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "KEPT", 100)
    done = dz(*SAVING)
    assert (done.status, done.err) == (0, "")
    assert steps_saved(tmp_path / "saved") == [4, 8, 10, 12, 16, 20, 24, 28, 30]
    assert same(tmp_path, whole)  # saving changes nothing
    shutil.rmtree(tmp_path / "saved")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    dz(*SAVING)
    assert steps_saved(tmp_path / "saved") == [24, 28, 30]
    shutil.rmtree(tmp_path / "saved")
    dz(*RUN, "--checkpoint", "saved")
    assert steps_saved(tmp_path / "saved") == [10, 20, 30]


def test_where_it_goes_on(dz: Dz, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(dz, monkeypatch, "Keeper.save", 9)  # one call a step, and the tenth step has that of its epoch
    first, second, third, *_ = dz(*SAVING, "--resume").out.splitlines()
    assert first == "mlp 2-8-6-3 (relu) on spiral: 300 samples, backend numpy"
    assert second == "Going on after step 8, in epoch 1 of 3"
    assert third.startswith("epoch 1: ")


def test_resume_begins_where_there_is_nothing(dz: Dz, tmp_path: Path, whole: Path) -> None:
    for folder in ("new", "empty"):
        if folder == "empty":
            (tmp_path / folder).mkdir()
        done = dz(*RUN, "--checkpoint", folder, "--resume")
        assert (done.status, done.err) == (0, "")
        assert done.out.splitlines()[1] == f"There are no checkpoints in {folder} yet; it begins at the beginning"
        assert same(tmp_path, whole)


def test_a_folder_in_use_by_another_training(dz: Dz, tmp_path: Path) -> None:
    dz(*SAVING)
    before = {path: path.read_bytes() for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    error = dz.fails(*SAVING)
    assert "argument --checkpoint: 'saved' holds the checkpoints of a training" in error
    assert "give --resume to go on with it, or another folder" in error
    assert {path: path.read_bytes() for path in before} == before


def test_a_refusal_gives_the_folder_back(dz: Dz) -> None:
    dz(*SAVING)
    arguments = make_parser().parse_args([str(word) for word in SAVING])
    with pytest.raises(UsageError) as refused:
        train.train(arguments)
    Checkpoint("saved", model=Linear(2, in_size=2)).close()
    assert refused.value


def test_nobody_waits_for_the_disk(dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint of step 4 is not on the disk before step 6 is done."""
    real, later, waited = disk.flush, threading.Event(), []

    def flush(*arguments: Any) -> None:
        if not waited:
            waited.append(later.wait(20))
        real(*arguments)

    monkeypatch.setattr(disk, "flush", flush)
    monkeypatch.setattr(train.Keeper, "save", at(6, train.Keeper.save, later.set))
    assert dz(*SAVING).status == 0
    assert waited == [True]
    assert same(tmp_path, whole)


def test_two_at_a_time(dz: Dz, tmp_path: Path) -> None:
    with Checkpoint(tmp_path / "saved", model=Linear(2, in_size=2)):
        assert "/saved' is in use by another Checkpoint" in dz.fails(*SAVING, status=1)
    assert dz(*SAVING).status == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (("--seed", 1), ["--seed 0 and not 1"]),
        (("--hidden", "8,7"), ["--hidden 8,6 and not 8,7"]),
        (("--lr", 0.1, "--batch-size", 5), ["--lr its default and not 0.1", "--batch-size 32 and not 5"]),
        (("--optimizer", "sgd"), ["--optimizer adam and not sgd"]),
        (("--activation", "tanh", "--dropout", 0.0), ["--activation relu and not tanh", "--dropout 0.2 and not 0.0"]),
        (("--dataset", "digits"), ["--dataset spiral and not digits"]),
    ],
)
def test_other_arguments_are_refused(
    dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[object, ...], named: list[str]
) -> None:
    cut(dz, monkeypatch, "Keeper.save", 9)
    error = dz.fails(*SAVING, "--resume", *changes)
    assert "argument --resume: the training in 'saved' was begun with " in error
    assert error.endswith(f"begun with {', '.join(named)}; give the same arguments, or another --checkpoint\n")
    assert not (tmp_path / "model.npz").exists()
    dz(*SAVING, "--resume")  # nothing has changed
    assert same(tmp_path, whole)


def test_arguments_that_may_differ(dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(dz, monkeypatch, "Keeper.save", 14)
    (tmp_path / "elsewhere").mkdir()
    words = (*RUN, "--checkpoint", "saved", "--output", "elsewhere/model.npz", "--backend", "numpy")
    assert dz(*words, "--checkpoint-every", 3, "--resume").status == 0
    assert same(tmp_path / "elsewhere", whole)


def test_the_data_may_be_elsewhere(dz: Dz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("data", "moved"):
        write_set(tmp_path / folder, n=30)
        write_set(tmp_path / folder, "t10k", n=10)
    words = ("train", "--dataset", "mnist", "--model", "lenet", "--batch-size", 6, "--epochs", 2, "--data")
    dz(*words, "data")
    (tmp_path / "whole").mkdir()
    for name in ("model.npz", "model.npz.json"):
        (tmp_path / name).rename(tmp_path / "whole" / name)
    cut(dz, monkeypatch, "Keeper.save", 7, (*words, "data", "--checkpoint", "saved", "--checkpoint-every", 2))
    assert dz(*words, "moved", "--checkpoint", "saved", "--resume").status == 0
    assert same(tmp_path, tmp_path / "whole")


def test_more_epochs_are_fine(dz: Dz, tmp_path: Path, whole: Path) -> None:
    dz(*SAVING, "--epochs", 2)
    done = dz(*SAVING, "--resume")
    assert done.out.splitlines()[1] == "Going on after step 20, in epoch 3 of 3"
    assert same(tmp_path, whole)


def test_fewer_epochs_than_there_are(dz: Dz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(dz, monkeypatch, "Keeper.save", 18)
    error = dz.fails(*SAVING, "--epochs", 1, "--resume")
    assert "argument --epochs: the training in 'saved' is in epoch 2; give at least 2" in error
    assert not (tmp_path / "model.npz").exists()
    assert dz(*SAVING, "--epochs", 2, "--resume").status == 0


def test_a_training_that_was_done(dz: Dz, tmp_path: Path, whole: Path) -> None:
    dz(*SAVING)
    (tmp_path / "model.npz").unlink()
    done = dz(*SAVING, "--resume")
    _, second, last = done.out.splitlines()
    assert second == "All 3 epochs were done already; the weights are written again"
    assert last.startswith("Test accuracy 0.")
    assert (done.status, done.err) == (0, "")
    assert same(tmp_path, whole)


@pytest.mark.parametrize("words", [("--resume",), ("--checkpoint-every", 5)])
def test_nothing_without_a_folder(dz: Dz, words: tuple[object, ...]) -> None:
    error = dz.fails(*RUN, *words)
    assert f"argument {words[0]}: nothing is saved without a folder; give --checkpoint DIR too" in error


@pytest.mark.parametrize("step", [3, 10, 15])
def test_ctrl_c_saves_the_step_at_hand(
    dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real = train.steps
    seen = 0

    def steps(*arguments: Any) -> Iterator[None]:
        nonlocal seen
        for _ in real(*arguments):
            seen += 1
            if seen == step:
                signal.raise_signal(signal.SIGINT)
            yield

    with monkeypatch.context() as patch:
        patch.setattr(train, "steps", steps)
        done = dz(*RUN, "--checkpoint", "saved")
    assert done.status == 130
    number = (step - 1) // 10 + 1
    assert f"Interrupted in epoch {number}; the weights so far are in model.npz\n" in done.out
    assert done.out.endswith("To go on, give the same command with --resume\n")
    done = dz(*RUN, "--checkpoint", "saved", "--resume")
    assert f"Going on after step {step}, in epoch {number} of 3\n" in done.out
    assert same(tmp_path, whole)


def test_a_damaged_newest_is_one_line(dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(dz, monkeypatch, "Keeper.save", 18)
    for kind in ("arrays-0000.bin", "manifest.json"):
        newest = max((tmp_path / "saved").glob("[0-9]*-step-*"))
        file = newest / kind
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    done = dz(*SAVING, "--resume")
    assert done.status == 0
    assert done.err.count("\n") == 1
    assert done.err.startswith("dz train: warning: ")
    assert newest.name in done.err
    assert re.search(r"^Going on after step \d+, in epoch ", done.out, re.MULTILINE)
    assert same(tmp_path, whole)


def test_all_damaged(dz: Dz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(dz, monkeypatch, "Keeper.save", 9)
    for file in (tmp_path / "saved").glob("*-step-*/manifest.json"):
        file.write_bytes(file.read_bytes()[:-40])
    for resume in ((), ("--resume",)):
        done = dz(*SAVING, *resume)
        assert done.status in (1, 2), done
        assert "saved" in done.err.splitlines()[-1]
        assert "Traceback" not in done.err
    assert not (tmp_path / "model.npz").exists()


@pytest.mark.parametrize("call", ["flush", "make_folder", "rename", "write"])
def test_a_full_disk_is_one_line(
    dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    cut(dz, monkeypatch, "Keeper.save", 9)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk, call, full)
        error = dz.fails(*SAVING, "--resume", status=1)
    assert error.startswith("dz train: ")
    assert "No space left on device" in error
    assert "saved" in error
    assert dz(*SAVING, "--resume").status == 0
    assert same(tmp_path, whole)


def test_checkpoints_of_something_else(dz: Dz, tmp_path: Path) -> None:
    model = Linear(2, in_size=2)
    for metadata in (None, {"format": "mine", "version": 1}):
        with Checkpoint(tmp_path / "saved", model=model) as checkpoint:
            checkpoint.save(1, metadata)
        error = dz.fails(*SAVING, "--resume")
        assert "argument --checkpoint: the checkpoints in 'saved' are not those of a dz train" in error
        shutil.rmtree(tmp_path / "saved")


def test_a_file_in_the_place_of_the_folder(dz: Dz, tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("")
    assert "argument --checkpoint: 'saved' cannot be used: File exists; name" in dz.fails(*SAVING)


def test_an_empty_name_is_no_folder(dz: Dz, tmp_path: Path) -> None:
    assert "argument --checkpoint: '' cannot be used: it is no name" in dz.fails("train", "--checkpoint", "")
    assert not any(tmp_path.iterdir())


def test_another_backend_goes_on(
    dz: Dz, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, strict: str
) -> None:
    cut(dz, monkeypatch, "Keeper.save", 14)
    done = dz(*SAVING, "--resume", "--backend", "strict:device1")
    assert done.status == 0
    assert "backend strict:device1\nGoing on after step 12, in epoch 2 of 3\n" in done.out
    with np.load(tmp_path / "model.npz") as found, np.load(whole / "model.npz") as expected:
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-5)


def test_what_a_checkpoint_says_about_itself(dz: Dz, tmp_path: Path) -> None:
    dz(*SAVING)
    with Checkpoint(tmp_path / "saved", model=Linear(2, in_size=2)) as checkpoint:
        (*_, newest) = checkpoint.saved()
    assert newest.step == 30
    assert newest.metadata == json.loads((tmp_path / "model.npz.json").read_text())
