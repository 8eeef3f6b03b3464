"""The folder of checkpoints: what stays in it, who has it, and what is left after errors."""

import errno
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dzcore.errors import CheckpointError, CheckpointWarning, DamagedError
from dzcore.io import Checkpoint, Saved, disk

from .checkpoints import array_part, names, run, save_all, save_arrays

# What stays -----------------------------------------------------------------------------------------------------------


def kept(folder: Path, scores: list[float], **options: Any) -> list[int]:
    with Checkpoint(folder, **options) as checkpoint:
        for step, score in enumerate(scores):
            checkpoint.save(step, {"score": score})
        return [saved.step for saved in checkpoint.saved()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [4, 5, 6]),
        ({"keep": 1}, [6]),
        ({"keep": 5}, [2, 3, 4, 5, 6]),
        ({"keep": 100}, [0, 1, 2, 3, 4, 5, 6]),
        ({"keep": None}, [0, 1, 2, 3, 4, 5, 6]),
        ({"keep": 1, "best": 1, "metric": "score"}, [3, 6]),
        ({"keep": 1, "best": 2, "metric": "score"}, [1, 3, 6]),
        ({"keep": 2, "best": 1, "metric": "score", "mode": "min"}, [2, 5, 6]),
        ({"keep": 1, "best": 2, "metric": "score", "mode": "min"}, [0, 2, 6]),
        ({"keep": 1, "best": 100, "metric": "score"}, [0, 1, 2, 3, 5, 6]),
        ({"keep": None, "best": 1, "metric": "score"}, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_the_last_and_the_best_stay(tmp_path: Path, options: dict[str, Any], expected: list[int]) -> None:
    scores = [2.0, 8, float("-inf"), 9.5, float("nan"), 5, 7]
    assert kept(tmp_path, scores, **options) == expected


def test_of_equally_good_ones_the_later_stays(tmp_path: Path) -> None:
    for mode in ("max", "min"):
        assert kept(tmp_path / mode, [1, 1, 1, 1], keep=1, best=2, metric="score", mode=mode) == [2, 3]


@pytest.mark.parametrize("metadata", [None, {}, {"other": 1}, {"score": "1"}, {"score": True}, {"score": None}])
def test_a_missing_metric_is_an_error_before_anything_is_written(tmp_path: Path, metadata: Any) -> None:
    with Checkpoint(tmp_path, best=1, metric="score") as checkpoint:
        with pytest.raises(CheckpointError, match="metadata\\['score'\\], which says what is best, is"):
            checkpoint.save(1, metadata)
        assert names(tmp_path) == [".lock"]


def test_older_ones_without_the_metric_are_not_the_best(tmp_path: Path) -> None:
    with Checkpoint(tmp_path) as checkpoint:
        checkpoint.save(1)
        checkpoint.save(2, {"score": "high"})
    with Checkpoint(tmp_path, keep=1, best=1, metric="score") as checkpoint:
        checkpoint.restore()
        checkpoint.save(3, {"score": 10**400})
        checkpoint.save(4, {"score": 1})
        assert [saved.step for saved in checkpoint.saved()] == [3, 4]


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    for name in ("notes.txt", ".tmp-x", "step-1", "000001-step-", "1-step-1", "000001-step-1.bak", ".tmp-000001"):
        (tmp_path / name).write_text("mine")
    before = names(tmp_path)
    save_all(tmp_path, range(1, 9), keep=1)
    assert names(tmp_path) == sorted([*before, ".lock", "000008-step-8"])


def test_leftovers_are_swept(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    save_arrays(folder, 1)
    left = folder / ".tmp-000002-step-2"
    left.mkdir()
    (left / "arrays-0000.bin").write_bytes(b"half")
    (left / "manifest.json").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").write_text("precious")
    (folder / ".tmp-000003-step-2").symlink_to(tmp_path)
    (folder / ".tmp-000004-step-2").write_text("x")
    Checkpoint(folder, part=array_part(0)).close()
    assert names(folder) == [".lock", "000001-step-1"]
    assert (tmp_path / "precious").read_text() == "precious"


def test_leftovers_that_cannot_be_swept(tmp_path: Path) -> None:
    inside = tmp_path / ".tmp-000001-step-1" / "folder"
    inside.mkdir(parents=True)  # no checkpoint has one
    with pytest.raises(OSError, match=".tmp-000001-step-1/folder") as e:
        Checkpoint(tmp_path)
    inside.rmdir()
    Checkpoint(tmp_path).close()  # though the exception, and what it refers to, is still here
    assert isinstance(e.value, OSError)
    assert names(tmp_path) == [".lock"]


def test_the_newest_stays_even_if_it_cannot_be_read_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(self: Checkpoint, name: str) -> Saved:
        raise DamagedError(name)

    with Checkpoint(tmp_path, keep=1) as checkpoint:
        checkpoint.save(1)
        monkeypatch.setattr(Checkpoint, "_saved", damaged)
        checkpoint.save(2)
    assert names(tmp_path) == [".lock", "000002-step-2"]


# The folder -----------------------------------------------------------------------------------------------------------


def test_folders_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="file"):
        Checkpoint(tmp_path / "file")
    with pytest.raises((FileExistsError, NotADirectoryError), match="file"):
        Checkpoint(tmp_path / "file" / "folder")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError, match="link"):
        Checkpoint(tmp_path / "link")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may do anything
    with pytest.raises(PermissionError, match="nothing can be written"):
        Checkpoint(tmp_path)


