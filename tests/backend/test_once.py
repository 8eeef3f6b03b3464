"""What is made once, however many threads ask for it."""

import threading
import time

import pytest

from dzbackend_numpy.once import once


def test_threads_that_ask_together_get_one_and_the_same() -> None:
    made: list[object] = []
    start = threading.Barrier(8)

    @once
    def thing() -> object:
        time.sleep(0.05)  # the others come meanwhile
        made.append(object())
        return made[-1]

    def ask() -> None:
        start.wait()
        found.append(thing())

    found: list[object] = []
    crew = [threading.Thread(target=ask) for _ in range(8)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert len(made) == 1
    assert found == made * 8


def test_each_argument_has_its_own() -> None:
    @once
    def pair(x: int) -> list[int]:
        return [x, inner(x)]

    @once
    def inner(x: int) -> int:
        return -x

    assert pair(1) == [1, -1]
    assert pair(1) is pair(1)
    assert pair(2) == [2, -2]


def test_errors_are_not_kept() -> None:
    tries: list[int] = []

    @once
    def thing() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("not yet")
        return 5

    with pytest.raises(OSError, match="not yet"):
        thing()
    assert thing() == thing() == 5
    assert len(tries) == 2
