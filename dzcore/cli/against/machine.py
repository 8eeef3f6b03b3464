"""What a measurement was made on."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

__all__ = ["describe"]

#: What changes the number of threads, or how they wait, behind our back.
WATCHED = ("OMP_", "OPENBLAS_", "GOMP_", "MKL_", "KMP_", "XLA_", "DZCORE_", "MALLOC_", "GLIBC_")


def describe(frameworks: Iterable[ModuleType], threads: int) -> dict[str, str]:
    """Name the processor, the system, the versions, and the environment's settings."""
    about = {
        "processor": f"{_processor()}, {threads} of {os.cpu_count()} used",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
    }
    for module in frameworks:
        about |= module.about()
    found = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(WATCHED)]
    return about | ({"environment": ", ".join(found)} if found else {})


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "a processor that does not say its name"
