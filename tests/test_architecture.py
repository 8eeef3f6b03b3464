"""The shape of the code: the core holds no array library and no backend's name, and arrows point down only."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parents[1] / "dzcore"
FILES = sorted(CORE.rglob("*.py"))

#: From the bottom up. A module imports from its own layer and from those below it.
LAYERS = (
    ("errors", "_version"),
    ("backend",),
    ("random", "io"),
    ("graph",),
    ("functions",),
    ("derivatives", "files", "state"),
    ("layers",),
    ("models", "optimizers"),
    ("datasets", "dataloaders", "transforms"),
    ("core", "cuda", "functions_conv", "profiling"),
    ("testing",),
    ("utils",),
    ("cli",),
    ("__main__", "__init__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

#: Deliberate arrows that point up: file -> layers, each with its reason.
UPWARD: dict[str, set[str]] = {
    "graph/variable.py": {"__init__"},  # Variable.__array_namespace__() is dzcore itself
}

ARRAY_LIBRARIES = {
    "array_api_extra",
    "array_api_strict",
    "cupy",
    "cupyx",
    "dask",
    "jax",
    "mlx",
    "ndonnx",
    "numpy",
    "pandas",
    "scipy",
    "sparse",
    "tensorflow",
    "torch",
}
BACKEND_NAMES = re.compile(r"(?<!dzbackend-)\b(numpy|cupy|torch|jax|mlx|tensorflow|dask)\b", re.IGNORECASE)

#: Strings of the core that name a library on purpose: file -> substrings.
NAMED: dict[str, set[str]] = {}


def imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of everything a file imports, in functions too; `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            parts = [*base, *([node.module] if node.module else [])]
            yield from ((node.lineno, ".".join([*parts, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and _callee(node) in {"import_module", "__import__"}:
            for argument in node.args[:1]:
                # a computed name is as good as any library: it has to stand here
                yield node.lineno, argument.value if isinstance(argument, ast.Constant) else "<computed>"


def _callee(node: ast.Call) -> str:
    return getattr(node.func, "id", "") or getattr(node.func, "attr", "")


def of_core(file: Path) -> tuple[str, Iterator[tuple[int, str]]]:
    relative = file.relative_to(CORE)
    package = ("dzcore", *relative.parts[:-1])
    return relative.as_posix(), imports(ast.parse(file.read_text("utf-8")), package)


def layer_of(name: str) -> str | None:
    """Name the layer of an absolute import: what dzcore's own `__init__` offers belongs to the top."""
    head, *rest = name.split(".")
    if head != "dzcore":
        return None
    return rest[0] if rest and rest[0] in LEVEL else "__init__"


def layer_of_file(relative: str) -> str:
    return relative.split("/")[0].removesuffix(".py")


def test_the_core_imports_no_array_library() -> None:
    wrong = []
    for file in FILES:
        relative, found = of_core(file)
        for line, name in found:
            head, *rest = name.split(".")
            of_a_library = head == "array_api_compat" and (len(rest) > 1 or not ARRAY_LIBRARIES.isdisjoint(rest))
            if head in ARRAY_LIBRARIES or head.startswith("dzbackend") or of_a_library:
                wrong.append(f"dzcore/{relative}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_file_has_its_layer() -> None:
    unknown = {layer_of_file(file.relative_to(CORE).as_posix()) for file in FILES} - set(LEVEL)
    assert not unknown, f"put {sorted(unknown)} into LAYERS"


def test_arrows_point_down_only() -> None:
    wrong, used = [], set()
    for file in FILES:
        relative, found = of_core(file)
        own = layer_of_file(relative)
        for line, name in found:
            target = layer_of(name)
            if target is None or LEVEL[target] <= LEVEL[own]:
                continue
            if target in UPWARD.get(relative, set()):
                used.add((relative, target))
            else:
                wrong.append(f"dzcore/{relative}:{line} ({own}) imports {name} ({target}), which lies above it")
    assert not wrong, "\n".join(wrong)
    assert used == {(file, target) for file, targets in UPWARD.items() for target in targets}, "an exception is unused"


def test_the_core_names_no_backend() -> None:
    wrong = []
    for file in FILES:
        relative = file.relative_to(CORE).as_posix()
        tree = ast.parse(file.read_text("utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)) or id(node) in prose:
                continue
            if BACKEND_NAMES.search(node.value) and not any(each in node.value for each in NAMED.get(relative, set())):
                wrong.append(f"dzcore/{relative}:{node.lineno} says {node.value!r}")
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a fresh process after `import dzcore`, less those that Python starts with."""
    code = "import sys; old = set(sys.modules); import dzcore, json; print(json.dumps(sorted(set(sys.modules) - old)))"
    path = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(CORE.parent)!r})\n{code}"]
    return set(json.loads(subprocess.run(path, check=True, capture_output=True, text=True).stdout))


def test_importing_dzcore_imports_no_array_library(loaded: set[str]) -> None:
    assert {name.split(".")[0] for name in loaded} & ARRAY_LIBRARIES == set()
    assert not [name for name in loaded if name.startswith("dzbackend")]


def test_importing_dzcore_is_quick(loaded: set[str]) -> None:
    """Held by what is imported and not by the clock: these are the slow ones, and dzcore uses them later, if at all."""
    slow = {"argparse", "array_api_compat", "asyncio", "dataclasses", "email", "gzip", "importlib.metadata", "inspect"}
    slow |= {"logging", "multiprocessing", "pickle", "subprocess", "tempfile", "unittest", "urllib.request", "zipfile"}
    slow |= {"hashlib", "hypothesis", "matplotlib", "pooch", "pytest", "rich"}
    assert loaded & slow == set()


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import numpy.linalg", {"numpy.linalg"}),
        ("def f():\n    from cupy import exp", {"cupy.exp"}),
        ("from ..graph import Variable", {"dzcore.graph.Variable"}),
        ("from .. import graph", {"dzcore.graph"}),
        ("from . import conv", {"dzcore.functions.conv"}),
        ("import importlib\nimportlib.import_module('torch')", {"importlib", "torch"}),
        ("__import__(name)", {"<computed>"}),
    ],
)
def test_the_reader_of_imports(code: str, names: set[str]) -> None:
    assert {name for _, name in imports(ast.parse(code), ("dzcore", "functions"))} == names
