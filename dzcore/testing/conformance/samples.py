"""Arguments for dzcore's own functions of arrays, `dzcore.backend.namespace.EXTENSIONS`: what an override may meet."""

from collections.abc import Callable
from math import inf, nan, prod
from typing import Any, NamedTuple

from ...backend import Backend
from ...functions.recurrent import GRU, LSTM, RNN, Cell
from ...functions.windows import Geometry
from ..compare import RTOL
from .measure import COMPUTED, send

__all__ = ["SAMPLES", "Sample"]


class Sample(NamedTuple):
    """One call: what makes its arguments on a backend, in a floating dtype."""

    make: Callable[[Backend, str], tuple[Any, ...]]
    exact: bool = True
    dtypes: tuple[str, ...] = COMPUTED
    shown: Callable[[Any], Any] = lambda found: found  #: what of the result is compared

    def rtol(self, dtype: str) -> float | None:
        """Return the relative tolerance of the comparison."""
        return 0.0 if self.exact else 10 * RTOL[dtype]

    def atol(self, dtype: str) -> float:
        """Return the absolute tolerance of the comparison."""
        return 0.0 if self.exact else RTOL[dtype]


#: For samples of more than one block or launch: some libraries compile every shape of every dtype anew.
ONE = ("float32",)


def _wave(count: int) -> list[float]:
    """Multiples of 1/8 in [-4, 4), which add up exactly, in another order than that of size."""
    return [(i * 29 % 64) / 8 - 4 for i in range(count)]


def _scores(backend: Backend, dtype: str) -> Any:
    return send(backend, [3.0, -1.0, 0.5, 80.0, 80.0, -80.0, 0.0, 0.0, 0.0, -2.0, 7.0, 7.5], (4, 3), dtype)


def _whole(backend: Backend, numbers: list[int], dtype: str = "int64") -> Any:
    return send(backend, numbers, (len(numbers),), dtype)


def _many(backend: Backend) -> Any:
    """Return 300 row numbers below 300, a third of them twice and more."""
    return _whole(backend, [i * i % 300 for i in range(300)])


def _sum_to(shape: tuple[int, ...], to: tuple[int, ...], dtypes: tuple[str, ...] = COMPUTED) -> Sample:
    return Sample(lambda b, dtype: (send(b, _wave(prod(shape)), shape, dtype), to), dtypes=dtypes)


def _product(left: tuple[int, int], right: tuple[int, int]) -> Sample:
    def make(backend: Backend, dtype: str) -> tuple[Any, ...]:
        return send(backend, _wave(prod(left)), left, dtype), send(backend, _wave(prod(right))[::-1], right, dtype)

    return Sample(make)


def _affine(rows: int, inner: int, columns: int, dtypes: tuple[str, ...] = COMPUTED) -> Sample:
    def make(backend: Backend, dtype: str) -> tuple[Any, ...]:
        x, W = _product((rows, inner), (inner, columns)).make(backend, dtype)
        return x, W, send(backend, _wave(columns), (columns,), dtype)

    return Sample(make, exact=False, dtypes=dtypes)


def _embed(index: tuple[Any, ...], sliced: tuple[int, ...], shape: tuple[int, ...]) -> Sample:
    return Sample(lambda b, dtype: (send(b, _wave(prod(sliced)), sliced, dtype), index, shape))


def _dropped(
    shape: tuple[int, ...], threshold: int, scale: float, transposed: bool = False, dtypes: tuple[str, ...] = COMPUTED
) -> Sample:
    def make(backend: Backend, dtype: str) -> tuple[Any, ...]:
        count = prod(shape)
        x = send(backend, [[-0.0, inf, 1.0, nan, -2.0][i % 5] for i in range(count)], shape, dtype)
        bits = backend.xp.reshape(backend.xp.asarray(backend.random_bits(1, 3, count)), shape)
        if transposed:
            x, bits = (backend.xp.permute_dims(each, (1, 0)) for each in (x, bits))
        return x, bits, threshold, scale

    return Sample(make, dtypes=dtypes)


