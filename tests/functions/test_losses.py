"""Losses: their reductions, what they are equal to, exactness far out, and what is refused. Values: the op table."""

import warnings
from collections.abc import Callable
from math import inf, isfinite, isnan, log1p
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import dzcore
import dzcore.functions as F
from dzcore import Variable
from dzcore.backend import Backend
from dzcore.testing import assert_close, values
from tests.elsewhere import empty_registry as empty_registry
from tests.elsewhere import gpu as gpu
from tests.elsewhere import only_numpy as only_numpy
from tests.switching.test_no_reads import Distant
from tests.switching.test_no_reads import distant as distant
from tests.switching.test_no_reads import watch as watch

PAIRS: dict[str, Callable[..., Variable]] = {
    "mean_squared_error": F.mean_squared_error,
    "mean_absolute_error": F.mean_absolute_error,
    "huber_loss": F.huber_loss,
    "sigmoid_cross_entropy": F.sigmoid_cross_entropy,
    "binary_cross_entropy": F.binary_cross_entropy,
}
each_pair = pytest.mark.parametrize("name", PAIRS)
probabilities = arrays(np.float64, array_shapes(min_dims=0, max_dims=3, max_side=4),
                       elements=st.floats(2**-7, 1 - 2**-7, width=32))  # fmt: skip


def host(x: Variable) -> Any:
    return np.frombuffer(x.to_host().buffer, x.to_host().dtype).reshape(x.shape)


# Reductions ----------------------------------------------------------------------------------------------------------


@each_pair
@given(x=probabilities)
def test_reductions(name: str, x: Any) -> None:
    """ "none" has x's shape; "sum" is its sum, "mean" its mean, and "batchmean" the sum over len(x), or over 1."""
    loss, t = PAIRS[name], x[..., ::-1] if x.ndim else 1 - x
    each = loss(Variable(x), t, reduction="none")
    assert each.shape == x.shape
    total = host(each).sum()
    for reduction, want in (
        ("sum", total), ("mean", total / x.size), ("batchmean", total / (len(x) if x.ndim else 1)),
    ):  # fmt: skip
        y = loss(Variable(x), t, reduction=reduction)
        assert y.shape == ()
        assert float(y) == pytest.approx(want, rel=1e-12, abs=1e-300)
    assert float(loss(Variable(x), t)) == float(loss(Variable(x), t, reduction="batchmean"))


