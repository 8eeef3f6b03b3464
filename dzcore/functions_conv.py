"""DeZero's name for the convolutions: `from dzcore.functions_conv import conv2d`."""

from .functions import (
    average_pooling,
    col2im,
    col2im_array,
    conv2d,
    conv2d_simple,
    deconv2d,
    im2col,
    im2col_array,
    pooling,
    pooling_simple,
)

__all__ = [
    "average_pooling", "col2im", "col2im_array", "conv2d", "conv2d_simple", "deconv2d", "im2col", "im2col_array",
    "pooling", "pooling_simple",
]  # fmt: skip
