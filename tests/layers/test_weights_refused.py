"""Weights that do not fit, saving that is interrupted, files that are damaged: the model or the file stays as it is."""

import errno
import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Parameter, random, use_backend
from dzcore.errors import FileError, WeightsError
from dzcore.io import disk
from dzcore.layers import Buffer, Layer
from dzcore.models import MLP, Sequential

from .states import SUFFIXES, bits, in_format, refused_file, snapshot

# Strictness ---------------------------------------------------------------------------------------------------------


def arrays(**changes):
    good = {
        "l0/W": np.ones((4, 3), "f4"),
        "l0/b": np.ones(3, "f4"),
        "l1/W": np.ones((3, 2), "f4"),
        "l1/b": np.ones(2, "f4"),
    }
    good.update({name.replace("_", "/"): array for name, array in changes.items()})
    return {name: array for name, array in good.items() if array is not None}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"l0_b": None}, ["missing: l0/b"]),
        ({"l2_W": np.ones((2, 2))}, ["unexpected: l2/W float64[2, 2]"]),
        ({"l1_W": np.ones((3, 5), "f4")}, ["l1/W: ", "the file float32[3, 5]"]),  # fault 13
        ({"l1_W": np.ones((2, 3), "f4")}, ["l1/W: ", "the file float32[2, 3]"]),
        ({"l1_W": np.ones((3, 2, 1), "f4")}, ["l1/W: ", "the file float32[3, 2, 1]"]),
        ({"l1_b": np.ones((1, 2), "f4")}, ["l1/b: ", "the file float32[1, 2]"]),
        ({"l1_b": np.ones((), "f4")}, ["l1/b: ", "the file float32[]"]),
        ({"l1_b": np.ones(1, "f4")}, ["l1/b: ", "the file float32[1]"]),  # would broadcast
        ({"l0_W": np.ones((4, 3), "i4")}, ["l0/W: ", "int32[4, 3]"]),
        ({"l0_b": np.ones(3, "?")}, ["l0/b: ", "bool[3]"]),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_changes(backend, path, lazy, changes, words):
    model = MLP((3, 2), in_size=None if lazy else 4)
    if not lazy:
        F.sum(model(dzcore.ones((2, 4)))).backward()
    np.savez(path, **arrays(**changes))
    message = refused_file(model, path)
    for word in words:
        assert word in message
    for name in {"l0/W", "l0/b", "l1/W", "l1/b"} - {name.replace("_", "/") for name in changes}:
        assert name not in message


@pytest.mark.parametrize("dtype", ["f8", "f2", ">i4"])
def test_another_dtype_is_refused(backend, path, dtype):
    model = MLP((3, 2), in_size=4)
    np.savez(path, **arrays(l1_W=np.ones((3, 2), dtype)))
    assert "l1/W: the model has float32[3, 2], the file " in refused_file(model, path)


def test_everything_wrong_is_listed_in_one_message(backend, path):
    model = MLP((3, 2), in_size=4)
    model.stat = Buffer([1.0])
    np.savez(path, **arrays(l0_W=np.ones((4, 4), "f4"), l0_b=np.ones(3, "f8"), l1_b=None, extra=np.ones(())))
    message = refused_file(model, path)
    for word in (
        "missing: l1/b", "missing: stat", "unexpected: extra float64[]",
        "l0/W: the model has float32[4, 3], the file float32[4, 4]",
        "l0/b: the model has float32[3], the file float64[3]",
    ):  # fmt: skip
        assert word in message
    assert "l1/W" not in message


def test_lazy_layers_take_the_file_s_sizes(backend, path):
    MLP((3, 2), in_size=7).save_weights(path)
    model = MLP((3, 2))
    model.load_weights(path)
    assert model.l0.W.shape == (7, 3)
    assert all(p.backend is backend for p in model.params())
    state = random.get_state()
    assert model(dzcore.ones((2, 7))).shape == (2, 2)
    assert random.get_state() == state  # nothing is drawn anew
    with pytest.raises(ValueError, match="x has shape"):
        model(dzcore.ones((2, 8)))


