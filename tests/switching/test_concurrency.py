"""Threads and tasks that use different backends at once do not disturb each other. Barriers decide who runs when."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import dzcore
import dzcore.functions as F
from dzcore import Config, Variable, current_backend, no_grad, random, set_default_backend, test_mode, use_backend
from dzcore.backend import Backend, get_backend
from dzcore.dataloaders import DataLoader
from dzcore.layers import Linear
from dzcore.models import Model
from dzcore.optimizers import Adam
from dzcore.optimizers.hooks import ClipGrad

from .runs import bits, samples

STEPS = 3


class Small(Model):
    """Made, moved and run on whatever is the current backend."""

    def __init__(self, seed: int) -> None:
        draw = random.Generator(seed)  # of its own: threads share the default one
        self.l0, self.l1 = Linear(5, in_size=4), Linear(3, in_size=5)
        for param in self.params():
            param.data = draw.uniform(param.shape, -1.0, 1.0)

    def forward(self, x: Any) -> Variable:
        return self.l1(F.tanh(self.l0(x)) * dzcore.ones(5))  # ones: of the current backend


class Training:
    """A training that asks for the current backend wherever it can."""

    def __init__(self, seed: int) -> None:
        own = current_backend()
        self.model = Small(seed)
        self.loader = DataLoader(samples("float32", own), 8, seed=seed)
        self.optimizer = Adam(0.01).setup(self.model).add_hook(ClipGrad(1.0))

    def step(self) -> None:
        x, t = next(self.loader, None) or next(self.loader)
        loss = F.softmax_cross_entropy(self.model(x), t)
        self.model.cleargrads()
        loss.backward()
        self.optimizer.update()

    @property
    def result(self) -> list[Any]:
        with no_grad(), test_mode():
            scores = self.model(samples("float32", current_backend()).data)
        return [bits(each) for each in (scores, *self.model.params())]


def alone(place: Backend, seed: int) -> list[Any]:
    with use_backend(place):
        training = Training(seed)
        for _ in range(STEPS):
            training.step()
        return training.result


def together(works: list[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread of its own, and return what they return or raise what they raise."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(60) for future in [pool.submit(work) for work in works]]


def test_threads_that_train_on_different_backends(places: list[Backend]) -> None:
    crews = [*places, *places]  # and two on each
    barrier = threading.Barrier(len(crews), timeout=60)

    def work(seed: int) -> list[Any]:
        try:
            with use_backend(crews[seed]):
                training = Training(seed)
                for _ in range(STEPS):
                    barrier.wait()  # everyone is in the middle of a training, and in a block of its own
                    training.step()
                barrier.wait()
                return training.result
        except BaseException:
            barrier.abort()
            raise

    found = together([lambda seed=seed: work(seed) for seed in range(len(crews))])  # type: ignore[misc]
    assert found == [alone(place, seed) for seed, place in enumerate(crews)]


def test_tasks_that_train_on_different_backends(places: list[Backend]) -> None:
    crews = [*places, *places]

    async def work(place: Backend, seed: int, barrier: asyncio.Barrier) -> list[Any]:
        with use_backend(place):
            training = Training(seed)
            for _ in range(STEPS):
                await barrier.wait()  # the others have gone as far, in this very thread
                assert current_backend() is place
                training.step()
                with use_backend(crews[seed - 1]):  # a block inside, left by a task that was elsewhere meanwhile
                    await asyncio.sleep(0)
                    assert dzcore.zeros(1).backend is crews[seed - 1]
            return training.result

    async def everyone() -> list[Any]:
        barrier = asyncio.Barrier(len(crews))
        return await asyncio.gather(*(work(place, seed, barrier) for seed, place in enumerate(crews)))

    assert asyncio.run(everyone()) == [alone(place, seed) for seed, place in enumerate(crews)]


def test_modes_and_backend_of_a_task_are_its_own(places: list[Backend]) -> None:
    def state() -> tuple[Any, ...]:
        y = dzcore.ones(2) * Variable([1.0, 2.0])
        return str(y.backend), y.requires_grad, Config.train

    async def quiet(place: Backend, barrier: asyncio.Barrier) -> list[Any]:
        seen = [state()]
        with use_backend(place), no_grad():
            await barrier.wait()
            seen.append(state())
            with test_mode():
                await barrier.wait()
                seen.append(state())
            await barrier.wait()
            seen.append(state())
        await barrier.wait()
        return [*seen, state()]

    async def loud(barrier: asyncio.Barrier) -> list[Any]:
        seen = []
        for _ in range(4):
            await barrier.wait()
            seen.append(state())
        return seen

    async def both() -> list[Any]:
        barrier = asyncio.Barrier(2)
        with use_backend(places[0]):
            return await asyncio.gather(quiet(places[1], barrier), loud(barrier))

    outside, inside = str(places[0]), str(places[1])
    found = asyncio.run(both())
    plain = (outside, True, True)
    assert found[0] == [plain, (inside, False, True), (inside, False, False), (inside, False, True), plain]
    assert found[1] == [plain] * 4


def test_a_task_begins_where_it_was_made_and_a_thread_does_not(places: list[Backend]) -> None:
    _, other = places[:2]

    async def ask() -> Backend:
        await asyncio.sleep(0)
        return current_backend()

    async def made_inside() -> list[Backend]:
        with use_backend(other):
            task = asyncio.create_task(ask())
            elsewhere = asyncio.to_thread(current_backend)
        return [await task, await elsewhere, current_backend()]

    before = current_backend()
    assert before is not other
    inside, moved, outside = asyncio.run(made_inside())
    assert (inside, moved, outside) == (other, before, before)  # to_thread copies the context when it is awaited

    with use_backend(other), ThreadPoolExecutor(1) as pool:
        context = copy_context()
        assert pool.submit(context.run, current_backend).result() is other


def test_a_pools_thread_forgets_what_a_job_has_used(places: list[Backend]) -> None:
    before = current_backend()

    def job(place: Backend) -> str:
        with use_backend(place), no_grad(), test_mode():
            return str(dzcore.zeros(1).backend)

    def failing(place: Backend) -> None:
        with use_backend(place), no_grad(), test_mode():
            raise KeyError("on purpose")

    def state() -> tuple[Any, ...]:
        return current_backend(), Config.train, Config.enable_backprop

    with ThreadPoolExecutor(1) as pool:
        for place in places:
            assert pool.submit(job, place).result() == str(place)
            assert pool.submit(state).result() == (before, True, True)
            assert isinstance(pool.submit(failing, place).exception(), KeyError)
            assert pool.submit(state).result() == (before, True, True)


def test_what_a_copied_context_does_stays_there(places: list[Backend]) -> None:
    before, context = current_backend(), copy_context()
    entered = use_backend(places[1])
    context.run(entered.__enter__)
    assert context.run(current_backend) is places[1]
    assert current_backend() is before
    context.run(entered.__exit__, None, None, None)
    assert context.run(current_backend) is before


def test_the_default_is_everyones_and_a_block_is_stronger(places: list[Backend]) -> None:
    barrier = threading.Barrier(3, timeout=60)

    def inside() -> list[Backend]:
        with use_backend(places[0]):
            barrier.wait()
            barrier.wait()  # meanwhile the default is set
            return [current_backend()]

    def outside() -> list[Backend]:
        seen = [current_backend()]
        barrier.wait()
        barrier.wait()
        return [*seen, current_backend()]

    def setter() -> None:
        barrier.wait()
        set_default_backend(places[1])
        barrier.wait()

    before = current_backend()
    try:
        found = together([inside, outside, setter])
    finally:
        set_default_backend(None)
    assert found == [[places[0]], [before, places[1]], None]


def test_threads_open_a_backend_once(strict: str) -> None:
    barrier = threading.Barrier(8, timeout=60)

    def work() -> Backend:
        barrier.wait()
        return get_backend("strict:device2")

    assert len(set(together([work] * 8))) == 1
