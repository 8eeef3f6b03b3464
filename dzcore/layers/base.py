"""Layer: what holds parameters, in a tree."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..backend import Backend, HostArray, get_backend
from ..backend.base import FLOATING
from ..errors import WeightsError
from ..graph import Parameter, Variable, as_array
from ..graph.variable import transfer
from ..io import read_npz, write_npz

__all__ = ["Buffer", "Layer"]


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


class Layer:
    """A function with parameters: assign Parameters, Buffers and Layers (or lists and dicts of them) as attributes.

    They are found in the order of assignment, the same in every process; one that is reachable twice counts once.
    Their names are paths such as `l1/W`, `blocks/0/W`.
    """

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
        return _walk(self, "", set())

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

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write parameters and buffers to an .npz file under their paths, compressed, all or nothing.

        `numpy.load` reads it. The model stays where it is.

        Raises:
            WeightsError: a parameter has no size yet, or `path` does not end in .npz.
        """
        _check_suffix(path)
        arrays: dict[str, HostArray] = {}
        for name, value in _by_path(self).items():
            if value._data is None:
                raise WeightsError(
                    f"{name} has no size yet; call the model once, or give its layer in_size, before saving"
                )
            arrays[name] = value.to_host()
        write_npz(path, arrays)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Read what `save_weights` wrote: every name, shape and dtype must fit, or nothing changes.

        Layers without a size take the file's.

        Raises:
            WeightsError: lists everything missing, unexpected, or of another shape or dtype; or says what is wrong
                with the file.
        """
        _check_suffix(path)
        self._fill(read_npz(path), path)

    def _fill(self, found: Mapping[str, HostArray], path: str | os.PathLike[str]) -> None:
        """Take the arrays that were found in a file, all or none."""
        state = _by_path(self)
        problems = [f"missing: {name}" for name in state if name not in found]
        problems += [f"unexpected: {name} {_form(host)}" for name, host in found.items() if name not in state]
        for name, value in state.items():
            if name in found and (problem := _misfit(value, found[name])):
                problems.append(f"{name}: {problem}")
        if problems:
            raise WeightsError(f"{os.fspath(path)!r} does not fit this {type(self).__name__}: {'; '.join(problems)}")
        arrays = {name: _home(value).from_host(found[name]) for name, value in state.items()}
        for name, value in state.items():
            value._set(arrays[name], _home(value))


def _walk(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    items: Any
    if isinstance(value, (Parameter, Buffer)):
        if id(value) not in seen:
            seen.add(id(value))
            yield path, value
        return
    if isinstance(value, Layer):
        items = vars(value).items()
    elif isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return
    if id(value) not in seen:
        seen.add(id(value))
        for key, item in items:
            yield from _walk(item, f"{path}/{key}" if path else str(key), seen)


def _by_path(layer: Layer) -> dict[str, Parameter | Buffer]:
    state: dict[str, Parameter | Buffer] = {}
    for name, value in layer.named_state():
        if state.setdefault(name, value) is not value:  # a slash in a key, or the keys 1 and "1"
            raise WeightsError(f"two arrays of this {type(layer).__name__} have the path {name!r}; rename one")
    return state


def _check_suffix(path: str | os.PathLike[str]) -> None:
    if not os.fspath(path).endswith(".npz"):
        raise WeightsError(f"path={os.fspath(path)!r} must end in .npz")


def _home(value: Parameter | Buffer) -> Backend:
    from ..backend import current_backend

    return current_backend() if value._data is None else value.backend


def _form(host: HostArray) -> str:
    return f"{host.dtype}{list(host.shape)}"


def _misfit(value: Parameter | Buffer, host: HostArray) -> str | None:
    """Say how an array differs from what a parameter must be."""
    if value._data is None:
        wanted = value.lazy_shape
        fits = wanted is None or (
            len(wanted) == len(host.shape) and all(n in (None, m) for n, m in zip(wanted, host.shape, strict=True))
        )
        if not fits:
            return f"the model has shape {wanted} (None: any), the file {_form(host)}"
        if value.lazy_dtype is not None and value.lazy_dtype != host.dtype:
            return f"the model has dtype {value.lazy_dtype}, the file {_form(host)}"
        if host.dtype not in FLOATING or host.dtype not in _home(value).dtypes:
            return f"the file has {_form(host)}, and a parameter on {_home(value)} cannot be {host.dtype}"
        return None
    dtype = value.backend.dtype_name(value.dtype)
    if (dtype, tuple(value.shape)) != (host.dtype, host.shape):
        return f"the model has {dtype}{list(value.shape)}, the file {_form(host)}"
    return None
