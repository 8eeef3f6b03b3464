"""save_weights and load_weights: bit for bit, from any backend to any, of what is in a file what is wanted."""

import weakref

import numpy as np
import pytest

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Parameter, get_backend, use_backend
from dzcore.io import archive
from dzcore.layers import Layer
from dzcore.models import MLP, Sequential

from .states import Mixed, bits, refused_file, snapshot, values

# Round trips --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [True, False])
def test_round_trip_bit_for_bit(backend, file, as_text):
    model, other = Mixed(0), Mixed(1)
    assert bits(model) != bits(other)
    want, ids = bits(model), [(id(v), id(v.node)) for _, v in other.named_state()]
    model.save_weights(str(file) if as_text else file)
    assert other.load_weights(str(file) if as_text else file) == ((), ())
    assert bits(other) == want
    assert [(id(v), id(v.node)) for _, v in other.named_state()] == ids
    assert all(v.backend is backend for _, v in other.named_state())
    assert [p.requires_grad for _, p in other.named_state()] == [True] * 5 + [False] * 3
    F.sum(other.l0(dzcore.ones((2, 4)))).backward()
    assert other.l0.W.grad is not None


@pytest.mark.parametrize("source", ["numpy", "strict", "strict:device1"])
@pytest.mark.parametrize("target", ["numpy", "strict", "strict:device1"])
def test_round_trip_across_backends(strict, file, source, target):
    with use_backend(source):
        model = Mixed(0)
        model.save_weights(file)
    with use_backend(target):
        other = Mixed(1)
    other.load_weights(file)  # whatever is current
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


def test_a_model_without_parameters(file):
    Sequential(F.relu).save_weights(file)
    Sequential(F.relu).load_weights(file)


def test_what_was_saved_computes_the_same(backend, file):
    model, twin = MLP((5, 2), F.tanh), MLP((5, 2), F.tanh)
    x = dzcore.asarray(np.random.default_rng(0).standard_normal((3, 4)).astype("f4").tolist())
    y = model(x)
    model.save_weights(file)
    twin.load_weights(file)
    assert values(twin(x)).tobytes() == values(y).tobytes()


@pytest.mark.parametrize("source", ["numpy", "strict", "strict:device1"])
def test_saving_leaves_the_model_where_and_as_it_is(strict, file, source):  # fault 13
    with use_backend(source):
        model = MLP((3, 2), in_size=4)
        F.sum(model(dzcore.ones((2, 4)))).backward()
        with use_backend("numpy"):
            before = snapshot(model)
            model.save_weights(file)
            assert snapshot(model) == before
            model.load_weights(file)  # nor does loading touch gradients
        assert [p.grad for p in model.params()] == [row[4] for row in before]
        assert all(p.backend is get_backend(source) for p in model.params())


def test_loading_gives_the_optimizer_s_parameters_new_values(file):
    model = MLP((2,), in_size=3)
    model.save_weights(file)
    want = bits(model)
    optimizer = dzcore.optimizers.MomentumSGD().setup(model)
    for _ in range(2):
        F.sum(model(dzcore.ones((2, 3)))).backward()
        optimizer.update()
    assert bits(model) != want
    model.load_weights(file)
    assert bits(model) == want
    optimizer.update()
    assert bits(model) != want


# What is read -------------------------------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch):
    """The names that are asked for in files, in turn."""
    asked = []

    def watched(path, **options):
        found = archive.open_archive(path, **options)
        read = found.read
        found.read = lambda names=None: (asked.append(pair[0]) or pair for pair in read(names))
        return found

    monkeypatch.setattr("dzcore.layers.base.open_archive", watched)
    return asked


def test_only_what_is_wanted_is_read_in_the_order_of_the_file(backend, file, reads):
    donor = MLP((3, 2), in_size=4)
    dzcore.files.save(file, {name: donor.state_dict()[name] for name in ("l1/b", "l0/W", "l1/W")})
    model = MLP((3, 5), in_size=4)
    unmatched = model.load_weights(file, strict=False, names={"l1/b": None, "l1/W": None})
    assert unmatched == (("l0/b", "l1/W", "l1/b"), ())
    assert reads == ["l0/W"]
    other = MLP((3, 2), in_size=4)
    assert other.load_weights(file, strict=False) == (("l0/b",), ())
    assert sorted(reads[1:]) == ["l0/W", "l1/W", "l1/b"]
    assert [bits(other)[name] for name in reads] == [bits(donor)[name] for name in reads]


