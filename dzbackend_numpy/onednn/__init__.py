"""Convolutions by the kernel library oneDNN, an extra: `pip install 'dzbackend-numpy[fast]'`."""

from .convolution import convolve, convolve_input, convolve_weight
from .library import OneDNNError, available

__all__ = ["OneDNNError", "available", "convolve", "convolve_input", "convolve_weight"]
