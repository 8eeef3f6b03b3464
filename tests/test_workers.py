"""Workers, streams and collate: the same batches in the same order, whoever makes them."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dzcore
from dzcore import random
from dzcore.backend import Backend, current_backend, get_backend, register_backend, unregister_backend, use_backend
from dzcore.dataloaders import DataLoader
from dzcore.datasets import ArrayDataset, Digits
from dzcore.errors import DataError, DzcoreError
from dzcore.graph.modes import recording, training
from dzcore.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, ToFloat

from .datasets.test_base import host
from .elsewhere import empty_registry as empty_registry
from .elsewhere import gpu as gpu
from .elsewhere import only_numpy as only_numpy
from .strict_backend import StrictBackend
from .worker_data import Noisy, killed, no_such_file, padded, picky


def values(loader: DataLoader) -> list[Any]:
    return [tuple(host(part, loader.backend).tolist() for part in batch) for batch in loader]


def gone(what: Any) -> None:
    """Wait until nothing is left."""
    for i in range(1000):
        if not what():
            return
        if i == 10:  # what pytest keeps of an exception may refer to a loader
            gc.collect()
        time.sleep(0.01)
    raise AssertionError(f"still there: {what()}")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dzcore-loader")]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    gone(threads)
    gone(multiprocessing.active_children)


# The same batches ----------------------------------------------------------------------------------------------------


@given(
    n=st.integers(1, 20), batch_size=st.integers(1, 7), workers=st.integers(1, 3), prefetch=st.integers(0, 3),
    vectorized=st.booleans(), shuffle=st.booleans(), drop_last=st.booleans(), data=st.data(),
)  # fmt: skip
def test_workers_change_nothing(
    n: int, batch_size: int, workers: int, prefetch: int, vectorized: bool, shuffle: bool, drop_last: bool, data: Any
) -> None:
    """In whatever order it is asked for a batch, moved, reset, and started anew."""
    register_backend(StrictBackend)
    try:
        source: Any = (np.arange(n, dtype=np.float32), np.arange(n)) if vectorized else Noisy(n)
        options: Any = {"shuffle": shuffle, "drop_last": drop_last, "seed": 4}
        plain = DataLoader(source, batch_size, **options)
        ahead = DataLoader(source, batch_size, workers=workers, prefetch=prefetch, **options)
        steps = st.sampled_from(["next"] * 6 + ["numpy", "strict", "reset", "iter"])
        for what in data.draw(st.lists(steps, max_size=20)):
            if what == "next":
                expected, found = next(plain, None), next(ahead, None)
                assert (expected is None) == (found is None)
                for x, y in zip(expected or (), found or (), strict=True):
                    assert ahead.backend is plain.backend
                    assert ahead.backend.owns(y)
                    assert host(x, plain.backend).tobytes() == host(y, ahead.backend).tobytes()
            elif what == "reset":
                plain.reset(), ahead.reset()
            elif what == "iter":
                iter(plain), iter(ahead)
            else:
                plain.to(what), ahead.to(what)
            assert ahead.iteration == plain.iteration
            assert ahead.generator.state == plain.generator.state
    finally:
        unregister_backend("strict")


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_random_transforms(kind: str) -> None:
    """Over two epochs; also from the default stream, which ends up in the same place."""
    transform = Compose([RandomCrop(6, pad=1), RandomHorizontalFlip(), ToFloat(), Normalize(8.0, 4.0)])
    data = Digits(train=False, transform=transform)
    found = []
    for workers in (0, 2):
        random.seed(5)
        loader = DataLoader(data, 100, workers=workers, kind=kind)
        found.append((values(loader), values(loader), random.get_state()))
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]
    assert found[0][2] == (5, 2 * 355)


def test_prefetch_changes_no_random_transform() -> None:
    plain, ahead = (DataLoader(Noisy(), 3, seed=2, prefetch=prefetch) for prefetch in (0, 3))
    assert [values(plain), values(plain)] == [values(ahead), values(ahead)]


def test_without_shuffling_every_epoch_still_draws_anew() -> None:
    random.seed(6)
    loader = DataLoader(Noisy(), 3, shuffle=False)
    first, second = values(loader), values(loader)
    assert first != second
    assert random.get_state() == (6, 0)  # and takes nothing from anybody
    assert values(DataLoader(Noisy(), 3, shuffle=False)) == first
    random.seed(7)
    assert values(DataLoader(Noisy(), 3, shuffle=False)) != first
    flat = [x for xs, _ in first for x in map(tuple, xs)]
    assert len({round(a - i, 4) for i, (a, _) in enumerate(flat)}) == 10  # each item its own


def test_an_interrupted_training_goes_on_with_the_same_transforms() -> None:
    loader = DataLoader(Noisy(), 3, seed=5)
    values(loader)
    state = loader.generator.state
    second = values(loader)
    again = DataLoader(Noisy(), 3, seed=5, workers=2)
    again.generator.state = state
    assert values(again) == second


def test_data_that_are_moved_in_the_middle_of_an_epoch(strict: str) -> None:
    x = np.arange(20, dtype=np.float32)
    data, plain = ArrayDataset(x, x, backend="numpy"), DataLoader((x, x), 3, seed=1)
    loader = DataLoader(data, 3, seed=1, workers=2)
    for name in ("strict", "strict:device1", "numpy", "strict"):
        data.to(name)
        (a, b), (c, d) = next(loader), next(plain)
        assert (a.tolist(), b.tolist()) == (c.tolist(), d.tolist())


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_on_another_backend(kind: str, strict: str) -> None:
    expected = values(DataLoader(Noisy(), 3, seed=3))
    loader = DataLoader(Noisy(), 3, seed=3, workers=2, kind=kind, backend="strict:device1")
    assert values(loader) == expected


def test_workers_make_and_the_main_thread_sends(gpu: Backend) -> None:
    made: set[str] = set()
    sent: set[tuple[str, int]] = set()

    class Watched(ArrayDataset):
        def convert(self, x: Any) -> Any:
            made.add(threading.current_thread().name)
            return x

    plain = gpu.from_host
    gpu.from_host = lambda array: (sent.add((threading.current_thread().name, array.shape[0])), plain(array))[1]  # type: ignore
    try:
        data = Watched(np.arange(10.0), np.arange(10), backend="numpy")
        loader = DataLoader(data, 2, gpu=True, workers=2)
        assert all(gpu.owns(x) and gpu.owns(t) for x, t in loader)
    finally:
        del gpu.from_host  # type: ignore[method-assign]
    assert sent == {("MainThread", 2)}
    assert made
    assert "MainThread" not in made


def test_workers_work_at_the_same_time() -> None:
    """Two batches wait for each other, which one worker alone would never see the end of."""
    barrier = threading.Barrier(2, timeout=30)

    class Meeting(Noisy):
        def __getitem__(self, index: Any) -> tuple[Any, Any]:
            barrier.wait()
            return np.float32(0), index

    assert len(values(DataLoader(Meeting(8), 1, workers=2))) == 8


def test_threads_see_the_modes_of_the_loop(strict: str) -> None:
    seen = []

    class Looking(Noisy):
        def __getitem__(self, index: Any) -> tuple[Any, Any]:
            seen.append((recording.get(), training.get(), current_backend().name))
            return super().__getitem__(index)

    with dzcore.no_grad(), dzcore.test_mode(), use_backend(strict):
        list(DataLoader(Looking(4), 2, workers=2))
    assert seen == [(False, False, "strict")] * 4


# What goes wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_an_error_comes_with_its_batch(kind: str) -> None:
    loader = DataLoader(Noisy(10, no_such_file, 5), 2, shuffle=False, workers=2, kind=kind)
    assert [next(loader)[1].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    for _ in range(2):  # asked again, it is tried again
        with pytest.raises(FileNotFoundError, match=r"cat\.png") as caught:
            next(loader)
        assert caught.value.__notes__[0] == "This happened to item 5 of the data set, of class Noisy."
        trace = [entry.name for entry in caught.traceback]
        assert "no_such_file" in trace or "in no_such_file" in str(caught.value.__cause__)
        assert loader.iteration == 2


def test_the_item_is_named_without_workers_as_well() -> None:
    for collate in (None, lambda items: items):
        with pytest.raises(FileNotFoundError) as caught:
            list(DataLoader(Noisy(10, no_such_file, 5), 2, collate=collate))
        assert "item 5 of the data set" in caught.value.__notes__[0]


def test_after_an_error_the_epoch_goes_on() -> None:
    data = Noisy(10, no_such_file, 5)
    loader = DataLoader(data, 2, shuffle=False, workers=2, seed=0)
    next(loader), next(loader)
    with pytest.raises(FileNotFoundError):
        next(loader)
    data.at = -1
    assert values(DataLoader(data, 2, shuffle=False, seed=0))[2:] == [
        tuple(part.tolist() for part in batch) for batch in iter(lambda: next(loader, None), None)
    ]


def test_an_exception_that_cannot_travel() -> None:
    loader = DataLoader(Noisy(4, picky, 1), 2, shuffle=False, workers=1, kind="process")
    with pytest.raises(DzcoreError, match="PickyError in a worker process: 1 and 2") as caught:
        next(loader)
    assert caught.value.__notes__[0] == "This happened to item 1 of the data set, of class Noisy."
    assert next(DataLoader(Noisy(4), 2, shuffle=False))[1].tolist() == [0, 1]


def test_a_worker_that_is_killed() -> None:
    loader = DataLoader(Noisy(10, killed, 5), 2, shuffle=False, workers=1, kind="process")
    seen = []
    with pytest.raises(DzcoreError, match=r"a worker process ended before batch \d was made: it was killed"):
        seen.extend(t.tolist() for _, t in loader)
    assert seen == [[0, 1], [2, 3]][: len(seen)]


def test_after_a_killed_worker_others_are_hired(tmp_path: Path) -> None:
    """It died between two batches, or while one was made: either way the next question is answered."""
    loader = DataLoader(Noisy(10), 2, shuffle=False, workers=1, kind="process", seed=0)
    batches = [next(loader)]
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    failures = 0
    while len(batches) < 5:
        try:
            batches.append(next(loader))
        except DzcoreError:
            failures += 1
    assert failures == 1
    found = [tuple(part.tolist() for part in batch) for batch in batches]
    assert found == values(DataLoader(Noisy(10), 2, shuffle=False, seed=0))


@pytest.mark.parametrize("data", [ArrayDataset(np.ones(3), transform=lambda x: x), [(threading.Lock(), 1)]])
def test_what_cannot_be_sent_to_a_process(data: Any) -> None:
    loader = DataLoader(data, 2, workers=1, kind="process")
    with pytest.raises(TypeError, match=r"cannot be sent to another process: .*; define classes.*kind='thread'"):
        next(loader)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"workers": -1}, ValueError, "workers=-1 must be at least 0"),
        ({"workers": 1.5}, TypeError, "workers=1.5 is a float"),
        ({"kind": "fork"}, ValueError, "kind='fork' must be 'thread' or 'process'"),
    ],
)
def test_wrong_arguments(options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        DataLoader(Noisy(), 2, **options)


def test_processes_and_an_accelerator(gpu: Backend) -> None:
    data = ArrayDataset(gpu.asarray([1.0, 2.0]))
    with pytest.raises(ValueError, match="kind='process' makes batches on the host, and dataset is on accelerator"):
        DataLoader(data, 1, workers=1, kind="process")
    assert len(list(DataLoader(data, 1, workers=1))) == 2


# The end -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_loop_that_is_left_early(kind: str) -> None:
    for _ in DataLoader(Noisy(100), 1, workers=2, kind=kind):
        break
    gone(threads)
    gone(multiprocessing.active_children)


def test_workers_end_with_their_epoch() -> None:
    loader = DataLoader(Noisy(), 2, workers=2)
    assert threads() == []
    for _ in loader:
        assert 1 <= len(threads()) <= 2
    gone(threads)
    for again in (DataLoader.reset, iter):
        next(loader)
        assert threads()
        again(loader)  # type: ignore[operator]
        gone(threads)
    assert len(values(loader)) == 5


@pytest.mark.parametrize("prefetch", [0, 2])
def test_nobody_waits_for_what_is_not_asked_for(prefetch: int) -> None:
    """Neither the batch before it nor the next epoch; here the second batch waits for the end of the test."""
    end, waited = threading.Event(), []

    class Hanging(Noisy):
        def __getitem__(self, index: Any) -> tuple[Any, Any]:
            if index == 1:
                waited.append(end.wait(10))
            return super().__getitem__(index)

    loader = DataLoader(Hanging(), 1, shuffle=False, workers=1, prefetch=prefetch)
    try:
        for _ in range(2):
            assert next(loader)[1].tolist() == [0]
            loader.reset()
    finally:
        end.set()
    gone(threads)
    assert all(waited)


def test_what_nobody_asks_for_is_not_made() -> None:
    made = []

    class Counted(Noisy):
        def __getitem__(self, index: Any) -> tuple[Any, Any]:
            made.append(index)
            return super().__getitem__(index)

    loader = DataLoader(Counted(1000), 1, shuffle=False, workers=2)
    next(loader)
    loader.reset()
    gone(threads)
    assert len(made) <= 5  # the one, and two for each worker


SLOW = """
import signal, sys, time
import numpy as np
from dzcore import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        time.sleep(0.05)
        return np.float32(index), index

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins without
    for x, t in DataLoader(Slow(), 4, workers=2, kind=sys.argv[1]):
        print("running", flush=True)
