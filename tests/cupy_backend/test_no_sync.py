"""A training step never waits for the device: nothing reads a value, and nothing copies one to the host."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzbackend_cupy import CupyBackend
from dzcore import random
from dzcore.backend import HostArray
from dzcore.dataloaders import DataLoader
from dzcore.models import MLP
from dzcore.optimizers import SGD, AdaDelta, AdaGrad, Adam, AdamW, MomentumSGD
from dzcore.optimizers.hooks import ClipGrad, FreezeParam, WeightDecay

from .usable import cupy_or_skip

cupy = cupy_or_skip()
from dzbackend_cupy import upload  # noqa: E402  # imports CuPy

READS = ("__float__", "__int__", "__bool__", "__complex__", "__index__", "__array__", "__str__", "__repr__",
         "item", "get", "tolist", "tobytes", "dump", "dumps")  # fmt: skip
RUNTIME = cupy.cuda.runtime
WAITS = (
    *((owner, "synchronize") for owner in (cupy.cuda.Stream, cupy.cuda.Event, CupyBackend)),
    (CupyBackend, "to_host"),
    (cupy, "asnumpy"),
    # the runtime's own: deviceSynchronize, streamSynchronize, eventSynchronize, and copies that are not asynchronous
    *((RUNTIME, name) for name in dir(RUNTIME) if "ynchronize" in name),
    *((RUNTIME, name) for name in dir(RUNTIME) if name.startswith("memcpy") and "Async" not in name),
)


class Device(cupy.cuda.Device):
    """CuPy's own, a type of Cython, lets nobody replace its method."""

    def synchronize(self):
        raise WaitedError("Device.synchronize")


class WaitedError(AssertionError):
    """Something waited for the device."""


@contextmanager
def no_waiting():
    """Let every way to a value of an array raise: Python's, CuPy's own watch over it, and the backend's."""

    def refuse(name):
        def refused(*_, **__):
            raise WaitedError(name)

        return refused

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy's watch will be removed some day, being incomplete
        from cupyx import allow_synchronize

        for name in READS:
            if hasattr(cupy.ndarray, name):
                patch.setattr(cupy.ndarray, name, refuse(name))
        for owner, name in WAITS:
            patch.setattr(owner, name, refuse(name))
        patch.setattr(cupy.cuda, "Device", Device)
        with allow_synchronize(False):
            yield


@pytest.fixture
def here(on_cupy):
    random.seed(3)
    with dzcore.use_backend(on_cupy):
        yield on_cupy


def test_the_watch_sees_what_it_should(here):
    x = dzcore.ones(3)
    loss = F.sum(x)
    for read in (lambda: float(loss), lambda: bool(loss), lambda: loss.item(), lambda: loss.data.get(),
                 lambda: loss.to_host(), lambda: repr(loss), lambda: x.data[x.data > 0], lambda: here.synchronize(),
                 lambda: cupy.asnumpy(x.data), lambda: x.data.tolist(), lambda: loss.to("numpy"),
                 lambda: cupy.cuda.Device(0).synchronize(), lambda: cupy.cuda.get_current_stream().synchronize(),
                 lambda: cupy.cuda.Stream.null.synchronize(), lambda: cupy.cuda.Event().synchronize(),
                 lambda: RUNTIME.deviceSynchronize(), lambda: RUNTIME.streamSynchronize(0),
                 lambda: RUNTIME.eventSynchronize(0), lambda: RUNTIME.memcpy(0, 0, 0, 1)):  # fmt: skip
        with pytest.raises((WaitedError, cupy._core.syncdetect.DeviceSynchronized)), no_waiting():
            read()


class Net(dzcore.Model):
    """Linear layers with dropout between them."""

    def __init__(self):
        super().__init__()
        self.l1, self.l2, self.l3 = L.Linear(16), L.Linear(8), L.Linear(3)

    def forward(self, x):
        x = F.dropout(F.relu(self.l1(x)), 0.4)
        x = F.dropout(F.sigmoid(self.l2(x)), 0.1)
        return self.l3(x)


def step(model, optimizer, x, t, loss_of=F.softmax_cross_entropy):
    loss = loss_of(model(x), t)
    model.cleargrads()
    loss.backward()
    optimizer.update()
    return loss


RULES = {
    "SGD": SGD, "MomentumSGD": MomentumSGD, "AdaGrad": AdaGrad, "AdaDelta": AdaDelta, "Adam": Adam, "AdamW": AdamW,
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_a_step_with_dropout_hooks_and_a_loader(rule, here):
    x, t = random.normal((60, 5)), random.integers(0, 3, (60,))
    loader = DataLoader((x, t), 16)
    model = Net()
    optimizer = RULES[rule]().setup(model)
    for hook in (WeightDecay(1e-4), ClipGrad(0.5), FreezeParam(model.l2)):
        optimizer.add_hook(hook)

    def epoch():
        return [step(model, optimizer, x, t) for x, t in loader]

    before = [float(loss) for loss in epoch()]  # kernels are compiled, parameters are made
    with no_waiting():
        losses = [*epoch(), *epoch()]  # with new orders, drawn on the device
        total = losses[0]
        for loss in losses[1:]:
            total = total + loss
    assert len(before) == 4
    assert float(total) == pytest.approx(sum(map(float, losses)), rel=1e-5)
    assert all(float(loss) > 0 for loss in losses)


def test_the_other_losses_and_mlp(here):
    x, y = random.normal((32, 5)), random.uniform((32, 2))
    model = MLP((8, 2))
    optimizer = Adam().setup(model)
    losses = (F.mean_squared_error, F.mean_absolute_error, F.sigmoid_cross_entropy)
    for loss_of in losses:
        step(model, optimizer, x, y, loss_of)
    with no_waiting():
        for loss_of in losses:
            step(model, optimizer, x, y, loss_of)


def test_accuracy_and_embedding_and_slices(here):
    table = dzcore.Parameter(random.normal((10, 4)))
    index, t = random.integers(0, 10, (20,)), random.integers(0, 3, (20,))

    def work():
        rows = table[index]
        loss = F.softmax_cross_entropy(rows[:, :3], t) + F.sum(rows[2:8, ::2] ** 2)
        table.cleargrad()
        loss.backward()
        return F.accuracy(rows[:, :3], t), table.grad

    work()
    with no_waiting():
        share, gradient = work()
    assert 0 <= float(share) <= 1
    assert gradient.shape == (10, 4)


def test_batches_from_the_host_are_sent_without_waiting(here):
    numpy = dzcore.get_backend("numpy")
    with dzcore.use_backend(numpy):
        data = random.normal((40, 300), backend=numpy), random.integers(0, 3, (40,), backend=numpy)
    sent = [numpy.to_host(array) for array in data]
    here.from_host(sent[0])
    with no_waiting():
        for _ in range(10):
            x, t = (here.from_host(array) for array in sent)
    assert x.shape == (40, 300)
    assert t.shape == (40,)


@pytest.mark.parametrize("size", [upload.SMALL, upload.SMALL + 1, upload.CHUNK + 1, 3 * upload.CHUNK])
def test_arrays_of_any_size_are_sent_without_waiting(size, here):
    """Of eight chunks, which are 64 MiB, none waits for another; see test_upload.py for more than that."""
    source = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    sent = HostArray("uint8", (size,), source)
    here.synchronize()
    with no_waiting():
        found = here.from_host(sent)
    np.testing.assert_array_equal(found.get(), source)
