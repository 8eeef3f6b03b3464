"""The layers in a layer, and which of them a parameter belongs to."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..graph import Parameter
from .base import Layer

__all__ = ["layer_html", "named_layers", "owner"]


def named_layers(layer: Layer) -> dict[str, Layer]:
    """Return the layers of the tree by their paths, itself included under "", each once."""
    return dict(_walk(layer, "", set()))


def _walk(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Layer]]:
    items: Any
    if isinstance(value, (Layer, dict)):
        items = (vars(value) if isinstance(value, Layer) else value).items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return
    if id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, Layer):
            yield path, value
        for key, item in items:
            yield from _walk(item, f"{path}/{key}" if path else str(key), seen)


def owner(path: str, layers: Mapping[str, Layer]) -> str:
    """Return the path of the layer that holds the parameter at `path`, in a list of its own perhaps."""
    while path not in layers:
        path = path.rpartition("/")[0]
    return path


def layer_html(layer: Layer) -> str:
    """Show the parameters and buffers of a layer in a table, as a notebook does."""
    from ..graph import notebook

    layers = named_layers(layer)
    rows: list[tuple[Any, ...]] = []
    total = 0
    for path, value in layer.named_state():
        kind = f"{type(value).__name__.lower()} of {type(layers[owner(path, layers)]).__name__}"
        if value._data is None:
            rows.append((path, kind, "not known yet", getattr(value, "lazy_dtype", None) or "", ""))
            continue
        rows.append((path, kind, value.shape, value.backend.dtype_name(value.dtype), f"{value.size:,}"))
        total += value.size * isinstance(value, Parameter)
    rows.append(("parameters", "", "", "", f"{total:,}"))
    return notebook.table(type(layer).__name__, ("path", "kind", "shape", "dtype", "numbers"), rows)
