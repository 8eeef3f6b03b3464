"""Whether CuPy works here: on a GPU, on the emulator, or not at all."""

from typing import Any

import pytest

from dzbackend_cupy import probe

reason = probe.why_unavailable()
emulated = reason is None and probe.emulated()


def cupy_or_skip() -> Any:
    """Return CuPy, or skip the module that asks for it."""
    if reason:
        pytest.skip(f"backend cupy: {reason}", allow_module_level=True)
    import cupy

    return cupy