def test_a_folder_is_made_with_those_above_it_and_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []
    for function in ("make_folder", "flush_folder"):
        real = getattr(disk, function)

        def watch(path: Any, function: str = function, real: Any = real) -> None:
            calls.append((function, os.path.relpath(path, tmp_path)))
            real(path)

        monkeypatch.setattr(disk, function, watch)
    Checkpoint(tmp_path / "a" / "b").close()
    assert calls == [("make_folder", "a"), ("flush_folder", "."), ("make_folder", "a/b"), ("flush_folder", "a")]


def test_another_process_may_be_quicker_to_make_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = disk.make_folder

    def late(path: Any) -> None:
        real(path)
        real(path)

    monkeypatch.setattr(disk, "make_folder", late)
    Checkpoint(tmp_path / "folder").close()


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Checkpoint("folder") as checkpoint:
        monkeypatch.chdir("/")
        checkpoint.save(1)
    assert names(tmp_path / "folder") == [".lock", "000001-step-1"]


def test_a_second_checkpoint_of_this_process_is_told(tmp_path: Path) -> None:
    first = Checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=f"{tmp_path}' is in use by another Checkpoint of this process"):
        Checkpoint(tmp_path)
    first.save(1)
    first.close()
    first.close()
    for action in (lambda: first.save(2), first.restore):
        with pytest.raises(CheckpointError, match="is closed"):
            action()
    assert [saved.step for saved in first.saved()] == [1]
    second = Checkpoint(tmp_path)
    del second
    gc.collect()
    Checkpoint(tmp_path).close()


