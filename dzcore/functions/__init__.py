"""Differentiable functions: the array API's, under its names, and those of neural networks.

    import dzcore.functions as F
    y = F.tanh(x) + F.sum(x * x, axis=0)

Arrays, Variables and Python numbers may be mixed freely, as long as they are on one backend.
"""

import sys

from ..graph.rule import fused, loops, namespaces
from . import (
    activation,
    conv,
    creation,
    index,
    linalg,
    loss,
    math,
    methods,
    norm,
    parts,
    pool,
    recurrent,
    reduce,
    search,
    shape,
    windows,
)  # fmt: skip
from .activation import *
from .conv import *
from .conv import _convolve as convolve
from .conv import _convolve_input as convolve_input
from .conv import _convolve_weight as convolve_weight
from .creation import *
from .dropout import _dropped as dropped
from .dropout import dropout
from .index import *
from .index import _add_rows as add_rows
from .index import _embed as embed
from .index import _rows as rows
from .linalg import *
from .linalg import _times_transposed as times_transposed
from .linalg import _transposed_times as transposed_times
from .loss import *
from .loss import _cross_entropy as cross_entropy
from .loss import _cross_entropy_gradient as cross_entropy_gradient
from .loss import _one_hot as one_hot
from .math import *
from .norm import *
from .norm import _deviation as deviation
from .norm import _standardized as standardized
from .parts import *
from .pool import *
from .pool import _window_pick as window_pick
from .pool import _window_put as window_put
from .pool import _window_spread as window_spread
from .pool import _window_sum as window_sum
from .recurrent import *
from .recurrent import _steps_ahead as steps_ahead
from .recurrent import _steps_back as steps_back
from .reduce import *
from .search import *
from .shape import *
from .windows import *
from .windows import _fold as fold
from .windows import _unfold as unfold

# DeZero's names for what is the same here
linear_simple, sigmoid_simple, softmax_simple = linalg.linear, activation.sigmoid, activation.softmax
mean_squared_error_simple, softmax_cross_entropy_simple = loss.mean_squared_error, loss.softmax_cross_entropy
batch_nrom = norm.batch_norm  # as published
conv2d_simple, pooling_simple = conv.conv2d, pool.pooling
im2col_array, col2im_array = windows.im2col_array, windows.col2im_array

__all__ = [
    *activation.__all__, *conv.__all__, *creation.__all__, "dropout", *index.__all__, *linalg.__all__,
    *loss.__all__, *math.__all__, *norm.__all__, *parts.__all__, *pool.__all__, *recurrent.__all__, *reduce.__all__,
    *search.__all__, *shape.__all__, *windows.__all__,
]  # fmt: skip

namespaces.variables = sys.modules[__name__]  # rules call these functions when derivatives of derivatives are wanted
