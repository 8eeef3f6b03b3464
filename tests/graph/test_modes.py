"""Modes belong to the running thread or task."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import dzcore
from dzcore import Config, Variable, no_grad, test_mode, using_config
from dzcore import functions as F


def records() -> bool:
    return (Variable(np.ones(1)) * 2.0).requires_grad


def test_no_grad() -> None:
    x = Variable(np.ones(2))
    with no_grad():
        y = x * 2.0
        assert not y.requires_grad
        assert y.creator is None
        assert Variable(np.ones(2)).requires_grad  # a leaf is a leaf
        with using_config("enable_backprop", True):
            assert records()
        assert not records()
    assert records()


@pytest.mark.parametrize(
    "f",
    [
        dzcore.exp, lambda x: x + x, lambda x: dzcore.sum(x, axis=0), lambda x: dzcore.concat([x, x]), lambda x: x[0],
        lambda x: F.linear(x, x), lambda x: dzcore.where(x > 0, x, x), lambda x: x.astype("float32"), lambda x: x**2,
    ],
)  # fmt: skip
def test_no_form_of_a_rule_records_under_no_grad(f: Any) -> None:
    x = Variable(np.ones((2, 2)))
    assert f(x).requires_grad
    with no_grad():
        assert f(x).node is None


def test_modes_come_back_after_an_error() -> None:
    for mode in (no_grad, test_mode):
        with pytest.raises(ZeroDivisionError), mode():
            raise ZeroDivisionError
    assert Config.enable_backprop
    assert Config.train


def test_config_is_readable_and_writable() -> None:
    assert Config.train is True
    Config.train = False
    try:
        assert not Config.train
        x = Variable(np.ones(100))
        assert F.dropout(x, 0.5) is x
        with using_config("train", True):
            assert Config.train
        assert not Config.train
    finally:
        Config.train = True
    with pytest.raises(AttributeError, match="'training'.*enable_backprop, train"):
        _ = Config.training
    with pytest.raises(AttributeError, match="enable_backprop"), using_config("grad", True):
        pass


def test_modes_nest_and_are_independent() -> None:
    with test_mode():
        assert not Config.train
        assert Config.enable_backprop
        with no_grad():
            assert not Config.train
            assert not Config.enable_backprop
        assert Config.enable_backprop


def test_pytest_does_not_collect_test_mode() -> None:
    assert not test_mode.__test__


def test_one_threads_no_grad_is_not_anothers() -> None:
    inside, done = threading.Event(), threading.Event()
    found: dict[str, bool] = {}

    def quiet() -> None:
        with no_grad(), test_mode():
            inside.set()
            done.wait(10)
            found["quiet"] = records() or Config.train

    thread = threading.Thread(target=quiet)
    thread.start()
    assert inside.wait(10)
    found["main"] = records() and Config.train
    with ThreadPoolExecutor() as pool:
        found["other"] = pool.submit(records).result()
    done.set()
    thread.join()
    assert found == {"quiet": False, "main": True, "other": True}


def test_a_new_thread_does_not_inherit_no_grad() -> None:
    found: list[bool] = []
    with no_grad():
        thread = threading.Thread(target=lambda: found.append(records()))
        thread.start()
        thread.join()
    assert found == [True]


def test_tasks_of_asyncio() -> None:
    """Two tasks take turns inside and outside of no_grad; neither sees the other's mode."""

    async def quiet() -> list[bool]:
        found = []
        with no_grad():
            for _ in range(3):
                await asyncio.sleep(0)
                found.append(records())
        return found

    async def loud() -> list[bool]:
        found = []
        for _ in range(3):
            await asyncio.sleep(0)
            found.append(records())
        return found

    async def both() -> list[list[bool]]:
        return await asyncio.gather(quiet(), loud())

    assert asyncio.run(both()) == [[False] * 3, [True] * 3]


def test_threads_differentiate_at_once() -> None:
    """Graphs of different threads share their leaves and nothing else."""
    W = Variable(np.arange(9.0).reshape(3, 3))

    def work(n: int) -> list[float]:
        x = Variable(np.full((1, 3), float(n)))
        for _ in range(50):
            (gW,) = dzcore.grad(dzcore.sum(dzcore.tanh(x @ W * 0.01)), W)
        return gW.data.tolist()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [work(n) for n in range(4)]