def test_the_default_is_dezeros(backend: Backend) -> None:
    """The sum over all elements by the number of samples: of a picture, the error of all its pixels together."""
    x, t = Variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), Variable([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert float(F.mean_squared_error(x, t)) == 91 / 2
    x.cleargrad()
    F.mean_squared_error(x, t).backward()
    assert_close(x.grad, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert_close(F.mean_absolute_error(x, t).detach(), 21 / 2)


@given(data=st.data())
def test_softmax_cross_entropy_of_many_places_is_that_of_the_rows(data: st.DataObject) -> None:
    """(n, classes, …) is a batch of rows; with "batchmean" their sum over n, with "mean" their mean."""
    shape = data.draw(array_shapes(min_dims=2, max_dims=4, max_side=3))
    classes = shape[1]
    places = (shape[0], *shape[2:])
    x = data.draw(arrays(np.float64, shape, elements=st.floats(-9, 9, width=32)))
    t = data.draw(arrays(np.int64, places, elements=st.integers(0, classes - 1)))
    rows = np.moveaxis(x, 1, -1).reshape(-1, classes)
    want = [float(np.log(np.exp(r).sum()) - r[k]) for r, k in zip(rows, t.reshape(-1), strict=True)]
    each = F.softmax_cross_entropy(Variable(x), t, reduction="none")
    assert each.shape == places
    np.testing.assert_allclose(host(each).reshape(-1), want, rtol=1e-9, atol=1e-9)
    for reduction, count in (("sum", 1), ("mean", len(want)), ("batchmean", shape[0])):
        loss = float(F.softmax_cross_entropy(Variable(x), t, reduction=reduction))
        assert loss == pytest.approx(sum(want) / count, rel=1e-9, abs=1e-9)
    hot = np.moveaxis(np.eye(classes)[t], -1, 1)
    soft = F.softmax_cross_entropy(Variable(x), hot, reduction="none")
    np.testing.assert_allclose(host(soft), host(each), rtol=1e-9, atol=1e-9)


# Class weights, smoothing, what is ignored ---------------------------------------------------------------------------

X = [[1.0, 2.0, -1.0], [0.5, 0.0, 3.0], [-2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_what_is_ignored_is_as_if_it_were_not_there(backend: Backend) -> None:
    """Its gradient is 0, and "mean" does not count it; "batchmean" still divides by all."""
    x, t = Variable(X), dzcore.asarray([1, -1, 2, -1])
    few = Variable([X[0], X[2]])
    for options in ({}, {"weight": [0.5, 1.0, 2.0]}, {"label_smoothing": 0.3}):
        want = F.softmax_cross_entropy(few, dzcore.asarray([1, 2]), reduction="mean", **options)
        x.cleargrad()
        found = F.softmax_cross_entropy(x, t, ignore_index=-1, reduction="mean", **options)
        found.backward()
        assert_close(found.detach(), want.detach())
        few.cleargrad()
        want.backward()
        assert_close(x.grad, [values(few.grad)[:3], [0.0] * 3, values(few.grad)[3:], [0.0] * 3])
        total = F.softmax_cross_entropy(few, dzcore.asarray([1, 2]), reduction="sum", **options)
        found = F.softmax_cross_entropy(x, t, ignore_index=-1, **options)
        assert_close(found.detach(), float(total) / 4, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["batchmean", "mean", "sum", "none"])
@pytest.mark.parametrize("options", [{}, {"weight": [1.0, 2.0, 3.0]}, {"label_smoothing": 0.5}], ids=str)
def test_everything_ignored_is_no_loss(options: dict[str, Any], reduction: str, backend: Backend) -> None:
    x = Variable(X)
    loss = F.softmax_cross_entropy(x, dzcore.asarray([7] * 4), ignore_index=7, reduction=reduction, **options)
    loss.backward()
    assert set(values(loss)) == {0.0}
    assert_close(x.grad, [[0.0] * 3] * 4)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int64"])
def test_classes_of_any_integer_type(dtype: str, backend: Backend) -> None:
    t = dzcore.asarray([1, 0, 2, 1], dtype=dtype)
    plain = F.softmax_cross_entropy(Variable(X), t)
    other = F.softmax_cross_entropy(Variable(X), t, ignore_index=-1)
    assert_close(plain.detach(), other.detach())


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_more_classes_than_their_type_has_numbers(dtype: str, backend: Backend) -> None:
    """300 classes, all that are named fitting into 8 bits: class 10 is not class 266 too."""
    x = Variable([[0.0] * 300])
    F.softmax_cross_entropy(x, dzcore.asarray([10], dtype=dtype)).backward()
    want = [1 / 300] * 300
    want[10] -= 1
    assert_close(x.grad, [want])


def test_no_samples_add_up_to_no_loss(backend: Backend) -> None:
    none, x = backend.asarray([], "int64"), Variable(backend.xp.zeros((0, 3), device=backend.device))
    for options in ({}, {"ignore_index": 1}):
        assert float(F.softmax_cross_entropy(x, none, reduction="sum", **options)) == 0.0


def test_options_change_nothing_where_they_say_nothing(backend: Backend) -> None:
    x, t = Variable(X), dzcore.asarray([1, 0, 2, 1])
    want = F.softmax_cross_entropy(x, t)
    for options in ({"weight": [1.0] * 3}, {"label_smoothing": 0.0}, {"ignore_index": 5}, {"axis": -1},
                    {"reduction": "mean"}):  # fmt: skip
        assert_close(F.softmax_cross_entropy(x, t, **options).detach(), want.detach())
    assert F.softmax_cross_entropy_simple is F.softmax_cross_entropy


def test_impossible_classes_may_be_minus_infinity(backend: Backend) -> None:
    """A score of -inf at a class that t does not name: masked out, with no gradient, with the options as without."""
    for options in ({}, {"ignore_index": 9}, {"weight": [1.0, 1.0, 1.0]}):
        x = Variable([[1.0, -inf, 2.0], [-inf, 0.0, 0.0]])
        loss = F.softmax_cross_entropy(x, dzcore.asarray([0, 2]), **options)
        loss.backward()
        assert float(loss) == pytest.approx((log1p(np.e) + np.log(2)) / 2)
        assert values(x.grad)[1] == values(x.grad)[3] == 0.0
        assert not any(map(isnan, values(x.grad)))


@pytest.mark.parametrize("wrong", [-1, 3])
@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    "options", [{"ignore_index": 7}, {"label_smoothing": 0.1}, {"reduction": "none"}, {"ignore_index": -2}], ids=str
)
def test_a_class_that_does_not_exist_makes_an_accelerator_say_nan(
    wrong: int, create_graph: bool, options: dict[str, Any], gpu: Backend
) -> None:
    """With the options as without: its row of the gradient, and no other; what is ignored is no such class."""
    x = Variable([[1.0, 2.0, 3.0]] * 3, backend=gpu)
    t = Variable([0, wrong, options.get("ignore_index", 1)], backend=gpu)
    loss = F.softmax_cross_entropy(x, t, **options)
    (gx,) = dzcore.grad(loss, x, create_graph=create_graph)
    assert [isnan(v) for v in values(loss)] == ([False, True, False] if "reduction" in options else [True])
    assert [isnan(g) for g in values(gx)] == [False] * 3 + [True] * 3 + [False] * 3


def test_no_loss_reads_a_value_on_an_accelerator(distant: Distant, watch: Callable[[], Any]) -> None:
    x, t = (Variable(v, backend=distant) for v in ([[0.25, 0.5, 0.125]] * 2, [[0.5, 0.25, 1.0]] * 2))
    classes = Variable([0, 2], backend=distant)
    weight = Variable([1.0, 2.0, 3.0], backend=distant)
    with watch():
        for reduction in ("batchmean", "mean", "sum", "none"):
            for loss in PAIRS.values():
                loss(x, t, reduction=reduction).backward()
            F.sigmoid_cross_entropy(x, t, weight=weight, pos_weight=weight, reduction=reduction).backward()
            for target, ignored in ((classes, 2), (t, None)):
                F.softmax_cross_entropy(
                    x, target, weight=weight, label_smoothing=0.1, ignore_index=ignored, reduction=reduction
                ).backward()
    assert all(map(isfinite, values(x.grad)))


# Far out -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_losses_have_all_their_digits(dtype: str, backend: Backend) -> None:
    """What is well classified has a loss of e⁻|ˣ|, and not a rounded 0."""
    far = [-80.0, -30.0, -17.0, -3.0, 3.0, 17.0, 30.0, 80.0]
    x = Variable(far, dtype=dtype)
    want = [log1p(np.exp(-abs(v))) for v in far]
    t = Variable([0.0 if v < 0 else 1.0 for v in far], dtype=dtype)
    rtol = 1e-5 if dtype == "float32" else 1e-12
    assert_close(F.sigmoid_cross_entropy(x, t, reduction="none").detach(), want, rtol=rtol)
    assert_close(F.sigmoid_cross_entropy(x, t, pos_weight=1.0, reduction="none").detach(), want, rtol=rtol)


def test_probabilities_next_to_0_and_1(backend: Backend) -> None:
    """-log(1 - p) is p for small p, and finite for p = 1; so is -log p at 0."""
    small = [1e-12, 1e-9, 1e-7, 2.0**-24]
    p = Variable(small)
    y = F.binary_cross_entropy(p, Variable([0.0] * 4), reduction="none")
    assert_close(y.detach(), small, rtol=1e-6)
    y.backward()
    assert_close(p.grad, [1.0] * 4, rtol=1e-6)
    p = Variable([0.0, 1.0, 0.0, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = F.binary_cross_entropy(p, Variable([0.0, 1.0, 1.0, 0.0]), reduction="none")
        y.backward()
    found = values(y)
    assert found[:2] == [0.0, 0.0]
    assert found[2] == pytest.approx(87.498, rel=1e-4)
    assert found[3] == pytest.approx(24 * np.log(2), rel=1e-5)
    assert np.isfinite(host(p.grad)).all()


@each_pair
def test_float16_means_do_not_overflow(name: str, numpy_backend: Backend) -> None:
    """The sum over 40,000 elements is more than float16 holds; their mean is not."""
    x = Variable(np.full((200, 200), 0.9375, "float16"))
    t = np.full((200, 200), 0.0 if name != "binary_cross_entropy" else 1 / 16, "float16")
    exact = float(PAIRS[name](Variable(x.data.astype("f8")), t.astype("f8"), reduction="mean"))
    for reduction, scale in (("mean", 1.0), ("batchmean", 200.0)):
        y = PAIRS[name](x, t, reduction=reduction)
        assert y.dtype == np.float16
        assert float(y) == pytest.approx(exact * scale, rel=2e-3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("f", [F.relu, F.leaky_relu, F.elu, F.silu, F.gelu, F.softplus, F.sigmoid, F.tanh, F.softmax,
                               F.log_softmax])  # fmt: skip
def test_activations_at_10000(f: Callable[..., Variable], dtype: str, numpy_backend: Backend) -> None:
    """No warning, no nan, and the right limits, in values, first and second derivatives."""
    x = Variable(np.array([[-1e4, -1e3, -100.0, -30.0, -3.0, 0.0, 3.0, 30.0, 100.0, 1e3, 1e4]], dtype))
    wide = Variable(x.data.astype("float64"))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for v in (x, wide):
            y = f(v)
            (g,) = dzcore.grad(y, v, create_graph=True)
            (gg,) = dzcore.grad(g * g, v, allow_unused=True) if g.requires_grad else (None,)
            if v is x:
                found = (y, g, gg)
    tolerance = {"float16": 2e-2, "float32": 1e-5, "float64": 0.0}[dtype]
    for a, b in zip(found, (y, g, gg), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == dtype
            np.testing.assert_allclose(a.data, b.data, rtol=tolerance, atol=tolerance)


def test_second_derivatives_of_gates_under_large_gradients(numpy_backend: Backend) -> None:
    """8 · 1e4 does not fit into float16, and must not be made on the way to 0."""
    for f in (F.silu, F.gelu):
        x = Variable(np.array([-1e4, 1e4], "float16"))
        with np.errstate(over="raise", invalid="raise"):
            (g,) = dzcore.grad(f(x), x, create_graph=True)
            (gg,) = dzcore.grad(g, x, Variable(np.full(2, 8.0, "float16")))
        assert np.abs(gg.data).max() < 2e-2  # float16 has a sigmoid of 2e-5 there


def test_gates_close_on_the_left(backend: Backend) -> None:
    """silu and gelu: x e^-|x| and less, not a small number times x, also in float16."""
    for dtype in ("float16", "float32", "float64"):
        if dtype in backend.dtypes:
            for f in (F.silu, F.gelu):
                y = f(Variable([-1e4, -500.0, 0.0, 500.0, 1e4], dtype=dtype))
                assert values(y) == pytest.approx([0.0, 0.0, 0.0, 500.0, 1e4], abs=1e-12)


def test_logsumexp_of_nothing(backend: Backend) -> None:
    """log of a sum of zeros is -inf, without a warning, and its gradient is 0 and not nan."""
    x = Variable([[-inf, -inf], [-inf, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = F.logsumexp(x, axis=1)
        for create_graph in (False, True):
            (g,) = dzcore.grad(y, x, create_graph=create_graph)
            assert values(g) == [0.0, 0.0, 0.0, 1.0]
    assert values(y) == [-inf, 0.0]
    assert float(F.logsumexp(Variable([inf, 1.0]))) == inf


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PAIRS, "softmax_cross_entropy"])
def test_reductions_that_do_not_exist_are_refused(name: str) -> None:
    t = np.array([0]) if name == "softmax_cross_entropy" else np.full((1, 2), 0.5)
    with pytest.raises(ValueError, match=r"reduction='average' must be one of 'batchmean', 'mean', 'sum', 'none'"):
        getattr(F, name)(np.full((1, 2), 0.5), t, reduction="average")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"t": [0, 1, 2]}, ValueError, r"t \(3,\); they must be"),
        ({"t": [0.0, 1.0]}, TypeError, "classes are integers"),
        ({"t": [[1, 0, 0], [0, 1, 0]]}, ValueError, r"t \(2, 3\); they must be"),
        ({"t": [0, 3]}, ValueError, r"outside of \[0, 3\)"),
        ({"t": [0, -1]}, ValueError, r"outside of \[0, 3\)"),
        ({"t": [0, -2], "ignore_index": -1}, ValueError, r"outside of \[0, 3\)"),
        ({"t": [-1, 3], "ignore_index": -1, "reduction": "none"}, ValueError, r"outside of \[0, 3\)"),
        ({"weight": [1.0, 2.0]}, ValueError, r"weight has shape \(2,\).*must be \(3,\)"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing=1.5 must be between 0 and 1"),
        ({"label_smoothing": -0.1}, ValueError, "label_smoothing=-0.1"),
        ({"ignore_index": 0.5}, TypeError, "integer"),
        ({"t": [[0.5, 0.5, 0.0]] * 2, "ignore_index": 0}, ValueError, "ignore_index=0 is for classes"),
        ({"axis": 2}, ValueError, "axis=2 does not exist"),
    ],
    ids=str,
)
def test_softmax_cross_entropy_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    options = {"t": [0, 1], **options}
    t = np.asarray(options.pop("t"))
    with pytest.raises(error, match=message):
        F.softmax_cross_entropy(Variable(np.ones((2, 3))), t, **options)


def test_weights_that_do_not_broadcast_are_refused() -> None:
    x, t = Variable(np.ones((2, 3))), np.ones((2, 3))
    for name in ("weight", "pos_weight"):
        for shape in ((2,), (3, 2), (1, 2, 3)):
            with pytest.raises(ValueError, match=f"{name} has shape .* does not broadcast"):
                F.sigmoid_cross_entropy(x, t, **{name: np.ones(shape)})
        F.sigmoid_cross_entropy(x, t, **{name: [1.0, 2.0, 3.0]})
    for delta in (0.0, -1.0):
        with pytest.raises(ValueError, match="delta="):
            F.huber_loss(x, t, delta)


def test_targets_may_be_a_column_as_in_dezero(backend: Backend) -> None:
    """Scores (n, 1) meet labels (n,), and classes may be (n, 1)."""
    x = Variable([[0.3], [-1.2], [2.0]])
    for loss in (F.sigmoid_cross_entropy, lambda x, t: F.binary_cross_entropy(F.sigmoid(x), t)):
        assert_close(loss(x, [1.0, 0.0, 1.0]).detach(), loss(x, [[1.0], [0.0], [1.0]]).detach())
    y = Variable([[0.3, 0.1], [-1.2, 2.0]])
    t = Variable([0, 1])
    assert_close(F.softmax_cross_entropy(y, F.reshape(t, (2, 1))).detach(), F.softmax_cross_entropy(y, t).detach())
    assert float(F.accuracy(y, F.reshape(t, (2, 1)))) == 1.0
    with pytest.raises(ValueError, match="shapes"):
        F.sigmoid_cross_entropy(x, [[1.0, 0.0, 1.0]])


def test_one_prediction_and_one_target_need_no_equal_shapes(backend: Backend) -> None:
    """A series is learnt one number at a time: (1, 1) against (1,), where nothing can be repeated by mistake."""
    for loss in (F.mean_squared_error, F.mean_absolute_error, F.huber_loss):
        y, t = Variable([[0.5]]), Variable([2.0])
        value = loss(y, t)
        value.backward()
        assert_close(value.detach(), loss(y, Variable([[2.0]])).detach())
        assert y.grad.shape == (1, 1)
        assert t.grad.shape == (1,)
    with pytest.raises(ValueError, match="shapes"):
        F.mean_squared_error(Variable([[0.5], [0.5]]), Variable([2.0, 2.0]))


def test_integer_predictions_are_refused(backend: Backend) -> None:
    """Targets take the dtype of predictions, and must not be rounded to integers for that."""
    x, t = dzcore.asarray([[1, 2]]), dzcore.asarray([[0.5, 0.7]])
    for loss in (F.sigmoid_cross_entropy, F.binary_cross_entropy, F.softmax_cross_entropy):
        with pytest.raises(TypeError, match=r"predictions have dtype .*int64; they must be floating-point"):
            loss(x, t)


def test_accuracy_takes_one_row_of_scores_a_sample(backend: Backend) -> None:
    for shape in ((3,), (3, 4, 3)):
        with pytest.raises(ValueError, match=r"accuracy: y has shape .*; they must be \(n, classes\)"):
            F.accuracy(dzcore.zeros(shape), dzcore.asarray([0, 1, 2]))


@pytest.mark.parametrize(("gate", "at"), [(F.gelu, 5.0), (F.silu, 17.0)], ids=["gelu", "silu"])
def test_second_derivatives_of_gates_far_to_the_right(gate: Callable[[Any], Variable], at: float) -> None:
    """They are as small as the gate is near 1, which one minus the gate would round to 0."""
    found = []
    for dtype in ("float32", "float64"):
        x = Variable(np.array([at], dtype))
        (gx,) = dzcore.grad(gate(x), x, create_graph=True)
        (ggx,) = dzcore.grad(gx, x)
        found.append(float(ggx.data[0]))
    assert found[1] < 0
    assert found[0] == pytest.approx(found[1], rel=0.1)  # sigmoid's own derivative, y - y², is rounded there
