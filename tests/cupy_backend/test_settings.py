"""Memory limit, TF32 and the reports: explicit choices, each refused with its reason where it has no effect."""

import subprocess
import sys

import pytest

import dzbackend_cupy
from dzbackend_cupy import allow_tf32, report, set_memory_limit, settings
from dzcore.errors import BackendError

from .usable import cupy_or_skip, emulated

cupy = cupy_or_skip()


@pytest.fixture
def pool():
    pool = cupy.get_default_memory_pool()
    if cupy.cuda.get_allocator() != pool.malloc:
        pytest.skip("CuPy's pool is switched off (guard pages)")
    yield pool
    pool.set_limit(size=0)


def test_a_limit_in_bytes(pool):
    set_memory_limit(1 << 30)
    assert pool.get_limit() == 1 << 30
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="limit set to: 1,073,741,824"):
        cupy.empty(2 << 30, dtype="uint8")
    set_memory_limit(None)
    assert pool.get_limit() == 0


def test_a_limit_as_a_share_of_the_device(pool):
    set_memory_limit(0.25)
    _, total = cupy.cuda.runtime.memGetInfo()
    assert pool.get_limit() == int(total * 0.25)


@pytest.mark.parametrize("limit", [0, -5, 1, 4096, (1 << 20) - 1, 0.0, 1.5, -0.1, float("nan")])
def test_a_limit_that_is_none(limit, pool):
    with pytest.raises(ValueError, match=f"limit={limit} must be at least 1048576 as bytes.*the whole device is 1.0"):
        set_memory_limit(limit)
    assert pool.get_limit() == 0


def test_the_smallest_limit(pool):
    set_memory_limit(1 << 20)
    assert pool.get_limit() == 1 << 20


@pytest.mark.parametrize("limit", [True, "1 GiB"])
def test_a_limit_of_another_type(limit, pool):
    with pytest.raises(TypeError, match="bytes"):
        set_memory_limit(limit)


def test_a_limit_for_an_allocator_that_is_not_the_pool(pool):
    cupy.cuda.set_allocator(None)
    try:
        with pytest.raises(BackendError, match="default pool"):
            set_memory_limit(0.5)
    finally:
        cupy.cuda.set_allocator(pool.malloc)


def test_the_backend_reports_its_memory(on_cupy, pool):
    x = cupy.zeros(1 << 20)
    set_memory_limit(2 << 30)
    text = on_cupy.report()
    assert text.startswith("cupy:0 ")
    assert "at the peak" in text
    assert text.endswith("limit 2.00 GiB")
    assert float(text.split(": ")[1].split(" MiB")[0]) >= 8.0
    del x


def test_the_machine_is_described():
    lines = report.machine().splitlines()
    assert lines[0].startswith(f"CuPy {cupy.__version__} for ")
    assert lines[1].startswith("cupy:0 ")
    assert (lines[-1] == "emulated, not a GPU: values count, times do not") == emulated


@pytest.mark.skipif(not emulated, reason="starts the emulator in a process of its own")
def test_the_module_prints_what_there_is():
    code = "import cupyemu, runpy; runpy.run_module('dzbackend_cupy', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "emulated, not a GPU" in done.stdout


# TF32 ----------------------------------------------------------------------------------------------------------------


def test_tf32_is_refused_where_it_has_no_effect():
    if not cupy.cuda.runtime.is_hip:
        pytest.skip("CUDA has it; see test_gpu.py")
    with pytest.raises(BackendError, match="ROCm.*stay exact"):
        allow_tf32()
    allow_tf32(False)  # which is how it is


class FakeRuntime:
    is_hip = False

    def getDeviceCount(self):
        return 2


def test_tf32_needs_a_device_that_has_it(monkeypatch):
    class Device:
        def __init__(self, number):
            self.compute_capability = ("90", "75")[number]

    monkeypatch.setattr(cupy.cuda, "runtime", FakeRuntime())
    monkeypatch.setattr(cupy.cuda, "Device", Device)
    assert settings._no_tf32(cupy) == "device 1 has compute capability 75, and TF32 needs 80"


def test_tf32_is_set_and_taken_back(monkeypatch):
    """As far as CuPy's own switch, which has an effect on CUDA only."""
    monkeypatch.setattr(settings, "_no_tf32", lambda cupy: None)
    linalg = cupy._core._routines_linalg
    before = cupy._core.get_compute_type("float32")
    allow_tf32()
    assert cupy._core.get_compute_type("float32") == linalg.COMPUTE_TYPE_TF32
    allow_tf32(False)
    assert cupy._core.get_compute_type("float32") == linalg.COMPUTE_TYPE_DEFAULT == before


# bfloat16 ------------------------------------------------------------------------------------------------------------


def test_a_product_of_bfloat16_is_an_error_where_it_would_end_the_process(on_cupy):
    if not cupy.cuda.runtime.is_hip:
        pytest.skip("CUDA can multiply it")
    x = cupy.ones((2, 2), dtype=on_cupy.dtypes["bfloat16"])
    for product in (on_cupy.xp.matmul, on_cupy.xp.vecdot, lambda a, b: on_cupy.xp.tensordot(a, b, axes=1)):
        with pytest.raises(BackendError, match="x1 has dtype bfloat16.*float32"):
            product(x, cupy.ones((2, 2)))
        with pytest.raises(BackendError, match="x2 has dtype bfloat16"):
            product(cupy.ones((2, 2)), x)
    assert float(on_cupy.xp.matmul(cupy.ones((2, 2)), cupy.ones((2, 2)))[0, 0]) == 2.0


def test_the_package_says_what_it_offers():
    assert set(dzbackend_cupy.__all__) >= {"CupyBackend", "allow_tf32", "repeatable_sums", "set_memory_limit"}
