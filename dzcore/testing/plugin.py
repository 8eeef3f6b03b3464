"""The pytest plugin: `pytest -p dzcore.testing.plugin --dz-backend=NAME[,NAME]` runs tests on backends of your choice.

Every test that takes the fixture `backend` runs once on each, as the current one. A backend whose `why_unavailable`
says that it cannot be used here is skipped with that reason, or fails with `--dz-require`; one that does not exist,
fails to import or does not open, and a device that does not exist, is an error.

Tests of the conformance kit that are expected to fail are named by patterns in `known_failures`, of the Backend or of
the test class: see dzcore.testing.conformance.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fnmatch import translate
from re import compile
from typing import Any

import pytest

from ..backend import Backend, get_backend, use_backend
from ..errors import BackendError, BackendUnavailableError
from .usable import stated_reason

__all__ = ["backend", "name_in_kit"]

KIT = f"{__package__}.conformance"

if KIT not in sys.modules:  # too late, then, and pytest would warn of it
    pytest.register_assert_rewrite(KIT)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dzcore")
    group.addoption(
        "--dz-backend", metavar="NAME[,NAME]", help="backends to test, also NAME:DEVICE; default: the ini's dz_backends"
    )
    group.addoption(
        "--dz-require", action="store_true", help="fail where a backend cannot be used here, instead of skipping"
    )
    parser.addini("dz_backends", "backends to test where --dz-backend is not given", type="args", default=[])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what takes the fixture `backend` on each of them: the class's own, those of the option, those of the ini."""
    if "backend" not in metafunc.fixturenames:
        return
    option = metafunc.config.getoption("--dz-backend", None)  # a test file that names this plugin itself has no option
    chosen: Any = getattr(metafunc.cls, "backends", None) or (option or "").split(",")
    specs = [spec for spec in chosen if spec] or metafunc.config.getini("dz_backends")
    if not specs:
        raise pytest.UsageError("no backend to test; say --dz-backend=NAME, such as one that `dz backends` lists")
    metafunc.parametrize("backend", specs, indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Every backend in turn, as the current one."""
    try:
        opened = get_backend(request.param)
    except BackendUnavailableError as error:
        if stated_reason(request.param) is None:  # it does not open though it says that it is usable
            raise
        if request.config.getoption("--dz-require", False):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    with use_backend(opened):
        yield opened


# The kit: names, and expected failures ------------------------------------------------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `-k` know the groups, and mark what is expected to fail: strictly, so that nothing passes unnoticed."""
    if KIT not in sys.modules:
        return
    tests = [(item, name) for item in items if (name := name_in_kit(item))]
    for item, (group, _) in tests:
        item.extra_keyword_matches.add(group)
    batches: dict[tuple[Any, str], list[tuple[Any, str]]] = defaultdict(list)
    for item, (group, rest) in tests:
        batches[item.cls, _spec(item)].append((item, f"{group}.{rest}"))  # type: ignore[attr-defined]
    for (cls, spec), batch in batches.items():
        complete = _methods(cls) == {item.originalname for item, _ in batch}  # and not a choice by node ids
        for patterns, owner in ((cls.known_failures, cls.__name__), (_of_backend(spec), f"backend {spec}")):
            _expect(patterns, owner, batch, check=complete and _is_whole(cls, owner))


def _expect(patterns: dict[str, str], owner: str, batch: Iterable[tuple[Any, str]], check: bool) -> None:
    for pattern, reason in patterns.items():
        # a parameter stands in brackets, which fnmatch would read as a choice of characters
        matches = compile(translate(pattern.replace("[", "[[]"))).match
        found = [item for item, name in batch if matches(name)]
        if check and not found:
            raise pytest.UsageError(
                f"known_failures of {owner}: {pattern!r} matches no test; "
                "take it out, or write 'Group.test_name[parameter]'"
            )
        for item in found:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def name_in_kit(item: Any) -> tuple[str, str] | None:
    """Return a test's group and its name with the parameters but the backend's; None if it is not of the kit."""
    group = sys.modules[KIT].Group if KIT in sys.modules else None
    cls = getattr(item, "cls", None)
    if group is None or cls is None or not issubclass(cls, group):
        return None
    spec, name = _spec(item), item.originalname
    callspec = getattr(item, "callspec", None)
    label = callspec.id if callspec is not None else ""
    for less in (label.removeprefix(f"{spec}-"), label.removesuffix(f"-{spec}")):
        if less != label:
            return cls.group_of(name), f"{name}[{less}]"
    return cls.group_of(name), name if label == spec or not label else f"{name}[{label}]"


def _spec(item: Any) -> str:
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("backend", "")) if callspec is not None else ""


def _methods(cls: type) -> set[str]:
    return {name for name in dir(cls) if name.startswith("test_")}


def _is_whole(cls: type, owner: str) -> bool:
    """Tell whether a pattern must match here: those of a backend concern the whole kit, not each class of a group."""
    return owner == cls.__name__ or issubclass(cls, sys.modules[KIT].Conformance)


def _of_backend(spec: str) -> dict[str, str]:
    """Return the backend's own expected failures; one that cannot be opened has none, and is reported elsewhere."""
    try:
        return dict(get_backend(spec).known_failures)
    except (BackendError, ValueError):
        return {}
