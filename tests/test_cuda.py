"""dzcore.cuda: DeZero's names, for whichever accelerator there is."""

from typing import Any

import numpy as np
import pytest

import dzcore
from dzcore import Variable, cuda
from dzcore.backend import Backend, register_backend
from dzcore.errors import BackendNotFoundError, BackendUnavailableError

from .backend.conftest import site as site
from .backend.plugins import Site
from .elsewhere import Accelerator
from .elsewhere import empty_registry as empty_registry
from .elsewhere import gpu as gpu
from .elsewhere import only_numpy as only_numpy


def test_without_an_accelerator(only_numpy: Backend) -> None:
    assert cuda.gpu_enable is False
    with pytest.raises(BackendNotFoundError, match="No accelerator backend is installed. Installed: numpy"):
        cuda.as_cupy(np.zeros(2))


def test_the_reason_is_told(only_numpy: Backend) -> None:
    class Broken(Accelerator):
        @classmethod
        def why_unavailable(cls) -> str | None:
            return "no device was found"

    register_backend(Broken)
    assert cuda.gpu_enable is False
    with pytest.raises(BackendUnavailableError, match="no device was found"):
        cuda.as_cupy([1.0])


def test_it_is_found_out_when_asked(gpu: Backend) -> None:
    assert cuda.gpu_enable is True
    from dzcore.cuda import gpu_enable

    assert gpu_enable is True


def test_other_names_are_told() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'cupy'; it offers as_cupy, as_numpy, get_array_module"):
        cuda.cupy  # noqa: B018
    assert set(cuda.__all__) == {"as_cupy", "as_numpy", "get_array_module", "gpu_enable"}


def test_there_and_back(gpu: Backend) -> None:
    x = np.asarray([[1.5, -0.0], [np.inf, 3.0]], np.float32)
    for given in (x, Variable(x)):
        there = cuda.as_cupy(given)
        assert gpu.owns(there)
        back = cuda.as_numpy(there)
        assert isinstance(back, np.ndarray)
        assert back.tobytes() == x.tobytes()
        assert cuda.as_numpy(Variable(there)).tobytes() == x.tobytes()


def test_what_is_there_stays_as_it_is(gpu: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros(2)
    assert cuda.as_numpy(x) is x
    assert cuda.as_numpy(Variable(x)) is x
    there = cuda.as_cupy(x)
    monkeypatch.setattr(gpu, "to_host", None)  # nobody calls it
    assert gpu.owns(cuda.as_cupy(there))


@pytest.mark.parametrize(("number", "dtype"), [(2.5, np.float32), (3, np.int64), (True, np.bool_), ([1.0], np.float32)])
def test_numbers(number: Any, dtype: Any, gpu: Backend) -> None:
    here = cuda.as_numpy(number)
    assert (here.dtype, here.tolist()) == (dtype, number)
    assert gpu.owns(cuda.as_cupy(number))


def test_functions_for_an_array(gpu: Backend, only_numpy: Backend) -> None:
    x = np.asarray([1.0, 4.0])
    for given in (x, Variable(x), 1.0, [1.0]):
        assert cuda.get_array_module(given) is only_numpy.xp
    assert cuda.get_array_module(x).sqrt(x).tolist() == [1, 2]
    for given in (cuda.as_cupy(x), Variable(cuda.as_cupy(x))):
        assert cuda.get_array_module(given) is gpu.xp
    with pytest.raises(TypeError):
        cuda.get_array_module("text")


def test_a_function_of_dezeros_book_runs_everywhere(gpu: Backend) -> None:
    class Sin(dzcore.Function):
        def forward(self, x: Any) -> Any:
            return cuda.get_array_module(x).sin(x)

        def backward(self, gy: Any) -> Any:
            (x,) = self.inputs
            return gy * dzcore.cos(x)

    for convert in (cuda.as_numpy, cuda.as_cupy):
        x = Variable(convert([0.0]))
        Sin()(x).backward()
        assert cuda.as_numpy(x.grad).tolist() == [1]


def test_it_needs_no_array_library(site: Site) -> None:
    """In a Python that has no backend at all: the module is there, and says so."""
    assert site.ask("""
import dzcore
answer = [dzcore.cuda.gpu_enable, error(dzcore.cuda.as_numpy, 1.0)[:2]]
""") == [False, ["BackendNotFoundError", "No host backend is installed. Installed: none."]]
