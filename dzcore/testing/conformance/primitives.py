"""Primitives: every one of them, and every function of dzcore's own, against its portable form."""

from math import inf, nan, prod
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st

from ...backend import Backend, portable
from ...backend.namespace import EXTENSIONS
from ..compare import assert_close
from .formulas import FUSED, UPDATES, Formula
from .group import Group
from .measure import COMPUTED, LAYOUTS, bits, constant, describe, flat, numbers, own, portable_form, prove, send
from .samples import SAMPLES

__all__ = ["Primitives"]

#: These add up exactly in any order, in float16 too.
EXACT = [0.0, -0.5, 1.0, 3.25, -7.0, 16.0]
ANY = [*EXACT, inf, -inf, nan, -0.0]
#: What draws the numbers: hypothesis itself takes long for hundreds of them.
DRAWS = st.integers(0, 2**32).map(Random)
#: Sizes of sums, and how many rows of which shape go into them; few, for some libraries compile each anew.
SUMS = [
    (5, 12, ()),
    (5, 12, (3,)),
    (1, 9, (2, 2)),
    (7, 1, (3,)),
    (4, 0, (3,)),
    (0, 0, (2,)),
    (5, 12, (0,)),
    (300, 40, ()),
]

#: spatial, size, stride, dilation
GEOMETRIES = [
    ((5,), (3,), (1,), (1,)), ((7,), (2,), (2,), (3,)), ((6,), (6,), (1,), (1,)), ((1,), (1,), (1,), (1,)),
    ((8,), (2,), (5,), (1,)), ((5, 6), (2, 3), (1, 2), (2, 1)), ((4, 4), (2, 2), (2, 2), (1, 1)),
    ((7, 5), (3, 1), (3, 2), (1, 2)), ((3, 4, 5), (2, 1, 2), (1, 2, 1), (1, 1, 2)),
]  # fmt: skip
LEADS: list[tuple[int, ...]] = [(), (2,), (2, 3), (0,)]


def _many(dtype: str) -> int:
    """Return how many examples to try: fewer in all dtypes but one, for some libraries compile every one anew."""
    return 24 if dtype == "float32" else 6


def _assert_same(backend: Backend, found: Any, expected: Any, rtol: float | None = None, atol: float = 0.0) -> None:
    """Compare with what the portable form gave: dtype, shape and values; a tuple item by item."""
    if isinstance(expected, tuple):
        assert isinstance(found, tuple), f"a {type(found).__name__} came back where the portable form gives a tuple"
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_same(backend, one, other, rtol, atol)
        return
    assert_close(constant(backend, found), constant(backend, expected), rtol, atol)


