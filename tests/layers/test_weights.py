"""save_weights and load_weights: bit for bit, strict, all or nothing."""

import errno
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
from dzcore import Parameter, get_backend, random, use_backend
from dzcore.errors import WeightsError
from dzcore.io import npz
from dzcore.layers import Buffer, Layer
from dzcore.models import MLP, Sequential


def values(variable):
    host = variable.to_host()
    return np.frombuffer(bytes(host.buffer), host.dtype).reshape(host.shape)


def snapshot(model):
    """Everything that a failed load must not change."""
    return [
        (path, id(v), v.node, v._data is None or (id(v._data), v.backend, values(v).tobytes()), v.grad)
        for path, v in model.named_state()
    ]


def bits(model):
    return {path: (v.to_host().dtype, v.shape, values(v).tobytes()) for path, v in model.named_state()}


class Mixed(Layer):
    """Parameters and buffers of many shapes and dtypes."""

    def __init__(self, seed):
        g = np.random.default_rng(seed)
        self.l0 = L.Linear(3, in_size=4)
        self.double = Parameter(g.standard_normal((2, 3, 2)).tolist(), dtype="float64")
        self.scalar = Parameter(float(g.standard_normal()))
        self.empty = Parameter(dzcore.zeros((0, 3)))
        self.mean = Buffer(g.standard_normal(3).tolist())
        self.count = Buffer(int(g.integers(1 << 40)))
        self.mask = Buffer([True, False, bool(g.integers(2))])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.npz"


# Round trips --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [True, False])
def test_round_trip_bit_for_bit(backend, path, as_text):
    model, other = Mixed(0), Mixed(1)
    assert bits(model) != bits(other)
    want, ids = bits(model), [(id(v), id(v.node)) for _, v in other.named_state()]
    model.save_weights(str(path) if as_text else path)
    assert other.load_weights(str(path) if as_text else path) is None
    assert bits(other) == want
    assert [(id(v), id(v.node)) for _, v in other.named_state()] == ids
    assert all(v.backend is backend for _, v in other.named_state())
    assert [p.requires_grad for _, p in other.named_state()] == [True] * 5 + [False] * 3
    F.sum(other.l0(dzcore.ones((2, 4)))).backward()
    assert other.l0.W.grad is not None


@pytest.mark.parametrize("source", ["numpy", "strict", "strict:device1"])
@pytest.mark.parametrize("target", ["numpy", "strict", "strict:device1"])
def test_round_trip_across_backends(strict, path, source, target):
    with use_backend(source):
        model = Mixed(0)
        model.save_weights(path)
    with use_backend(target):
        other = Mixed(1)
    other.load_weights(path)  # whatever is current
    assert bits(other) == bits(model)
    assert {v.backend for _, v in other.named_state()} == {get_backend(target)}


def test_numpy_reads_the_file(backend, path):
    model = MLP((3, 2), in_size=4)
    model.save_weights(path)
    with np.load(path, allow_pickle=False) as file:
        assert file.files == ["l0/W", "l0/b", "l1/W", "l1/b"]
        for name, param in model.named_params():
            np.testing.assert_array_equal(file[name], values(param), strict=True)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "form", [lambda a: a, np.asfortranarray, lambda a: a.astype(">f4"), lambda a: a.astype(">f4").T.copy().T]
)
@pytest.mark.parametrize("lazy", [False, True])
def test_files_of_numpy_are_read(backend, path, save, form, lazy):
    g = np.random.default_rng(2)
    W, b = g.standard_normal((4, 3)).astype("f4"), g.standard_normal(3).astype("f4")
    save(path, **{"l0/b": form(b), "l0/W": form(W)})  # in any order
    model = MLP((3,), in_size=None if lazy else 4)
    model.load_weights(path)
    np.testing.assert_array_equal(values(model.l0.W), W, strict=True)
    np.testing.assert_array_equal(values(model.l0.b), b, strict=True)
    assert model.l0.in_size == 4


