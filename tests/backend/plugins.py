"""Little plugin distributions, built and installed for one test, and a bare interpreter that sees only them."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import array_api_compat

from dzcore.backend import Backend

REPOSITORY = Path(__file__).parents[2]

SOURCE = """
print("imported {module}", file=__import__("sys").stderr)
from dzcore.backend import Backend

class Plugin(Backend):
    name = {name!r}
    api_version = {api!r}
    priority = {priority!r}

    @classmethod
    def why_unavailable(cls):
        return {reason!r}

    xp = None

    def __init__(self, device=None):
        if device == "7":
            raise ValueError("there is no device 7.")
        super().__init__(device)

    def owns(self, obj):
        return False

    def to_host(self, array):
        raise NotImplementedError

    def from_host(self, host):
        raise NotImplementedError

    @classmethod
    def devices(cls):
        return ["0", "1"]
"""

PRELUDE = """
import json, sys
from dzcore.backend import *

def error(function, *arguments):
    try:
        function(*arguments)
    except Exception as e:
        return [type(e).__name__, str(e), type(e.__cause__).__name__]
    return None

answer = None
"""


class Site:
    """A folder of installed distributions; `ask` runs Python with this folder and the repository on its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "site"
        self.wheels = folder / "wheels"
        self.imported: list[str] = []  #: the plugins that the last `ask` imported, in order
        self.folder.mkdir()
        self.wheels.mkdir()
        needed = Path(array_api_compat.__file__).parent
        (self.folder / needed.name).symlink_to(needed)

    def build(
        self,
        name: str,
        *,
        distribution: str = "",
        version: str = "1.0",
        api: object = (1, 0),
        priority: int = 0,
        reason: str | None = None,
        more: str = "",
    ) -> Path:
        """Write a wheel that offers the backend `name`; `more` is added at the end of its module."""
        distribution = distribution or f"plug-{name}"
        module = distribution.replace("-", "_").lower()
        source = SOURCE.format(module=module, name=name, api=api, priority=priority, reason=reason) + more
        info = f"{module}-{version}.dist-info"
        files = {
            f"{module}.py": source,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": f"[dzcore.backends]\n{name} = {module}:Plugin\n",
        }
        lines = [f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in files.items()]
        files[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"])
        wheel = self.wheels / f"{module}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in files.items():
                archive.writestr(path, text)
        return wheel

    def install(self, name: str, **options: Any) -> None:
        """Build a distribution and unpack it: all that installing a pure wheel means, and far faster than pip."""
        with zipfile.ZipFile(self.build(name, **options)) as archive:
            archive.extractall(self.folder)

    def ask(self, code: str, **environment: str) -> Any:
        """Run `code` in a fresh interpreter without site-packages, and return what it leaves in `answer`."""
        path = f"import sys; sys.path[:0] = {[str(REPOSITORY), str(self.folder)]!r}\n"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("DZCORE_")}
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", path + PRELUDE + code + "\nprint(json.dumps(answer))"],
            env=clean | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        self.imported = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("imported ")]
        return json.loads(done.stdout.splitlines()[-1])


def backend_class(name: str, *, reason: str | None = None, members: type = bytes, **attributes: Any) -> type[Backend]:
    """Make a Backend class whose arrays are the objects of type `members`."""

    def unusable(cls: type[Backend]) -> str | None:
        return reason

    def owns(self: Backend, obj: object) -> bool:
        return isinstance(obj, members)

    def init(self: Backend, device: str | None = None) -> None:  # any device will do
        Backend.__init__(self, device)

    required = {"why_unavailable": classmethod(unusable), "xp": None, "owns": owns, "to_host": None, "from_host": None}
    required["__init__"] = init
    return type(name.title(), (Backend,), {"name": name, "api_version": (1, 0), **required, **attributes})


def _digest(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
