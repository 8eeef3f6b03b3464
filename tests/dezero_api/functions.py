"""The functions and the convolutions, each called as DeZero's scripts call them, with value and gradient."""

from collections.abc import Callable
from typing import Any

import numpy as np

import dzcore
import dzcore.functions as F
import dzcore.functions_conv as C
from dzcore import Variable

from .check import ROWS, rows, same, slopes

Z = [-1.0, 0.5, 2.0]
SIGMOID = 1 / (1 + np.exp(-np.array(Z)))
SOFTMAX = np.exp(ROWS) / np.exp(ROWS).sum(axis=1, keepdims=True)


def elementwise(f: Callable[[Any], Any], value: Any, slope: Any, x: list[float] = Z) -> Callable[[], None]:
    return lambda: slopes(f, x, value=value(np.array(x)), gradients=(slope(np.array(x)),))


def extreme(f: Callable[..., Any], value: Any, place: tuple[int, int]) -> Callable[[], None]:
    def case() -> None:
        gradient = np.zeros((2, 3))
        gradient[place] = 1.0
        slopes(f, ROWS.tolist(), value=value, gradients=(gradient,))
        assert f(rows(), axis=-1, keepdims=True).shape == (2, 1)

    return case


def a_matmul() -> None:
    W = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    gx, gW = [[1.0, 1.0, 2.0]] * 2, [[5.0, 5.0], [7.0, 7.0], [9.0, 9.0]]
    slopes(F.matmul, ROWS.tolist(), W, value=ROWS @ np.array(W), gradients=(gx, gW))


def a_linear(f: Callable[..., Any]) -> Callable[[], None]:
    def case() -> None:
        W, b = [[1.0], [0.0], [2.0]], [10.0]
        y, gx, gW = [[17.0], [26.0]], [[1.0, 0.0, 2.0]] * 2, [[5.0], [7.0], [9.0]]
        slopes(f, ROWS.tolist(), W, b, value=y, gradients=(gx, gW, [2.0]))
        slopes(lambda x, W: f(x, W, b=None), ROWS.tolist(), W, value=np.array(y) - 10.0, gradients=(gx, gW))

    return case


def a_softmax(f: Callable[..., Any]) -> Callable[[], None]:
    def case() -> None:
        slopes(f, ROWS.tolist(), value=SOFTMAX, gradients=(np.zeros((2, 3)),))
        same(f(rows(), axis=1), SOFTMAX)

    return case


def a_squared_error(f: Callable[..., Any]) -> Callable[[], None]:
    """Divided by the length of the first axis, not by the number of elements."""
    x, t, gx = [[1.0, 4.0], [0.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]], np.array([[1.0, 2.0], [0.0, 0.0]])
    return lambda: slopes(f, x, t, value=2.5, gradients=(gx, -gx))


def a_cross_entropy(f: Callable[..., Any]) -> Callable[[], None]:
    def case() -> None:
        t = np.array([2, 0])
        gradient = (SOFTMAX - np.eye(3)[t]) / 2
        slopes(lambda x: f(x, t), ROWS.tolist(), value=-np.log(SOFTMAX[[0, 1], t]).mean(), gradients=(gradient,))

    return case


def a_sigmoid_cross_entropy() -> None:
    t = np.array([0.0, 1.0, 1.0])
    value = -(t * np.log(SIGMOID) + (1 - t) * np.log(1 - SIGMOID)).mean()
    slopes(lambda x: F.sigmoid_cross_entropy(x, t), Z, value=value, gradients=((SIGMOID - t) / 3,))


def a_binary_cross_entropy() -> None:
    slopes(
        lambda p: F.binary_cross_entropy(p, np.array([1.0, 0.0])), [0.5, 0.2],
        value=-(np.log(0.5) + np.log(0.8)) / 2, gradients=([-1.0, 0.625],),
    )  # fmt: skip


def a_dropout() -> None:
    x = Variable(np.ones(100))
    y = F.dropout(x, dropout_ratio=0.5)
    assert set(y.data.tolist()) == {0.0, 2.0}
    y.backward()
    same(x.grad, y.data)


def a_batch_norm(f: Callable[..., Any]) -> Callable[[], None]:
    def case() -> None:
        gamma, beta = Variable(np.ones(3)), Variable(np.zeros(3))
        mean, var = np.zeros(3), np.ones(3)
        y = f(rows(), gamma, beta, mean, var, decay=0.9, eps=2e-5)
        same(y, [[-1.0] * 3, [1.0] * 3], rtol=1e-4)
        same(mean, [0.25, 0.35, 0.45])
        y.backward()
        same(beta.grad, [2.0] * 3)
        with dzcore.test_mode():
            same(f(rows(), gamma, beta, np.zeros(3), np.ones(3)), ROWS, rtol=1e-4)

    return case