@pytest.mark.parametrize("out_size", [2, 4])
def test_lazy_layers_refuse_another_out_size(path, out_size):
    MLP((3,), in_size=7).save_weights(path)
    message = refused_file(MLP((out_size,)), path)
    assert f"l0/W: the model has shape (None, {out_size}) (None: any), the file float32[7, 3]" in message
    assert f"l0/b: the model has shape ({out_size},)" in message


def test_lazy_layers_refuse_dtypes_that_cannot_learn_or_are_not_there(strict, path):
    np.savez(path, **{"l0/W": np.ones((4, 3), "f2"), "l0/b": np.ones(3, "i8")})
    message = refused_file(MLP((3,)), path)
    assert "l0/b" in message
    assert "int64" in message
    np.savez(path, **{"l0/W": np.ones((4, 3), "f8"), "l0/b": np.ones(3, "f8")})
    message = refused_file(MLP((3,)), path)
    assert "l0/W: the model has dtype float32, the file float64[4, 3]" in message
    np.savez(path, W=np.ones((4, 3), "f2"), b=np.ones(3, "f2"))
    with use_backend("strict"):
        message = refused_file(L.Linear(3, dtype="float16"), path)
    assert "W: the model has one of the dtypes float32, float64 of strict, the file float16[4, 3]" in message


def test_two_arrays_with_one_path_are_refused(path):
    model = Layer()
    model.a = {"b": Parameter([1.0])}
    setattr(model, "a/b", Parameter([2.0]))
    with pytest.raises(WeightsError, match="two arrays of this Layer have the path 'a/b'"):
        model.save_weights(path)
    assert os.listdir(path.parent) == []
    np.savez(path, **{"a/b": np.ones(1, "f4")})
    with pytest.raises(WeightsError, match="'a/b'"):
        model.load_weights(path)


@pytest.mark.parametrize("existed", [True, False])
def test_saving_before_there_are_sizes_names_the_parameter_and_writes_nothing(file, existed):  # fault 13
    model = MLP((3, 2), in_size=4)
    if existed:
        model.save_weights(file)
        old = file.read_bytes()
    model.late = Sequential(L.Linear(5))
    with pytest.raises(WeightsError, match="late/l0/W has no size yet; call the model once"):
        model.save_weights(file)
    assert os.listdir(file.parent) == ([file.name] if existed else [])
    if existed:
        assert file.read_bytes() == old


