"""State: nothing that a backend does is felt elsewhere: not in modes, not in the choice of backends, not in threads."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from ... import functions as fn
from ... import optimizers, random
from ...backend import Backend, current_backend, get_backend, use_backend
from ...graph import Config, Variable, no_grad, test_mode
from ...models import MLP
from ...random import Generator
from ..compare import values
from .group import Group, state
from .measure import bits, host_of, portable_form, reference_for, send
from .philox import words

__all__ = ["State"]


def _session(backend: Backend) -> None:
    """Do a little of everything."""
    model = MLP((4, 2), activation=fn.relu, dropout=0.5, in_size=3)
    optimizer = optimizers.Adam().setup(model)
    x = Variable(send(backend, range(6), (2, 3), "float32"))
    loss = fn.softmax_cross_entropy(model(x), Variable(send(backend, [0, 1], (2,), "int64")))
    loss.backward(create_graph=True)
    optimizer.update()
    fn.sum(fn.sigmoid(x)[1:, :]).backward()
    backend.windows(x.data, (2,), (1,), (1,))
    backend.synchronize()
    backend.report()
    type(backend).devices()
    type(backend).why_unavailable()
    backend.from_host(host_of(backend, x.data))


def _in_threads(*jobs: Callable[[], Any]) -> list[Any]:
    """Run the jobs at once, and return what each returned; what one raises is raised here."""
    answers: list[Any] = [None] * len(jobs)
    errors: list[BaseException] = []

    def run(i: int, job: Callable[[], Any]) -> None:
        try:
            answers[i] = job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return answers


class State(Group):
    """Leaks, and threads."""

    def test_modes_and_choices_stay(self, backend: Backend) -> None:
        """A training step and whatever else a backend is asked leaves modes, backends and the generator alone."""
        before = state()
        for mode in (no_grad, test_mode):
            with mode():
                inside = state()
                backend.random_bits(1, 2, 3)
                backend.fuse(lambda xp, x: x + 1.0)(send(backend, [1.0], (1,), "float32"))
                assert state() == inside
        _session(backend)
        assert state() == before
        assert current_backend() is backend
        assert Config.train
        assert Config.enable_backprop

    def test_an_error_leaves_nothing_behind(self, backend: Backend) -> None:
        """A formula that raises in the middle of an update or a fused call is felt nowhere else."""

        def fails(xp: Any, x: Any, *rest: Any) -> Any:
            raise ZeroDivisionError("on purpose")

        x, before = send(backend, [1.0, 2.0], (2,), "float32"), state()
        kept = bits(backend, x)
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            backend.fuse(fails)(x)
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            backend.update(fails, (x,), x)
        assert state() == before
        assert bits(backend, x) == kept
        assert bits(backend, backend.fuse(lambda xp, x: x * 1.0)(x)) == kept

    def test_the_generator_counts_words(self, backend: Backend) -> None:
        """Drawing moves the generator by the words that it gave, and reading the stream moves nothing."""
        random.seed(9)
        backend.random_bits(9, 0, 100)
        assert random.get_state() == (9, 0)
        random.bits(5)
        fn.dropout(Variable(send(backend, [1.0] * 7, (7,), "float32")))
        assert random.get_state() == (9, 12)
        _session(backend)
        assert random.get_state() == (9, 12 + 3 * 4 + 4 * 2 + 2 * 4)  # the weights of two layers, and a mask

    def test_it_is_one_object(self, backend: Backend) -> None:
        """The same name gives the same backend, in every thread."""
        assert get_backend(str(backend)) is backend
        assert all(found is backend for found in _in_threads(*[lambda: get_backend(str(backend))] * 4))

    def test_threads_use_backends_of_their_own(self, backend: Backend) -> None:
        """`use_backend` in one thread is not felt in another; both get the numbers that they get alone."""
        other = reference_for(backend)
        meet = threading.Barrier(2, timeout=60)

        def job(mine: Backend, seed: int) -> list[Any]:
            found = []
            with use_backend(mine):
                generator = Generator(seed)
                for _ in range(5):
                    meet.wait()
                    x = Variable([1.0, 2.0, 3.0])
                    assert x.backend is mine is current_backend()
                    fn.sum(x * x).backward()
                    assert x.grad is not None
                    assert x.grad.backend is mine
                    found.append([values(x.grad), values(Variable(generator.normal(3)))])
            return found

        one, two = _in_threads(lambda: job(backend, 1), lambda: job(other, 2))
        again_one, again_two = _in_threads(lambda: job(backend, 1), lambda: job(portable_form(backend), 2))
        assert one == again_one
        assert two == again_two
        assert current_backend() is backend

    def test_threads_have_modes_of_their_own(self, backend: Backend) -> None:
        """`no_grad` and `test_mode` in one thread are not felt in another."""
        meet = threading.Barrier(2, timeout=60)

        def job(quiet: bool) -> list[bool]:
            with use_backend(backend):
                x = Variable(send(backend, [1.0] * 64, (64,), "float32"))
                if quiet:
                    with no_grad(), test_mode():
                        meet.wait()
                        y = fn.dropout(x * 1.0, 0.5)
                        meet.wait()
                else:
                    meet.wait()
                    y = fn.dropout(x * 1.0, 0.5)
                    meet.wait()
                return [y.requires_grad, 0.0 in values(y)]

        assert _in_threads(lambda: job(True), lambda: job(False)) == [[False, False], [True, True]]

    def test_threads_draw_the_same_words(self, backend: Backend) -> None:
        """Streams, sums and fused formulas are right in four threads at once."""
        index, rows = send(backend, [0, 1, 0, 1], (4,), "int64"), send(backend, [1.0, 2.0, 3.0, 4.0], (4,), "float32")

        def half(xp: Any, x: Any) -> Any:
            return x * 0.5 + 1.0

        def job(seed: int) -> list[Any]:
            found = []
            for position in range(0, 50, 13):
                found.append(
                    values(Variable._of(backend.xp.asarray(backend.random_bits(seed, position, 9)), backend, None))
                )
                found.append(values(Variable._of(backend.index_add(2, index, rows), backend, None)))
                found.append(values(Variable._of(backend.fuse(half)(rows), backend, None)))
            return found

        for seed, found in enumerate(_in_threads(*[lambda seed=seed: job(seed) for seed in range(4)])):
            assert found[0::3] == [words(seed, position, 9) for position in range(0, 50, 13)]
            assert all(sums == [4.0, 6.0] for sums in found[1::3])
            assert all(y == [1.5, 2.0, 2.5, 3.0] for y in found[2::3])
