"""Every name of DeZero 0.0.13, called as its scripts call it; and a regression test for every one of its faults.

The cases are in tests/dezero_api/. Here are the names that there have to be, so that none is lost.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from . import test_dezero_faults as faults
from .backend.conftest import empty_registry as empty_registry
from .dezero_api import core, functions, training
from .elsewhere import gpu as gpu
from .elsewhere import only_numpy as only_numpy

PARTS: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    "dzcore": (core.TOP, """
        Variable Parameter Function as_variable as_array setup_variable Config using_config no_grad test_mode Layer
        Model DataLoader Dataset core.Parameter
        """ + " ".join(f"import-{name}" for name in core.MODULES)),
    "Variable": (core.VARIABLE, """
        data grad creator generation name shape ndim size dtype len() repr set_creator unchain unchain_backward
        cleargrad backward reshape transpose T sum max min matmul dot to_cpu to_gpu + - * / neg ** getitem
        """),
    "functions": (functions.FUNCTIONS, """
        sin cos tanh exp log reshape transpose get_item expand_dims flatten sum sum_to broadcast_to average mean matmul
        linear linear_simple sigmoid sigmoid_simple relu softmax softmax_simple log_softmax leaky_relu
        mean_squared_error mean_squared_error_simple softmax_cross_entropy softmax_cross_entropy_simple
        sigmoid_cross_entropy binary_cross_entropy accuracy dropout batch_norm batch_nrom embed_id max min clip conv2d
        """),
    "functions_conv": (functions.CONVOLUTIONS, """
        conv2d conv2d_simple deconv2d pooling pooling_simple average_pooling im2col col2im im2col_array col2im_array
        """),
    "layers": (training.LAYERS, """
        Layer Linear Conv2d Deconv2d RNN LSTM EmbedID BatchNorm params cleargrads to_cpu to_gpu save_weights
        load_weights _flatten_params
        """),
    "models": (training.MODELS, """
        Model Sequential MLP VGG16 VGG16.preprocess ResNet ResNet50 ResNet101 ResNet152 SqueezeNet
        """),
    "optimizers": (training.OPTIMIZERS, """
        Optimizer Optimizer.setup Optimizer.update Optimizer.update_one Optimizer.add_hook SGD MomentumSGD AdaGrad
        AdaDelta Adam WeightDecay ClipGrad FreezeParam
        """),
    "datasets": (training.DATASETS, "Dataset Spiral MNIST CIFAR10 CIFAR100 ImageNet SinCurve Shakespear get_spiral"),
    "dataloaders": (training.DATALOADERS, "DataLoader DataLoader(gpu=True) SeqDataLoader"),
    "transforms": (training.TRANSFORMS, """
        Compose Convert Resize CenterCrop ToArray ToPIL RandomHorizontalFlip Normalize Flatten AsType ToFloat ToInt
        """),
    "utils": (core.UTILS, """
        get_dot_graph plot_dot_graph sum_to reshape_sum_backward logsumexp max_backward_shape gradient_check
        numerical_grad array_equal array_allclose get_file pair get_conv_outsize get_deconv_outsize
        """),
    "cuda": (core.CUDA, "gpu_enable get_array_module as_numpy as_cupy"),
}  # fmt: skip

CASES = {f"{part}.{name}": case for part, (cases, _) in PARTS.items() for name, case in cases.items()}


@pytest.mark.parametrize("part", PARTS)
def test_every_name_has_a_case(part: str) -> None:
    cases, names = PARTS[part]
    assert sorted(name.replace(" ", "-") for name in cases) == sorted(names.split())


@pytest.mark.parametrize("name", CASES)
def test_api(name: str, request: pytest.FixtureRequest) -> None:
    case = CASES[name]
    wanted = [each.name for each in inspect.signature(case).parameters.values() if each.default is each.empty]
    case(**{fixture: request.getfixturevalue(fixture) for fixture in wanted if fixture not in ("args", "options")})


@pytest.mark.parametrize("number", range(1, 20))
def test_every_fault_has_a_regression_test(number: int) -> None:
    assert [name for name in vars(faults) if name.startswith(f"test_fault_{number:02}_")]
