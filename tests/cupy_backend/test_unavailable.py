"""Without CuPy, a driver, a device or a library: the backend imports, and says which of them it is and what helps."""

import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dzbackend_cupy import CupyBackend, probe
from dzbackend_cupy import backend as backend_module

REPOSITORY = Path(__file__).parents[2]
DRIVER_MISSING = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
NVRTC_MISSING = 'Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file: libnvrtc.so.12'


class DynamicLibNotFoundError(RuntimeError):
    """CuPy's own error for a library that is missing has this name and this base."""


def fail(error: Exception) -> Any:
    def raising(*_: object, **__: object) -> Any:
        raise error

    return raising


class FakeArray:
    def __init__(self, value: float) -> None:
        self.value = value

    def __getitem__(self, index: object) -> float:
        return self.value


def fake(**changes: Any) -> Any:
    """Return a CuPy for CUDA 12 on which everything works, with some things replaced."""
    parts = {
        "__version__": "14.2.0", "is_hip": False, "driver": 12040, "runtime": 12090, "count": lambda: 1,
        "compile": lambda source, name: lambda grid, block, arguments: None, "answer": 42,
        "matmul": lambda x, y: FakeArray(8.0), **changes,
    }  # fmt: skip
    runtime = SimpleNamespace(
        is_hip=parts["is_hip"],
        driverGetVersion=lambda: parts["driver"],
        runtimeGetVersion=lambda: parts["runtime"],
        getDeviceCount=parts["count"],
    )
    return SimpleNamespace(
        __version__=parts["__version__"],
        cuda=SimpleNamespace(runtime=runtime),
        zeros=lambda shape, dtype: FakeArray(parts["answer"]),
        full=lambda shape, value, dtype: FakeArray(value),
        RawKernel=parts["compile"],
        matmul=parts["matmul"],
    )


def test_nothing_is_wrong_where_nothing_is():
    assert probe.diagnose(fake()) is None
    assert probe.diagnose(fake(is_hip=True, driver=70051831, runtime=70051831)) is None


