"""What is measured: a folder with `rows.py`, the list of works, and a file `in_NAME.py` for each framework.

The core knows no framework by name, and no wheel should carry code for one. So the works live beside the repository's
sources, in benchmarks/table/, and are loaded from there, or from the folder that `--table` names.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType
from typing import Any

from ..parser import UsageError

__all__ = ["OWN", "Row", "Step", "Table"]

OWN = "dzcore"  #: the contender that all others are compared with
USUAL = Path(__file__).resolve().parents[3] / "benchmarks" / "table"

Step = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One work, which every framework does in its own way and with the same numbers."""

    name: str
    title: str
    numbers: Callable[..., Any]  #: makes of the sizes what every contender begins from
    sizes: Mapping[str, Any]
    quick: Mapping[str, Any]  #: sizes for tests
    reference: str  #: the contender whose time the target is a share of
    target: float | None = None  #: dzcore's time divided by the reference's
    rtol: float | None = 1e-3  #: by how much results may differ, relative to the largest; None where chance decides
    groups: tuple[str, ...] = ("table",)

    def begin(self, quick: bool, scratch: str) -> Any:
        """Make the numbers, the same at every call, with an empty folder of the contender's own in `scratch`."""
        numbers = self.numbers(**(self.quick if quick else self.sizes))
        numbers.folder = Path(mkdtemp(dir=scratch))
        return numbers


class Table:
    """The rows of a folder, and how each framework does them.

    A file `in_NAME.py` has `CONTENDERS`, for each row's name the makers of steps by label: the framework's name, and
    words behind it where it can do the work in several ways. `maker(numbers)` returns a step without arguments, which
    returns what can be compared, and `read(result)` makes floating-point numbers of it. `start(threads)` prepares the
    framework, and `about()` says what is to be known of it.
    """

    def __init__(self, folder: str | None) -> None:
        self.folder = Path(folder) if folder is not None else USUAL
        if not (self.folder / "rows.py").is_file():
            raise UsageError(
                f"argument --table: {str(self.folder)!r} has no rows.py; name the folder benchmarks/table of a clone "
                f"of the repository, which is not part of the installed package"
            )
        self.rows: dict[str, Row] = {row.name: row for row in self._load("rows").ROWS}
        self._frameworks: dict[str, ModuleType] = {}

    def framework(self, name: str, threads: int) -> ModuleType:
        """Load and start one framework's part, once.

        Raises:
            ImportError: it is not installed.
        """
        if name not in self._frameworks:
            if not (self.folder / f"in_{name}.py").is_file():
                known = ", ".join(sorted(file.stem.removeprefix("in_") for file in self.folder.glob("in_*.py")))
                raise UsageError(f"argument --against: {name!r} has no file in_{name}.py; there are {known}")
            module = self._load(f"in_{name}")
            module.start(threads)
            self._frameworks[name] = module
        return self._frameworks[name]

    def choose(self, names: list[str] | None) -> list[Row]:
        """Return the rows with these names or of these groups; those of the group `table` unless any are named."""
        for name in names or ():
            known = dict.fromkeys(each for row in self.rows.values() for each in (*row.groups, row.name))
            if name not in known:
                raise UsageError(f"argument --rows: {name!r} is none of {', '.join(known)}")
        wanted = set(names or ("table",))
        return [row for row in self.rows.values() if not wanted.isdisjoint((row.name, *row.groups))]

    def _load(self, name: str) -> ModuleType:
        """Import a file without its folder on the path, where its name would hide others."""
        spec = spec_from_file_location(f"dz_table_{name}", self.folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[spec.name] = module  # for dataclasses, and for what is pickled
        spec.loader.exec_module(module)
        return module
