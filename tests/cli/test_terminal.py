"""`dz` in a process of its own: the live bar on a terminal, Ctrl-C, a pipe that closes."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from .run import COMMAND, Dz

LONG = ["train", "--epochs", "100000", "--hidden", "20"]


@contextmanager
def terminal(folder: Path, *words: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start `dz` with a terminal of 100 columns as its stdout; yield the process and the other end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    env = {**os.environ, "TERM": "xterm", **environment}
    process = subprocess.Popen([*COMMAND, *words], cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read(ours: int, until: str | None = None) -> str:
    """Read what is on the screen, to the end or until something shows up."""
    text = ""
    while until is None or until not in text:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # the other side has closed
            break
        if not piece:
            break
        text += piece.decode()
    return text


def test_a_live_bar(tmp_path: Path) -> None:
    pytest.importorskip("rich", reason="the live bar needs rich: pip install 'dzcore[cli]'")
    with terminal(tmp_path, "train", "--epochs", "5", "--hidden", "200", "--batch-size", "2") as (process, ours):
        screen = read(ours)
        assert process.wait(10) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    assert "\x1b[?25l" in screen  # the cursor is hidden
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")  # and comes back
    assert re.search(r"epoch 2/5 +[━╸╺ ]+ +\d+% +loss \d\.\d{4}  accuracy \d\.\d{4}  [\d,]+ samples/s", text)
    assert len(re.findall(r"epoch \d: loss .* test accuracy .* samples/s", text)) == 5
    assert "weights in model.npz" in text


@pytest.mark.parametrize("how", ["dumb", "no rich"])
def test_plain_lines_on_a_terminal(tmp_path: Path, how: str) -> None:
    environment = {"TERM": "dumb"} if how == "dumb" else {"PYTHONPATH": str(tmp_path)}
    if how == "no rich":
        (tmp_path / "rich.py").write_text("raise ImportError('no rich here')")
    with terminal(tmp_path, "train", "--epochs", "2", **environment) as (process, ours):
        screen = read(ours)
        assert process.wait(10) == 0
    assert "\x1b" not in screen
    assert screen.count("epoch ") == 2


@pytest.mark.parametrize("live", [True, False])
def test_ctrl_c_saves_what_is_there(tmp_path: Path, live: bool, dz: Dz) -> None:
    if live:
        with terminal(tmp_path, *LONG) as (process, ours):
            read(ours, until="epoch 3: ")
            process.send_signal(signal.SIGINT)
            out = read(ours)
            status = process.wait(10)
    else:
        process = subprocess.Popen([*COMMAND, *LONG], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with process:
            assert process.stdout is not None
            while b"epoch 3: " not in process.stdout.readline():
                pass
            process.send_signal(signal.SIGINT)
            out = process.stdout.read().decode()
            status = process.wait(10)
    assert status == 130
    assert "Traceback" not in out
    number = re.search(r"Interrupted in epoch (\d+); the weights so far are in model\.npz", out)
    assert number, out
    history = json.loads((tmp_path / "model.npz.json").read_text())["training"]["history"]
    assert len(history) == int(number[1]) - 1 >= 3
    with np.load(tmp_path / "model.npz") as weights:
        assert weights["l0/W"].shape == (64, 20)
    assert "accuracy" in dz("evaluate", "model.npz").out


def test_ctrl_c_in_the_first_epoch(tmp_path: Path) -> None:
    slow = ["train", "--batch-size", "1", "--hidden", "2000,2000", "--plot", "curve.png"]
    with subprocess.Popen([*COMMAND, *slow], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out = process.stdout.read().decode()
        assert process.wait(20) == 130
    assert out == "Interrupted in epoch 1; the weights so far are in model.npz\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.npz", "model.npz.json"]


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    with subprocess.Popen([*COMMAND, *LONG], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == b""