def test_another_process_is_told_who_has_the_folder_until_it_dies(tmp_path: Path) -> None:
    code = """
        import sys
        from dzcore.io import Checkpoint
        checkpoint = Checkpoint(sys.argv[1])
        print("ready", flush=True)
        sys.stdin.read()
    """
    with run(code, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(CheckpointError, match=f"is in use by process {process.pid};"):
            Checkpoint(tmp_path)
        process.kill()
        process.wait()
        Checkpoint(tmp_path).close()


def test_a_forked_child_neither_has_the_lock_nor_holds_it_up(tmp_path: Path) -> None:
    code = """
        import os, sys, time
        from dzcore.errors import CheckpointError
        from dzcore.io import Checkpoint
        checkpoint = Checkpoint(sys.argv[1])
        read, write = os.pipe()
        if os.fork() == 0:
            try:
                checkpoint.save(1)
            except CheckpointError as e:
                print("child:", e, flush=True)
            checkpoint.close()
            os.close(write)
            os.read(read, 1)  # until the parent is gone
            for _ in range(100):
                try:
                    Checkpoint(sys.argv[1]).save(1)
                    break
                except CheckpointError:
                    time.sleep(0.1)
            print("child: done", flush=True)
            os._exit(0)
        os.close(read)
        os.set_inheritable(write, False)
        while True:
            line = sys.stdin.readline()
            if line == "lock?\\n":
                try:
                    Checkpoint(sys.argv[1])
                except CheckpointError as e:
                    print("parent:", e, flush=True)
            else:
                os._exit(0)
    """
    with run(code, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert "is closed, or belongs to the process" in process.stdout.readline()
        process.stdin.write("lock?\n")
        process.stdin.flush()
        assert "parent: " in (line := process.stdout.readline())
        assert "in use by another Checkpoint of this process" in line
        with pytest.raises(CheckpointError, match=f"is in use by process {process.pid};"):
            Checkpoint(tmp_path)
        process.stdin.write("end\n")
        process.stdin.flush()
        assert process.communicate() == ("child: done\n", "")
    assert names(tmp_path) == [".lock", "000001-step-1"]


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_a_lock_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    folder, lock = tmp_path / "folder", tmp_path / "folder" / ".lock"
    folder.mkdir()
    match kind:
        case "link":
            (tmp_path / "precious").write_text("precious")
            lock.symlink_to(tmp_path / "precious")
        case "fifo":
            os.mkfifo(lock)
        case "folder":
            lock.mkdir()
    with pytest.raises(OSError, match=".lock"):
        Checkpoint(folder)
    if kind == "link":
        assert (tmp_path / "precious").read_text() == "precious"


def test_a_system_without_locks_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.warns(CheckpointWarning, match="no flock: nobody notices when two processes") as caught:
        checkpoint = Checkpoint(tmp_path)
    assert caught[0].filename == __file__
    checkpoint.save(1)
    checkpoint.close()


def test_readers_need_no_lock(tmp_path: Path) -> None:
    with Checkpoint(tmp_path, keep=1, part=array_part(4)) as checkpoint:
        checkpoint.save(1)
        saved = Saved(tmp_path / "000001-step-1")
        assert float(saved.load("part")["value"][0]) == 4.0
        checkpoint.save(2)
        with pytest.raises(CheckpointError, match="000001-step-1' is not there, or not any more"):
            saved.load("part")


# Errors ---------------------------------------------------------------------------------------------------------------


def test_an_error_of_the_system_names_the_step_and_the_path_and_leaves_nothing(
    tmp_path: Path, full: Callable[[int], None]
) -> None:
    with Checkpoint(tmp_path, part=array_part(1)) as checkpoint:
        checkpoint.save(1)
        for writes in (0, 1):
            full(writes)
            with pytest.raises(OSError, match="saving the checkpoint of step 2 failed: No space left.*000002") as e:
                checkpoint.save(2)
            assert e.value.errno == errno.ENOSPC
            assert names(tmp_path) == [".lock", "000001-step-1"]
        full(1 << 30)
        checkpoint.save(2)
        assert [saved.step for saved in checkpoint.saved()] == [1, 2]


def test_an_error_of_the_lock_s_file_names_it(tmp_path: Path, full: Callable[[int], None]) -> None:
    full(0)
    with pytest.raises(OSError, match="No space left.*lock"):
        Checkpoint(tmp_path)
    full(1 << 30)
    Checkpoint(tmp_path).close()


def test_ctrl_c_passes_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with Checkpoint(tmp_path) as checkpoint:
        checkpoint.save(1)
        with monkeypatch.context() as patch:
            patch.setattr(disk, "flush", interrupt)
            with pytest.raises(KeyboardInterrupt):
                checkpoint.save(2)
        assert names(tmp_path) == [".lock", "000001-step-1"]


def test_what_could_not_be_removed_after_an_error_does_not_hide_it(
    tmp_path: Path, full: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with Checkpoint(tmp_path) as checkpoint:
        full(0)
        with monkeypatch.context() as patch:
            patch.setattr(disk, "remove_folder", refuse)
            with pytest.raises(OSError, match="No space left"):
                checkpoint.save(1)
        assert names(tmp_path) == [".lock", ".tmp-000001-step-1"]
        full(1 << 30)
        checkpoint.save(1)
        assert names(tmp_path) == [".lock", "000001-step-1"]


def test_older_ones_that_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with Checkpoint(tmp_path, keep=1) as checkpoint:
        checkpoint.save(1)
        with monkeypatch.context() as patch:
            patch.setattr(disk, "remove", refuse)
            with pytest.raises(PermissionError, match="the checkpoint of step 2 is saved, but removing older ones"):
                checkpoint.save(2)
        assert [saved.step for saved in checkpoint.saved()] == [2]
        checkpoint.save(3)
    assert names(tmp_path) == [".lock", "000003-step-3"]


def test_checkpoints_are_hidden_for_good_before_they_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    with Checkpoint(tmp_path, keep=1) as checkpoint:
        checkpoint.save(1)
        for function in ("rename", "flush_folder", "remove", "remove_folder"):
            real = getattr(disk, function)

            def watch(*paths: Any, function: str = function, real: Any = real) -> None:
                calls.append(" ".join([function, *(os.path.relpath(path, tmp_path) for path in paths)]))
                real(*paths)

            monkeypatch.setattr(disk, function, watch)
        checkpoint.save(2)
    assert calls == [
        "flush_folder .tmp-000002-step-2",
        "rename .tmp-000002-step-2 000002-step-2",
        "flush_folder .",
        "rename 000001-step-1 .tmp-000001-step-1",
        "flush_folder .",
        "remove .tmp-000001-step-1/manifest.json",
        "remove_folder .tmp-000001-step-1",
    ]
