"""dzcore.utils on every backend, and what DeZero's forms of it get wrong."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
from dzcore import Variable, utils
from dzcore.backend import Backend, get_backend
from dzcore.errors import DataError
from dzcore.testing import values

from .datasets.server import Server


def test_raw_in_raw_out(backend: Backend) -> None:
    for x in (F.asarray([[1.0, 2.0], [3.0, 4.0]]), F.asarray([[1.0, 2.0], [3.0, 4.0]]).data):
        for y, shape in ((utils.sum_to(x, (2,)), (2,)), (utils.logsumexp(x), (2, 1)), (utils.logsumexp(x, 0), (1, 2))):
            assert type(y) is type(x)
            assert tuple(y.shape) == shape
    assert values(utils.sum_to(F.asarray([[1.0, 2.0]]), (1, 1))) == [3.0]
    assert utils.max_backward_shape(F.ones((2, 3, 4)), (0, -1)) == [1, 3, 1]


def test_gradients_are_checked(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    x = F.asarray([1.0, 2.0, -3.0]).data
    assert utils.gradient_check(lambda x, y, power: x**power * y, x, 2.0, power=3)
    assert utils.gradient_check(F.exp, F.asarray([1, 2]))
    assert capsys.readouterr().out == ""
    wrong = lambda x: x * 3.0 + (x * x).detach()  # noqa: E731
    assert not utils.gradient_check(wrong, x)
    assert "derivative 1 of <lambda> is wrong" in capsys.readouterr().out
    assert utils.gradient_check(wrong, x, atol=100.0)
    assert utils.gradient_check(wrong, x, rtol=10.0)


def test_a_second_derivative_is_not_its_matter() -> None:
    class Once(dzcore.Function):
        def forward(self, x: Any) -> Any:
            return x * x

        def backward(self, gy: Variable) -> Variable:
            return gy * 2.0 * self.inputs[0].detach()

    assert utils.gradient_check(Once(), np.asarray([1.0, 2.0]))


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0,)])
def test_differences(shape: tuple[int, ...], backend: Backend) -> None:
    x = F.full(shape, 2.0).data

    def raw(x: Any) -> Any:
        assert backend.owns(x)
        return x * x

    for f in (raw, lambda x: F.asarray(x) ** 2, lambda x: F.sum(F.asarray(x) ** 2)):
        found = utils.numerical_grad(f, x)
        assert backend.owns(found)
        assert tuple(found.shape) == shape
        assert backend.dtype_name(found.dtype) == "float64"
        assert values(found) == pytest.approx([4.0] * len(values(found)), abs=1e-6)
    assert values(x) == [2.0] * len(values(x))
    assert values(utils.numerical_grad(lambda x: x, Variable([1, 2]))) == pytest.approx([1.0, 1.0])


def test_each_element_by_itself() -> None:
    x = np.asarray([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(utils.numerical_grad(lambda x: x**3, x), 3 * x**2, rtol=1e-6)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("a", "b", "equal", "close"),
    [
        ([1.0, 2.0], [1.0, 2.0], True, True),
        ([1.0, 2.0], [1.0, 2.0001], False, True),
        ([1.0, 2.0], [1.0, 2.001], False, False),
        ([0.0], [9e-6], False, True),
        ([0.0], [1.1e-5], False, False),
        ([INF, 1.0], [INF, 1.0], True, True),
        ([1.0], [INF], False, False),
        ([-INF], [INF], False, False),
        ([NAN], [NAN], False, False),
        ([1.0, 1.0], 1.0, False, True),
        ([1, 2], [1.0, 2.0], True, True),
        ([True], [True], True, True),
    ],
)
def test_comparisons(a: Any, b: Any, equal: bool, close: bool, backend: Backend) -> None:
    """Of Variables, arrays and numbers, and between backends."""
    for here, there in ((F.asarray(a), F.asarray(b).data), (F.asarray(a, backend=get_backend("numpy")), F.asarray(b))):
        assert utils.array_equal(here, there) is equal
        assert utils.array_allclose(here, there) is close


def test_tolerances_are_arguments() -> None:
    assert utils.array_allclose([1.0], [1.5], rtol=0.5)
    assert utils.array_allclose([1.0], [1.5], atol=0.5)
    assert not utils.array_allclose([1.0], [1.0 + 1e-6], rtol=0.0, atol=0.0)


def test_a_graph_is_drawn_by_either_door(tmp_path: Path) -> None:
    y = F.exp(Variable([1.0], name="x"))
    assert utils.get_dot_graph(y) == dzcore.graph.dot.get_dot_graph(y)
    utils.plot_dot_graph(y, to_file=str(tmp_path / "graph.dot"))
    assert (tmp_path / "graph.dot").read_text() == utils.get_dot_graph(y, True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dzcore"


@pytest.mark.parametrize("name", [None, "other.jpg"])
def test_a_file_is_downloaded_once(name: str | None, cache: Path) -> None:
    pytest.importorskip("pooch", reason="downloads need pooch: pip install 'dzcore[data]'")
    with Server() as server:
        server.content = b"a picture"
        url = f"{server.url}ok/zebra.jpg"
        path = utils.get_file(url, name)
    assert path == str(cache / (name or "zebra.jpg"))
    assert Path(path).read_bytes() == b"a picture"
    assert utils.get_file(url, file_name=name) == path  # the server is gone


def test_a_download_that_fails_is_told(cache: Path) -> None:
    pytest.importorskip("pooch", reason="downloads need pooch: pip install 'dzcore[data]'")
    with pytest.raises(DataError, match=f"picture.jpg could not .*put it into {re.escape(repr(str(cache)))}"):
        utils.get_file("http://127.0.0.1:9/picture.jpg")
    assert not (cache / "picture.jpg").exists()


@pytest.mark.parametrize(("mistake", "kind"), [((1, 2, 3), ValueError), (1.5, TypeError)])
def test_pairs(mistake: Any, kind: type[Exception]) -> None:
    assert utils.pair([1, 2]) == (1, 2)
    with pytest.raises(kind):
        utils.pair(mistake)


def test_sizes_that_do_not_fit_are_told() -> None:
    for outsize in (lambda: utils.get_conv_outsize(2, 3, 1, 0), lambda: utils.get_deconv_outsize(1, 1, 1, 1)):
        with pytest.raises(ValueError, match="pad|nothing is left"):
            outsize()


CALLS: list[Callable[[Any], Any]] = [lambda module: module(2.0, np), lambda module: module(2.0, array_module=np)]


@pytest.mark.parametrize("call", CALLS)
def test_as_array_takes_a_module(call: Callable[[Any], Any]) -> None:
    assert isinstance(call(dzcore.as_array), np.ndarray)
    x = Variable([1.0])
    assert dzcore.as_array(x, np) is x  # as in DeZero, where numbers alone are changed
    assert dzcore.as_array(x) is x.data
