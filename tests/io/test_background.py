"""Saving in the background: snapshots, waiting, and errors that surface."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dzcore.backend import Backend, HostArray
from dzcore.errors import CheckpointError
from dzcore.io import Checkpoint, Saved
from dzcore.io.background import Background

from .checkpoints import Part, Training, names, run


def test_training_goes_on_while_a_snapshot_is_written(backend: Backend, tmp_path: Path, gate: threading.Event) -> None:
    training = Training(backend, 0)
    with Checkpoint(tmp_path, background=True, **training.parts) as checkpoint:
        training.train(None, stop=3)
        before, metadata = training.result()[0], {"n": [1]}
        checkpoint.save(3, metadata)
        metadata["n"].append(2)
        training.train(None, stop=5)
        assert training.result()[0] != before
        assert [name for name in names(tmp_path) if "step" in name] == []
        gate.set()
    again = Training(backend, 1)
    with Checkpoint(tmp_path, **again.parts) as checkpoint:
        saved = checkpoint.restore()
    assert saved is not None
    assert (saved.metadata, again.optimizer.t, again.result()[0]) == ({"n": [1]}, 3, before)


def test_host_arrays_are_copied_too(tmp_path: Path, gate: threading.Event) -> None:
    memory = bytearray(b"abc")
    with Checkpoint(tmp_path, background=True, part=Part([HostArray("uint8", (3,), memory)])) as checkpoint:
        checkpoint.save(1)
        memory[:] = b"xyz"
        gate.set()
        (saved,) = checkpoint.saved()
        assert bytes(saved.host_state("part")["value"][0].buffer) == b"abc"


def test_the_next_save_waits_for_the_one_before(tmp_path: Path, gate: threading.Event) -> None:
    with Checkpoint(tmp_path, background=True) as checkpoint:
        checkpoint.save(1)
        opener = threading.Timer(0.1, gate.set)
        opener.start()
        checkpoint.save(2)
        assert gate.is_set()
        assert "000001-step-1" in names(tmp_path)
        opener.join()
        assert [saved.step for saved in checkpoint.saved()] == [1, 2]


def test_a_step_without_a_save_does_not_wait(tmp_path: Path, gate: threading.Event) -> None:
    with Checkpoint(tmp_path, background=True, every=2) as checkpoint:
        assert checkpoint.save(2)
        assert not checkpoint.save(3)
        assert checkpoint._writer.busy
        gate.set()


def wait_for_the_thread(checkpoint: Checkpoint) -> None:
    checkpoint._writer.join()


def test_an_error_surfaces_at_the_next_step_once(tmp_path: Path, full: Callable[[int], None]) -> None:
    with Checkpoint(tmp_path, background=True, every=2) as checkpoint:
        full(0)
        assert checkpoint.save(2)
        wait_for_the_thread(checkpoint)
        with pytest.raises(OSError, match="saving the checkpoint of step 2 failed: No space left"):
            checkpoint.save(3)
        assert not checkpoint.save(3)
        full(1 << 30)
        assert checkpoint.save(4)
    assert names(tmp_path) == [".lock", "000001-step-4"]


def test_an_error_surfaces_at_the_next_save_that_waits_for_it(
    tmp_path: Path, gate: threading.Event, full: Callable[[int], None]
) -> None:
    with Checkpoint(tmp_path, background=True) as checkpoint:
        full(0)
        checkpoint.save(1)
        opener = threading.Timer(0.1, gate.set)
        opener.start()
        with pytest.raises(OSError, match="saving the checkpoint of step 1 failed"):
            checkpoint.save(2)
        opener.join()


def leave(checkpoint: Checkpoint) -> None:
    with checkpoint:
        pass


@pytest.mark.parametrize("end", [Checkpoint.close, Checkpoint.restore, leave])
def test_an_error_surfaces_at_the_end(
    tmp_path: Path, full: Callable[[int], None], end: Callable[[Checkpoint], object]
) -> None:
    checkpoint = Checkpoint(tmp_path, background=True)
    full(0)
    checkpoint.save(1)
    with pytest.raises(OSError, match="saving the checkpoint of step 1 failed: No space left"):
        end(checkpoint)
    checkpoint.close()
    full(1 << 30)
    Checkpoint(tmp_path).close()


def fail(checkpoint: Checkpoint, gate: threading.Event) -> None:
    """Leave a with block by an exception, while a checkpoint is being written."""
    with checkpoint:
        checkpoint.save(1)
        threading.Timer(0.1, gate.set).start()
        raise ZeroDivisionError


def test_an_exception_that_leaves_the_block_waits(tmp_path: Path, gate: threading.Event) -> None:
    with pytest.raises(ZeroDivisionError) as e:
        fail(Checkpoint(tmp_path, background=True), gate)
    assert not hasattr(e.value, "__notes__")
    assert names(tmp_path) == [".lock", "000001-step-1"]


def test_an_exception_that_leaves_the_block_comes_first(
    tmp_path: Path, gate: threading.Event, full: Callable[[int], None]
) -> None:
    checkpoint = Checkpoint(tmp_path, background=True)
    full(0)
    with pytest.raises(ZeroDivisionError) as e:
        fail(checkpoint, gate)
    assert "No space left" in e.value.__notes__[0]
    assert not checkpoint._writer.busy


def test_ctrl_c_while_waiting_leaves_the_folder_to_the_thread(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Background) -> None:
        raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path, background=True)
    checkpoint.save(1)
    with monkeypatch.context() as patch:
        patch.setattr(Background, "join", interrupt)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.close()
    with pytest.raises(CheckpointError, match="in use"):
        Checkpoint(tmp_path)
    gate.set()
    checkpoint.close()
    Checkpoint(tmp_path).close()
    assert names(tmp_path) == [".lock", "000001-step-1"]


def test_a_process_ends_when_its_checkpoint_is_written(tmp_path: Path) -> None:
    code = """
        import sys
        import dzcore
        from dzcore.io import Checkpoint
        class Part:
            value = [dzcore.ones(3_000_000) for _ in range(5)]
            def state_dict(self): return {"value": self.value}
            def load_state_dict(self, state): pass
        Checkpoint(sys.argv[1], background=True, part=Part()).save(1)
    """
    with run(code, tmp_path) as process:
        assert process.communicate() == ("", "")
    assert process.returncode == 0
    assert names(tmp_path) == [".lock", "000001-step-1"]
    Saved(tmp_path / "000001-step-1").verify()


@pytest.mark.parametrize("last", ["", "del checkpoint; import gc; gc.collect()"])
def test_an_error_that_nobody_asked_for_is_printed(tmp_path: Path, last: str) -> None:
    code = f"""
        import sys
        from dzcore.io import Checkpoint, disk
        def fail(*_):
            raise OSError(28, "No space left on device")
        checkpoint = Checkpoint(sys.argv[1], background=True)
        disk.write = fail
        checkpoint.save(1)
        {last}
    """
    with run(code, tmp_path) as process:
        _, errors = process.communicate()
    assert "dzcore: the checkpoint of step 1 failed in the background: OSError: [Errno 28] saving" in errors
    assert errors.count("\n") == 1


def test_a_checkpoint_that_is_dropped_while_it_writes_keeps_the_folder_until_it_is_done(
    tmp_path: Path, gate: threading.Event
) -> None:
    checkpoint = Checkpoint(tmp_path, background=True)
    checkpoint.save(1)
    thread = checkpoint._writer._thread
    del checkpoint
    gc.collect()
    with pytest.raises(CheckpointError, match="in use"):
        Checkpoint(tmp_path)
    gate.set()
    assert thread is not None
    thread.join()
    del thread
    gc.collect()
    with Checkpoint(tmp_path) as checkpoint:
        assert [saved.step for saved in checkpoint.saved()] == [1]