@pytest.mark.parametrize("name", ["w", "w.npy", "w.npz.bak", "w.h5", ""])
def test_another_ending_is_refused_both_ways(tmp_path, name):
    model = MLP((3,), in_size=4)
    for act in (model.save_weights, model.load_weights):
        with pytest.raises(FileError, match="must end in .npz or .safetensors"):
            act(tmp_path / name if name else name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file_or_folder_is_the_system_s_error(tmp_path, suffix):
    model, name = MLP((3,), in_size=4), in_format(suffix)
    with pytest.raises(FileNotFoundError):
        model.load_weights(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        model.save_weights(tmp_path / "no" / name)
    (tmp_path / name).mkdir()
    for act in (model.save_weights, model.load_weights):
        with pytest.raises(IsADirectoryError):
            act(tmp_path / name)


# Interruptions ------------------------------------------------------------------------------------------------------


ERRORS = [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("room", [0, 100, 1000, 5000])
def test_an_interrupted_save_leaves_the_old_file(file, monkeypatch, error, room):  # fault 13
    model = MLP((40, 30), in_size=20)
    model.save_weights(file)
    old, before, write, left = file.read_bytes(), bits(model), disk.write, [room]
    assert len(old) > 5000

    def full(to, data):
        left[0] -= memoryview(data).nbytes
        if left[0] < 0:
            raise error
        write(to, data)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", full)
        with pytest.raises(type(error)) as raised:
            model.save_weights(file)
    assert left[0] < 0
    assert getattr(raised.value, "errno", None) == getattr(error, "errno", None)
    assert file.read_bytes() == old
    assert os.listdir(file.parent) == [file.name]
    assert bits(model) == before
    model.load_weights(file)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("call", ["create", "flush", "rename"])
def test_a_failing_system_call_leaves_the_old_file(file, monkeypatch, error, call):
    model = MLP((4,), in_size=2)
    model.save_weights(file)
    old = file.read_bytes()
    model.l0.b.data = np.ones(4, "f4")

    def fail(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(disk, call, fail)
        with pytest.raises(type(error)):
            model.save_weights(file)
    assert file.read_bytes() == old
    assert os.listdir(file.parent) == [file.name]
    model.save_weights(file)
    assert file.read_bytes() != old


def test_a_load_that_fails_at_the_last_array_changes_nothing(backend, file, monkeypatch):
    model = MLP((3, 2), in_size=4)
    MLP((3, 2), in_size=4).save_weights(file)
    before, count, adopt = snapshot(model), [0], type(backend).adopt

    def fail_at_4(self, host):
        count[0] += 1
        if count[0] == 4:
            raise MemoryError
        return adopt(self, host)

    with monkeypatch.context() as patch:
        patch.setattr(type(backend), "adopt", fail_at_4)
        with pytest.raises(MemoryError):
            model.load_weights(file)
    assert count == [4]
    assert snapshot(model) == before


# Damage -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=SUFFIXES)
def damaged(tmp_path_factory, request):
    path = tmp_path_factory.mktemp("weights") / in_format(request.param)
    model = MLP((3, 2), in_size=4)
    model.save_weights(path)
    return path, path.read_bytes(), bits(model)


def check_damaged(damaged, content):
    path, _, want = damaged
    path.write_bytes(content)
    model = MLP((3, 2), in_size=4)
    before = bits(model)
    try:
        model.load_weights(path)
    except FileError as error:
        message = str(error)
    else:
        message = None
    if message is not None:
        assert path.name in message
        assert bits(model) == before
    else:
        assert bits(model) == want


@settings(max_examples=200)
@given(flips=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), min_size=1, max_size=5))
def test_flipped_bytes(damaged, flips):
    content = bytearray(damaged[1])
    for where, how in flips:
        content[where % len(content)] ^= how
    check_damaged(damaged, content)


@given(keep=st.integers(0), tail=st.binary(max_size=40))
def test_truncation_with_or_without_garbage_behind(damaged, keep, tail):
    content = damaged[1][: keep % len(damaged[1])]
    check_damaged(damaged, content)
    check_damaged(damaged, content + tail)


@given(content=st.binary(max_size=300))
def test_garbage(damaged, content):
    check_damaged(damaged, content)


def test_pickles_are_refused_unread(path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    model = MLP((3, 2), in_size=4)
    np.savez(path, **arrays(l1_W=np.array([Bomb()], dtype=object)))
    assert "'l1/W.npy'" in refused_file(model, path, FileError)


@pytest.mark.parametrize("in_size", [None, 4])
def test_a_huge_claim_allocates_nothing(path, in_size):
    model = MLP((3, 2), in_size=in_size)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 3)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("l0/W.npy", header.getvalue() + bytes(100))
    tracemalloc.start()
    try:
        message = refused_file(model, path, FileError)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    assert "l0/W" in message


def test_a_file_that_holds_more_than_is_allowed(file):
    model = MLP((30, 2), in_size=40)
    model.save_weights(file)
    before = snapshot(model)
    with pytest.raises(FileError, match="trust it with limit="):
        model.load_weights(file, limit=1000)
    assert snapshot(model) == before
    model.load_weights(file, limit=10_000)