def test_shared_parameters_are_written_once(path):
    layer = L.Linear(3, in_size=3)
    model = Sequential(layer, layer)
    model.save_weights(path)
    with np.load(path) as file:
        assert file.files == ["l0/W", "l0/b"]
    model.load_weights(path)
    assert model.l1.W is model.l0.W


def test_a_model_without_parameters(path):
    Sequential(F.relu).save_weights(path)
    Sequential(F.relu).load_weights(path)


def test_what_was_saved_computes_the_same(backend, path):
    model, twin = MLP((5, 2), F.tanh), MLP((5, 2), F.tanh)
    x = dzcore.asarray(np.random.default_rng(0).standard_normal((3, 4)).astype("f4").tolist())
    y = model(x)
    model.save_weights(path)
    twin.load_weights(path)
    assert values(twin(x)).tobytes() == values(y).tobytes()


@pytest.mark.parametrize("source", ["numpy", "strict", "strict:device1"])
def test_saving_leaves_the_model_where_and_as_it_is(strict, path, source):  # fault 13
    with use_backend(source):
        model = MLP((3, 2), in_size=4)
        F.sum(model(dzcore.ones((2, 4)))).backward()
        with use_backend("numpy"):
            before = snapshot(model)
            model.save_weights(path)
            assert snapshot(model) == before
            model.load_weights(path)  # nor does loading touch gradients
        assert [p.grad for p in model.params()] == [row[4] for row in before]
        assert all(p.backend is get_backend(source) for p in model.params())


def test_loading_gives_the_optimizer_s_parameters_new_values(path):
    model = MLP((2,), in_size=3)
    model.save_weights(path)
    want = bits(model)
    optimizer = dzcore.optimizers.MomentumSGD().setup(model)
    for _ in range(2):
        F.sum(model(dzcore.ones((2, 3)))).backward()
        optimizer.update()
    assert bits(model) != want
    model.load_weights(path)
    assert bits(model) == want
    optimizer.update()
    assert bits(model) != want


# Strictness ---------------------------------------------------------------------------------------------------------


def refused(model, path):
    before = snapshot(model)
    with pytest.raises(WeightsError) as error:
        model.load_weights(path)
    assert snapshot(model) == before
    assert path.name in str(error.value)
    return str(error.value)


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
    message = refused(model, path)
    for word in words:
        assert word in message
    for name in {"l0/W", "l0/b", "l1/W", "l1/b"} - {name.replace("_", "/") for name in changes}:
        assert name not in message


@pytest.mark.parametrize("dtype", ["f8", "f2", ">i4"])
def test_another_dtype_is_refused(backend, path, dtype):
    model = MLP((3, 2), in_size=4)
    np.savez(path, **arrays(l1_W=np.ones((3, 2), dtype)))
    assert "l1/W: the model has float32[3, 2], the file " in refused(model, path)


def test_everything_wrong_is_listed_in_one_message(backend, path):
    model = MLP((3, 2), in_size=4)
    model.stat = Buffer([1.0])
    np.savez(path, **arrays(l0_W=np.ones((4, 4), "f4"), l0_b=np.ones(3, "f8"), l1_b=None, extra=np.ones(())))
    message = refused(model, path)
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
    message = refused(MLP((out_size,)), path)
    assert f"l0/W: the model has shape (None, {out_size}) (None: any), the file float32[7, 3]" in message
    assert f"l0/b: the model has shape ({out_size},)" in message


