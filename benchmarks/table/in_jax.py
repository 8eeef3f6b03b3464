"""The works in JAX: each step is one compiled function, whose old parameters are given away."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Step = Callable[[], Any]
Numbers = SimpleNamespace
Array = jax.Array


def start(threads: int) -> None:
    """Do nothing: it takes the processors that the process may use; `dz bench --threads` confines it."""
    jax.config.update("jax_platforms", "cpu")


def about() -> dict[str, str]:
    return {"jax": f"{jax.__version__}, jit"}


def read(result: Any) -> np.ndarray:
    return np.asarray(result, np.float64).reshape(-1)


def _stepping(
    update: Callable[..., tuple[Any, Any]], state: Any, *constants: Any, pick: Callable[[Any], Array] | None = None
) -> Step:
    """Return a step that makes a new state of the old one, and returns what `update` does, or `pick` of the state."""
    compiled = jax.jit(update, donate_argnums=0)
    box = [jax.tree.map(jnp.array, state)]

    def step() -> Array:
        box[0], result = jax.block_until_ready(compiled(box[0], *constants))
        return result if pick is None else pick(box[0])

    return step


def _pure(function: Callable[..., Array], *arguments: Any) -> Step:
    compiled = jax.jit(function)

    def step() -> Array:
        return jax.block_until_ready(compiled(*arguments))

    return step


def _cross_entropy(y: Array, t: Array) -> Array:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(y), t[:, None], axis=1))


def _sgd(params: Any, gradients: Any) -> Any:
    return jax.tree.map(lambda p, g: p - 0.01 * g, params, gradients)


def overhead(numbers: Numbers) -> Step:
    def chain(x: Array) -> Array:
        for _ in range(numbers.length):
            x = jax.nn.sigmoid(jnp.tanh(x * 4.0 - 2.0))
        return jnp.sum(x)

    return _pure(jax.grad(chain), jnp.asarray(numbers.x))


def _perceptron(weights: list[Array], x: Array, activation: Callable[[Array], Array]) -> Array:
    for W, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = activation(x @ W + b)
    return x @ weights[-2] + weights[-1]


def mlp(numbers: Numbers) -> Step:
    def update(weights: list[Array], x: Array, t: Array) -> tuple[list[Array], Array]:
        loss, gradients = jax.value_and_grad(lambda w: _cross_entropy(_perceptron(w, x, jax.nn.sigmoid), t))(weights)
        return _sgd(weights, gradients), loss

    return _stepping(update, numbers.weights, jnp.asarray(numbers.x), jnp.asarray(numbers.t))


def _adam(params: Any, moments: Any, gradients: Any, t: Array) -> tuple[Any, Any]:
    first, second = moments
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
    rate, scale = 0.001 / (1 - 0.9**t), 1 / jnp.sqrt(1 - 0.999**t)
    new = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) * scale + 1e-8), params, first, second)
    return new, (first, second)


def dropout(numbers: Numbers) -> Step:
    def scores(weights: list[Array], x: Array, key: Array) -> Array:
        for i in range(0, len(weights) - 2, 2):
            x = jax.nn.relu(x @ weights[i] + weights[i + 1])
            kept = jax.random.bernoulli(jax.random.fold_in(key, i), 0.5, x.shape)
            x = jnp.where(kept, x * 2.0, 0.0)
        return x @ weights[-2] + weights[-1]

    def update(state: Any, x: Array, t: Array) -> tuple[Any, Array]:
        weights, moments, key, n = state
        key, own = jax.random.split(key)
        loss, gradients = jax.value_and_grad(lambda w: _cross_entropy(scores(w, x, own), t))(weights)
        weights, moments = _adam(weights, moments, gradients, n)
        return (weights, moments, key, n + 1), loss

    zeros = [np.zeros_like(each) for each in numbers.weights]
    state = (numbers.weights, (zeros, zeros), jax.random.key(0), np.float32(1))
    return _stepping(update, state, jnp.asarray(numbers.x), jnp.asarray(numbers.t))


def gelu(numbers: Numbers) -> Step:
    def gradient(x: Array, gy: Array) -> tuple[Array, Array]:
        y, pull = jax.vjp(partial(jax.nn.gelu, approximate=True), x)
        return pull(gy)[0], y

    step = _pure(gradient, jnp.asarray(numbers.x), jnp.asarray(numbers.gy))
    return lambda: step()[0]


def _convolve(x: Array, W: Array, b: Array, pad: int) -> Array:
    y = jax.lax.conv_general_dilated(x, W, (1, 1), [(pad, pad)] * 2, dimension_numbers=("NCHW", "OIHW", "NCHW"))
    return y + b[:, None, None]


def _pool(x: Array) -> Array:
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def lenet(numbers: Numbers) -> Step:
    def scores(weights: list[Array], x: Array) -> Array:
        x = _pool(jax.nn.relu(_convolve(x, *weights[0:2], pad=2)))
        x = _pool(jax.nn.relu(_convolve(x, *weights[2:4], pad=0)))
        return _perceptron(weights[4:], x.reshape(x.shape[0], -1), jax.nn.relu)

    def update(weights: list[Array], x: Array, t: Array) -> tuple[list[Array], Array]:
        loss, gradients = jax.value_and_grad(lambda w: _cross_entropy(scores(w, x), t))(weights)
        return _sgd(weights, gradients), loss

    return _stepping(update, numbers.weights, jnp.asarray(numbers.x), jnp.asarray(numbers.t))


def convolutions(numbers: Numbers) -> Step:
    def block(weights: list[Array], x: Array) -> Array:
        x = jax.nn.relu(_convolve(x, *weights[0:2], pad=1))
        return _pool(jax.nn.relu(_convolve(x, *weights[2:4], pad=1)))

    def update(weights: list[Array], x: Array, gy: Array) -> tuple[list[Array], Array]:
        gradients, gx = jax.vjp(block, weights, x)[1](gy)
        return _sgd(weights, gradients), gx

    x, gy = jnp.asarray(numbers.x), jnp.asarray(numbers.gy)
    return _stepping(update, numbers.weights, x, gy, pick=lambda weights: weights[0])


def lstm(numbers: Numbers) -> Step:
    def outputs(weights: list[Array], xs: Array) -> Array:
        W, U, b = weights

        def cell(state: tuple[Array, Array], a: Array) -> tuple[tuple[Array, Array], Array]:
            h, c = state
            f, i, o, u = jnp.split(a + h @ U, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((xs.shape[1], U.shape[0]), xs.dtype)
        return jax.lax.scan(cell, (zeros, zeros), xs @ W + b)[1]

    def update(weights: list[Array], xs: Array, gy: Array) -> tuple[list[Array], None]:
        return _sgd(weights, jax.vjp(lambda w: outputs(w, xs), weights)[1](gy)[0]), None

    xs, gy = jnp.asarray(numbers.x), jnp.asarray(numbers.gy)
    return _stepping(update, [numbers.W, numbers.U, numbers.b], xs, gy, pick=lambda weights: weights[1])


def hvp(numbers: Numbers) -> Step:
    x, t = jnp.asarray(numbers.x), jnp.asarray(numbers.t)

    def loss(weights: list[Array]) -> Array:
        return jnp.sum((_perceptron(weights, x, jnp.tanh) - t) ** 2) / len(t)

    def product(weights: list[Array], direction: list[Array]) -> list[Array]:
        return jax.jvp(jax.grad(loss), (weights,), (direction,))[1]

    weights, direction = (list(map(jnp.asarray, each)) for each in (numbers.weights, numbers.direction))
    step = _pure(product, weights, direction)  # type: ignore[arg-type]  # a list of arrays is waited for as well
    return lambda: step()[0]


def adam(numbers: Numbers) -> Step:
    def update(state: Any, gradients: list[Array]) -> tuple[Any, None]:
        weights, moments, n = state
        weights, moments = _adam(weights, moments, gradients, n)
        return (weights, moments, n + 1), None

    zeros = [np.zeros_like(each) for each in numbers.weights]
    state = (numbers.weights, (zeros, zeros), np.float32(1))
    return _stepping(update, state, list(map(jnp.asarray, numbers.gradients)), pick=lambda state: state[0][0])


CONTENDERS: dict[str, dict[str, Callable[[Numbers], Step]]] = {
    name: {"jax": maker}
    for name, maker in {
        "overhead": overhead, "mlp": mlp, "dropout": dropout, "gelu": gelu, "lenet": lenet,
        "convolutions": convolutions, "lstm": lstm, "hvp": hvp, "adam": adam,
    }.items()
}  # fmt: skip