def an_embedding() -> None:
    W = Variable(np.arange(6.0).reshape(3, 2))
    y = F.embed_id(np.array([0, 2, 2]), W)
    same(y, [[0, 1], [4, 5], [4, 5]])
    y.backward()
    same(W.grad, [[1, 1], [0, 0], [2, 2]])


def indexing() -> None:
    slopes(lambda x: F.get_item(x, (slice(None), 1)), ROWS.tolist(), value=[2, 5], gradients=([[0, 1, 0]] * 2,))
    same(F.get_item(rows(), slices=1), ROWS[1])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sin": elementwise(F.sin, np.sin, np.cos),
    "cos": elementwise(F.cos, np.cos, lambda x: -np.sin(x)),
    "tanh": elementwise(F.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "exp": elementwise(F.exp, np.exp, np.exp),
    "log": elementwise(F.log, np.log, lambda x: 1 / x, [0.5, 2.0]),
    "reshape": lambda: slopes(
        lambda x: F.reshape(x, (3, 2)), ROWS.tolist(), value=ROWS.reshape(3, 2), gradients=(np.ones((2, 3)),)
    ),
    "transpose": lambda: (same(F.transpose(rows()), ROWS.T), same(F.transpose(rows(), axes=(1, 0)), ROWS.T)),
    "get_item": indexing,
    "expand_dims": lambda: (
        same(F.expand_dims(rows(), axis=1), ROWS[:, None]), same(F.expand_dims(rows(), -1), ROWS[..., None])
    ),
    "flatten": lambda: same(F.flatten(Variable(np.ones((2, 3, 4)))), np.ones((2, 12))),
    "sum": lambda: slopes(
        lambda x: F.sum(x, axis=0, keepdims=True), ROWS.tolist(), value=[[5.0, 7.0, 9.0]], gradients=(np.ones((2, 3)),)
    ),
    "sum_to": lambda: slopes(
        lambda x: F.sum_to(x, (1, 3)), ROWS.tolist(), value=[[5.0, 7.0, 9.0]], gradients=(np.ones((2, 3)),)
    ),
    "broadcast_to": lambda: slopes(
        lambda x: F.broadcast_to(x, (2, 3)), [1.0, 2.0, 3.0], value=[[1.0, 2.0, 3.0]] * 2, gradients=([2.0] * 3,)
    ),
    "average": lambda: slopes(
        lambda x: F.average(x, axis=1), ROWS.tolist(), value=[2, 5], gradients=(np.ones((2, 3)) / 3,)
    ),
    "mean": lambda: slopes(F.mean, ROWS.tolist(), value=3.5, gradients=(np.ones((2, 3)) / 6,)),
    "matmul": a_matmul,
    "linear": a_linear(F.linear),
    "linear_simple": a_linear(F.linear_simple),
    "sigmoid": elementwise(F.sigmoid, lambda x: SIGMOID, lambda x: SIGMOID * (1 - SIGMOID)),
    "sigmoid_simple": elementwise(F.sigmoid_simple, lambda x: SIGMOID, lambda x: SIGMOID * (1 - SIGMOID)),
    "relu": elementwise(F.relu, lambda x: np.maximum(x, 0), lambda x: x > 0),
    "softmax": a_softmax(F.softmax),
    "softmax_simple": a_softmax(F.softmax_simple),
    "log_softmax": lambda: same(F.log_softmax(rows(), axis=1), np.log(SOFTMAX)),
    "leaky_relu": elementwise(
        lambda x: F.leaky_relu(x, slope=0.2), lambda x: np.where(x > 0, x, x * 0.2), lambda x: np.where(x > 0, 1, 0.2)
    ),
    "mean_squared_error": a_squared_error(F.mean_squared_error),
    "mean_squared_error_simple": a_squared_error(F.mean_squared_error_simple),
    "softmax_cross_entropy": a_cross_entropy(F.softmax_cross_entropy),
    "softmax_cross_entropy_simple": a_cross_entropy(F.softmax_cross_entropy_simple),
    "sigmoid_cross_entropy": a_sigmoid_cross_entropy,
    "binary_cross_entropy": a_binary_cross_entropy,
    "accuracy": lambda: same(F.accuracy(rows(), np.array([2, 0])), 0.5),
    "dropout": a_dropout,
    "batch_norm": a_batch_norm(lambda *args, **options: F.batch_norm(*args, **options)),
    "batch_nrom": a_batch_norm(lambda *args, **options: F.batch_nrom(*args, **options)),
    "embed_id": an_embedding,
    "max": extreme(F.max, 6.0, (1, 2)),
    "min": extreme(F.min, 1.0, (0, 0)),
    "clip": elementwise(lambda x: F.clip(x, x_min=0.0, x_max=1.0), lambda x: np.clip(x, 0, 1),
                        lambda x: (x > 0) & (x < 1)),
    "conv2d": lambda: same(F.conv2d(IMAGE, KERNEL), CONVOLVED),
}  # fmt: skip