class Primitives(Group):
    """Overrides, against what they override."""

    # Adding rows -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("dtype", [*COMPUTED, "int32", "int64"])
    def test_index_add(self, dtype: str, backend: Backend) -> None:
        """Duplicates add up, rows without any are 0, an inf or nan stays in its own row, inputs stay as they are."""
        if dtype not in backend.dtypes:
            return
        whole = "int" in dtype

        def check(random: Random, form: tuple[int, int, tuple[int, ...]], kind: str) -> None:
            size, n, tail = form
            index = send(backend, random.choices(range(max(size, 1)), k=n), (n,), kind)
            drawn = random.choices(range(-99, 100) if whole else ANY, k=n * prod(tail))
            values = send(backend, drawn, (n, *tail), dtype)
            before = bits(backend, index), bits(backend, values)
            found = own(backend, backend.index_add(size, index, values))
            expected = portable.index_add(backend.xp, size, index, values)
            assert describe(backend, found) == (dtype, (size, *tail))
            _assert_same(backend, found, expected, rtol=0.0)
            assert (bits(backend, index), bits(backend, values)) == before

        prove(check, DRAWS, st.sampled_from(SUMS), st.sampled_from(["int32", "int64"]), examples=_many(dtype))

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_index_add_of_any_layout(self, layout: str, backend: Backend) -> None:
        """Index and values may lie in memory in any way."""
        values = LAYOUTS[layout](backend.xp, send(backend, range(12), (3, 4), "float32"))
        index = backend.xp.flip(send(backend, [3, 0, 3, 1], (4,), "int64"))[: values.shape[0]]
        found = backend.index_add(5, index, values)
        _assert_same(backend, found, portable.index_add(backend.xp, 5, index, values))

    def test_index_add_of_many(self, backend: Backend) -> None:
        """Thousands of rows on a few places: right to rounding."""
        n, size = 6000, 7
        places, drawn = [(i * i) % size for i in range(n)], [(i * 7919 % 1009 - 504) / 256 for i in range(2 * n)]
        exact = [[0.0, 0.0] for _ in range(size)]
        for k, i in enumerate(places):
            exact[i][0] += drawn[2 * k]
            exact[i][1] += drawn[2 * k + 1]
        found = backend.index_add(size, send(backend, places, (n,), "int64"), send(backend, drawn, (n, 2), "float32"))
        assert_close(constant(backend, found), exact, rtol=1e-4, atol=0.05)

    # Windows ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("dtype", COMPUTED)
    def test_windows(self, dtype: str, backend: Backend) -> None:
        """Windows and their adjoint are the portable ones, with any stride and dilation, inf and nan among them."""
        if dtype not in backend.dtypes:
            return

        def check(random: Random, geometry: Any, lead: tuple[int, ...], flip: bool) -> None:
            spatial, size, stride, dilation = geometry
            x = send(backend, random.choices(ANY, k=prod(lead) * prod(spatial)), (*lead, *spatial), dtype)
            x = backend.xp.flip(x, axis=-1) if flip else x
            before = bits(backend, x)
            found = own(backend, backend.windows(x, size, stride, dilation))
            _assert_same(backend, found, portable.windows(backend.xp, x, size, stride, dilation))
            assert bits(backend, x) == before
            shape = tuple(found.shape)
            count = prod(shape)
            drawn = random.choices(EXACT, k=count)
            if count and flip:
                drawn[random.randrange(count)] = random.choice(ANY)
            y = send(backend, drawn, shape, dtype)
            before = bits(backend, y)
            back = own(backend, backend.windows_adjoint(y, spatial, size, stride, dilation))
            assert describe(backend, back) == (dtype, (*lead, *spatial))
            _assert_same(backend, back, portable.windows_adjoint(backend.xp, y, spatial, size, stride, dilation))
            assert bits(backend, y) == before

        prove(check, DRAWS, st.sampled_from(GEOMETRIES), st.sampled_from(LEADS), st.booleans(), examples=_many(dtype))

    def test_windows_of_any_layout(self, backend: Backend) -> None:
        """A view's windows are those of its copy; so with the adjoint."""
        for layout in LAYOUTS.values():
            x = layout(backend.xp, send(backend, range(20), (4, 5), "float32"))
            geometry = ((2, 2), (1, 1), (1, 1))
            found = backend.windows(x, *geometry)
            _assert_same(backend, found, portable.windows(backend.xp, x, *geometry))
            spatial = tuple(x.shape)
            back = backend.windows_adjoint(found, spatial, *geometry)  # of what may be a view
            _assert_same(backend, back, portable.windows_adjoint(backend.xp, found, spatial, *geometry))

    def test_windows_that_do_not_fit(self, backend: Backend) -> None:
        """A window that is larger than the array is an error, and so is a stride of 0."""
        x = send(backend, range(4), (4,), "float32")
        for size, stride, dilation in (((5,), (1,), (1,)), ((3,), (1,), (2,)), ((2,), (0,), (1,)), ((0,), (1,), (1,))):
            with pytest.raises(ValueError, match="."):
                backend.windows(x, size, stride, dilation)

    # Formulas --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("formula", FUSED, ids=str)
    def test_fuse(self, formula: Formula, backend: Backend) -> None:
        """A fused formula gives what the plain one gives, with inf and nan, for any shape and layout."""
        for dtype in formula.dtypes(backend):
            fused = backend.fuse(formula.call)
            for arrays in formula.inputs(backend, dtype):
                before = [bits(backend, x) for x in arrays]
                found = fused(*arrays, *formula.scalars)
                expected = formula.call(backend.xp, *arrays, *formula.scalars)
                _assert_same(backend, found, expected, formula.rtol(dtype), formula.atol(dtype))
                if formula.exact:
                    assert _signs(backend, found) == _signs(backend, expected)
                assert [bits(backend, x) for x in arrays] == before, "fuse has changed an input"

    def test_fuse_reads_numbers_anew(self, backend: Backend) -> None:
        """Python numbers are arguments, not part of what is compiled; integers and floats both."""
        fused, x = backend.fuse(lambda xp, x, a, n: x * (1.0 - a) + n), send(backend, range(6), (2, 3), "float32")
        for a, n in ((0.5, 1), (0.25, 2), (0.5, 3), (2, 0.5), (0, 0)):
            assert numbers(backend, fused(x, a, n)) == [k * (1.0 - a) + n for k in range(6)]

    def test_fuse_returns_arrays_of_its_own(self, backend: Backend) -> None:
        """What is written into a result later does not reach the input, nor the other result."""
        x = send(backend, range(6), (6,), "float32")
        one, other = backend.fuse(lambda xp, x: (x + 0.0, x + 0.0))(x)
        before = bits(backend, x), bits(backend, other)
        backend.update(lambda xp, p: (p + 1.0,), (own(backend, one),))
        assert (bits(backend, x), bits(backend, other)) == before

    @pytest.mark.parametrize("formula", UPDATES, ids=str)
    def test_update(self, formula: Formula, backend: Backend) -> None:
        """What comes back holds the new values, one array for each target; inputs stay as they are."""
        for dtype in formula.dtypes(backend):
            for arrays, again in zip(formula.inputs(backend, dtype), formula.inputs(backend, dtype), strict=True):
                expected = formula.call(backend.xp, *again, *formula.scalars)
                targets, inputs = arrays[: formula.targets], arrays[formula.targets :]
                before = [bits(backend, x) for x in inputs]
                found = backend.update(formula.call, tuple(targets), *inputs, *formula.scalars)
                assert isinstance(found, tuple)
                _assert_same(backend, found, expected, formula.rtol(dtype), formula.atol(dtype))
                assert [bits(backend, x) for x in inputs] == before, "update has changed an input"

    def test_update_again_and_again(self, backend: Backend) -> None:
        """Five steps from what the last one returned, with a number that changes."""
        p, v, other = (send(backend, [float(k + 1)] * 5, (5,), "float32") for k in range(3))
        a, b = 1.0, 2.0
        for step in range(5):
            p, v = backend.update(lambda xp, p, v, g, t: (p + v * t, v * 0.5 + g), (p, v), other, step)
            a, b = a + b * step, b * 0.5 + 3.0
        assert (numbers(backend, p), numbers(backend, v)) == ([a] * 5, [b] * 5)
        assert numbers(backend, other) == [3.0] * 5

    def test_updates_share_no_memory(self, backend: Backend) -> None:
        """A result that is an input, or another target, is safe from the next update."""
        p, v, g = (send(backend, [float(k)] * 4, (4,), "float32") for k in range(3))
        p, v = backend.update(lambda xp, p, v, g: (v, g), (p, v), g)
        assert (numbers(backend, p), numbers(backend, v)) == ([1.0] * 4, [2.0] * 4)
        p, v = backend.update(lambda xp, p, v: (p + 10.0, v + 20.0), (p, v))
        assert (numbers(backend, p), numbers(backend, v)) == ([11.0] * 4, [22.0] * 4)
        assert numbers(backend, g) == [2.0] * 4

    def test_number(self, backend: Backend) -> None:
        """Beside an array it is the Python number, in the array's dtype."""
        for dtype in COMPUTED:
            if dtype not in backend.dtypes:
                continue
            x = send(backend, [-2.0, -0.0, 0.0, 0.3, 7.0, nan], (6,), dtype)
            for a in (0.0, -0.0, 0.1, -3.0, nan):
                n = backend.number(a, x.dtype)
                for found, expected in ((x * n, x * a), (x - n, x - a), (n - x, a - x)):
                    _assert_same(backend, found, expected, 0)
                    assert found.dtype == x.dtype

    def test_updater(self, backend: Backend) -> None:
        """It is `update` of each row, whatever shapes there are among them, and goes on from there."""

        def formula(xp: Any, p: Any, v: Any, g: Any, a: Any) -> tuple[Any, ...]:
            return p + v * a, v * 0.5 + g

        def arrays(k: int) -> list[Any]:
            shapes = ((), (1,), (0, 2), (5,), (3, 4), (300, 400), (2, 1, 3))
            values = [[(k + n) % 11 - 5.0 for n in range(prod(shape))] for shape in shapes]
            return [send(backend, x, shape, "float32") for x, shape in zip(values, shapes, strict=True)]

        expected: Any = list(zip(arrays(0), arrays(1), strict=True))
        targets: Any = list(zip(arrays(0), arrays(1), strict=True))
        updates = backend.updater(formula, targets)
        for k, number in ((2, 0.25), (7, 0.5)):
            inputs = arrays(k)
            expected = [backend.update(formula, own, g, number) for own, g in zip(expected, inputs, strict=True)]
            found = updates(inputs, (number,))
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                _assert_same(backend, tuple(one), other, 1e-6, 1e-6)
            unchanged = [bits(backend, g) for g in arrays(k)]
            assert [bits(backend, g) for g in inputs] == unchanged, "the updater has changed an input"
            if any(one is not own for one, own in zip(found, targets, strict=True)):  # they were not written to
                targets = found
                updates = backend.updater(formula, targets)

    @pytest.mark.parametrize("way", ["up", "down"])
    def test_update_of_overlapping_memory(self, way: str, backend: Backend) -> None:
        """Where an input shares a part of a target's memory, all is read before anything is written."""
        n = 70001  # several blocks, in a library that goes block by block
        x = send(backend, [k % 1000 for k in range(n)], (n,), "float32")
        target, other = (x[1:], x[:-1]) if way == "up" else (x[:-1], x[1:])
        (found,) = backend.update(lambda xp, p, q: (p + 2.0 * q,), (target,), other)
        first, second = (1, 0) if way == "up" else (0, 1)
        wanted = [(k + first) % 1000 + 2.0 * ((k + second) % 1000) for k in range(n - 1)]
        wrong = [k for k, (a, b) in enumerate(zip(numbers(backend, found), wanted, strict=True)) if a != b]
        assert not wrong, f"{len(wrong)} of {n - 1} results read what was already written, the first at {wrong[0]}"

    def test_synchronize(self, backend: Backend) -> None:
        """It waits and returns nothing."""
        assert backend.synchronize() is None  # type: ignore[func-returns-value]

    # dzcore's own functions ------------------------------------------------------------------------------------

    def test_every_own_function_has_samples(self, backend: Backend) -> None:
        """No override goes unseen."""
        missing = EXTENSIONS.keys() - {label.split()[0] for label in SAMPLES}
        assert not missing, f"dzcore.testing.conformance.samples has nothing for {', '.join(sorted(missing))}"

    @pytest.mark.parametrize("label", SAMPLES)
    def test_own_functions(self, label: str, backend: Backend) -> None:
        """An override of dzcore's own functions of arrays is what it overrides."""
        name, plain = label.split()[0], portable_form(backend).ops
        for dtype in COMPUTED:
            if dtype not in backend.dtypes:
                continue
            for sample in SAMPLES[label]:
                if dtype not in sample.dtypes:
                    continue
                arguments, again = (sample.make(backend, dtype) for _ in range(2))
                before = [bits(backend, x) for x in arguments if backend.owns(x)]
                found = sample.shown(getattr(backend.ops, name)(*arguments))
                expected = sample.shown(EXTENSIONS[name](plain, *again))
                _assert_same(backend, found, expected, sample.rtol(dtype), sample.atol(dtype))
                assert [bits(backend, x) for x in arguments if backend.owns(x)] == before, (
                    f"{name} has changed an input"
                )


def _signs(backend: Backend, found: Any) -> list[Any]:
    """Return the elements, with their signs where they are zero."""
    parts = found if isinstance(found, tuple) else (found,)
    return [str(x) for x in flat([numbers(backend, part) for part in parts]) if x == 0]
