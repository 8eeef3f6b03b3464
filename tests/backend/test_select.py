"""The choice of a backend: each rule's place in the order, and who sees it."""

import asyncio
import threading

import pytest

from dzcore.backend import (
    accelerator_backend,
    backend_of,
    current_backend,
    explain_backend,
    get_backend,
    host_backend,
    register_backend,
    set_default_backend,
    unregister_backend,
    use_backend,
)
from dzcore.errors import BackendNotFoundError, BackendUnavailableError

from .plugins import Site, backend_class


@pytest.fixture(autouse=True)
def _empty(empty_registry: None) -> None:
    """Every test here starts without a backend."""


@pytest.fixture
def three() -> None:
    """Three usable backends; `b` has the highest priority."""
    for name, priority, members in (("a", 0, bytes), ("b", 9, str), ("c", 0, complex)):
        register_backend(backend_class(name, priority=priority, members=members))


def test_order_of_the_rules(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DZCORE_BACKEND", "a")
    set_default_backend("c")
    with use_backend("b") as entered:
        assert explain_backend() == (entered, "use_backend('b')")
        with use_backend("c:1"):
            assert explain_backend().reason == "use_backend('c:1')"
        assert current_backend() is entered is get_backend("b")
    assert explain_backend() == (get_backend("c"), "set_default_backend('c')")
    set_default_backend(None)
    assert explain_backend() == (get_backend("a"), "DZCORE_BACKEND=a")


def test_highest_priority_comes_last_in_the_order(three: None) -> None:
    assert explain_backend() == (get_backend("b"), "the usable backend of highest priority among: a, b, c")


def test_equal_priorities_go_by_name() -> None:
    register_backend(backend_class("z"))
    register_backend(backend_class("y"))
    assert str(current_backend()) == "y"


def test_a_registration_may_change_the_automatic_choice(three: None) -> None:
    assert str(current_backend()) == "b"
    register_backend(backend_class("d", priority=10))
    assert str(current_backend()) == "d"
    unregister_backend("d")
    assert str(current_backend()) == "b"


def test_unusable_backends_are_passed_over_by_the_automatic_choice_only(three: None) -> None:
    register_backend(backend_class("best", priority=99, reason="no device"))
    assert str(current_backend()) == "b"
    for choose in (use_backend, set_default_backend):
        with pytest.raises(BackendUnavailableError, match="'best' is registered but unusable: no device"):
            choose("best")
    assert str(current_backend()) == "b"


def test_lower_priorities_are_not_even_probed(three: None) -> None:
    def probe(cls: object) -> None:
        raise AssertionError("asked")

    register_backend(backend_class("heavy", priority=-1, why_unavailable=classmethod(probe)))
    assert str(current_backend()) == "b"


def test_one_that_fails_to_open_is_passed_over(three: None) -> None:
    def fail(self: object, device: object = None) -> None:
        raise OSError("device lost")

    register_backend(backend_class("broken", priority=99, __init__=fail))
    assert str(current_backend()) == "b"


def test_nothing_usable_lists_every_reason() -> None:
    register_backend(backend_class("x", reason="no driver"))
    register_backend(backend_class("y", reason="no device"))
    with pytest.raises(BackendUnavailableError) as caught:
        current_backend()
    assert str(caught.value).splitlines() == [
        "No installed backend can be used here.",
        "  Backend 'x' is registered but unusable: no driver.",
        "  Backend 'y' is registered but unusable: no device.",
    ]


def test_nothing_installed() -> None:
    with pytest.raises(BackendNotFoundError, match="^No backend is installed. pip install dzbackend-numpy$"):
        current_backend()


def test_the_variable_is_no_suggestion(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DZCORE_BACKEND", "bb")
    with pytest.raises(BackendNotFoundError, match=r"^DZCORE_BACKEND=bb: No backend 'bb'. Installed: a, b, c"):
        current_backend()
    register_backend(backend_class("bb"))
    assert str(current_backend()) == "bb"


@pytest.mark.parametrize(("value", "kind"), [("a:", ValueError), ("off", BackendUnavailableError)])
def test_errors_name_the_variable(
    three: None, monkeypatch: pytest.MonkeyPatch, value: str, kind: type[Exception]
) -> None:
    register_backend(backend_class("off", reason="no device"))
    monkeypatch.setenv("DZCORE_BACKEND", value)
    with pytest.raises(kind, match=f"^DZCORE_BACKEND={value}: "):
        current_backend()


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_none(three: None, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DZCORE_BACKEND", value)
    assert str(current_backend()) == "b"


def test_the_variable_is_read_once(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DZCORE_BACKEND", "a")
    assert str(current_backend()) == "a"
    monkeypatch.setenv("DZCORE_BACKEND", "c")
    register_backend(backend_class("d"))
    assert str(current_backend()) == "a"


def test_refresh_reads_the_variable_and_the_metadata_again(site: Site) -> None:
    site.install("a")
    site.install("b", priority=5)
    code = """
import os
say = lambda: list(map(str, explain_backend()))
answer = [say()]
os.environ["DZCORE_BACKEND"] = "b:1"
answer.append(say())
refresh_backends()
answer.append(say())
del os.environ["DZCORE_BACKEND"]
refresh_backends()
answer.append(say())
"""
    first, same, second, third = site.ask(code, DZCORE_BACKEND="a")
    assert first == same == ["a", "DZCORE_BACKEND=a"]
    assert second == ["b:1", "DZCORE_BACKEND=b:1"]
    assert third == ["b", "the usable backend of highest priority among: a, b"]


def test_broken_and_ambiguous_plugins_do_not_stop_the_automatic_choice(site: Site) -> None:
    site.install("bad", priority=99, more="1 / 0")
    site.install("two", priority=98, distribution="dist-a")
    site.install("two", priority=98, distribution="dist-b")
    site.install("good")
    assert site.ask("answer = list(map(str, explain_backend()))") == [
        "good",
        "the usable backend of highest priority among: good",
    ]


def test_use_backend_raises_before_the_block(three: None) -> None:
    with pytest.raises(BackendNotFoundError):
        use_backend("nobody")
    use_backend("a")
    assert str(current_backend()) == "b", "making the context manager changes nothing"


def test_use_backend_ends_with_an_exception(three: None) -> None:
    with pytest.raises(KeyError), use_backend("a"):
        raise KeyError
    assert str(current_backend()) == "b"


def test_use_backend_decorates(three: None) -> None:
    @use_backend("a")
    def inside() -> str:
        return str(current_backend())

    assert (inside(), inside(), str(current_backend())) == ("a", "a", "b")


def test_threads_see_the_default_and_not_each_other(three: None) -> None:
    barrier = threading.Barrier(3, timeout=10)
    seen: dict[str, list[str]] = {}

    def work(name: str) -> None:
        before = str(current_backend())
        with use_backend(name):
            barrier.wait()
            inside = str(current_backend())
            barrier.wait()
        seen[name] = [before, inside, str(current_backend())]

    set_default_backend("b")
    with use_backend("c"):
        threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert str(current_backend()) == "c"
    assert seen == {name: ["b", name, "b"] for name in ("a", "b", "c")}


def test_tasks_do_not_see_each_other(three: None) -> None:
    async def work(name: str) -> list[str]:
        with use_backend(name):
            await asyncio.sleep(0)
            inside = str(current_backend())
            await asyncio.sleep(0)
        return [inside, str(current_backend())]

    async def main() -> list[list[str]]:
        with use_backend("c"):
            return await asyncio.gather(work("a"), work("b"))

    assert asyncio.run(main()) == [["a", "c"], ["b", "c"]]
    assert str(current_backend()) == "b"


def test_default_is_seen_by_every_thread(three: None) -> None:
    thread = threading.Thread(target=set_default_backend, args=("a",))
    thread.start()
    thread.join()
    assert str(current_backend()) == "a"


class TestHostAndAccelerator:
    def test_the_current_one_if_it_fits(self, three: None) -> None:
        register_backend(backend_class("gpu", accelerator=True))
        with use_backend("c"):
            assert str(host_backend()) == "c"
        with use_backend("gpu:1"):
            assert str(accelerator_backend()) == "gpu:1"
            assert str(host_backend()) == "b"

    def test_else_the_best_usable_one(self, three: None) -> None:
        for name, priority, reason in (("g", -9, None), ("h", -5, None), ("i", 0, "no device")):
            register_backend(backend_class(name, accelerator=True, priority=priority, reason=reason))
        assert str(accelerator_backend()) == "h"
        assert str(host_backend()) == "b"

    def test_none_installed(self, three: None) -> None:
        with pytest.raises(
            BackendNotFoundError, match=r"^No accelerator backend is installed. Installed: a, b, c\. For an .*cupy"
        ):
            accelerator_backend()

    def test_none_usable(self, three: None) -> None:
        register_backend(backend_class("gpu", accelerator=True, reason="no device"))
        with pytest.raises(BackendUnavailableError, match=r"^No accelerator backend can be used.*\n.*'gpu'.*no device"):
            accelerator_backend()


class TestBackendOf:
    def test_the_owner(self, three: None) -> None:
        assert str(backend_of(b"")) == "a"
        assert str(backend_of("")) == "b"

    def test_the_current_one_first(self, three: None) -> None:
        register_backend(backend_class("also", members=bytes))
        assert str(backend_of(b"")) == "a", "by name, among equals"
        with use_backend("also"):
            assert str(backend_of(b"")) == "also"

    def test_then_an_open_one(self, three: None) -> None:
        register_backend(backend_class("zz", members=bytes))
        opened = get_backend("zz:1")
        assert backend_of(b"") is opened

    def test_on_another_device(self, three: None) -> None:
        members = {None: list, "1": tuple}

        def owns(self: object, obj: object) -> bool:
            return isinstance(obj, members[self.device_name])  # type: ignore[attr-defined]

        register_backend(backend_class("far", owns=owns, devices=classmethod(lambda cls: ["1"])))
        assert str(backend_of(())) == "far:1"

    def test_a_wrong_choice_does_not_hide_an_owner(self, three: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DZCORE_BACKEND", "nobody")
        assert str(backend_of(b"")) == "a"
        with pytest.raises(BackendNotFoundError, match="DZCORE_BACKEND=nobody"):
            backend_of([])

    def test_nobody(self, three: None) -> None:
        with pytest.raises(TypeError, match=r"builtins\.list is an array of no usable backend \(a, b, c\)"):
            backend_of([])
        with pytest.raises(TypeError, match="pathlib"):
            backend_of(__import__("pathlib").Path())