def test_nothing_is_read_of_what_does_not_fit(file, reads):
    MLP((3, 2), in_size=4).save_weights(file)
    refused_file(MLP((3, 5), in_size=4), file)
    refused_file(MLP((3, 5), in_size=4), file)
    assert reads == []
    model = MLP((3, 2), in_size=4)
    model.load_weights(file)
    assert sorted(reads) == ["l0/W", "l0/b", "l1/W", "l1/b"]


@pytest.mark.parametrize("elsewhere", ["strict:device1"])  # where memory cannot be lent
def test_one_array_at_a_time_is_on_the_host(strict, elsewhere, file, monkeypatch):
    """What is saved is never there as a whole: at most the array that is written, and the next one."""
    backend = get_backend(elsewhere)
    model, to_host = Sequential(*[L.Linear(64, in_size=64) for _ in range(6)]).to(backend), type(backend).to_host
    made, alive = [], []

    class Watched(bytearray):
        pass

    def watched(self, array):
        host = to_host(self, array)
        buffer = Watched(host.buffer)
        made.append(weakref.ref(buffer))
        alive.append(sum(each() is not None for each in made))
        return host._replace(buffer=buffer)

    with monkeypatch.context() as patch:
        patch.setattr(type(backend), "to_host", watched)
        model.save_weights(file, compress=False)
    assert len(made) == 12
    assert max(alive) <= 2
    twin = Sequential(*[L.Linear(64) for _ in range(6)])
    twin.load_weights(file)
    assert bits(twin) == bits(model)


# With save and load -------------------------------------------------------------------------------------------------


def test_a_dictionary_in_a_file_is_as_good(backend, file):
    donor, model, lazy = Mixed(0), Mixed(1), MLP((3, 2))
    dzcore.files.save(file, donor.state_dict())
    assert model.load_weights(file) == ((), ())
    assert bits(model) == bits(donor)
    donor.save_weights(file)
    state = dzcore.files.load(file)
    assert list(state) == [name for name, _ in donor.named_state()]
    other = Mixed(1)
    other.load_state_dict(state)
    assert bits(other) == bits(donor)
    nested = MLP((3, 2), in_size=4)
    tree = {f"l{i}": {"W": getattr(nested, f"l{i}").W, "b": getattr(nested, f"l{i}").b} for i in (0, 1)}
    dzcore.files.save(file, {**tree, "epoch": 3})
    lazy.load_weights(file)
    assert bits(lazy) == bits(nested)


def test_weights_without_compression(file):
    model = MLP((30, 2), in_size=40)
    model.save_weights(file)
    size, other = file.stat().st_size, MLP((30, 2), in_size=40)
    for p in model.params():
        p.data = np.zeros(p.shape, "f4")
    model.save_weights(file)
    assert file.suffix != ".npz" or file.stat().st_size < size
    model.save_weights(file, compress=False)
    assert file.stat().st_size >= size
    other.load_weights(file)
    assert bits(other) == bits(model)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_and_brain_floats(backend, file, dtype):
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend} has no {dtype}")
    content = bytes(range(24))
    model, other = Layer(), Layer()
    model.W = Parameter(dzcore.HostArray(dtype, (3, 4), content))
    other.W = Parameter(None, dtype=dtype, lazy_shape=(None, 4))
    model.save_weights(file)
    other.load_weights(file)
    assert bytes(other.W.to_host().buffer) == content
    assert backend.dtype_name(other.W.dtype) == dtype


@pytest.mark.parametrize("form", [np.transpose, np.asfortranarray, lambda a: np.repeat(a, 2, 1)[:, ::2]])
def test_weights_in_any_memory_layout(file, form):
    """A Parameter copies what it is given into C order, as a file will have it: so products go on rounding alike."""
    W = form(np.arange(12, dtype="f4").reshape(3, 4))
    model, other = Layer(), Layer()
    model.W, other.W = Parameter(W), Parameter(np.zeros(W.shape, "f4"))
    assert model.W.data.flags.c_contiguous
    model.save_weights(file)
    other.load_weights(file)
    np.testing.assert_array_equal(values(other.W), W, strict=True)
