"""The backend that counts: registered while the program runs, it changes no number and misses no operation."""

import re
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import random
from dzcore.backend import backend_of, current_backend, get_backend, use_backend
from dzcore.cli import main
from dzcore.models import MLP
from dzcore.optimizers import Adam
from dzcore.testing import values

pytestmark = pytest.mark.usefixtures("counting")


def train(spec: str, steps: int = 5) -> list[Any]:
    """Train a small network with dropout, and return its losses and weights."""
    with use_backend(spec):
        random.seed(3)
        model = MLP((16, 3), in_size=4)
        drop = L.Dropout(0.25)
        optimizer = Adam().setup(model)
        x, t = dzcore.asarray(random.normal((20, 4))), dzcore.asarray(random.integers(0, 3, (20,)))
        losses = []
        for _ in range(steps):
            model.cleargrads()
            loss = F.softmax_cross_entropy(model(drop(x)), t)
            loss.backward()
            optimizer.update()
            losses.append(values(loss))
        return [losses, *[values(p) for p in model.params()]]


@pytest.mark.parametrize("inner", ["numpy", "strict", "strict:device1"])
def test_training_gives_the_weights_of_the_wrapped_backend(inner: str, strict: str) -> None:
    assert train(f"counting:{inner}") == train(inner)  # bit for bit


def test_alone_it_wraps_the_best_of_the_others() -> None:
    assert get_backend("counting").inner is get_backend("numpy")  # type: ignore[attr-defined]
    assert get_backend("counting") is not get_backend("counting:numpy")
    assert current_backend().name == "numpy"  # it is nobody's default


