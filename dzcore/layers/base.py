"""Layer: what holds parameters, in a tree."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from ..backend import Backend, get_backend
from ..graph import Parameter, Variable, as_array
from ..graph.variable import transfer
from ..io.archive import open_archive, write_archive
from ..state import Stateful
from . import weights

__all__ = ["Buffer", "Layer"]

PLAIN = frozenset({bool, int, float, str, type(None)})  #: what most attributes are that hold nothing


class Buffer(Variable):
    """State of a layer that is saved and moved with it but not learnt, such as running statistics.

    Without data (None) its layer fills it in later, as a Parameter's.
    """

    __slots__ = ("lazy_dtype", "lazy_shape")

    def __init__(
        self,
        data: Any = None,
        name: str | None = None,
        *,
        dtype: Any = None,
        backend: Any = None,
        lazy_shape: tuple[int | None, ...] | None = None,
    ) -> None:
        self.lazy_shape = lazy_shape
        self.lazy_dtype = dtype
        if data is not None:
            super().__init__(data, name, dtype=dtype, backend=backend)
        else:
            self._data = None
        self.node = None
        self.name = name

    def __deepcopy__(self, memo: dict[int, Any]) -> "Buffer":
        copy = super().__deepcopy__(memo)
        assert isinstance(copy, Buffer)
        copy.lazy_shape, copy.lazy_dtype = self.lazy_shape, self.lazy_dtype
        return copy

    __getattr__ = Parameter.__getattr__  # says what is missing as long as there is no data


class Layer(Stateful):
    """A function with parameters: assign Parameters, Buffers and Layers (or lists and dicts of them) as attributes.

    They are found in the order of assignment, the same in every process; one that is reachable twice counts once.
    Their names are paths such as `l1/W`, `blocks/0/W`.
    """

    #: Attributes, Variables or None, that belong to a checkpoint and are no weights: state between two steps.
    carried: ClassVar[tuple[str, ...]] = ()

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self.forward(*inputs, **options)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the outputs."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, x)")

    def _repr_html_(self) -> str:
        from .tree import layer_html

        return layer_html(self)

    # The tree ----------------------------------------------------------------------------------------------------

    def named_state(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        """Yield the paths and objects of all parameters and buffers."""
        found: list[tuple[str, Any]] = []
        _walk(self, "", {id(self)}, found)
        return iter(found)

    def named_params(self) -> Iterator[tuple[str, Parameter]]:
        """Yield the paths and objects of all parameters."""
        return ((path, value) for path, value in self.named_state() if isinstance(value, Parameter))

    def params(self) -> Iterator[Parameter]:
        """Yield all parameters."""
        return (param for _, param in self.named_params())

    def _flatten_params(self, params_dict: dict[str, Any], parent_key: str = "") -> None:
        """Add the parameters to a flat dictionary (DeZero's way to `named_params`)."""
        lead = f"{parent_key}/" if parent_key else ""
        params_dict.update((lead + path, param) for path, param in self.named_params())

    def cleargrads(self) -> None:
        """Forget the gradients of all parameters."""
        for param in self.params():
            param.cleargrad()

    # Moving ------------------------------------------------------------------------------------------------------

    def to(self, backend: str | Backend) -> "Layer":
        """Move parameters, their gradients and buffers to a backend, in place, and return self.

        What has no size yet gets it where its first input is.
        """
        target = get_backend(backend)
        moving = [value for _, value in self.named_state() if value._data is not None and value.backend is not target]
        sent = [  # everything first: what the target refuses must not leave half a model there
            (transfer(value._data, value.backend, target), None if value.grad is None else as_array(value.grad, target))
            for value in moving
        ]
        for value, (data, grad) in zip(moving, sent, strict=True):
            value.cleargrad()
            value._set(data, target)
            if grad is not None:
                value.grad = Variable._of(grad, target, None)
        return self

    def to_cpu(self) -> "Layer":
        """Move to the host's backend."""
        from ..backend import host_backend

        return self.to(host_backend())

    def to_gpu(self) -> "Layer":
        """Move to the best accelerator; an error says why if there is none."""
        from ..backend import accelerator_backend

        return self.to(accelerator_backend())

    # Weights -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Variable]:
        """Return copies of all parameters and buffers by their paths, without gradient, each on its backend.

        Raises:
            WeightsError: a parameter has no size yet.
        """
        return {
            path: Variable._of(value.backend.xp.asarray(value._data, copy=True), value.backend, None)
            for path, value in weights.sized(self).items()
        }

    def load_state_dict(
        self, state: Mapping[str, Any], strict: bool = True, names: weights.Names | None = None
    ) -> weights.Unmatched:
        """Take arrays of any backend by their paths; `strict`, `names` and errors are those of `load_weights`."""
        unmatched, commit = weights.stage(self, weights.Source.of_arrays(state), strict, names)
        commit()
        return unmatched

    def save_weights(self, path: str | os.PathLike[str], *, compress: bool = True) -> None:
        """Write parameters and buffers to a file under their paths, all or nothing; the model stays where it is.

        An .npz file is for `numpy.load`, too, and is compressed if `compress`; a .safetensors file is
        what PyTorch, JAX and the tools of Hugging Face read.

        Raises:
            WeightsError: a parameter has no size yet.
            FileError: `path` ends in neither.
        """
        write_archive(path, weights.sized(self), compress=compress)

    def load_weights(
        self,
        path: str | os.PathLike[str],
        strict: bool = True,
        names: weights.Names | None = None,
        *,
        limit: int | None = None,
    ) -> weights.Unmatched:
        """Read an .npz or .safetensors file: every name, shape and dtype must fit, or nothing changes.

        Layers without a size take the file's. `names` maps names in the file to paths of the model: a dictionary,
        which leaves other names as they are, or a function. None leaves an entry out, and a path that ends in ".T"
        takes a matrix transposed.

            model.load_weights("theirs.safetensors", names={"fc.weight": "l0/W.T", "fc.bias": "l0/b"})

        With `strict=False` the model may lack what the file has and the other way round, but for one array. What
        these are is returned. `limit` is that of `dzcore.load`.

        Raises:
            WeightsError: lists everything missing, unexpected, or of another shape or dtype.
            FileError: says what is wrong with the file.
        """
        with open_archive(path, limit=limit) as archive:
            unmatched, commit = weights.stage(self, weights.Source.of_file(archive), strict, names)
        commit()
        return unmatched

    def _disagreement(self, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
        """Say why parameters and buffers of these shapes, by attribute, cannot be this layer's together, if so."""
        return None

    # Checkpoints -------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return weights.state(self)

    def _stage(self, state: dict[str, Any]) -> Callable[[], None]:
        return weights.continued(self, state)


def _walk(value: Any, path: str, seen: set[int], found: list[tuple[str, Any]]) -> None:
    """Add what is below a layer, a dictionary or a list, each thing once."""
    items: Any
    if isinstance(value, Layer):
        items = vars(value).items()
    elif isinstance(value, dict):
        items = value.items()
    else:
        items = enumerate(value)
    for key, item in items:
        if type(item) in PLAIN or id(item) in seen:
            continue
        if isinstance(item, (Parameter, Buffer)):
            seen.add(id(item))
            found.append((f"{path}/{key}" if path else str(key), item))
        elif isinstance(item, (Layer, dict, list, tuple)):
            seen.add(id(item))
            _walk(item, f"{path}/{key}" if path else str(key), seen, found)