def _cross_entropy(*before: float) -> list[Sample]:
    def sample(classes: list[int], dtype: str) -> Sample:
        def make(backend: Backend, float_: str) -> tuple[Any, ...]:
            upstream = tuple(send(backend, [g], (), float_) for g in before)
            return *upstream, _scores(backend, float_), _whole(backend, classes, dtype)

        return Sample(make, exact=False)

    def one(backend: Backend, dtype: str) -> tuple[Any, ...]:
        upstream = tuple(send(backend, [g], (), dtype) for g in before)
        return *upstream, send(backend, [0.5, -0.25], (1, 2), dtype), _whole(backend, [1])

    def transposed(backend: Backend, dtype: str) -> tuple[Any, ...]:
        upstream = tuple(send(backend, [g], (), dtype) for g in before)
        x = backend.xp.permute_dims(send(backend, _wave(12), (3, 4), dtype), (1, 0))
        return *upstream, x, backend.xp.flip(_whole(backend, [2, 1, 1, 0]))

    def large(backend: Backend, dtype: str) -> tuple[Any, ...]:
        upstream = tuple(send(backend, [g], (), dtype) for g in before)
        x = send(backend, [v / 2 for v in _wave(300 * 33)], (300, 33), dtype)
        return *upstream, x, _whole(backend, [i * 7 % 33 for i in range(300)])

    return [
        Sample(large, exact=False, dtypes=ONE),
        sample([0, 1, 2, 2], "int64"),
        sample([2, 2, 0, 1], "int32"),
        Sample(one, exact=False),
        Sample(transposed, exact=False),
    ]


def _known(backend: Backend, dtype: str) -> tuple[Any, ...]:
    """Return x with what is known of it, over its first axis."""
    x, y = (send(backend, v, (2, 2), dtype) for v in ([1.0, -4.0, 3.0, 4.0], [-1.0, -1.0, 1.0, 1.0]))
    return x, y, send(backend, [1.0, 4.0], (1, 2), dtype), (0,)


def _steps(cell: Cell, steps: int, n: int, hidden: int, back: bool, dtypes: tuple[str, ...] = COMPUTED) -> Sample:
    """Return the arguments of the steps of a recurrent layer; where it goes back, of what the backend itself kept."""
    width, parts = cell.gates * hidden, cell.parts

    def make(backend: Backend, dtype: str) -> tuple[Any, ...]:
        def of(*shape: int) -> Any:
            return send(backend, [x / 4 for x in _wave(prod(shape))], shape, dtype)

        U = of(hidden, width)
        d, state = [of(width)] * cell.reset, [of(n, hidden)] * parts
        ahead = cell, of(steps, n, width), of(width), U, d, state
        return (cell, of(steps + parts - 1, n, hidden), U, backend.ops.steps_ahead(*ahead)[1]) if back else ahead

    def shown(found: Any) -> Any:
        states, kept = found
        return states, *[tuple([part[t] for t in range(steps + (k < parts))]) for k, part in enumerate(kept)]

    return Sample(make, exact=False, dtypes=dtypes, **{} if back else {"shown": shown})


def _recurrent(back: bool) -> list[Sample]:
    return [
        *[_steps(cell, steps, n, 3, back) for cell in (RNN, LSTM, GRU) for steps, n in ((1, 2), (5, 1), (3, 0))],
        *[_steps(cell, 6, 21, 5, back, ONE) for cell in (RNN, LSTM, GRU)],
    ]


