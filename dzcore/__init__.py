"""dzcore: a small define-by-run deep-learning framework on any array library that speaks the array API standard."""

from . import (
    backend,
    core,
    cuda,
    dataloaders,
    datasets,
    derivatives,
    errors,
    files,
    functions,
    functions_conv,
    graph,
    io,
    layers,
    models,
    optimizers,
    profiling,
    random,
    state,
    transforms,
    utils,
)
from ._version import __version__
from .backend import (
    Backend,
    HostArray,
    available_backends,
    backend_of,
    current_backend,
    explain_backend,
    get_backend,
    get_num_threads,
    refresh_backends,
    register_backend,
    set_default_backend,
    set_num_threads,
    use_backend,
)
from .core import setup_variable
from .dataloaders import DataLoader
from .datasets import Dataset
from .derivatives import *
from .errors import *
from .files import load, save
from .functions import *
from .functions.creation import dtypes as _dtypes
from .graph import (
    Config,
    Function,
    Parameter,
    Variable,
    as_array,
    as_variable,
    grad,
    no_grad,
    test_mode,
    using_config,
)
from .layers import Layer
from .models import Model
from .profiling import profile

globals().update(_dtypes)

#: The revision of the array API standard whose names this module offers on Variables.
__array_api_version__ = "2024.12"

__all__ = [
    "Backend", "Config", "DataLoader", "Dataset", "Function", "HostArray", "Layer", "Model", "Parameter",
    "Variable", "__version__", "as_array", "as_variable", "available_backends", "backend", "backend_of", "core",
    "cuda", "current_backend", "dataloaders", "datasets", "derivatives", "errors", "explain_backend", "files",
    "functions", "functions_conv", "get_backend", "get_num_threads", "grad", "graph", "io", "layers", "load",
    "models", "no_grad", "optimizers", "profile", "profiling", "random", "refresh_backends", "register_backend",
    "save", "set_default_backend", "set_num_threads", "setup_variable", "state", "test_mode", "transforms",
    "use_backend", "using_config", "utils", *derivatives.__all__, *errors.__all__, *functions.__all__, *_dtypes,
]  # fmt: skip
