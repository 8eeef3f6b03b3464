"""Machine code of LLVM's intermediate language, for this processor, kept on disk.

llvmlite is the compiler beneath numba, without numba: 0.1 s to load, 20 to 150 ms for a loop. What it made is kept in
the user's cache folder, so that the next process needs some milliseconds. It is code: the folder is the user's own and
nobody else may write there, and a file whose digest is wrong is made anew.
"""

import hashlib
import os
import stat
import sys
import tempfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from ..extras import allowed
from ..once import lock, once

__all__ = ["Compiler", "compiler"]


class Compiler:
    """LLVM, for the processor that this runs on. One thread compiles at a time."""

    def __init__(self, folder: Path | None) -> None:
        """Load LLVM; `folder` is where machine code is kept, None for nowhere.

        Raises:
            ImportError: llvmlite is not installed, or its library does not load.
        """
        import llvmlite  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import llvmlite.binding as llvm  # type: ignore[import-not-found, import-untyped, unused-ignore]

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.llvm, self.folder = llvm, folder
        self.machine = self._machine()
        self.target = f"{llvmlite.__version__} {llvm.llvm_version_info} {self.machine.triple} {self._processor}"
        self.loaded: dict[str, tuple[Any, int]] = {}

    @cached_property
    def _processor(self) -> tuple[str, str]:
        return self.llvm.get_host_cpu_name(), self.llvm.get_host_cpu_features().flatten()

    def has(self, feature: str) -> bool:
        """Tell whether the processor has something, by LLVM's name."""
        return f"+{feature}" in self._processor[1].split(",")

    @property
    def register(self) -> int:
        """How many bytes a vector has."""
        return 64 if self.has("avx512f") else 32 if self.has("avx") else 16

    @property
    def masks(self) -> bool:
        """Whether vectors can have masks, and there are 32 registers for them: AVX-512 as servers have it."""
        return self.has("avx512vl") and self.has("avx512dq") and self.has("avx512bw")

    def _machine(self) -> Any:
        """Describe the processor; with addresses of 64 bits, for code and constants may come to lie far apart."""
        cpu, features = self._processor
        return self.llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3, jit=True)

    def load(self, text: str, function: str) -> int:
        """Return the address of a function of a module, which stays in memory from now on."""
        name = hashlib.sha256(f"{self.target}\n{text}".encode()).hexdigest()
        with lock:
            if name not in self.loaded:
                code = _read(self.folder, name)
                if code is None:
                    code = self._compile(text)
                    _keep(self.folder, name, code)
                # An engine for each, and a machine for each engine, which owns it.
                engine = self.llvm.create_mcjit_compiler(self.llvm.parse_assembly(""), self._machine())
                engine.add_object_file(self.llvm.object_file.ObjectFileRef.from_data(code))
                engine.finalize_object()
                self.loaded[name] = engine, int(engine.get_function_address(function))
            return self.loaded[name][1]

    def _compile(self, text: str) -> bytes:
        return bytes(self.machine.emit_object(self._optimized(text)))

    def assembly(self, text: str) -> str:
        """Return what becomes of a module in the processor's own language, to look at."""
        return str(self.machine.emit_assembly(self._optimized(text)))

    def _optimized(self, text: str) -> Any:
        module = self.llvm.parse_assembly(text)
        module.triple, module.data_layout = self.machine.triple, str(self.machine.target_data)
        options = self.llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = options.loop_interleaving = True
        passes = self.llvm.create_pass_builder(self.machine, options)
        passes.getModulePassManager().run(module, passes)
        return module


@once
def compiler() -> Compiler | None:
    """Return the compiler; None where llvmlite is not installed, or not to be used."""
    if not allowed():
        return None
    try:
        return Compiler(_folder())
    except (ImportError, OSError, RuntimeError):  # not installed, or its library does not load here
        return None


def _folder() -> Path | None:
    """Return the folder for machine code, which is made if need be; None unless it is the user's own."""
    usual = "Library/Caches" if sys.platform == "darwin" else ".cache"
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / usual) / "dzcore" / "kernels"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
    except (OSError, RuntimeError):  # no home
        return None
    if not stat.S_ISDIR(about.st_mode):
        return None
    if hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o077):
        return None
    return folder


def _read(folder: Path | None, name: str) -> bytes | None:
    """Return what is kept under a name, if it is whole."""
    if folder is None:
        return None
    try:
        content = (folder / name).read_bytes()
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    return code if digest == _digest(name, code) else None


def _keep(folder: Path | None, name: str, code: bytes) -> None:
    """Write a file beside and rename it; what cannot be kept is compiled again."""
    if folder is None:
        return
    with suppress(OSError):
        handle, path = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_digest(name, code) + code)
            os.replace(path, folder / name)
        except BaseException:
            os.unlink(path)
            raise


def _digest(name: str, code: bytes) -> bytes:
    return hashlib.sha256(name.encode() + code).digest()