"""


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_ctrl_c(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen([sys.executable, str(script), kind], env=environment, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of them
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert said.count("KeyboardInterrupt") == 1
    assert said.count("Traceback") == 1


ORPHANS = """
import multiprocessing, os, signal
from dzcore import DataLoader
from tests.worker_data import Noisy

if __name__ == "__main__":
    loader = DataLoader(Noisy(100), 1, workers=2, kind="process")
    next(loader)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_a_main_process_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = [int(number) for number in process.stdout.readline().split()]
    try:
        process.communicate(timeout=30)  # until nobody has the other end of the pipe any more
    except subprocess.TimeoutExpired:
        for number in children:
            os.kill(number, signal.SIGKILL)
        raise
    assert children
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["numbers", "stream"])
def test_an_interrupt_loses_no_batch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = DataLoader(Noisy(8) if kind == "numbers" else Lines(8), 2, shuffle=False, workers=1)
    seen = [next(loader)[1].tolist()]

    def interrupted(self: Any, timeout: Any = None) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("concurrent.futures.Future.result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(loader)
    while (batch := next(loader, None)) is not None:
        seen.append(batch[1].tolist())
    assert seen == [[0, 1], [2, 3], [4, 5], [6, 7]]


# Streams -------------------------------------------------------------------------------------------------------------


class Lines:
    """Can be read as often as one likes."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Any]:
        for i in range(self.n):
            yield random.normal(1, backend="numpy"), i


@pytest.mark.parametrize("workers", [0, 1])
@given(n=st.integers(0, 12), batch_size=st.integers(1, 5), prefetch=st.integers(0, 4), drop_last=st.booleans())
def test_a_stream(workers: int, n: int, batch_size: int, prefetch: int, drop_last: bool) -> None:
    options: Any = {"drop_last": drop_last, "prefetch": prefetch, "workers": workers, "seed": 1}
    loader = DataLoader(Lines(n), batch_size, shuffle=False, **options)
    plain = DataLoader(Lines(n), batch_size, shuffle=False, drop_last=drop_last, seed=1)
    kept = n - n % batch_size if drop_last else n
    for _ in range(2):
        batches = values(loader)
        assert [i for _, ts in batches for i in ts] == list(range(kept))
        assert all(len(ts) == batch_size for _, ts in batches[: n // batch_size])
        assert batches == values(plain)


def test_a_generator_can_be_read_once() -> None:
    loader = DataLoader(((np.float32(i), i) for i in range(5)), 2, shuffle=False)
    assert [t.tolist() for _, t in loader] == [[0, 1], [2, 3], [4]]
    with pytest.raises(DataError, match="dataset is a generator, which has been read and cannot begin again; give an"):
        next(loader)


def test_what_a_stream_cannot_do() -> None:
    with pytest.raises(ValueError, match="dataset can only be read from its beginning to its end; give shuffle=False"):
        DataLoader(Lines(3), 2)
    for options in ({"workers": 2}, {"workers": 1, "kind": "process"}):
        with pytest.raises(ValueError, match="a stream is read by one thread; give workers=1"):
            DataLoader(Lines(3), 2, shuffle=False, **options)  # type: ignore[arg-type]
    loader = DataLoader(Lines(3), 2, shuffle=False)
    with pytest.raises(TypeError, match=r"len\(\) of a DataLoader over a stream"):
        len(loader)
    assert (loader.max_iter, loader.data_size) == (None, None)
    with pytest.raises(TypeError, match="an item of dataset is a int; a DataLoader takes pairs"):
        next(DataLoader(iter([1, 2]), 2, shuffle=False))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_that_breaks(workers: int) -> None:
    class Broken(Lines):
        def __iter__(self) -> Iterator[Any]:
            yield from super().__iter__()
            raise OSError("the line is dead")

    loader = DataLoader(Broken(4), 2, shuffle=False, workers=workers, prefetch=3)
    for _ in range(2):
        assert [next(loader)[1].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
        with pytest.raises(OSError, match="the line is dead"):
            next(loader)
        assert next(loader, None) is None  # the epoch is over; the next one begins


def test_after_an_error_the_epoch_of_a_stream_is_over() -> None:
    """Also if it could go on: what was read for the batch that failed is lost."""

    class Flaky:
        i = -1

        def __iter__(self) -> Iterator[Any]:
            return self

        def __next__(self) -> Any:
            self.i += 1
            if self.i == 3:
                raise OSError("once")
            if self.i > 9:
                raise StopIteration
            return np.float32(0), self.i

    loader = DataLoader(Flaky(), 2, shuffle=False)
    assert next(loader)[1].tolist() == [0, 1]
    with pytest.raises(OSError, match="once"):
        next(loader)
    assert next(loader, None) is None


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_that_begins_again_when_it_is_asked_again(workers: int) -> None:
    """As a DataLoader does."""
    inner = DataLoader((np.arange(5.0), np.arange(5)), 1, shuffle=False)
    loader = DataLoader(inner, 2, shuffle=False, collate=lambda pairs: [int(t[0]) for _, t in pairs], workers=workers)
    assert [batch for batch, _ in zip(loader, range(9), strict=False)] == [[0, 1], [2, 3], [4]]


def test_an_error_of_a_stream_survives_a_move(strict: str) -> None:
    """What was read for it is lost, so that the epoch cannot just end."""
    sizes = map(len, ("a", "", 1))  # type: ignore[arg-type]
    loader = DataLoader(sizes, 1, shuffle=False, prefetch=5, collate=list)
    assert next(loader) == [1]
    loader.to(strict)
    next(loader)
    with pytest.raises(TypeError, match="has no len"):
        next(loader)


def test_a_stream_that_is_left_early() -> None:
    loader = DataLoader(Lines(100), 2, shuffle=False, workers=1)
    for _ in range(3):
        for _, t in loader:
            assert t.tolist() == [0, 1]
            break
    loader.reset()


def test_a_stream_on_another_backend(backend: Backend) -> None:
    loader = DataLoader(((np.ones(2, np.float32), i) for i in range(3)), 2, shuffle=False, backend=backend)
    assert all(backend.owns(x) and backend.owns(t) for x, t in loader)


# Collate -------------------------------------------------------------------------------------------------------------


WORDS = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10]]


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"workers": 1, "kind": "process"}])
def test_collate(options: Any, strict: str) -> None:
    own = get_backend("strict:device1")
    loader = DataLoader(WORDS, 3, shuffle=False, collate=padded, backend=own, **options)
    first, second = loader
    assert host(first["words"], own).tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    count, (lengths,) = first["lengths"]
    assert count == 3
    assert host(lengths, own).tolist() == [3, 1, 2]
    assert own.owns(second["words"])
    assert len(loader) == 2


def test_collate_of_a_stream_and_of_a_data_set(backend: Backend) -> None:
    (batch,) = DataLoader(iter(WORDS), 9, shuffle=False, collate=len)
    assert batch == 4
    data = ArrayDataset(backend.asarray([[1.0], [2.0]]), backend.asarray([3, 4]))
    (batch,) = DataLoader(data, 2, shuffle=False, collate=lambda items: [t for _, t in items])
    assert batch == [3, 4]
    (batch,) = DataLoader(data, 2, collate=lambda items: dzcore.Variable([1.0]))
    assert backend.owns(batch)


def test_items_of_another_form_need_it() -> None:
    with pytest.raises(TypeError, match=r"dataset\[0\] is a list; a DataLoader takes pairs \(x, t\), or a func"):
        next(DataLoader(WORDS, 1, shuffle=False))
    (batch,) = DataLoader(["ab", "cd"], 2, shuffle=False, collate="".join)
    assert batch == "abcd"


@pytest.mark.parametrize("item", [np.ones(2), (1, 2, 3)])
def test_what_is_no_pair_is_not_taken_apart(item: Any) -> None:
    class Single(Noisy):
        def __getitem__(self, index: Any) -> Any:
            return item

    with pytest.raises(TypeError, match=r"dataset\[0\] is a (ndarray|tuple); a DataLoader takes pairs"):
        next(DataLoader(Single(), 2, shuffle=False))