# Convolutions: by the definition, on one picture --------------------------------------------------------------------

IMAGE = np.arange(16.0).reshape(1, 1, 4, 4)
KERNEL = np.array([[1.0, 0.0], [0.0, 2.0]]).reshape(1, 1, 2, 2)
#: At (i, j) x[i, j] + 2 x[i + 1, j + 1].
CONVOLVED = IMAGE[:, :, :3, :3] + 2 * IMAGE[:, :, 1:, 1:]
#: Windows of 2 by 2, next to each other.
BLOCKS = IMAGE.reshape(1, 1, 2, 2, 2, 2)


def a_convolution(f: Callable[..., Any]) -> Callable[[], None]:
    def case() -> None:
        gb = Variable(np.zeros(1))
        gW = [[[[IMAGE[0, 0, a : a + 3, b : b + 3].sum() for b in (0, 1)] for a in (0, 1)]]]
        slopes(lambda W: f(IMAGE, W, gb, 1, 0), KERNEL.tolist(), value=CONVOLVED, gradients=(gW,))
        same(gb.grad, [9.0])
        assert f(IMAGE, KERNEL, b=None, stride=(2, 1), pad=(0, 1)).shape == (1, 1, 2, 5)

    return case


def a_deconvolution() -> None:
    """A single pixel spreads the kernel; and it is the transpose of conv2d."""
    same(C.deconv2d(np.ones((1, 1, 1, 1)), KERNEL, b=None, stride=1, pad=0, outsize=None), KERNEL)
    y = np.arange(9.0).reshape(1, 1, 3, 3)
    same(np.sum(C.deconv2d(y, KERNEL).data * IMAGE), np.sum(y * CONVOLVED))
    assert C.deconv2d(y, KERNEL, stride=2, outsize=(7, 6)).shape == (1, 1, 7, 6)


def a_pooling(f: Callable[..., Any], value: Any, gradient: Any) -> Callable[[], None]:
    def case() -> None:
        slopes(lambda x: f(x, 2, 2), IMAGE.tolist(), value=value, gradients=(gradient,))
        assert f(IMAGE, kernel_size=(2, 3), stride=1, pad=0).shape == (1, 1, 3, 2)

    return case


def columns(f: Callable[..., Any]) -> Callable[[], None]:
    """The rows of the matrix are windows, in the order of their places."""

    def case() -> None:
        windows = [IMAGE[0, 0, i : i + 2, j : j + 2].reshape(-1) for i in range(3) for j in range(3)]
        same(f(IMAGE, (2, 2), 1, 0, to_matrix=True), windows)
        assert f(IMAGE, 2, 1, 0, to_matrix=False).shape == (1, 1, 2, 2, 3, 3)

    return case


def images(f: Callable[..., Any]) -> Callable[[], None]:
    """Every pixel comes back as often as there are windows on it."""
    counts = np.outer([1.0, 2.0, 2.0, 1.0], [1.0, 2.0, 2.0, 1.0])
    return lambda: (
        same(f(np.ones((9, 4)), (1, 1, 4, 4), 2, 1, 0, to_matrix=True)[0, 0], counts),
        same(f(np.ones((1, 1, 2, 2, 3, 3)), (1, 1, 4, 4), (2, 2), 1, 0, to_matrix=False)[0, 0], counts),
    )


LARGEST = np.zeros((1, 1, 4, 4))
LARGEST[:, :, 1::2, 1::2] = 1.0

CONVOLUTIONS: dict[str, Callable[..., Any]] = {
    "conv2d": a_convolution(C.conv2d),
    "conv2d_simple": a_convolution(C.conv2d_simple),
    "deconv2d": a_deconvolution,
    "pooling": a_pooling(C.pooling, BLOCKS.max(axis=(3, 5)), LARGEST),
    "pooling_simple": a_pooling(C.pooling_simple, BLOCKS.max(axis=(3, 5)), LARGEST),
    "average_pooling": a_pooling(C.average_pooling, BLOCKS.mean(axis=(3, 5)), np.full((1, 1, 4, 4), 0.25)),
    "im2col": columns(C.im2col),
    "col2im": images(C.col2im),
    "im2col_array": columns(C.im2col_array),
    "col2im_array": images(C.col2im_array),
}
