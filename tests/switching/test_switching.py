"""THE property: a training that moves among backends comes to what it comes to without moving."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import dzcore.functions as F
from dzcore import Variable, set_default_backend, use_backend
from dzcore.backend import Backend

from .runs import RULES, UNIT, Run, apart, assert_equal_bits, bits, distance, tolerance

rules, seeds = st.sampled_from(sorted(RULES)), st.integers(0, 2**64 - 1)


def dtypes(places: list[Backend]) -> list[str]:
    return [dtype for dtype in UNIT if all(dtype in place.dtypes for place in places)]


def move(run: Run, place: Backend, way: str) -> None:
    """Move model and loader, in one of the ways there are."""
    if way == "name":
        run.model.to(str(place))
        run.loader.to(str(place))
    elif way == "backend":
        run.loader.to(place)
        run.model.to(place)
    else:  # to the host or the accelerator, whichever is the current one
        with use_backend(place):
            for each in (run.model, run.loader):
                each.to_gpu() if place.accelerator else each.to_cpu()


ways = st.sampled_from(["name", "backend", "kind"])


@settings(max_examples=6)
@given(data=st.data(), rule=rules, seed=seeds, n=st.integers(0, 4), m=st.integers(1, 4))
def check_there_and_back(places: list[Backend], data: Any, rule: str, seed: int, n: int, m: int) -> None:
    dtype = data.draw(st.sampled_from(dtypes(places)), "dtype")
    for a in places:
        model = Run(a, rule, dtype, seed)
        runs = {b: Run(a, rule, dtype, seed) for b in places if b is not a}
        for i in range(n + m + 2):
            model.step()
            for b, run in runs.items():
                if i in (n, n + m):
                    move(run, b if i == n else a, data.draw(ways, "way"))
                run.step()
                assert run.backend is (b if n <= i < n + m else a)
                assert_equal_bits(run, model)
        for b, run in runs.items():
            assert apart(run, model) <= tolerance(dtype, run.steps), (a, b)


def test_there_and_back_for_every_ordered_pair(places: list[Backend]) -> None:
    check_there_and_back(places)


class Switching(RuleBasedStateMachine):
    """A run that moves, and its model: the same one that stays on the reference backend, in lock-step."""

    places: list[Backend]
    folder: Path

    @initialize(data=st.data(), rule=rules, seed=seeds, prefetch=st.sampled_from([0, 0, 1, 3]))
    def begin(self, data: Any, rule: str, seed: int, prefetch: int) -> None:
        dtype, place = data.draw(st.sampled_from(dtypes(self.places))), data.draw(place_of)
        self.run, self.model = Run(place, rule, dtype, seed, prefetch), Run(self.places[0], rule, dtype, seed)
        self.scope: Backend | None = None
        self.saved = False
        assert_equal_bits(self.run, self.model)
        assert bits(self.run.model.l0.W) == bits(self.model.model.l0.W)

    @property
    def scoped(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.scope is None else use_backend(self.scope)

    def close(self, x: Variable, y: Variable) -> bool:
        return distance(x, y) <= tolerance(self.run.dtype, self.run.steps)

    # Switching -----------------------------------------------------------------------------------------------

    @rule(place=st.deferred(lambda: place_of), way=ways)
    def move(self, place: Backend, way: str) -> None:
        with self.scoped:
            move(self.run, place, way)

    @rule(place=st.deferred(lambda: place_of))
    def move_the_model_only(self, place: Backend) -> None:
        assert self.run.model.to(place) is self.run.model

    @rule(place=st.deferred(lambda: place_of))
    def move_the_loader_only(self, place: Backend) -> None:
        assert self.run.loader.to(place) is self.run.loader

    @rule(place=st.deferred(lambda: place_of | st.none()))
    def choose_a_default(self, place: Backend | None) -> None:
        set_default_backend(place)

    @rule(place=st.deferred(lambda: place_of | st.none()))
    def work_inside_use_backend(self, place: Backend | None) -> None:
        self.scope = place

    # Training ------------------------------------------------------------------------------------------------

    @rule(second=st.booleans(), between=st.deferred(lambda: st.none() | place_of))
    def step(self, second: bool, between: Backend | None) -> None:
        lazy = self.run.model.l1.W._data is None
        with self.scoped:
            self.run.step(second, between)
            self.model.step(second)
        if lazy:  # then its size was found just now, and it has moved by one update from equal bits
            assert self.close(self.run.model.l1.W, self.model.model.l1.W)

    @rule()
    def evaluate(self) -> None:
        with self.scoped:
            y, expected = self.run.scores(), self.model.scores()
        assert y.backend is self.run.backend
        assert self.close(y, expected)

    @rule(ratio=st.floats(0.0, 0.9))
    def draw_a_mask(self, ratio: float) -> None:
        found = []
        for run in (self.run, self.model):
            with run.drawing():
                found.append(bits(F.dropout(Variable([1.0] * 9, backend=run.backend), ratio)))
        assert found[0] == found[1]

    # Files ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.run.model.l1.W._data is not None)
    @rule()
    def save(self) -> None:
        place = self.run.backend
        self.run.model.save_weights(self.folder / "run.npz")
        self.model.model.save_weights(self.folder / "model.npz")
        assert self.run.backend is place
        self.saved = True

    @precondition(lambda self: self.saved)
    @rule()
    def load(self) -> None:
        with self.scoped:
            self.run.load(self.folder / "run.npz")
            self.model.load(self.folder / "model.npz")

    @precondition(lambda self: self.saved)
    @rule(place=st.deferred(lambda: place_of))
    def load_into_a_new_model(self, place: Backend) -> None:
        self.run.renew(place)
        self.model.renew(self.places[0])
        assert bits(self.run.model.l0.W) == bits(self.model.model.l0.W)
        with use_backend(place):  # where what has no size yet is made
            self.run.load(self.folder / "run.npz")
        with use_backend(self.places[0]):
            self.model.load(self.folder / "model.npz")

    # What always holds ---------------------------------------------------------------------------------------

    @invariant()
    def they_are_the_same(self) -> None:
        assert_equal_bits(self.run, self.model)
        assert apart(self.run, self.model) <= tolerance(self.run.dtype, self.run.steps)

    def teardown(self) -> None:
        set_default_backend(None)


place_of = st.runner().flatmap(lambda machine: st.sampled_from(machine.places))


def test_any_order_of_steps_and_switches(places: list[Backend], tmp_path: Path) -> None:
    machine = type("Switching", (Switching,), {"places": places, "folder": tmp_path})
    run_state_machine_as_test(machine, settings=settings(max_examples=20, stateful_step_count=20))
