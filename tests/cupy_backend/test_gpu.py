"""What only a device can show. On the emulator, and without one, each of these is skipped and says why."""

import time

import numpy as np
import pytest

import dzcore
from dzbackend_cupy import CupyBackend, allow_tf32
from dzbackend_numpy import NumpyBackend
from dzcore import random

from .usable import cupy_or_skip

cupy = cupy_or_skip()
pytestmark = pytest.mark.gpu
host = NumpyBackend()


def seconds(work, times=10):
    """Measure on the device, after a first run."""
    work()
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    for _ in range(times):
        work()
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(begin, end) / 1000 / times


def test_tf32_rounds_products(on_cupy):
    if cupy.cuda.runtime.is_hip:
        pytest.skip("CuPy for ROCm has no TF32")
    if int(cupy.cuda.Device().compute_capability) < 80:
        pytest.skip("TF32 needs compute capability 8.0")
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(512, 512)).astype(np.float32) for _ in range(2))
    exact = x.astype(np.float64) @ y.astype(np.float64)

    def error():
        return float(np.abs(on_cupy.xp.matmul(cupy.asarray(x), cupy.asarray(y)).get() - exact).max())

    plain = error()
    allow_tf32()
    try:
        rounded = error()
    finally:
        allow_tf32(False)
    assert error() == plain < 1e-3
    assert 10 * plain < rounded < 1.0


def test_bfloat16_products(on_cupy):
    if cupy.cuda.runtime.is_hip:
        pytest.skip("CuPy for ROCm cannot multiply bfloat16")
    x = cupy.ones((64, 64), dtype=on_cupy.dtypes["bfloat16"])
    assert float(on_cupy.xp.matmul(x, x)[0, 0]) == 64.0


def test_copies_travel_while_kernels_run(on_cupy):
    """Sending 32 MiB beside products takes about as long as the longer of both, not as their sum."""
    big = host.to_host(np.zeros(1 << 23, np.float32))
    x = cupy.ones((4096, 4096), dtype=np.float32)

    def compute():
        for _ in range(4):
            cupy.matmul(x, x)

    alone, copy = seconds(compute), seconds(lambda: on_cupy.from_host(big))
    both = seconds(lambda: (compute(), on_cupy.from_host(big)))
    assert both < alone + 0.6 * copy, (alone, copy, both)


def test_the_host_runs_ahead_of_the_device(on_cupy):
    """A training step returns before its kernels are done."""
    random.seed(0)
    with dzcore.use_backend(on_cupy):
        model = dzcore.models.MLP((4096, 4096, 10))
        optimizer = dzcore.optimizers.Adam().setup(model)
        x, t = random.normal((2048, 4096)), random.integers(0, 10, (2048,))

        def step():
            loss = dzcore.functions.softmax_cross_entropy(model(x), t)
            model.cleargrads()
            loss.backward()
            optimizer.update()

        step()
        on_cupy.synchronize()
        start = time.perf_counter()
        step()
        returned = time.perf_counter() - start
        on_cupy.synchronize()
        done = time.perf_counter() - start
    assert returned < 0.5 * done, (returned, done)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_an_update_in_one_pass_is_faster_than_step_by_step(dtype, on_cupy):
    from dzcore.optimizers import Adam

    targets = tuple(cupy.ones(1 << 24, dtype=dtype) for _ in range(3))
    gradient, numbers = cupy.ones(1 << 24, dtype=dtype), (0.1, 1.0, 0.9, 0.1, 0.99, 0.01, 1e-8)
    one = seconds(lambda: on_cupy.update(Adam.formula, targets, gradient, *numbers))
    many = seconds(lambda: Adam.formula(on_cupy.xp, *targets, gradient, *numbers))
    assert one < 0.5 * many, (one, many)


def test_several_devices():
    if len(CupyBackend.devices()) < 2:
        pytest.skip("there is one device")
    one, two = dzcore.get_backend("cupy:0"), dzcore.get_backend("cupy:1")
    x = dzcore.Variable(cupy.ones((8, 8)), backend=one)
    y = x.to(two)
    assert two.owns(y.data)
    assert not one.owns(y.data)
    z = y @ y
    assert two.owns(z.data)
    (gradient,) = dzcore.grad([dzcore.functions.sum(z)], [x])
    assert one.owns(gradient.data)
    np.testing.assert_array_equal(gradient.data.get(), np.full((8, 8), 16.0))
    with pytest.raises(dzcore.errors.MixedBackendError):
        x + y


def test_indices_beyond_32_bits(on_cupy):
    """An array of 2**31 + 5 bytes, of which the last elements are right."""
    n = 2**31 + 5
    if cupy.cuda.runtime.memGetInfo()[0] < 3 * n:
        pytest.skip("needs 6 GiB of free memory")
    columns = cupy.zeros((n, 1), dtype=np.int8).reshape(1, n)
    columns[0, -1] = 7
    found = on_cupy.windows_adjoint(columns, (n,), (1,), (1,), (1,))
    assert int(found[-1]) == 7
    assert int(found[-2]) == 0
    del columns, found
    cupy.get_default_memory_pool().free_all_blocks()
    bits = on_cupy.random_bits(5, 3, 2**29 + 9)
    np.testing.assert_array_equal(bits[-9:].get(), host.random_bits(5, 3 + 2**29, 9))


def test_atomic_sums_are_right_to_rounding(on_cupy):
    rng = np.random.default_rng(0)
    index, values = rng.integers(0, 100, 1 << 20), rng.normal(size=(1 << 20, 4)).astype(np.float32)
    exact = np.zeros((100, 4))
    np.add.at(exact, index, values.astype(np.float64))
    found = on_cupy.index_add(100, cupy.asarray(index), cupy.asarray(values)).get()
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-2)