def _windowed(channels: int, o: int, geometry: Geometry) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what stands on both sides of windows."""
    g = geometry
    return {"x": (2, channels, *g.spatial), "W": (o, channels // g.groups, *g.size), "z": (2, o, *g.out),
            "b": (o,), "columns": (2, channels, *g.size, *g.out), "sums": (2, channels, *g.out)}  # fmt: skip


#: Channels in and out, and how windows lie: with padding, steps, gaps, leftovers, groups; along one, two, three axes.
_WINDOWED = [
    (2, 3, Geometry((5, 4), (3, 2), (1, 1), (0, 0), (1, 1))),
    (2, 2, Geometry((6, 7), (3, 2), (2, 3), (1, 0), (1, 2))),
    (4, 6, Geometry((3, 4), (1, 2), (2, 1), (0, 1), (1, 1), groups=2)),
    (3, 3, Geometry((6,), (2,), (2,), (1,), (3,), groups=3)),
    (2, 2, Geometry((3, 2, 4), (2, 1, 3), (1, 1, 2), (0, 0, 1), (1, 1, 1))),
    (2, 4, Geometry((3, 3), (1, 1), (1, 1), (0, 0), (1, 1))),
    (9, 40, Geometry((24, 20), (3, 3), (1, 1), (1, 1), (1, 1))),
]


def _on_windows(*names: str, exact: bool = False) -> list[Sample]:
    """Return samples of functions of the arrays with these names, and a geometry."""

    def sample(channels: int, o: int, geometry: Geometry, large: bool) -> Sample:
        shapes = [_windowed(channels, o, geometry)[name] for name in names]

        def make(backend: Backend, dtype: str) -> tuple[Any, ...]:
            arrays = [send(backend, [w / 4 for w in _wave(prod(shape) + k)[k:]], shape, dtype)
                      for k, shape in enumerate(shapes)]  # fmt: skip
            return *arrays, geometry

        return Sample(make, exact, ONE if large else COMPUTED)

    return [sample(c, o, g, large=c == 9) for c, o, g in _WINDOWED]


#: How windows of pooling lie: apart, with gaps, overlapping, with padding, of one place; along one, two, three axes.
_POOLED = [
    Geometry((5, 4), (3, 2), (1, 1), (0, 0), (1, 1)),
    Geometry((6, 7), (2, 3), (2, 3), (1, 0), (1, 1)),
    Geometry((7, 7), (3, 3), (2, 2), (1, 1), (1, 1)),
    Geometry((6,), (2,), (3,), (0,), (1,)),
    Geometry((4, 2, 5), (2, 1, 3), (2, 1, 2), (0, 0, 1), (1, 1, 1)),
    Geometry((3, 3), (1, 1), (2, 1), (0, 0), (1, 1)),
    Geometry((17, 17), (17, 17), (1, 1), (0, 0), (1, 1)),
    Geometry((48, 40), (2, 2), (2, 2), (0, 0), (1, 1)),
    Geometry((48, 41), (3, 3), (1, 2), (1, 1), (1, 1)),
]


def _pooled(name: str) -> list[Sample]:
    """Return samples of functions of x or of numbers of windows, of what won in these, and a geometry."""

    def sample(g: Geometry) -> Sample:
        def make(backend: Backend, dtype: str) -> tuple[Any, ...]:
            shape = (2, 3, *g.spatial)
            numbers = [inf if i % 31 == 7 else -inf if i % 3 else w for i, w in enumerate(_wave(prod(shape)))]
            x = send(backend, numbers, shape, dtype)
            if name == "x":
                return x, g
            values, winner = backend.ops.largest(x, g)
            return (x if name == "pick" else values), winner, g

        return Sample(make, dtypes=COMPUTED if prod(g.spatial) < 1000 else ONE)

    return [sample(g) for g in _POOLED]


#: By the function's name; what stands behind a blank is a label.
SAMPLES: dict[str, list[Sample]] = {
    "sum_to": [_sum_to((2, 3, 4), (3, 1)), _sum_to((2, 3, 4), ()), _sum_to((3, 4), (3, 4)), _sum_to((3, 4), (1, 4)),
               _sum_to((0, 4), (4,)), _sum_to((2, 3, 4), (1, 3, 1)), _sum_to((300, 33), (33,), ONE),
               _sum_to((300, 33), (300, 1), ONE)],
    "times_transposed": [_product((2, 3), (4, 3)), _product((1, 3), (1, 3)), _product((0, 3), (2, 3))],
    "transposed_times": [_product((3, 2), (3, 4)), _product((3, 1), (3, 1)), _product((0, 2), (0, 3))],
    "linear": [_affine(2, 3, 4), _affine(1, 1, 1), _affine(0, 3, 2), _affine(300, 70, 33, ONE)],
    "sigmoid": [
        Sample(lambda b, dtype: (send(b, _wave(12), (3, 4), dtype),), exact=False),
        Sample(lambda b, dtype: (send(b, [inf, -inf, nan, 0.0, -0.0, 1e4, -1e4], (7,), dtype),), exact=False),
        Sample(lambda b, dtype: (send(b, _wave(300 * 33), (300, 33), dtype),), exact=False, dtypes=ONE),
        Sample(lambda b, dtype: (send(b, [0.25], (), dtype),), exact=False),
        Sample(lambda b, dtype: (send(b, [], (0, 2), dtype),), exact=False),
        Sample(lambda b, dtype: (b.xp.permute_dims(send(b, _wave(6), (2, 3), dtype), (1, 0)),), exact=False),
    ],
    "embed": [
        _embed((slice(1, None), slice(None, None, 2)), (2, 2), (3, 4)),
        _embed((1, slice(None)), (4,), (3, 4)),
        _embed((slice(2, 2), ...), (0, 4), (3, 4)),
        _embed((..., 0), (3,), (3, 4)),
    ],
    "embed backwards": [_embed((slice(None, None, -1),), (5,), (5,)), _embed((slice(3, 0, -2), 1), (2,), (4, 3))],
    "rows": [
        Sample(lambda b, dtype: (send(b, [nan, *_wave(11)], (3, 4), dtype), _whole(b, [2, 0, 2, 1]), 3)),
        Sample(lambda b, dtype: (send(b, _wave(3), (3,), dtype), _whole(b, [1]), 3)),
        Sample(lambda b, dtype: (send(b, _wave(12), (3, 4), dtype), _whole(b, []), 3)),
        Sample(lambda b, dtype: (send(b, _wave(300 * 33), (300, 33), dtype), _many(b), 300), dtypes=ONE),
    ],
    "add_rows": [
        Sample(lambda b, dtype: (send(b, [inf, *_wave(15)], (4, 4), dtype), _whole(b, [2, 0, 2, 2]), 3)),
        Sample(lambda b, dtype: (send(b, _wave(4), (4,), dtype), _whole(b, [1, 1, 1, 1]), 5)),
        Sample(lambda b, dtype: (send(b, [], (0, 2), dtype), _whole(b, []), 3)),
        Sample(lambda b, dtype: (send(b, _wave(300 * 33), (300, 33), dtype), _many(b), 400), dtypes=ONE),
    ],
    "one_hot": [
        Sample(lambda b, dtype: (_scores(b, dtype), _whole(b, [0, 1, 2, 2]))),
        Sample(lambda b, dtype: (_scores(b, dtype), _whole(b, [2, 1, 0, 0], "int32"))),
    ],
    "cross_entropy": _cross_entropy(),
    "cross_entropy_gradient": _cross_entropy(1.0) + _cross_entropy(-2.5)[:1],
    "standardized": [Sample(_known)],
    "deviation": [Sample(_known)],
    "steps_ahead": _recurrent(back=False),
    "steps_back": _recurrent(back=True),
    "convolve": _on_windows("x", "W"),
    "convolve_biased": _on_windows("x", "W", "b"),
    "convolve_input": _on_windows("z", "W"),
    "convolve_weight": _on_windows("x", "z"),
    "unfold": _on_windows("x", exact=True),
    "fold": _on_windows("columns"),
    "largest": _pooled("x"),
    "window_pick": _pooled("pick"),
    "window_put": _pooled("put"),
    "window_sum": _on_windows("x"),
    "window_spread": _on_windows("sums"),
    "dropped": [_dropped((4, 6), 2**31, 2.0), _dropped((4, 6), 3 * 2**30, 4 / 3), _dropped((), 2**31, 2.0),
                _dropped((0, 3), 2**31, 2.0), _dropped((5, 3), 2**32 - 1, 1.0),
                _dropped((300, 33), 2**30, 1.5, dtypes=ONE), _dropped((3, 5), 2**31, 2.0, transposed=True)],
}  # fmt: skip
