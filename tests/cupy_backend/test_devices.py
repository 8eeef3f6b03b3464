"""Which device: the name, the number, and who is current. Machines with several are played by patched functions."""

import pytest

from dzbackend_cupy import CupyBackend
from dzcore.backend import get_backend
from dzcore.optimizers import SGD

from .usable import cupy_or_skip

cupy = cupy_or_skip()
runtime = cupy.cuda.runtime


def test_the_device_has_a_number(on_cupy):
    assert on_cupy.id == 0
    assert str(on_cupy) == "cupy"
    assert CupyBackend("0").id == 0
    assert "0" in CupyBackend.devices()


def test_the_first_device_has_two_names(on_cupy):
    assert get_backend("cupy:0") is get_backend("cupy") is on_cupy
    assert CupyBackend.default_device() == "0"


@pytest.mark.parametrize("name", ["99", "x", "", "-1", "0 "])
def test_a_device_that_is_not_there(name):
    with pytest.raises(ValueError, match="this machine has 0"):
        CupyBackend(name)


def test_none_is_the_first_device_whichever_is_current(several, monkeypatch):
    monkeypatch.setattr(cupy.cuda.runtime, "getDevice", lambda: 2, raising=False)
    backend = CupyBackend()
    assert backend.xp is not None
    assert (backend.id, several) == (0, [0])


class Switches(list):
    """Every device that was made the current one."""


@pytest.fixture
def several(monkeypatch):
    """Let CuPy count three devices; making one current is written down and goes no further."""
    switches = Switches()
    monkeypatch.setattr(CupyBackend, "devices", classmethod(lambda cls: ["0", "1", "2"]))

    class Recording:
        def __getattr__(self, name):
            return getattr(runtime, name)

        def setDevice(self, number):
            switches.append(number)

    monkeypatch.setattr(cupy.cuda, "runtime", Recording())
    return switches


def test_a_machine_with_one_device_never_switches(monkeypatch, several):
    monkeypatch.setattr(CupyBackend, "devices", classmethod(lambda cls: ["0"]))
    backend = CupyBackend("0")
    backend.xp, backend.ops, backend.random_bits(0, 0, 4)
    assert several == []


def test_everything_that_dzcore_asks_for_makes_the_device_current(several):
    backend = CupyBackend("2")
    x, index = cupy.ones((3, 2)), cupy.asarray([0, 1, 1])
    uses = {
        "xp": lambda: backend.xp,
        "ops": lambda: backend.ops,
        "to_host": lambda: backend.to_host(x),
        "from_host": lambda: backend.from_host(backend.to_host(x)),
        "index_add": lambda: backend.index_add(3, index, x),
        "windows_adjoint": lambda: backend.windows_adjoint(cupy.ones((2, 2)), (3,), (2,), (1,), (1,)),
        "random_bits": lambda: backend.random_bits(0, 0, 4),
        "fuse": lambda: backend.fuse(SGD.formula),
        "update": lambda: backend.update(SGD.formula, (x,), x.copy(), 0.1),
        "cross_entropy": lambda: backend.cross_entropy(x, index),
        "cross_entropy_gradient": lambda: backend.cross_entropy_gradient(cupy.ones(()), x, index),
        "asarray": lambda: backend.asarray([1.0]),
    }
    for name, use in uses.items():
        several.clear()
        use()
        assert set(several) == {2}, name


def test_an_array_of_another_device_is_not_owned(several):
    assert CupyBackend("0").owns(cupy.zeros(3))
    assert not CupyBackend("1").owns(cupy.zeros(3))


def test_backends_of_two_devices_have_operations_of_their_own(several):
    one, two = CupyBackend("0"), CupyBackend("1")
    assert one.ops is not two.ops
    assert one.ops.backend is one
    assert one.ops is one.ops