CASES = {
    "old": (fake(__version__="13.6.0"), ["13.6.0 is older than 14", "dzbackend-cupy[cuda12]"]),
    "no driver": (fake(driver=0), ["no NVIDIA driver", "nvidia-smi"]),
    "no driver, AMD": (fake(driver=0, is_hip=True), ["no AMD driver", "rocminfo"]),
    "old driver": (fake(driver=12040, runtime=13020), ["CUDA 13", "for CUDA 12", "dzbackend-cupy[cuda12]"]),
    "error for a device": (fake(count=fail(RuntimeError(DRIVER_MISSING))), ["no usable device", DRIVER_MISSING]),
    "no device": (fake(count=lambda: 0), ["no usable device", "counts 0 devices"]),
    "no NVRTC": (
        fake(compile=fail(DynamicLibNotFoundError(NVRTC_MISSING))),
        ["cannot load NVRTC", "libnvrtc.so.12", "pip install 'dzbackend-cupy[cuda12]' brings it"],
    ),
    "no cuBLAS": (
        fake(matmul=fail(ImportError('Failure finding "libcublasLt.so.13"')), runtime=13020, driver=13020),
        ["cannot load cuBLAS", "libcublasLt", "pip install 'dzbackend-cupy[cuda13]' brings it"],
    ),
    "no hipBLAS": (
        fake(is_hip=True, driver=7, runtime=7, matmul=fail(ImportError("libhipblas.so.3"))),
        ["cannot load hipBLAS", "dzbackend-cupy[rocm]"],
    ),
    "a device that does not work": (fake(compile=fail(RuntimeError("no kernel image"))), ["fails", "no kernel image"]),
    "a wrong kernel": (fake(answer=41), ["wrong result", "compiles kernels"]),
    "a wrong product": (fake(matmul=lambda x, y: FakeArray(7.0)), ["wrong result", "multiplies matrices"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_reason_names_what_is_missing_and_what_helps(case):
    cupy, parts = CASES[case]
    reason = probe.diagnose(cupy)
    assert reason is not None
    for part in parts:
        assert part in reason
    assert "\n" not in reason


def test_the_reasons_are_distinct():
    reasons = [probe.diagnose(cupy) for cupy, _ in CASES.values()]
    assert len(set(reasons)) == len(reasons)


def test_devices_that_a_variable_hides(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "CUDA_VISIBLE_DEVICES='-1' may hide it" in str(probe.diagnose(fake(count=lambda: 0)))


def test_whatever_goes_wrong_is_a_reason(monkeypatch):
    broken = fake()
    broken.cuda.runtime.driverGetVersion = fail(OSError("libcuda.so.1: cannot open"))
    monkeypatch.setitem(sys.modules, "cupy", broken)
    assert "libcuda.so.1: cannot open" in str(CupyBackend.why_unavailable())


def in_a_process(tmp_path: Path, cupy: str | None, code: str) -> str:
    """Run code where `import cupy` runs the source `cupy`, or finds nothing."""
    site = tmp_path / "site"
    site.mkdir()
    if cupy is not None:
        (site / "cupy.py").write_text(cupy, encoding="utf-8")
    prelude = f"""
        import sys
        sys.path[:0] = [{str(site)!r}, {str(REPOSITORY)!r}]
        if {cupy is None}:
            sys.modules["cupy"] = None  # an installed CuPy is not there for this process
    """
    program = textwrap.dedent(prelude) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


SAY = """
    import dzbackend_cupy, dzcore
    print(dzbackend_cupy.CupyBackend.why_unavailable())
    for function in (dzbackend_cupy.allow_tf32, lambda: dzbackend_cupy.set_memory_limit(0.5)):
        try:
            function()
        except dzcore.errors.BackendUnavailableError as error:
            print(error)
    dzcore.register_backend(dzbackend_cupy.CupyBackend, replace=True)
    print("cupy" in dzcore.available_backends())
    print(dzbackend_cupy.CupyBackend.capabilities())
"""


def test_it_imports_without_cupy_and_says_so(tmp_path):
    lines = in_a_process(tmp_path, None, SAY).splitlines()
    assert lines[0].startswith("CuPy is not installed: pip install 'dzbackend-cupy[cuda12]'")
    assert lines[1].startswith("allow_tf32: CuPy is not installed")
    assert lines[2].startswith("set_memory_limit: CuPy is not installed")
    assert lines[3] == "False"
    assert "random_bits" in lines[4]


def test_it_imports_with_a_cupy_that_does_not(tmp_path):
    source = 'raise ImportError("libamdhip64.so.7: cannot open shared object file")'
    lines = in_a_process(tmp_path, source, SAY).splitlines()
    assert lines[0].startswith("CuPy is installed and cannot be imported (ImportError: libamdhip64.so.7")
    assert lines[3] == "False"


LIST = """
    import sys, dzbackend_cupy, dzcore
    from dzcore.cli import main
    dzcore.register_backend(dzbackend_cupy.CupyBackend, replace=True)
    print("status", main(["backends"]))
"""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "CuPy is not installed: pip install 'dzbackend-cupy[cuda12]'"),
        ('raise ImportError("libcudart.so.12: no such file")', "CuPy is installed and cannot be imported"),
        (
            "from types import SimpleNamespace\n"
            "__version__ = '14.2.0'\n"
            "cuda = SimpleNamespace(runtime=SimpleNamespace(is_hip=False, driverGetVersion=lambda: 0))\n",
            "CuPy 14.2.0 is installed, and there is no NVIDIA driver on this machine",
        ),
    ],
)
def test_dz_backends_says_why_it_is_unusable(source, reason, tmp_path):
    printed = " ".join(in_a_process(tmp_path, source, LIST).split())
    assert f" cupy register_backend no: {reason}" in printed
    assert "numpy" in printed
    assert printed.endswith("status 0")


def test_the_module_prints_the_reason(tmp_path):
    code = """
        import runpy
        try:
            runpy.run_module("dzbackend_cupy", run_name="__main__")
        except SystemExit as end:
            print(end.code)
    """
    printed = in_a_process(tmp_path, None, code)
    assert printed.startswith("not usable: CuPy is not installed")
    assert printed.splitlines()[-1] == "1"


def test_a_backend_that_fails_with_a_cupy_that_works(monkeypatch):
    monkeypatch.setattr(backend_module, "_failure", "AttributeError: no such thing")
    monkeypatch.setattr(probe, "why_unavailable", lambda: None)
    assert "AttributeError: no such thing" in str(CupyBackend.why_unavailable())
    monkeypatch.setattr(backend_module, "_failure", "")
    assert CupyBackend.why_unavailable() is None