def test_it_can_be_the_default_of_the_process(counting: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DZCORE_BACKEND", "counting")
    dzcore.refresh_backends()
    try:
        assert current_backend().inner is get_backend("numpy")  # type: ignore[attr-defined]
    finally:
        monkeypatch.undo()
        dzcore.refresh_backends()


def counted(spec: str = "counting:numpy") -> Any:
    """Return the backend with its meter at zero."""
    backend: Any = get_backend(spec)
    backend.counts.clear()
    return backend


def test_operations_and_bytes() -> None:
    backend = counted()
    x = dzcore.ones((10, 3), backend=backend)
    y = dzcore.exp(x) + x
    assert y.backend is backend
    assert backend.counts == {"ones": (1, 120), "fuse exp": (1, 240), "add": (1, 360)}
    assert repr(y.data) == repr((dzcore.exp(dzcore.ones((10, 3), backend="numpy")) + 1).data)


def test_views_move_nothing_and_questions_are_no_operations() -> None:
    backend = counted()
    x = dzcore.ones((2, 3), backend=backend)
    x.reshape(3, 2)
    backend.asarray(x.data)
    assert dzcore.isdtype(x.dtype, "real floating")
    assert backend.counts == {"ones": (1, 24), "reshape": (1, 0), "asarray": (1, 0)}


def test_several_results_and_arrays_in_tuples() -> None:
    backend = counted()
    x = dzcore.asarray([1.0, 2.0, 2.0], backend=backend, dtype="float64")
    found = dzcore.unique_counts(x)
    assert values(found.counts) == [1, 2]
    assert backend.counts["unique_counts"] == (1, 24 + 16 + 16)
    dzcore.concat([x, x])
    assert backend.counts["concat"] == (1, 48 + 48)


def test_operators_on_raw_arrays() -> None:
    backend = counted()
    x = dzcore.asarray([1, 2, 3], backend=backend).data
    for y, expected in [
        (2 - x, [1, 0, -1]), (x - 1, [0, 1, 2]), (-x, [-1, -2, -3]), (x**2, [1, 4, 9]), (2**x, [2, 4, 8]),
        (x[1:], [2, 3]), (x % 2, [1, 0, 1]), (x << 1, [2, 4, 6]), (1 << x, [2, 4, 8]), (x >= 2, [False, True, True]),
    ]:  # fmt: skip
        assert backend.owns(y)
        assert values(y) == expected
    assert backend.counts["sub"] == (2, 2 * 48)
    assert backend.counts["ge"] == (1, 24 + 3)
    y = x
    y += 1
    assert values(x) == [1, 2, 3]  # `+=` binds a new array
    with pytest.raises(TypeError, match="does not support"):
        x + np.ones(3)
    with pytest.raises(AttributeError, match="strides"):
        x.strides  # noqa: B018


def test_arrays_belong_to_one_backend_only(strict: str) -> None:
    mine, other = counted(), counted("counting:strict")
    x = dzcore.ones(3, backend=mine)
    assert backend_of(x.data) is mine
    assert backend_of(x.data.raw) is get_backend("numpy")
    with pytest.raises(dzcore.MixedBackendError):
        x + dzcore.ones(3, backend=other)
    with pytest.raises(dzcore.MixedBackendError):
        x + dzcore.ones(3, backend="numpy")


def test_an_update_writes_where_the_wrapped_backend_does(strict: str) -> None:
    for spec, in_place in (("counting:numpy", True), ("counting:strict", False)):
        backend = counted(spec)
        p = backend.asarray([1.0, 2.0], "float32")
        (new,) = backend.update(lambda xp, p, g: (p - g,), (p,), backend.asarray([1.0, 1.0], "float32"))
        assert (new is p) is in_place
        assert values(new) == [0.0, 1.0]
        assert sum(calls for name, (calls, _) in backend.counts.items() if name.startswith("update")) == 1


def test_fast_functions_of_the_wrapped_backend_are_used(counting: type[Any]) -> None:
    backend = counted()
    rows = backend.index_add(2, backend.asarray([1, 1], "int64"), backend.asarray([1.0, 2.0], "float32"))
    assert values(rows) == [0.0, 3.0]
    assert backend.counts["index_add"] == (1, 16 + 8 + 8)
    assert not {"take", "argsort", "searchsorted"} & set(backend.counts)  # of the portable form


def test_transfer_is_counted() -> None:
    backend = counted()
    x = dzcore.ones(4, backend="numpy").to(backend)
    x.to("numpy")
    assert backend.counts == {"from_host": (1, 16), "to_host": (1, 16)}


def test_report() -> None:
    backend = counted()
    assert backend.report() is None
    x = dzcore.ones((1000, 100), backend=backend)
    dzcore.exp(x)
    dzcore.sum(x, axis=1)
    lines = [line.split() for line in backend.report().splitlines()]
    assert lines == [
        ["operation", "calls", "MB", "in", "and", "out", "share"],
        ["fuse", "exp", "1", "0.8", "49.9%"],
        ["sum", "1", "0.4", "25.2%"],
        ["ones", "1", "0.4", "24.9%"],
        ["all", "3", "1.6", "100.0%"],
    ]


def test_the_wrapped_library_never_sees_the_wrapper(strict: str) -> None:
    """The strict library raises at anything but its own arrays, and hands out nothing else."""
    backend = counted("counting:strict")
    x = dzcore.Variable([[1.0, -2.0], [3.0, 0.5]], backend=backend)
    y = F.where(x > 0, x, 0.0)[1:] @ F.softmax(x).T
    y.sum().backward()
    for array in (y.data, x.data, x.grad.data):
        assert isinstance(array.raw, type(array_api_strict.empty(0)))


def test_dz_train_prints_what_was_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "model.npz"
    assert main(["train", "--backend", "counting:numpy", "--epochs", "1", "--output", str(weights)]) == 0
    output = capsys.readouterr().out
    assert weights.exists()
    assert re.search(r"^operation +calls +MB in and out +share$", output, re.MULTILINE)
    assert re.search(r"^update Adam.formula +276 ", output, re.MULTILINE), output  # 46 batches, 6 parameters
    assert re.search(r"^all +[\d,]+ +[\d,.]+ +100.0%$", output, re.MULTILINE)