def test_lazy_layers_refuse_dtypes_that_cannot_learn_or_are_not_there(strict, path):
    np.savez(path, **{"l0/W": np.ones((4, 3), "f2"), "l0/b": np.ones(3, "i8")})
    message = refused(MLP((3,)), path)
    assert "l0/b" in message
    assert "int64" in message
    np.savez(path, **{"l0/W": np.ones((4, 3), "f8"), "l0/b": np.ones(3, "f8")})
    message = refused(MLP((3,)), path)
    assert "l0/W: the model has dtype float32, the file float64[4, 3]" in message
    np.savez(path, W=np.ones((4, 3), "f2"), b=np.ones(3, "f2"))
    with use_backend("strict"):
        assert "W: the file has float16[4, 3]" in refused(L.Linear(3, dtype="float16"), path)


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
def test_saving_before_there_are_sizes_names_the_parameter_and_writes_nothing(path, existed):  # fault 13
    model = MLP((3, 2), in_size=4)
    if existed:
        model.save_weights(path)
        old = path.read_bytes()
    model.late = Sequential(L.Linear(5))
    with pytest.raises(WeightsError, match="late/l0/W has no size yet; call the model once"):
        model.save_weights(path)
    assert os.listdir(path.parent) == (["w.npz"] if existed else [])
    if existed:
        assert path.read_bytes() == old


@pytest.mark.parametrize("name", ["w", "w.npy", "w.npz.bak", "w.h5", ""])
def test_another_ending_is_refused_both_ways(tmp_path, name):
    model = MLP((3,), in_size=4)
    for act in (model.save_weights, model.load_weights):
        with pytest.raises(WeightsError, match="must end in .npz"):
            act(tmp_path / name if name else name)
    assert os.listdir(tmp_path) == []


def test_a_missing_file_or_folder_is_the_system_s_error(tmp_path):
    model = MLP((3,), in_size=4)
    with pytest.raises(FileNotFoundError):
        model.load_weights(tmp_path / "no.npz")
    with pytest.raises(FileNotFoundError):
        model.save_weights(tmp_path / "no" / "w.npz")


# Interruptions ------------------------------------------------------------------------------------------------------


class Full:
    """A file on a disk that is full after `room` bytes."""

    def __init__(self, file, room, error):
        self.file, self.room, self.error = file, room, error

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise self.error
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


ERRORS = [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("room", [0, 100, 1000, 5000])
def test_an_interrupted_save_leaves_the_old_file(path, monkeypatch, error, room):  # fault 13
    model = MLP((40, 30), in_size=20)
    model.save_weights(path)
    old, before = path.read_bytes(), bits(model)
    assert len(old) > 5000
    fdopen = os.fdopen
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", lambda *args: Closing(fdopen(*args), room, error))
        with pytest.raises(type(error)) as raised:
            model.save_weights(path)
    assert getattr(raised.value, "errno", None) == getattr(error, "errno", None)
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == ["w.npz"]
    assert bits(model) == before
    model.load_weights(path)


class Closing(Full):
    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_failing_system_call_leaves_the_old_file(path, monkeypatch, error, call):
    model = MLP((4,), in_size=2)
    model.save_weights(path)
    old = path.read_bytes()
    model.l0.b.data = np.ones(4, "f4")

    def fail(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            model.save_weights(path)
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == ["w.npz"]
    model.save_weights(path)
    assert path.read_bytes() != old


def test_a_load_that_fails_at_the_last_array_changes_nothing(backend, path, monkeypatch):
    model = MLP((3, 2), in_size=4)
    MLP((3, 2), in_size=4).save_weights(path)
    before, count, from_host = snapshot(model), [0], type(backend).from_host

    def fail_at_4(self, host):
        count[0] += 1
        if count[0] == 4:
            raise MemoryError
        return from_host(self, host)

    with monkeypatch.context() as patch:
        patch.setattr(type(backend), "from_host", fail_at_4)
        with pytest.raises(MemoryError):
            model.load_weights(path)
    assert count == [4]
    assert snapshot(model) == before


# Damage -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "damaged.npz"
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
    except WeightsError as error:
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
    assert "'l1/W.npy'" in refused(model, path)


def test_a_huge_claim_allocates_nothing(path):
    model = MLP((3, 2), in_size=4)
    np.savez(path, **arrays())
    claim = npz._header("l0/W", dzcore.HostArray("float32", (1 << 40, 3), b""))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("l0/W.npy", claim + bytes(100))
    tracemalloc.start()
    try:
        message = refused(model, path)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    assert "there are 100" in message
